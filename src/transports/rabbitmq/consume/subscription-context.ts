import type { Clock } from '../../../core/clock.ts'
import type { Session } from '../connection/link.ts'
import type { RabbitMqPublisher } from '../publish/publisher.ts'
import type { QueueConsumer, ConsumerEnd } from './queue-consumer.ts'
import type { RabbitMqSubscription } from './subscription.ts'

/** What a subscription needs from the transport. */
export interface SubscriptionContext {
  readonly clock: Clock
  readonly publisher: RabbitMqPublisher
  /** Unique to the bus: for ids of messages that have none. */
  readonly salt: string
  /** The live session of the connection for consuming. */
  session(): Session | undefined
  failed(error: unknown, doing: string): void
  /** A channel of the subscription ended without being closed. */
  readerLost(subscription: RabbitMqSubscription, reader: QueueConsumer, end: ConsumerEnd): void
  /** Messages wait here for so long that the broker may take them back; fewer will be sent ahead. */
  slow(subscription: RabbitMqSubscription, reader: QueueConsumer, ageMs: number): void
  /** The broker sent this many messages without waiting for acks, and they were never handled. */
  dropped(subscription: RabbitMqSubscription, count: number): void
  /** Its publisher gave the message a key, but not the bucket of that key. Reported once. */
  misplaced(subscription: RabbitMqSubscription, topic: string, key: string): void
  /** It is closed, and the transport may forget it. */
  ended(subscription: RabbitMqSubscription): Promise<void>
}

/** How the queues of a subscription must be treated. */
export interface QueueNature {
  /** Others may consume the same queue at the same time. */
  readonly isShared: boolean
  /** How many queues share the keys; 1 when keys don't decide. */
  readonly partitions: number
  /** Not our queue: its owner decides what happens to rejected messages. */
  readonly isForeign: boolean
  /** The first queue of the group, where a topic and the group don't say it: of a pattern, or not ours. */
  readonly groupQueue: string | undefined
  /** Made for this subscription, to be deleted with it. */
  readonly isTemporary: boolean
}
