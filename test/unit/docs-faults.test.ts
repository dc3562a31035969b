import { describe, expect, it } from 'vitest'
import { faultSection, kafkaFaultSection } from '../../tools/docs-faults.ts'
import { markdownTable, replaceSection } from '../../tools/markdown.ts'
import type { FaultRow } from '../fault/fault-report.ts'
import type { KafkaFaultRow } from '../fault/kafka-fault-report.ts'

const ROW: FaultRow = {
  fault: 'broker killed',
  confirmed: 12_345,
  unknown: 2,
  notSent: 0,
  missing: 0,
  repeated: 3,
  explained: 64,
  outOfOrder: 0,
  backMs: 1_234,
}
const report = (row: Partial<FaultRow>) => ({ transport: 'redis', version: '7.0', rows: [{ ...ROW, ...row }] })

describe('faultSection', () => {
  it('shows each row, and the version of the broker', () => {
    const section = faultSection(report({}))
    expect(section).toContain('redis 7.0')
    expect(section).toContain('| broker killed | 12,345 | 2 | 0 | 0 | 3 (at most 64) | 0 | 1.23 s |')
    expect(faultSection(report({ backMs: undefined }))).toContain('| 0 |  |')
  })

  it.each([{ missing: 1 }, { outOfOrder: 1 }])('refuses a report with %j', (row) => {
    expect(() => faultSection(report(row))).toThrow('broker killed')
  })
})

describe('kafkaFaultSection', () => {
  const row: KafkaFaultRow = {
    fault: 'a broker is frozen',
    group: 'classic',
    confirmed: 12_345,
    unknown: 1,
    lost: 0,
    duplicated: 0,
    outOfOrder: 0,
    untrue: 0,
    handledAgain: 7,
    produceStallMs: 1_234,
  }
  const section = (changes: Partial<KafkaFaultRow>) =>
    kafkaFaultSection({ transport: 'kafka-client', version: '4.3.1', rows: [{ ...row, ...changes }] })

  it('shows each row, and the version of the broker', () => {
    expect(section({})).toContain('Apache Kafka 4.3.1')
    expect(section({})).toContain('| a broker is frozen | classic | 12,345 | 1 | 0 | 0 | 0 | 7 | 1.2 s |  |')
  })

  it.each([{ lost: 1 }, { duplicated: 1 }, { outOfOrder: 1 }, { untrue: 1 }])('refuses a report with %j', (changes) => {
    expect(() => section(changes)).toThrow('a broker is frozen')
  })
})

describe('replaceSection', () => {
  const page = 'top\n<!-- bench:memory begin -->\nold\n<!-- bench:memory end -->\nbottom\n'

  it('changes what is between the markers and nothing else', () => {
    const once = replaceSection(page, 'bench:memory', 'new')
    expect(once).toBe('top\n<!-- bench:memory begin -->\n\nnew\n\n<!-- bench:memory end -->\nbottom\n')
    expect(replaceSection(once, 'bench:memory', 'new')).toBe(once)
  })

  it('refuses a page without the markers', () => {
    expect(() => replaceSection(page, 'bench:redis', 'new')).toThrow('bench:redis begin')
  })
})

it('a pipe in a cell ends no cell', () => {
  expect(markdownTable(['a'], [['b | c']])).toBe('| a |\n|---|\n| b \\| c |')
})
