import { describe, expect, it } from 'vitest'
import { seededRandom } from 'busbar/testing'
import { assignPartitions } from '../../../../src/core/partitions/assign-partitions.ts'
import type { Assignment } from '../../../../src/core/partitions/assign-partitions.ts'
import type { GroupView, MemberState, PartitionState } from '../../../../src/core/partitions/group-driver.ts'

const TOPICS = { orders: 8, payments: 3, audit: 1 }

function member(id: string, topics: Record<string, number> = TOPICS, state: Partial<MemberState> = {}): MemberState {
  return { id, topics: new Map(Object.entries(topics)), paused: new Set(), onProbation: false, ...state }
}

function view(
  members: readonly MemberState[],
  holders: Record<string, readonly (string | undefined)[]> = {},
): GroupView {
  const partitions: PartitionState[] = Object.entries(holders).flatMap(([topic, ids]) =>
    ids.map((holder, partition) => ({ topic, partition, holder, generation: 1 })),
  )
  return { version: '1', members, partitions }
}

/** The view after everybody has done what was assigned. */
function settled(members: readonly MemberState[], assignment: Assignment): GroupView {
  return view(members, Object.fromEntries(assignment))
}

function loads(assignment: Assignment, ids: readonly string[], topic?: string): number[] {
  const owners = topic === undefined ? [...assignment.values()].flat() : (assignment.get(topic) ?? [])
  return ids.map((id) => owners.filter((owner) => owner === id).length)
}

function spread(counts: readonly number[]): number {
  return Math.max(...counts) - Math.min(...counts)
}

function moved(before: GroupView, after: Assignment): number {
  return before.partitions.filter(({ topic, partition, holder }) => after.get(topic)?.[partition] !== holder).length
}

describe('assignPartitions', () => {
  it('is even within each topic and over all of them', () => {
    const topics = Object.fromEntries(Array.from({ length: 30 }, (_, index) => [`topic-${index}`, 1 + (index % 5)]))
    const ids = ['a', 'b', 'c', 'd']
    const assignment = assignPartitions(view(ids.map((id) => member(id, topics))))
    expect(spread(loads(assignment, ids))).toBeLessThanOrEqual(1)
    for (const topic of Object.keys(topics)) expect(spread(loads(assignment, ids, topic))).toBeLessThanOrEqual(1)
  })

  it('spreads many topics with one partition each', () => {
    const topics = Object.fromEntries(Array.from({ length: 101 }, (_, index) => [`topic-${index}`, 1]))
    const before = view(
      [member('a', topics), member('b', topics)],
      Object.fromEntries(Object.keys(topics).map((topic) => [topic, ['a']])),
    )
    const after = assignPartitions(before)
    expect(loads(after, ['a', 'b'])).toEqual([51, 50])
    expect(moved(before, after)).toBe(50)
  })

  it('does not depend on the order in which members and partitions are listed', () => {
    const random = seededRandom('order')
    for (let run = 0; run < 50; run++) {
      const members = ['a', 'b', 'c', 'd', 'e'].slice(0, random.integer(1, 5)).map((id) => member(id))
      const one = randomView(random, members)
      const other = { ...one, members: random.shuffle(one.members), partitions: random.shuffle(one.partitions) }
      expect(assignPartitions(other)).toEqual(assignPartitions(one))
    }
  })

  it('moves nothing when everybody has what was assigned', () => {
    const random = seededRandom('stable')
    for (let run = 0; run < 100; run++) {
      const ids = ['a', 'b', 'c', 'd', 'e', 'f'].slice(0, random.integer(1, 6))
      const members = ids.map((id) => member(id, id === 'a' || random.chance(0.7) ? TOPICS : { orders: 8, audit: 1 }))
      const first = assignPartitions(randomView(random, members))
      expect(assignPartitions(settled(members, first))).toEqual(first)
      if (members.every(({ topics }) => topics.size === 3)) expect(spread(loads(first, ids))).toBeLessThanOrEqual(1)
    }
  })

  it('moves only the share of the member that comes or goes', () => {
    const five = ['a', 'b', 'c', 'd', 'e'].map((id) => member(id, { orders: 40 }))
    const before = settled(five, assignPartitions(view(five)))
    expect(moved(before, assignPartitions({ ...before, members: [...five, member('f', { orders: 40 })] }))).toBe(6)
    const without = before.partitions.map((one) => (one.holder === 'c' ? { ...one, holder: undefined } : one))
    const after = assignPartitions({ ...before, members: five.filter(({ id }) => id !== 'c'), partitions: without })
    expect(
      before.partitions.filter(
        ({ holder, partition }) => holder !== 'c' && after.get('orders')?.[partition] !== holder,
      ),
    ).toEqual([])
  })

  it('gives a topic only to members that consume it', () => {
    const assignment = assignPartitions(
      view([member('a', { orders: 4 }), member('b', { payments: 2 }), member('c', { orders: 4 })]),
    )
    expect(loads(assignment, ['a', 'b', 'c'], 'orders')).toEqual([2, 0, 2])
    expect(loads(assignment, ['a', 'b', 'c'], 'payments')).toEqual([0, 2, 0])
  })

  it('leaves what a suspect holds with it, and gives it nothing else', () => {
    const members = [member('a', { orders: 4 }), member('b', { orders: 4 })]
    const assignment = assignPartitions(view(members, { orders: ['b', 'a', undefined, undefined] }), new Set(['b']))
    expect(assignment.get('orders')).toEqual(['b', 'a', 'a', 'a'])
  })

  it('gives members on probation a share only without proven ones', () => {
    const newcomer = member('b', { orders: 4 }, { onProbation: true })
    expect(loads(assignPartitions(view([member('a', { orders: 4 }), newcomer])), ['a', 'b'])).toEqual([4, 0])
    expect(loads(assignPartitions(view([newcomer])), ['b'])).toEqual([4])
    const suspect = view([member('a', { orders: 4 }), newcomer], { orders: ['a', 'a', undefined, undefined] })
    expect(assignPartitions(suspect, new Set(['a'])).get('orders')).toEqual(['a', 'a', 'b', 'b'])
  })

  it('gives a paused topic to others while there are any', () => {
    const paused = member('a', TOPICS, { paused: new Set(['orders']) })
    expect(loads(assignPartitions(view([paused, member('b')])), ['a', 'b'], 'orders')).toEqual([0, 8])
    expect(loads(assignPartitions(view([paused])), ['a'], 'orders')).toEqual([8])
  })

  it('follows the member that knows the most partitions', () => {
    const assignment = assignPartitions(view([member('a', { orders: 2 }), member('b', { orders: 6 })]))
    expect(loads(assignment, ['a', 'b'])).toEqual([3, 3])
  })
})

function randomView(random: ReturnType<typeof seededRandom>, members: readonly MemberState[]): GroupView {
  const ids = [...members.map(({ id }) => id), undefined]
  const holders = Object.entries(TOPICS).map(([topic, count]) => [
    topic,
    Array.from({ length: count }, () => random.pick(ids)),
  ])
  return view(members, Object.fromEntries(holders) as Record<string, readonly (string | undefined)[]>)
}
