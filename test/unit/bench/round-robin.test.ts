import { describe, expect, it } from 'vitest'
import type { CaseOutput } from '../../../bench/harness/case-output.ts'
import { toCaseRecord } from '../../../bench/runner/case-record.ts'
import { roundRobin } from '../../../bench/runner/round-robin.ts'
import { atLeastPerSecond, atLeastTimes, atMostMoreCpu } from '../../../bench/suites/goals.ts'
import type { BenchCase, Subject } from '../../../bench/suites/suite.ts'

const OURS: Subject = { name: 'busbar', file: 'cases/a.ts' }
const PEER: Subject = { name: 'peer', file: 'peers/a.ts' }
const OTHER: Subject = { name: 'other', file: 'peers/b.ts', args: ['--x'] }

function benchCase(part: Partial<BenchCase>): BenchCase {
  return { name: 'case', title: 'A case', metric: 'msg/s', ours: OURS, peers: [PEER], goals: [], ...part }
}

function output(messagesPerSecond: number, cpuMicrosPerMessage = 1): CaseOutput {
  return {
    messages: messagesPerSecond,
    seconds: 1,
    cpuMicros: cpuMicrosPerMessage * messagesPerSecond,
    rssMb: 100,
  }
}

function options(rounds: number, run: (subject: Subject, round: number) => CaseOutput) {
  const order: string[] = []
  const counts = new Map<string, number>()
  return {
    order,
    rounds,
    run: async (subject: Subject) => {
      order.push(subject.name)
      const round = counts.get(subject.name) ?? 0
      counts.set(subject.name, round + 1)
      return run(subject, round)
    },
    unavailable: (): string | undefined => undefined,
    progress: () => {},
  }
}

describe('roundRobin', () => {
  it('interleaves the subjects, every other round backwards, and takes medians', async () => {
    const given = options(3, (subject, round) => output(subject === OURS ? [10, 30, 20][round]! : 5))
    const [view] = await roundRobin([benchCase({})], given)
    expect(given.order).toEqual(['busbar', 'peer', 'peer', 'busbar', 'busbar', 'peer'])
    expect(view?.ours).toMatchObject({ value: 20, min: 10, max: 30, rssMb: 100 })
  })

  it('runs a subject of two cases once a round', async () => {
    const given = options(2, () => output(10))
    const views = await roundRobin(
      [benchCase({}), benchCase({ name: 'second', ours: { ...OURS, file: 'cases/b.ts' } })],
      given,
    )
    expect(given.order.filter((name) => name === 'peer')).toHaveLength(2)
    expect(views.map((view) => view.others.get('peer')?.runs.length)).toEqual([2, 2])
  })

  it('continues without a subject that failed, and says why', async () => {
    const given = options(2, (subject) => {
      if (subject === PEER) throw new Error('no such broker')
      return output(10)
    })
    const [view] = await roundRobin([benchCase({ peers: [PEER, OTHER] })], given)
    expect(view?.missing.get('peer')).toBe('no such broker')
    expect(view?.others.has('other')).toBe(true)
    expect(given.order.filter((name) => name === 'peer')).toHaveLength(1)
  })

  it('does not start what is unavailable', async () => {
    const given = {
      ...options(1, () => output(10)),
      unavailable: (subject: Subject) => (subject === OURS ? 'not built' : undefined),
    }
    const [view] = await roundRobin([benchCase({ goals: [atLeastPerSecond(1)] })], given)
    expect(given.order).toEqual(['peer'])
    if (view === undefined) throw new Error('no view')
    expect(toCaseRecord('redis', view)).toMatchObject({
      suite: 'redis',
      ours: null,
      peers: { peer: 10 },
      ratios: {},
      cpuMicrosPerMessage: null,
      goals: [{ met: null }],
      missing: { busbar: 'not built' },
    })
  })
})

describe('goals', () => {
  it('compare with the fastest of the peers that ran', async () => {
    const goals = [
      atLeastPerSecond(100),
      atLeastTimes(1, 'peer', 'other'),
      atLeastTimes(3, 'peer'),
      atLeastTimes(1, 'gone'),
    ]
    const rates = new Map([
      [OURS, 90],
      [PEER, 30],
      [OTHER, 100],
    ])
    const given = options(1, (subject) => output(rates.get(subject) ?? 0))
    const [view] = await roundRobin([benchCase({ peers: [PEER, OTHER], goals })], given)
    if (view === undefined) throw new Error('no view')
    expect(toCaseRecord('memory', view).goals.map(({ met, actual }) => [met, actual])).toEqual([
      [false, '90 msg/s'],
      [false, '0.90×'],
      [true, '3.00×'],
      [null, ''],
    ])
  })

  it('take the difference in CPU within each round, so that a slow round counts for both', async () => {
    const ours = [2, 12, 2.2]
    const reference = [1, 11.2, 1.1]
    const given = options(3, (subject, round) => output(10, (subject === OURS ? ours : reference)[round]))
    const bench = benchCase({
      peers: [],
      references: [PEER],
      goals: [atMostMoreCpu(1, 'peer'), atMostMoreCpu(0.9, 'peer')],
    })
    const [view] = await roundRobin([bench], given)
    if (view === undefined) throw new Error('no view')
    expect(toCaseRecord('memory', view).goals).toMatchObject([
      { actual: '1.00 µs', met: true },
      { actual: '1.00 µs', met: false },
    ])
  })
})
