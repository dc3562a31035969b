import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { memory } from 'busbar/memory'
import type { ConformanceReport, ScenarioResult } from 'busbar/testing'
import { capabilityTable, merge, results, summarize, updateRows, variantTable } from '../../../tools/docs-matrix.ts'

function report(transport: string, results: readonly Partial<ScenarioResult>[], durable = true): ConformanceReport {
  return {
    transport,
    version: transport === 'memory' ? undefined : '7.2',
    system: transport,
    capabilities: { ...memory().capabilities, durable, maxMessageBytes: 1_000_000 },
    durationMs: Math.random() * 1_000,
    scenarios: results.map((result, index) => ({
      id: `publish/s${index}`,
      group: 'publish',
      invariant: 1,
      title: 't',
      status: 'passed',
      durationMs: Math.random() * 1_000,
      ...result,
    })),
  }
}

const known = (...reports: readonly ConformanceReport[]): ReturnType<typeof merge> => merge([], reports.map(summarize))

describe('docs:matrix', () => {
  it('makes a table of what transports claim and one of what was tried', () => {
    const all = known(
      report('redis', [{}, {}, { status: 'exception', reason: 'trims | headers' }]),
      report(
        'memory',
        [{}, { status: 'not-applicable', reason: 'no `durable`' }, { group: 'delay', id: 'delay/x' }],
        false,
      ),
    )
    const table = capabilityTable(all)
    expect(table).toContain('|  | memory | redis 7.2 |')
    expect(table).toContain('| Durable | no | yes |')
    expect(table).toContain('| Replay | by position and time | by position and time |')
    expect(table).toContain('| Largest message | 976.6 KiB | 976.6 KiB |')
    expect(table.split('\n').every((line) => line.startsWith('|'))).toBe(true)
    const text = results(all)
    expect(text).toContain('| publish | 1 of 1, 1 not applicable | 2 of 3, 1 excepted |')
    expect(text).toContain('| delay | 1 of 1 | - |')
    expect(text).toContain('- exception: trims \\| headers (`publish/s2`)')
    expect(text).toContain('- not applicable: no `durable` (`publish/s1`)')
  })

  it('writes the same for the same results, whatever the run took', () => {
    const outcomes = [{}, { status: 'exception' as const, reason: 'x' }]
    const first = known(report('redis', outcomes))
    expect(merge(first, [summarize(report('redis', outcomes))])).toEqual(first)
    expect(merge(JSON.parse(JSON.stringify(first)) as typeof first, [])).toEqual(JSON.parse(JSON.stringify(first)))
  })

  it('keeps the columns of transports that were not run, and replaces those that were', () => {
    const both = known(report('redis', [{}, {}]), report('kafka', [{}]))
    const later = merge(both, [summarize(report('kafka', [{}, {}, {}], false))])
    expect(results(later)).toContain('| publish | 3 of 3 | 2 of 2 |')
    expect(capabilityTable(later)).toContain('| Durable | no | yes |')
  })

  it('gives other versions and forms of a broker a row each, and no column', () => {
    const skipped: readonly Partial<ScenarioResult>[] = [
      { status: 'exception', reason: 'x' },
      { group: 'delay', id: 'delay/x', status: 'not-applicable', reason: 'y' },
    ]
    const all = known(
      report('kafka', [{}]),
      report('kafka-3.9', [{}, {}, ...skipped]),
      report('nats-core', [{}]),
      report('valkey', [{}]),
    )
    expect(capabilityTable(all)).toContain('|  | kafka 7.2 | nats-core 7.2 |')
    expect(results(all)).not.toContain('kafka-3.9')
    expect(variantTable(all)).toBe(
      '|  | version | passed | excepted | not applicable |\n|---|---|---|---|---|\n' +
        '| kafka-3.9 | 7.2 | 2 | 1 | 1 |\n| valkey | 7.2 | 1 | 0 | 0 |',
    )
  })

  it('writes the row of each transport that a page has markers for', () => {
    const summaries = [report('nats', [{}]), report('nats-core', [{}], false), report('redis', [{}])].map(summarize)
    const marks = (name: string): string => `<!-- capabilities:${name} begin -->\n<!-- capabilities:${name} end -->\n`
    const text = updateRows(`# NATS\n${marks('nats')}${marks('nats-core')}`, summaries)
    expect(text).toMatch(/nats begin -->\n\n\| Durable \|.*\n\|---.*\n\| yes \|/)
    expect(text).toMatch(/nats-core begin -->\n\n\| Durable \|.*\n\|---.*\n\| no \|/)
    expect(updateRows(text, summaries)).toBe(text)
    expect(updateRows('# Memory\n', summaries)).toBe('# Memory\n')
  })

  it('has written the pages as they are', () => {
    const reference = join(import.meta.dirname, '../../../docs/reference')
    const read = (name: string): string => readFileSync(join(reference, name), 'utf8')
    const all = JSON.parse(read('conformance.json')) as ReturnType<typeof merge>
    expect(read('transports.md')).toContain(capabilityTable(all))
    expect(read('transports.md').length).toBeLessThan(5_000)
    expect(read('conformance.md')).toContain(results(all))
    expect(read('conformance.md')).toContain(variantTable(all))
  })
})
