import { KafkaError } from '../errors.ts'
import { readRecords } from '../records/read-records.ts'
import type { ReadRecordsOptions } from '../records/read-records.ts'
import type { RecordBatch } from '../records/record-batch.ts'
import type { KafkaRecord } from '../records/record.ts'
import { ConsumerBatch } from './consumer-batch.ts'
import type { BatchHost } from './consumer-batch.ts'
import type { OwnedPartition } from './owned-partition.ts'

export interface DeliveryOptions {
  readonly maxBatchRecords: number
  readonly read: ReadRecordsOptions
  /** Before anything is delivered or finished: what the consumer no longer owns must be known. */
  readonly check: () => void
  /** All that an answer brought of it is delivered: there is room for more. */
  readonly taken: (owned: OwnedPartition) => void
  /** What may be committed has moved. */
  readonly moved: (owned: OwnedPartition) => void
  /** Nobody is at work on a partition that is being taken away. */
  readonly idle: (owned: OwnedPartition) => void
  readonly groupMetadata: BatchHost['groupMetadata']
  /** A batch had nothing to deliver. */
  readonly passed: (owned: OwnedPartition, offset: number) => void
  /** A batch can't be read. */
  readonly failed: (owned: OwnedPartition, offset: number, error: KafkaError) => void
}

/**
 * Hands out what was fetched: partition by partition in turn, each in order, decoded only now. What comes back finished moves what may
 * be committed.
 */
export class Delivery {
  readonly #options: DeliveryOptions
  /** Those with records; the first is the next. */
  readonly #ready = new Set<OwnedPartition>()
  /** Decoded, of partitions that were paused meanwhile. */
  readonly #held = new Map<OwnedPartition, ConsumerBatch>()
  readonly #decoding = new Set<OwnedPartition>()
  #waiting: PromiseWithResolvers<void> | undefined
  readonly #host: BatchHost

  constructor(options: DeliveryOptions) {
    this.#options = options
    this.#host = { finished: (batch) => this.#finished(batch), groupMetadata: options.groupMetadata }
  }

  /** A partition may have records to deliver. */
  ready(owned: OwnedPartition): void {
    if (owned.isOver || this.#decoding.has(owned) || !(this.#held.has(owned) || owned.fetch.hasRecords())) return
    this.#ready.add(owned)
    this.wake()
  }

  /** Resolves when it is worth calling `take` again. */
  untilReady(): Promise<void> {
    this.#waiting ??= Promise.withResolvers()
    return this.#waiting.promise
  }

  wake(): void {
    this.#waiting?.resolve()
    this.#waiting = undefined
  }

  drop(owned: OwnedPartition): void {
    this.#ready.delete(owned)
    this.#held.delete(owned)
  }

  /** The next records; a promise if another thread decompresses them; undefined if there are none now. */
  take(): ConsumerBatch | Promise<ConsumerBatch | undefined> | undefined {
    this.#options.check()
    for (const owned of this.#ready) {
      this.#ready.delete(owned)
      const found = this.#takeFrom(owned)
      if (found !== undefined) return found
    }
    return undefined
  }

  /** A run has a batch now: it begins with its records when it likes, until they are taken back. */
  givenToRun(batch: ConsumerBatch): void {
    const { owned } = batch
    batch.running = 0
    // Something may have come between.
    if (!owned.prefix.has(batch)) batch.cutBehind(-1)
    else if (owned.fetch.isPaused || owned.fetch.isStopped) this.takeBack(owned)
    this.rested(batch)
  }

  /**
   * Takes from a run all records of a partition with which it has not begun, and holds them; but not those before others with which it has:
   * without them nothing behind could be committed.
   */
  takeBack(owned: OwnedPartition): void {
    const { prefix, begunOffset, deliveredOffset, deliveredEpoch } = owned
    const batches = prefix.batches.filter((batch) => batch instanceof ConsumerBatch)
    const from = batches.findIndex(({ records }) => (records.at(-1)?.offset ?? -1) > begunOffset)
    const tail = from < 0 ? [] : batches.slice(from)
    const [first] = tail
    // Whoever reads batches keeps what it has.
    if (owned.isOver || first === undefined || tail.some(({ running }) => running === undefined)) return
    const records = tail.flatMap((each) => each.cutBehind(begunOffset))
    owned.deliveredOffset = first.nextOffset
    const behind = this.#held.get(owned)
    this.#held.set(owned, new ConsumerBatch(owned, records, deliveredOffset, deliveredEpoch, this.#host))
    if (behind !== undefined) this.#hold(owned, behind)
    if (prefix.shortened(first)) this.#options.moved(owned)
  }

  /** One record of a batch is handled. */
  finishOne(batch: ConsumerBatch, index: number): void {
    const { owned } = batch
    if (owned.isOver) return
    if (owned.prefix.finishOne(batch, index)) this.#options.moved(owned)
  }

  /** No handler is at work on a batch, for the moment at least. */
  rested({ owned }: ConsumerBatch): void {
    if (owned.fetch.isStopped && owned.prefix.isAtRest) this.#options.idle(owned)
  }

  #finished(batch: ConsumerBatch): void {
    this.#options.check()
    const { owned } = batch
    if (owned.isOver) return
    if (owned.prefix.finish(batch)) this.#options.moved(owned)
    this.rested(batch)
  }

