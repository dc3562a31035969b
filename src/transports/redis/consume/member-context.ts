import type { SubscriptionSpec } from '../../../core/transport.ts'
import type { RedisContext } from '../context.ts'
import type { Credit } from './credit.ts'
import type { EntryReader } from '../wire/mapping.ts'
import type { PartitionState } from '../partitions/partition-state.ts'

/** What the parts of one subscription share. */
export interface MemberContext {
  readonly context: RedisContext
  readonly spec: SubscriptionSpec
  /** The name of the consumer in Redis. */
  readonly member: string
  /** Each partition is read by one member at a time; otherwise all read all. */
  readonly owned: boolean
  readonly entries: EntryReader
  readonly closed: boolean
  readonly credit: Credit
  /** The server says that the partition, or everything in flight of it, is no longer ours. */
  lose(partition: PartitionState, reason: string): void
  /** A source became readable, or there is something to claim. */
  wake(): void
  /** The consumer group or its stream was deleted. */
  repair(partition: PartitionState): void
  /** Reports an error, unless it is caused by the connection, which is reported itself, or comes after the end. */
  tellError(error: unknown, doing: string): void
}
