import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Assignor, GroupMember, TopicInfo, TopicInfos } from '../../../../src/kafka/consumer/assignors/assignor.ts'
import { matchesRack } from '../../../../src/kafka/consumer/assignors/assignor.ts'
import { rangeAssignor } from '../../../../src/kafka/consumer/assignors/range.ts'
import { roundRobinAssignor } from '../../../../src/kafka/consumer/assignors/round-robin.ts'
import { cooperativeStickyAssignor, stickyAssignor } from '../../../../src/kafka/consumer/assignors/sticky.ts'
import { PartitionSet } from '../../../../src/kafka/consumer/partition-set.ts'
import { seededRandom } from '../../../../src/testing/random.ts'

const ASSIGNORS = [rangeAssignor, roundRobinAssignor, stickyAssignor, cooperativeStickyAssignor]

interface Sample {
  readonly assignor: string
  readonly topics: Readonly<Record<string, readonly (readonly string[])[]>>
  readonly members: readonly Pick<GroupMember, 'id' | 'instanceId' | 'topics' | 'rack'>[]
}

function member(id: string, topics: readonly string[], more: Partial<GroupMember> = {}): GroupMember {
  return { id, instanceId: null, topics, rack: null, owned: [], generation: -1, ...more }
}

function plain(assignment: ReadonlyMap<string, PartitionSet>): Record<string, Record<string, readonly number[]>> {
  return Object.fromEntries(
    [...assignment].map(([id, partitions]) => [
      id,
      Object.fromEntries(partitions.toTopics().map(({ topic, partitions }) => [topic, partitions])),
    ]),
  )
}

const goldenLines = readFileSync(join(import.meta.dirname, 'golden-assignments.txt'), 'utf8')
  .trimEnd()
  .split('\n')
const golden = Array.from({ length: (goldenLines.length - 1) / 2 }, (_, index) => ({
  input: JSON.parse(goldenLines[2 * index + 1] ?? '') as Sample,
  output: JSON.parse(goldenLines[2 * index + 2] ?? '') as Record<string, Record<string, number[]>>,
}))

describe('assignors decide as those of Java', () => {
  for (const assignor of ASSIGNORS) {
    const samples = golden.filter(({ input }) => input.assignor === assignor.name)
    if (assignor !== stickyAssignor)
      it.each(samples)(`${assignor.name} %#`, ({ input, output }) => {
        const topics = new Map<string, TopicInfo>(
          Object.entries(input.topics).map(([name, racks]) => [name, { partitions: racks.length, racks }]),
        )
        const members = input.members.map((each) => member(each.id, each.topics, each))
        expect(plain(assignor.assign(members, topics))).toEqual(output)
      })
  }
})