  #takeFrom(owned: OwnedPartition): ConsumerBatch | Promise<ConsumerBatch | undefined> | undefined {
    const { fetch } = owned
    const held = this.#held.get(owned)
    if (held !== undefined) {
      if (fetch.isPaused) return undefined
      this.#held.delete(owned)
      this.#again(owned)
      return this.#handOut(owned, held)
    }
    if (!fetch.hasRecords()) return undefined
    const { batches, chunk, isLast } = fetch.buffer.take(this.#options.maxBatchRecords)
    if (isLast) this.#options.taken(owned)
    const last = batches.at(-1)
    const nextOffset = isLast || last === undefined ? chunk.nextOffset : last.lastOffset + 1
    const epoch = isLast || last === undefined ? chunk.lastEpoch : last.leaderEpoch
    const { version } = fetch.position
    const made = (records: readonly KafkaRecord[]) =>
      new ConsumerBatch(owned, withoutBefore(records, chunk.fromOffset), nextOffset, epoch, this.#host)
    let records: readonly KafkaRecord[] | Promise<readonly KafkaRecord[]>
    try {
      records = decode(batches, this.#options.read)
    } catch (error) {
      return this.#failed(owned, batches, error)
    }
    if (!(records instanceof Promise)) {
      this.#again(owned)
      return this.#handOut(owned, made(records))
    }
    this.#decoding.add(owned)
    return records.then(
      (decoded) => {
        this.#decoding.delete(owned)
        this.#options.check()
        if (owned.isOver || fetch.isStopped || fetch.position.version !== version) {
          this.ready(owned)
          return undefined
        }
        if (fetch.isPaused || this.#held.has(owned)) {
          this.#hold(owned, made(decoded))
          if (!fetch.isPaused) this.ready(owned)
          return undefined
        }
        this.#again(owned)
        return this.#handOut(owned, made(decoded))
      },
      (error: unknown) => {
        this.#decoding.delete(owned)
        return this.#failed(owned, batches, error)
      },
    )
  }

  /** Until the partition is no longer paused, behind what is held already. */
  #hold(owned: OwnedPartition, { records, nextOffset, leaderEpoch }: ConsumerBatch): void {
    const all = [...(this.#held.get(owned)?.records ?? []), ...records]
    this.#held.set(owned, new ConsumerBatch(owned, all, nextOffset, leaderEpoch, this.#host))
  }

  /** Its turn comes after that of the others. */
  #again(owned: OwnedPartition): void {
    if (owned.fetch.hasRecords()) this.#ready.add(owned)
  }

  #handOut(owned: OwnedPartition, batch: ConsumerBatch): ConsumerBatch | undefined {
    owned.deliveredOffset = batch.nextOffset
    owned.deliveredEpoch = batch.leaderEpoch
    owned.prefix.handOut(batch)
    if (batch.count > 0) return batch
    // Markers, aborted transactions, what compaction has removed: passed, once all before it is finished.
    if (owned.prefix.finish(batch)) this.#options.moved(owned)
    this.#options.passed(owned, batch.nextOffset)
    return undefined
  }

  #failed(owned: OwnedPartition, batches: readonly RecordBatch[], error: unknown): undefined {
    if (!(error instanceof KafkaError)) throw error
    if (!owned.isOver) this.#options.failed(owned, batches[0]?.baseOffset ?? owned.deliveredOffset, error)
    return undefined
  }
}

function decode(
  batches: readonly RecordBatch[],
  options: ReadRecordsOptions,
): readonly KafkaRecord[] | Promise<readonly KafkaRecord[]> {
  const [first] = batches
  if (first !== undefined && batches.length === 1) return readRecords(first, options)
  const parts = batches.map((batch) => readRecords(batch, options))
  if (!parts.some((part) => part instanceof Promise)) return (parts as KafkaRecord[][]).flat()
  return Promise.all(parts.map(async (part) => part)).then((all) => all.flat())
}

/** The first batch of an answer may begin before the offset that was asked for. */
function withoutBefore(records: readonly KafkaRecord[], offset: number): readonly KafkaRecord[] {
  const [first] = records
  return first === undefined || first.offset >= offset ? records : records.filter((record) => record.offset >= offset)
}
