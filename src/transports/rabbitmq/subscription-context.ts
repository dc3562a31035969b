import type { Clock } from '../../core/clock.ts'
import type { Session } from './link.ts'
import type { RabbitMqPublisher } from './publisher.ts'
import type { QueueReader, ReaderEnd } from './queue-reader.ts'
import type { RabbitMqSubscription } from './subscriber.ts'

/** What a subscription needs of the transport. */
export interface SubscriptionContext {
  readonly clock: Clock
  readonly publisher: RabbitMqPublisher
  /** The live session of the connection for consuming. */
  session(): Session | undefined
  failed(error: unknown, doing: string): void
  /** A channel of the subscription ended though nobody closed it. */
  readerLost(subscription: RabbitMqSubscription, reader: QueueReader, end: ReaderEnd): void
  /** Messages wait here for so long that the broker may take them back; fewer will be sent ahead. */
  slow(subscription: RabbitMqSubscription, reader: QueueReader, ageMs: number): void
  /** So many messages were sent by the broker without waiting for acks, and never handled. */
  dropped(subscription: RabbitMqSubscription, count: number): void
  /** It is closed, and the transport may forget it. */
  ended(subscription: RabbitMqSubscription): Promise<void>
}

/** How the queues of a subscription are to be treated. */
export interface QueueNature {
  /** Others may consume the same queue at the same time. */
  readonly isShared: boolean
  /** Somebody else's queue: what it does with what is rejected is its own business. */
  readonly isForeign: boolean
  /** Made for this subscription, to be deleted with it. */
  readonly isTemporary: boolean
}