describe('the sticky assignors', () => {
  const topics: TopicInfos = new Map([['t', { partitions: 6 }]])

  it('move only what a new member needs', () => {
    const owned = (partitions: number[]) => ({ owned: [{ topic: 't', partitions }], generation: 3 })
    const members = [member('a', ['t'], owned([0, 1, 2])), member('b', ['t'], owned([3, 4, 5])), member('c', ['t'])]
    const assignment = plain(stickyAssignor.assign(members, topics))
    expect([assignment['a']?.['t']?.length, assignment['b']?.['t']?.length]).toEqual([2, 2])
    expect(assignment['a']?.['t']?.every((partition) => partition < 3)).toBe(true)
    expect(assignment['b']?.['t']?.every((partition) => partition >= 3)).toBe(true)
  })

  it('believe the later generation of two that claim the same, and neither of equal ones', () => {
    const members = [
      member('a', ['t'], { owned: [{ topic: 't', partitions: [0, 1, 2] }], generation: 3 }),
      member('b', ['t'], { owned: [{ topic: 't', partitions: [0, 1, 2] }], generation: 4 }),
    ]
    expect(plain(stickyAssignor.assign(members, topics))).toEqual({ a: { t: [3, 4, 5] }, b: { t: [0, 1, 2] } })
    const wanted = plain(cooperativeStickyAssignor.assign(members, topics))
    expect(wanted['b']?.['t']).toBeUndefined()
  })

  it('cooperative: give a partition to nobody while another holds it', () => {
    const members = [
      member('a', ['t'], { owned: [{ topic: 't', partitions: [0, 1, 2, 3, 4, 5] }], generation: 3 }),
      member('b', ['t']),
    ]
    const first = plain(cooperativeStickyAssignor.assign(members, topics))
    expect(first).toEqual({ a: { t: [0, 1, 2] }, b: {} })
  })

  it('relieve a member through another where it can give nothing to the idle one itself', () => {
    const members = [
      member('a', ['x'], { owned: [{ topic: 'x', partitions: [0, 1, 2, 3] }], generation: 1 }),
      member('b', ['x', 'y'], { owned: [{ topic: 'y', partitions: [0, 1] }], generation: 1 }),
      member('c', ['y']),
    ]
    const some: TopicInfos = new Map([
      ['x', { partitions: 4 }],
      ['y', { partitions: 2 }],
    ])
    const sizes = [...stickyAssignor.assign(members, some).values()].map(({ size }) => size)
    expect(sizes).toEqual([2, 2, 2])
  })

  it('carry the last assignment of an eager member as Java does', () => {
    const owned = new PartitionSet([{ topic: 't', partition: 1 }])
    const data = stickyAssignor.userData?.(owned, 7) ?? Buffer.alloc(0)
    expect(data.toString('hex')).toBe('00000001000174000000010000000100000007')
    expect(stickyAssignor.readUserData?.(data)).toEqual({ owned: owned.toTopics(), generation: 7 })
    expect(stickyAssignor.readUserData?.(data.subarray(0, -4))).toEqual({ owned: owned.toTopics(), generation: -1 })
    expect(cooperativeStickyAssignor.userData?.(owned, 7)?.toString('hex')).toBe('00000007')
  })
})

/** C22: members with random subscriptions come and go, partitions grow, racks differ. */
class World {
  readonly #random: () => number
  readonly topics = new Map<string, TopicInfo>()
  members: GroupMember[] = []
  #ids = 0

  constructor(seed: number, hasRacks: boolean) {
    const random = seededRandom(`C22 ${seed} ${hasRacks}`)
    this.#random = () => random.next()
    for (let topic = 0; topic < 5; topic++) this.#grow(`t${topic}`, 1 + this.#below(8), hasRacks)
    for (let member = 0; member < 4; member++) this.#join(hasRacks)
  }

