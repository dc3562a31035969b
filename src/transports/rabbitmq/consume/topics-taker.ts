import type { RabbitMqDelivery } from './delivery.ts'
import type { Taker } from './hand-out.ts'
import type { QueueConsumer } from './queue-consumer.ts'
import type { TopicSubscription } from './topic-subscription.ts'

/** Takes for all topics of a group that share its queues: what has no credit is left there, and does not hold up the rest. */
export class TopicsTaker implements Taker {
  readonly #topics: ReadonlyMap<string, TopicSubscription>
  readonly #taken = new Set<TopicSubscription>()

  readonly #onFull: () => void

  /** `onFull`: a queue has sent all that it may, and some of it has to wait. */
  constructor(topics: ReadonlyMap<string, TopicSubscription>, onFull: () => void) {
    this.#topics = topics
    this.#onFull = onFull
  }

  /** Whose credit counts is known for each message only. */
  get hasCredit(): boolean {
    return this.#topics.size > 0
  }

  take(reader: QueueConsumer, most: number): number {
    const taken = reader.takeSome(
      most,
      ({ message }) => this.#topics.get(message.topic)?.hasCredit === true,
      (delivery) => this.#take(delivery),
    )
    if (taken === 0 && reader.held.length > 0 && reader.isFull) this.#onFull()
    return taken
  }

  #take(delivery: RabbitMqDelivery): void {
    const topic = this.#topics.get(delivery.message.topic) as TopicSubscription
    topic.take(delivery)
    this.#taken.add(topic)
  }

  deliver(): void {
    for (const topic of this.#taken) topic.deliver()
    this.#taken.clear()
  }
}
