import type { KafkaRecord } from '../records/record.ts'
import type { OwnedPartition } from './owned-partition.ts'

/** Records of one partition, in order. */
export class ConsumerBatch implements Iterable<KafkaRecord> {
  #records: readonly KafkaRecord[]
  #nextOffset: number
  /** Of the leader that has written it; -1 if it is not known. */
  readonly leaderEpoch: number
  /** @internal How many handlers of a run are at work on it; undefined if whoever has it says `done`. */
  running: number | undefined
  readonly #owned: OwnedPartition
  readonly #done: (batch: ConsumerBatch) => void

  /** @internal */
  constructor(
    owned: OwnedPartition,
    records: readonly KafkaRecord[],
    nextOffset: number,
    leaderEpoch: number,
    done: (batch: ConsumerBatch) => void,
  ) {
    this.#owned = owned
    this.#records = records
    this.#nextOffset = nextOffset
    this.leaderEpoch = leaderEpoch
    this.#done = done
  }

  /** In order of their offsets, which may have gaps. */
  get records(): readonly KafkaRecord[] {
    return this.#records
  }

  /** Where reading continues after it: what a transaction commits. */
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

  /** The partition was taken from this consumer: another may read the same records, and `done` commits nothing. */
  get isLost(): boolean {
    return this.#owned.isOver
  }

  /** @internal For what counts finished records. */
  offsetAt(index: number): number {
    return this.records[index]?.offset ?? this.nextOffset
  }

  /**
   * All records are handled. What is finished without a gap is committed soon: a batch that is not done holds up the commits of its
   * partition. May be called again, and after the partition is lost, without effect.
   */
  done(): void {
    this.#done(this)
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
}