  change(hasRacks: boolean): void {
    const dice = this.#random()
    if (dice < 0.4 && this.members.length < 7) this.#join(hasRacks)
    else if (dice < 0.7 && this.members.length > 1) this.members.splice(this.#below(this.members.length), 1)
    else if (dice < 0.8) this.#grow(`t${this.#below(5)}`, 1, hasRacks)
    else {
      const index = this.#below(this.members.length)
      const changed = this.members[index]
      if (changed !== undefined) this.members[index] = { ...changed, topics: this.#subscription() }
    }
  }

  #below(bound: number): number {
    return Math.floor(this.#random() * bound)
  }

  #subscription(): readonly string[] {
    const some = [...this.topics.keys()].filter(() => this.#random() < 0.6)
    return some.length > 0 ? some : ['t0']
  }

  #join(hasRacks: boolean): void {
    const rack = hasRacks ? (['a', 'b', 'c'][this.#below(3)] ?? null) : null
    this.members.push(member(`m${this.#ids++}`, this.#subscription(), { rack }))
  }

  #grow(topic: string, by: number, hasRacks: boolean): void {
    const { partitions, racks = [] } = this.topics.get(topic) ?? { partitions: 0 }
    if (partitions >= 12) return
    const more = Array.from({ length: by }, () => (hasRacks ? ['a', 'b', 'c'].filter(() => this.#random() < 0.5) : []))
    this.topics.set(topic, { partitions: partitions + by, racks: [...racks, ...more] })
  }
}

/** Whether any chain of moves could relieve the heaviest: none may, for an assignment to be balanced. */
function isBalanced(members: readonly GroupMember[], held: ReadonlyMap<string, PartitionSet>): boolean {
  return members.every((start) => {
    const reached = new Set([start])
    for (const each of reached) {
      for (const { topic } of held.get(each.id) ?? []) {
        for (const other of members) if (other.topics.includes(topic)) reached.add(other)
      }
    }
    const size = held.get(start.id)?.size ?? 0
    return [...reached].every((other) => (held.get(other.id)?.size ?? 0) >= size - 1)
  })
}

function crossing(world: World, held: ReadonlyMap<string, PartitionSet>): number {
  return world.members.flatMap((each) =>
    [...(held.get(each.id) ?? [])].filter(({ topic, partition }) => {
      const info = world.topics.get(topic)
      return info !== undefined && !matchesRack(each, info, partition)
    }),
  ).length
}

function claim(world: World, held: ReadonlyMap<string, PartitionSet>, generation: number): void {
  world.members = world.members.map((each) => ({ ...each, owned: held.get(each.id)?.toTopics() ?? [], generation }))
}

/** What no member reads, two read, or one reads that does not want it. */
function defects(world: World, held: ReadonlyMap<string, PartitionSet>): readonly string[] {
  const found: string[] = []
  const seen = new PartitionSet()
  for (const each of world.members) {
    for (const { topic, partition } of held.get(each.id) ?? []) {
      if (!each.topics.includes(topic)) found.push(`${each.id} does not want ${topic}`)
      if (!seen.add(topic, partition)) found.push(`${topic}[${partition}] has two members`)
    }
  }
  for (const [topic, { partitions }] of world.topics) {
    if (!world.members.some(({ topics }) => topics.includes(topic))) continue
    for (let partition = 0; partition < partitions; partition++) {
      if (!seen.has(topic, partition)) found.push(`${topic}[${partition}] has none`)
    }
  }
  return found
}

describe.each([false, true])('C22: a group that changes 300 times, racks: %s', (hasRacks) => {
  const run = (assignor: Assignor, rounds: number) => {
    const world = new World(rounds, hasRacks)
    let generation = 1
    let held = assignor.assign(world.members, world.topics)
    for (let round = 0; round < 300; round++) {
      claim(world, held, generation++)
      world.change(hasRacks)
      // Members stop reading what they no longer subscribe to when the next assignment comes.
      held = assignor.assign(world.members, world.topics)
      if (assignor.protocol === 'cooperative') {
        claim(world, held, generation++)
        held = assignor.assign(world.members, world.topics)
      }
      expect(defects(world, held)).toEqual([])
      expect(isBalanced(world.members, held)).toBe(true)
      claim(world, held, generation)
      expect(plain(assignor.assign(world.members, world.topics))).toEqual(plain(held))
    }
  }

  it('is even after two rebalances at most, and then stays as it is', () => {
    run(cooperativeStickyAssignor, 1_000)
  })

  it('is even after one with the eager assignor', () => {
    run(stickyAssignor, 1_001)
  })

  it('reads less across racks than if it knew none', () => {
    let [known, unknown] = [0, 0]
    for (let seed = 0; seed < 100; seed++) {
      const world = new World(seed, hasRacks)
      known += crossing(world, stickyAssignor.assign(world.members, world.topics))
      const members = world.members.map((each) => ({ ...each, rack: null }))
      unknown += crossing(world, stickyAssignor.assign(members, world.topics))
    }
    if (hasRacks) expect(known).toBeLessThan(0.8 * unknown)
    else expect(known).toBe(0)
  })
})
