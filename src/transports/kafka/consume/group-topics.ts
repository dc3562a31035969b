import type { KafkaSubscription } from './subscription.ts'

/** The subscriptions that one reader reads for, and which of them a topic belongs to. */
export class GroupTopics {
  readonly #subscriptions = new Set<KafkaSubscription>()
  readonly #byTopic = new Map<string, KafkaSubscription>()

  get all(): Iterable<KafkaSubscription> {
    return this.#subscriptions
  }

  get size(): number {
    return this.#subscriptions.size
  }

  add(subscription: KafkaSubscription): void {
    this.#subscriptions.add(subscription)
    if (!subscription.isPattern) this.#byTopic.set(subscription.spec.topic, subscription)
  }

  /** What waits beside the partitions of a topic belongs to whoever reads that. */
  addBeside(name: string, topic: string): void {
    const subscription = this.subscriptionOf(topic)
    if (subscription !== undefined) this.#byTopic.set(name, subscription)
  }

  /** What it has is still its own, until `forget`. False if it was not there. */
  remove(subscription: KafkaSubscription): boolean {
    return this.#subscriptions.delete(subscription)
  }

  /** Its topics belong to others, or to none. */
  forget(subscription: KafkaSubscription): void {
    for (const [topic, of] of this.#byTopic) if (of === subscription) this.#byTopic.delete(topic)
  }

  subscriptionOf(topic: string): KafkaSubscription | undefined {
    let subscription = this.#byTopic.get(topic)
    if (subscription !== undefined) return subscription
    subscription = [...this.#subscriptions].find(({ matches }) => matches(topic))
    if (subscription !== undefined) this.#byTopic.set(topic, subscription)
    return subscription
  }
}

/** Whether one topic can belong to both. */
export function overlaps(a: KafkaSubscription, b: KafkaSubscription): boolean {
  return a.spec.topic === b.spec.topic || a.matches(b.spec.topic) || b.matches(a.spec.topic)
}
