import type { SentRange, SentRecord } from './deliveries.ts'
import type { ProducerRecord, RecordContent } from './producer-record.ts'
import type { GroupMetadata, TransactionOffset } from './transaction-requests.ts'

/** For one call of `send` or `sendMany`. */
export interface SendOptions {
  /**
   * Withdraws what still waits for room or for its topic: it then fails as `not-sent`. What is in a batch already is sent, whatever becomes
   * of the signal.
   */
  readonly signal?: AbortSignal | undefined
}

/** A consumer, as far as a transaction needs it. */
export interface GroupMember {
  /** Who it is in its group now. Throws while it is not a member, and for offsets of what it does not hold. */
  groupMetadata(offsets?: readonly TransactionOffset[]): GroupMetadata
}

/** A batch of a consumer, as far as a transaction needs it. */
export interface GroupBatch extends GroupMember {
  readonly topic: string
  readonly partition: number
  readonly nextOffset: number
  readonly leaderEpoch: number
}

/** What belongs together: all of it becomes visible to `read_committed` consumers, or nothing. */
export interface Transaction {
  /** Like {@link Producer.send}. It need not be awaited: the commit waits for it, and fails with it. */
  send(record: ProducerRecord, options?: SendOptions): Promise<SentRecord>
  /** Like {@link Producer.sendMany}. */
  sendMany(topic: string, records: readonly RecordContent[], options?: SendOptions): Promise<readonly SentRange[]>
  /**
   * Commits with the transaction, for the consumer's group, that the batch is handled (KIP-447). Throws, and the transaction can only be
   * aborted, if the batch is lost. Its offset is sent just before the commit, which fails if the group has rebalanced since this call.
   */
  offsets(batch: GroupBatch): void
  /**
   * The same for single offsets, each of the next record. A consumer must hold their partitions, and have delivered what is before them;
   * only a batch also knows whether another member had the partition since the records were delivered. Plain metadata is taken as it is:
   * take it when the records are delivered.
   */
  offsets(group: GroupMember | GroupMetadata, offsets: readonly TransactionOffset[]): void
}
