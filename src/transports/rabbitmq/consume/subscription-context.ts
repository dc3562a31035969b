import type { Clock } from '../../../core/clock.ts'
import type { Turns } from '../../../core/util/turns.ts'
import type { LiveConnection } from '../connection/live-connection.ts'
import type { RabbitMqPublisher } from '../publish/publisher.ts'
import type { QueueConsumer, ConsumerEnd } from './queue-consumer.ts'
import type { AheadLimit } from './queue-share.ts'
import type { SubscriptionSpec } from '../../../core/transport.ts'
import type { QueueAssignment } from '../partitions/queue-assignment.ts'

/** A subscription, as the transport knows it. */
export interface LiveSubscription {
  readonly spec: SubscriptionSpec
  readonly nature: QueueNature
  readonly assignment: QueueAssignment
  /** Queues that were certainly deleted, since their loss was last reported. */
  readonly lostQueues: Set<string>
  /** There is a new connection: everything starts again on it. */
  attach(live: LiveConnection): void
  /** Binds its queues again, if they are those of a group; resolves with the number of requests. */
  renewBindings(): Promise<number>
  close(): Promise<void>
}

/** What a subscription needs from the transport. */
export interface SubscriptionContext {
  readonly clock: Clock
  readonly publisher: RabbitMqPublisher
  /** Unique to the bus: for ids of messages that have none. */
  readonly salt: string
  /**
   * Lets so many subscriptions of a connection ask the broker at once: each question takes a channel or two for a moment, of
   * those that the connection has left.
   */
  readonly questions: Turns
  /** The live connection for consuming. */
  live(): LiveConnection | undefined
  failed(error: unknown, doing: string): void
  /** A channel of the subscription ended without being closed. */
  readerLost(subscription: LiveSubscription, reader: QueueConsumer, end: ConsumerEnd): void
  /** Messages wait here for so long that the broker may take them back; fewer will be sent ahead. */
  slow(subscription: LiveSubscription, reader: QueueConsumer, ageMs: number): void
  /** The broker sent more bytes ahead than `prefetchBytes`; the limit that would have prevented it, if one can. Reported once. */
  tooLarge(subscription: LiveSubscription, bytes: number, limit: AheadLimit | undefined, isOnDisk: boolean): void
  /** The broker sent this many messages without waiting for acks, and they were never handled. */
  dropped(subscription: LiveSubscription, count: number): void
  /** Its publisher gave the message a key, but not the bucket of that key. Reported once. */
  misplaced(subscription: LiveSubscription, topic: string, key: string): void
  /** It is closed, and the transport may forget it. */
  ended(subscription: LiveSubscription): Promise<void>
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
  /** Its queues are those of all topics of the group (`queues: 'per-group'`). */
  readonly isPerGroup: boolean
}
