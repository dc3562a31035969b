import type { SubscriptionSpec } from '../../core/transport.ts'
import type { RedisContext } from './context.ts'
import type { RedisDelivery } from './delivery.ts'
import type { EntryReader } from './mapping.ts'
import type { PartitionState } from './partition-state.ts'
import type { Source } from './source.ts'

/** What the parts of one subscription share. */
export interface Seat {
  readonly context: RedisContext
  readonly spec: SubscriptionSpec
  /** The name of the consumer in Redis. */
  readonly member: string
  /** Each partition is read by one member at a time; otherwise all read all. */
  readonly owned: boolean
  readonly entries: EntryReader
  readonly closed: boolean
  /** How many deliveries may be handed over now, going by credit, by bytes and by their size of late; 0 while paused. */
  room(): number
  /** Hands over what credit allows and keeps the rest, in order. Everything of one turn at once: call `deliver` at the end. */
  offer(source: Source, deliveries: readonly RedisDelivery[]): void
  deliver(): void
  /** Keeps one that was handed over and comes back untouched, to hand it over again. */
  putBack(source: Source, delivery: RedisDelivery): void
  /** The server says that the partition, or everything that is out of it, is not ours any more. */
  lose(partition: PartitionState, reason: string): void
  /** Some source became readable, or there is something to claim. */
  wake(): void
  /** The consumer group or its stream was deleted by somebody. */
  repair(partition: PartitionState): void
  tellLoss(source: Source, ids: readonly string[]): void
  tellError(error: unknown, doing: string): void
}
