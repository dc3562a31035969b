import { Reader } from '../../bytes/reader.ts'
import { Writer } from '../../bytes/writer.ts'
import type { TopicPartitions } from '../../protocol/embedded.ts'
import { PartitionSet } from '../partition-set.ts'
import { needsRacks } from './assignor.ts'
import type { Assignor, GroupAssignment, GroupMember, TopicInfos } from './assignor.ts'
import { balance } from './balance.ts'
import { matchRacks } from './match-racks.ts'
import { StickyLoad } from './sticky-load.ts'
import type { MemberLoad } from './sticky-load.ts'

/** Even over all topics, moving as little as possible. Members give up everything before they join. */
export const stickyAssignor: Assignor = {
  name: 'sticky',
  protocol: 'eager',
  userData: writeUserData,
  readUserData,
  assign: assignSticky,
}

/** Like `sticky`, but members keep what stays with them (KIP-429). */
export const cooperativeStickyAssignor: Assignor = {
  name: 'cooperative-sticky',
  protocol: 'cooperative',
  userData: (_, generation) => {
    const writer = new Writer()
    writer.i32(generation)
    return writer.toBuffer()
  },
  assign: (members, topics) => withoutTransfers(members, assignSticky(members, topics)),
}

function assignSticky(members: readonly GroupMember[], topics: TopicInfos): GroupAssignment {
  const sticky = new StickyLoad(members, topics)
  for (const load of sticky.loads) for (const { topic, partition } of load.claimed) sticky.give(load, topic, partition)
  for (const { topic, partition } of sticky.unclaimed()) {
    const lightest = lightestOf(sticky, topic, partition)
    if (lightest !== undefined) sticky.give(lightest, topic, partition)
  }
  balance(sticky)
  if (needsRacks(members, [...topics.values()])) matchRacks(sticky)
  return new Map(sticky.loads.map((load) => [load.member.id, partitionsOf(load)]))
}

function lightestOf(sticky: StickyLoad, topic: string, partition: number): MemberLoad | undefined {
  let lightest: MemberLoad | undefined
  for (const load of sticky.candidates(topic)) {
    if (lightest === undefined || load.size < lightest.size) lightest = load
    else if (load.size === lightest.size && !sticky.inRack(lightest, topic, partition)) {
      if (sticky.inRack(load, topic, partition)) lightest = load
    }
  }
  return lightest
}

function partitionsOf(load: MemberLoad): PartitionSet {
  const topics = [...load.topics].map(([topic, partitions]) => ({ topic, partitions: [...partitions] }))
  return PartitionSet.fromTopics(topics)
}

/** A partition that a member says it holds goes to no other in this generation, even if that member can't be believed. */
function withoutTransfers(members: readonly GroupMember[], wanted: GroupAssignment): GroupAssignment {
  const holders = new Map<string, Set<string>>()
  for (const { id, owned } of members) {
    for (const { topic, partition } of PartitionSet.fromTopics(owned)) {
      const key = `${partition} ${topic}`
      holders.set(key, (holders.get(key) ?? new Set()).add(id))
    }
  }
  const assignment = new Map<string, PartitionSet>()
  for (const [id, partitions] of wanted) {
    const free = [...partitions].filter(({ topic, partition }) => {
      const held = holders.get(`${partition} ${topic}`)
      return held === undefined || (held.size === 1 && held.has(id))
    })
    assignment.set(id, new PartitionSet(free))
  }
  return assignment
}

/** The format of Java's StickyAssignor: what the member had, and in which generation. */
function writeUserData(owned: PartitionSet, generation: number): Buffer {
  const writer = new Writer()
  const topics = owned.toTopics()
  writer.i32(topics.length)
  for (const { topic, partitions } of topics) {
    writer.str(topic, false)
    writer.i32(partitions.length)
    for (const partition of partitions) writer.i32(partition)
  }
  writer.i32(generation)
  return writer.toBuffer()
}

function readUserData(userData: Buffer): Pick<GroupMember, 'owned' | 'generation'> {
  const reader = new Reader(userData)
  const owned: TopicPartitions[] = []
  for (let left = reader.count(false, 6); left > 0; left--) {
    const topic = reader.str(false)
    const partitions: number[] = []
    for (let more = reader.count(false, 4); more > 0; more--) partitions.push(reader.i32())
    owned.push({ topic, partitions })
  }
  // The first version ends here.
  return { owned, generation: reader.remaining >= 4 ? reader.i32() : -1 }
}
