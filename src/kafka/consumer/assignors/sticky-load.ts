import { compareText, PartitionSet } from '../partition-set.ts'
import type { TopicPartition } from '../partition-set.ts'
import { matchesRack } from './assignor.ts'
import type { GroupMember, TopicInfos } from './assignor.ts'

/** What one member is to get. */
export interface MemberLoad {
  readonly member: GroupMember
  /** What it says that it holds, and no other member says with better reason. */
  readonly claimed: PartitionSet
  readonly topics: Map<string, Set<number>>
  size: number
}

/** An assignment in the making, by topic: members that want a topic are the only ones that may take its partitions. */
export class StickyLoad {
  readonly loads: readonly MemberLoad[]
  readonly #topics: TopicInfos
  readonly #candidates = new Map<string, readonly MemberLoad[]>()

  constructor(members: readonly GroupMember[], topics: TopicInfos) {
    this.#topics = topics
    const sorted = [...members].sort((a, b) => compareText(a.id, b.id))
    const claims = claimsOf(sorted, topics)
    this.loads = sorted.map((member) => {
      const claimed = claims.get(member.id) ?? new PartitionSet()
      return { member, claimed, topics: new Map(), size: 0 }
    })
    for (const topic of topics.keys()) {
      const wanted = this.loads.filter(({ member }) => member.topics.includes(topic))
      this.#candidates.set(topic, wanted)
    }
  }

  candidates(topic: string): readonly MemberLoad[] {
    return this.#candidates.get(topic) ?? []
  }

  inRack(load: MemberLoad, topic: string, partition: number): boolean {
    const info = this.#topics.get(topic)
    return info === undefined || matchesRack(load.member, info, partition)
  }

  give(load: MemberLoad, topic: string, partition: number): void {
    let partitions = load.topics.get(topic)
    if (partitions === undefined) load.topics.set(topic, (partitions = new Set()))
    partitions.add(partition)
    load.size++
  }

  take(load: MemberLoad, topic: string, partition: number): void {
    const partitions = load.topics.get(topic)
    if (partitions?.delete(partition) !== true) return
    if (partitions.size === 0) load.topics.delete(topic)
    load.size--
  }

  /** Those that nobody has claimed, first those that fewest members may take. */
  unclaimed(): readonly TopicPartition[] {
    const claimed = new PartitionSet(this.loads.flatMap((load) => [...load.claimed]))
    const rest: TopicPartition[] = []
    for (const [topic, { partitions }] of [...this.#topics].sort(([a], [b]) => compareText(a, b))) {
      if (this.candidates(topic).length === 0) continue
      for (let partition = 0; partition < partitions; partition++) {
        if (!claimed.has(topic, partition)) rest.push({ topic, partition })
      }
    }
    return rest.sort((a, b) => this.candidates(a.topic).length - this.candidates(b.topic).length)
  }
}

/** Of two members that claim a partition, the one with the later generation has it. With the same, neither can be believed. */
function claimsOf(members: readonly GroupMember[], topics: TopicInfos): ReadonlyMap<string, PartitionSet> {
  const best = new Map<string, { readonly generation: number; readonly owner: string | undefined }>()
  const claims = new Map(members.map(({ id }) => [id, new PartitionSet()]))
  for (const { id, generation, owned } of members) {
    for (const { topic, partition } of PartitionSet.fromTopics(owned)) {
      const key = `${partition} ${topic}`
      const other = best.get(key)
      if (other !== undefined && other.generation > generation) continue
      const owner = other?.generation === generation ? undefined : id
      best.set(key, { generation, owner })
    }
  }
  for (const { id, topics: wanted, owned } of members) {
    for (const { topic, partition } of PartitionSet.fromTopics(owned)) {
      const exists = partition < (topics.get(topic)?.partitions ?? 0)
      const isBest = best.get(`${partition} ${topic}`)?.owner === id
      if (exists && isBest && wanted.includes(topic)) claims.get(id)?.add(topic, partition)
    }
  }
  return claims
}
