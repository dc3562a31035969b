import type { SentRange, SentRecord } from './deliveries.ts'
import type { ProducerRecord, RecordContent } from './producer-record.ts'
import type { GroupMetadata, TransactionOffset } from './transaction-requests.ts'

/** For one call of `send` or `sendMany`. */
export interface SendOptions {
  /**
   * Cancels a call that is still waiting for room or for its topic: it then fails as `not-sent`. Records that are
   * already in a batch are sent regardless.
   */
  readonly signal?: AbortSignal | undefined
}

/** A consumer, as far as a transaction needs it. */
export interface GroupMember {
  /** Who it is in its group now. Throws while it is not a member, and for offsets of what it does not hold. */
  groupMetadata(offsets?: readonly TransactionOffset[]): GroupMetadata
  /**
   * Returns what tells whether it has held the partitions of these offsets ever since. A member that has lost
   * everything can rejoin under the same id and epoch. The group can't tell; only the member knows that another one may have done the
   * work meanwhile.
   */
  holding?(offsets: readonly TransactionOffset[]): () => boolean
}

/** A batch of a consumer, as far as a transaction needs it. */
export interface GroupBatch extends GroupMember {
  readonly topic: string
  readonly partition: number
  readonly nextOffset: number
  readonly leaderEpoch: number
}

/** A transaction: all of its records become visible to `read_committed` consumers, or none. */
export interface Transaction {
  /** Like {@link Producer.send}. You need not await it: the commit waits for it, and fails if it fails. */
  send(record: ProducerRecord, options?: SendOptions): Promise<SentRecord>
  /** Like {@link Producer.sendMany}. */
  sendMany(topic: string, records: readonly RecordContent[], options?: SendOptions): Promise<readonly SentRange[]>
  /**
   * Commits the batch's offset together with the transaction (KIP-447). If the batch is lost, it throws, and the
   * transaction can only be aborted. The offset is sent just before the commit, which fails if the group has
   * rebalanced since this call.
   */
  offsets(batch: GroupBatch): void
  /**
   * The same for individual offsets, each that of the next record. The consumer must hold their partitions, and have
   * delivered the records before them. Only a batch also knows whether another member had the partition in the
   * meantime. Plain group metadata is not checked: get it when the records are delivered.
   */
  offsets(group: GroupMember | GroupMetadata, offsets: readonly TransactionOffset[]): void
}
