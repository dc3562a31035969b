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
  /** Who it is in its group now. Throws while it is not a member. */
  groupMetadata(): GroupMetadata
}

/** What belongs together: all of it becomes visible to `read_committed` consumers, or nothing. */
export interface Transaction {
  /** Like {@link Producer.send}. It need not be awaited: the commit waits for it, and fails with it. */
  send(record: ProducerRecord, options?: SendOptions): Promise<SentRecord>
  /** Like {@link Producer.sendMany}. */
  sendMany(topic: string, records: readonly RecordContent[], options?: SendOptions): Promise<readonly SentRange[]>
  /**
   * Commits offsets of a consumer's group with the transaction (KIP-447): each is the offset of the next record. They are sent just before
   * the commit, which fails if the consumer is no longer the member that it was.
   */
  offsets(group: GroupMember | GroupMetadata, offsets: readonly TransactionOffset[]): void
}
