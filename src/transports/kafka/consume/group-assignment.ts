import type { TopicPartition } from '../../../kafka/index.ts'
import type { KafkaContext } from '../context.ts'
import type { Partition } from '../partitions/partition.ts'
import type { GroupTopics } from './group-topics.ts'
import type { GroupWarnings } from './group-warnings.ts'
import type { KafkaSubscription } from './subscription.ts'

export interface GroupAssignmentOptions {
  readonly context: KafkaContext
  /** A broadcast has all partitions, always. */
  readonly hasGroup: boolean
  readonly topics: GroupTopics
  readonly warnings: GroupWarnings
  /** Those of them that are ours. */
  readonly find: (places: readonly TopicPartition[]) => Partition[]
  readonly subscriptionOf: (partition: Partition) => KafkaSubscription | undefined
  /** True for a partition of a retry topic, which comes and goes with another. */
  readonly isBeside: (place: TopicPartition) => boolean
  /** What the group has given to this member. */
  readonly assignment: () => readonly TopicPartition[]
  /** Commits them for their next owners. */
  readonly free: (partitions: readonly Partition[]) => Promise<void>
}

/** What the group gives and takes: subscriptions hand over what is taken, and learn how much they have. */
export class GroupAssignment {
  readonly #options: GroupAssignmentOptions

  constructor(options: GroupAssignmentOptions) {
    this.#options = options
  }

  assigned(places: readonly TopicPartition[]): void {
    const { hasGroup, warnings, topics } = this.#options
    if (hasGroup) warnings.rebalanced()
    for (const subscription of topics.all) subscription.isAssigned = true
    this.#countShares([])
    this.#report(places, [])
  }

  async revoking(places: readonly TopicPartition[], deadlineMs: number): Promise<void> {
    const revoked = this.#options.find(places)
    // A commit must still be possible: it takes a fraction of the time.
    const limitMs = Math.max(0, deadlineMs - Math.min(1_000, deadlineMs / 5))
    const spans = new Map(revoked.map((partition) => [partition, partition.span]))
    const groups = this.#bySubscription(revoked)
    await Promise.all([...groups].map(async ([subscription, some]) => subscription?.handOver(some, limitMs)))
    // The group does not wait for ever: what it has taken, and perhaps given back, is no longer what this is about.
    const isSame = (partition: Partition): boolean => partition.span === spans.get(partition)
    await this.#options.free(revoked.filter(isSame))
    for (const [subscription, some] of groups)
      subscription?.lost(some.filter(isSame), 'its partition went to another member')
    this.#countShares(places)
    this.#report([], places)
  }

  lost(places: readonly TopicPartition[], reason: string): void {
    for (const [subscription, some] of this.#bySubscription(this.#options.find(places)))
      subscription?.lost(some, reason)
    this.#countShares(places)
    this.#report([], places)
  }

  #bySubscription(partitions: readonly Partition[]): Map<KafkaSubscription | undefined, Partition[]> {
    return Map.groupBy(partitions, (partition) => this.#options.subscriptionOf(partition))
  }

  /** Partitions come one by one: the first to be read must not take the credit of all. */
  #countShares(gone: readonly TopicPartition[]): void {
    const { topics, assignment } = this.#options
    const left = new Set(gone.map(({ topic, partition }) => partitionKey(topic, partition)))
    for (const subscription of topics.all) subscription.share = 0
    for (const { topic, partition } of assignment()) {
      const subscription = left.has(partitionKey(topic, partition)) ? undefined : topics.subscriptionOf(topic)
      if (subscription !== undefined) subscription.share++
    }
  }

  #report(assigned: readonly TopicPartition[], revoked: readonly TopicPartition[]): void {
    const { context, hasGroup, topics } = this.#options
    if (!hasGroup) return
    const { events, name } = context.host
    const [came, went] = [assigned, revoked].map((places) =>
      Map.groupBy(
        places.filter((place) => !this.#options.isBeside(place)),
        ({ topic }) => topics.subscriptionOf(topic),
      ),
    )
    const namesOf = (places: readonly TopicPartition[] = []): readonly string[] =>
      places.map(({ topic, partition }) => `${topic}/${partition}`)
    for (const subscription of new Set([...(came?.keys() ?? []), ...(went?.keys() ?? [])])) {
      if (subscription === undefined) continue
      const { topic, group, consumerId } = subscription.spec
      const changes = { assigned: namesOf(came?.get(subscription)), revoked: namesOf(went?.get(subscription)) }
      events.emit('rebalance', { transport: name, topic, group, consumerId, ...changes })
    }
  }
}

/** Under which a partition is found. */
export function partitionKey(topic: string, partition: number): string {
  return `${partition} ${topic}`
}
