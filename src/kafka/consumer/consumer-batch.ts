import { KafkaError } from '../errors.ts'
import { showJson } from '../records/inspected.ts'
import type { KafkaRecord } from '../records/record.ts'
import type { OwnedPartition } from './owned-partition.ts'
import type { TopicPartition } from './partition-set.ts'

/**
 * A consumer's membership in its group. When a transaction commits offsets for it, the broker checks that it is still
 * current (KIP-447).
 */
export interface MemberMetadata {
  readonly groupId: string
  readonly memberId: string
  readonly generationId: number
  readonly groupInstanceId: string | null
}

/** The offset of the next record of a partition. */
export interface NextOffset extends TopicPartition {
  readonly offset: number
}

/** What a batch needs of the consumer that has delivered it. */
export interface BatchHost {
  finished(batch: ConsumerBatch): void
  /** Throws while the consumer is not a member, and for offsets of what it does not hold. */
  groupMetadata(offsets: readonly NextOffset[]): MemberMetadata
}

/** Records of one partition, in order. */
export class ConsumerBatch implements Iterable<KafkaRecord> {
  static {
    showJson('ConsumerBatch', ConsumerBatch.prototype)
  }

  #records: readonly KafkaRecord[]
  #nextOffset: number
  /** Of the leader that has written it; -1 if it is not known. */
  readonly leaderEpoch: number
  /** @internal How many handlers of a run are at work on it; undefined if whoever has it says `done`. */
  running: number | undefined
  readonly #owned: OwnedPartition
  /** Of the partition, when this was delivered. */
  readonly #starts: number
  readonly #host: BatchHost

  /** @internal */
  constructor(
    owned: OwnedPartition,
    records: readonly KafkaRecord[],
    nextOffset: number,
    leaderEpoch: number,
    host: BatchHost,
  ) {
    this.#owned = owned
    this.#starts = owned.starts
    this.#records = records
    this.#nextOffset = nextOffset
    this.leaderEpoch = leaderEpoch
    this.#host = host
  }

  /** In order of their offsets, which may have gaps. */
  get records(): readonly KafkaRecord[] {
    return this.#records
  }

  /** The offset after the batch, where reading continues: what a transaction commits. */
  get nextOffset(): number {
    return this.#nextOffset
  }

  /** Of all of its records. */
  get topic(): string {
    return this.#owned.topic
  }

  /** Of all of its records. */
  get partition(): number {
    return this.#owned.partition
  }

  /** How many records. */
  get count(): number {
    return this.records.length
  }

  /**
   * True if the partition was taken from this consumer, so that another may read the same records, or if this
   * consumer has since moved to another offset, by `seek`, a reset or a truncation. `done` then commits nothing.
   */
  get isLost(): boolean {
    return this.#owned.isOver || this.#owned.starts !== this.#starts
  }

  /**
   * For `offsets` of a transaction. Throws if the batch is lost, even if the consumer has the partition again: other
   * members may have done the work in the meantime.
   */
  groupMetadata(offsets: readonly NextOffset[] = [this.#next]): MemberMetadata {
    const metadata = this.#host.groupMetadata(offsets)
    if (this.isLost) throw notAssigned(`${this.topic}[${this.partition}] was lost after the batch was delivered`)
    return metadata
  }

  /** For a transaction: returns what tells whether the batch is lost. */
  holding(): () => boolean {
    return () => !this.isLost
  }

  /** @internal For what counts finished records. */
  offsetAt(index: number): number {
    return this.records[index]?.offset ?? this.nextOffset
  }

  /**
   * Marks all records as handled, so that they are committed soon. Commits of a partition stop at the first batch
   * that is not done. Calling it again, or after the partition is lost, has no effect.
   */
  done(): void {
    this.#host.finished(this)
  }

  /** For `JSON.stringify` and `console.log`: what it is, without its records. */
  toJSON(): Readonly<Record<string, unknown>> {
    const { topic, partition, count, nextOffset, leaderEpoch, isLost } = this
    return { topic, partition, count, nextOffset, leaderEpoch, isLost }
  }

  /** Its records, in order. */
  [Symbol.iterator](): Iterator<KafkaRecord> {
    return this.records[Symbol.iterator]()
  }

  /** @internal Takes away the records behind this offset, with which no handler has begun. */
  cutBehind(offset: number): readonly KafkaRecord[] {
    const kept = this.#records.filter((record) => record.offset <= offset)
    const cut = this.#records.slice(kept.length)
    if (cut[0] !== undefined) this.#nextOffset = cut[0].offset
    this.#records = kept
    return cut
  }

  /** @internal For the consumer that made it. */
  get owned(): OwnedPartition {
    return this.#owned
  }

  get #next(): NextOffset {
    return { topic: this.topic, partition: this.partition, offset: this.nextOffset }
  }
}

/** The work is another member's, or comes again. */
export function notAssigned(message: string): KafkaError {
  return new KafkaError(message, { code: 'NOT_ASSIGNED', action: 'rejoin', outcome: 'not-sent' })
}
