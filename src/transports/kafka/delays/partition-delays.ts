import { sleep } from '../../../core/clock.ts'
import { DelayQueue } from '../../../core/partitions/delay-queue.ts'
import type { DelayEntry } from '../../../core/partitions/delay-queue.ts'
import { KafkaError } from '../../../kafka/index.ts'
import type { ReadRecords } from '../../../kafka/index.ts'
import type { KafkaContext } from '../context.ts'
import type { Delayed, Partition } from '../partitions/partition.ts'

/** Pause after records could not be read. */
const AGAIN_MS = 500
/** Records read at once, and messages that may wait to be handed out: those delayed together are often near each other. */
const MAX_READ = 500

type Entry = DelayEntry<Partition>

/** What is due of one partition and has to be read. */
class DueEntries {
  /** The last is the first in the log. */
  readonly #entries: Entry[] = []
  #isSorted = true

  get size(): number {
    return this.#entries.length
  }

  /** The first in the log. */
  get first(): Entry | undefined {
    if (!this.#isSorted) this.#entries.sort((a, b) => b.delayed.place - a.delayed.place)
    this.#isSorted = true
    return this.#entries.at(-1)
  }

  add(entry: Entry): void {
    this.#entries.push(entry)
    this.#isSorted = false
  }

  /** Takes away the first. */
  shift(): void {
    this.#entries.pop()
  }
}

/** Messages that wait for their time. What there was no room to keep is read again when it is due. */
export class PartitionDelays {
  readonly #context: KafkaContext
  /** Memory for what waits. */
  readonly #maxBytes: number
  readonly #wake: (partition: Partition) => void
  readonly #changed: (partition: Partition) => void
  readonly #lost: (partition: Partition, offset: number, count: number) => void
  readonly #queue: DelayQueue<Partition>
  /** Due, and to be read again; by partition. */
  readonly #toRead = new Map<Partition, DueEntries>()
  /** Partitions whose due messages are being read. */
  readonly #reading = new Set<Partition>()
  readonly #closing = new AbortController()

  constructor(
    context: KafkaContext,
    maxBytes: number,
    host: {
      wake(partition: Partition): void
      changed(partition: Partition): void
      /** Retention has removed messages that waited; `offset`: the first of them. */
      lost(partition: Partition, offset: number, count: number): void
    },
  ) {
    this.#context = context
    this.#maxBytes = maxBytes
    this.#queue = new DelayQueue(context.host.clock, () => this.#due())
    this.#wake = (partition) => host.wake(partition)
    this.#changed = (partition) => host.changed(partition)
    this.#lost = (partition, offset, count) => host.lost(partition, offset, count)
  }

  /** Whether the body of another message may be kept. */
  mayKeep(bytes: number): boolean {
    return this.#queue.bytes + bytes <= this.#maxBytes
  }

  add(partition: Partition, delayed: Delayed): void {
    this.#queue.add(partition, delayed)
  }

  /** A partition was lost: what it kept is free. */
  lost(): void {
    this.#queue.forget()
  }

  close(): void {
    this.#closing.abort()
    this.#queue.close()
  }

  #due(): void {
    const woken = new Set<Partition>()
    for (let entry = this.#queue.take(); entry !== undefined; entry = this.#queue.take()) {
      const { partition, delayed } = entry
      if (delayed.delivery === undefined) {
        this.#readLater(entry)
        continue
      }
      partition.due(delayed)
      woken.add(partition)
    }
    for (const partition of woken) this.#wake(partition)
  }

  #readLater(entry: Entry): void {
    let entries = this.#toRead.get(entry.partition)
    if (entries === undefined) this.#toRead.set(entry.partition, (entries = new DueEntries()))
    entries.add(entry)
    this.consumed(entry.partition)
  }

  /** Some of what the partition had to hand out is handed out: there may be room for more of what is due. */
  consumed(partition: Partition): void {
    if (this.#reading.has(partition) || !this.#toRead.has(partition)) return
    this.#reading.add(partition)
    void this.#readAll(partition)
  }

  /** Reads what is due of one partition, in the order of its offsets, as far as there is room. */
  async #readAll(partition: Partition): Promise<void> {
    // After what else is due in this turn.
    await Promise.resolve()
    const entries = this.#toRead.get(partition) ?? new DueEntries()
    while (entries.size > 0 && partition.mine && !this.#closing.signal.aborted) {
      const { buffer, bufferBytes } = partition
      const room = { records: MAX_READ - buffer.length, bytes: this.#maxBytes - bufferBytes }
      if (room.records <= 0 || room.bytes <= 0) {
        // In the same step: what is handed out from now on makes it go on.
        this.#reading.delete(partition)
        return
      }
      try {
        await this.#read(partition, entries, room)
      } catch (error) {
        this.#context.reports.error(error, `reading delayed messages of ${partition.name}`)
        await sleep(this.#context.host.clock, AGAIN_MS, this.#closing.signal).catch(() => {})
      }
    }
    this.#toRead.delete(partition)
    this.#reading.delete(partition)
  }

  async #read(
    partition: Partition,
    entries: DueEntries,
    room: { readonly records: number; readonly bytes: number },
  ): Promise<void> {
    const { client, mapping } = this.#context
    const { topic, index, origin } = partition
    const offset = (entries.first as Entry).delayed.place
    const place = { topic, partition: index, offset }
    const options = { maxRecords: room.records, maxBytes: room.bytes, committed: true }
    const { records, nextOffset, isPassed } = await client
      .admin()
      .records.read(place, options)
      .then(
        (read) => ({ ...read, isPassed: false }),
        (error: unknown) => this.#passed(error, place),
      )
    const found = new Map(records.map((record) => [record.offset, record]))
    const end = Math.max(offset + 1, nextOffset)
    let lost = 0
    let firstLost = 0
    for (let { first } = entries; first !== undefined && first.delayed.place < end; { first } = entries) {
      const entry = first
      entries.shift()
      if (!this.#queue.isWanted(entry)) continue
      const { delayed } = entry
      const record = found.get(delayed.place)
      if (record === undefined) {
        // What compaction has removed was replaced by another message of its key.
        if (isPassed && lost++ === 0) firstLost = delayed.place
        partition.due(delayed)
        partition.changes++
        this.#changed(partition)
        continue
      }
      const decoded = mapping.decode(record, origin.topic, origin.index)
      const { place, ordinal } = delayed
      partition.due(delayed, partition.deliveryOf(decoded, place, ordinal, { ...delayed, notBefore: undefined }))
    }
    if (lost > 0) this.#lost(partition, firstLost, lost)
    this.#wake(partition)
  }

  /** Retention has removed what was to be read: nothing is before where the log begins now. Throws every other error. */
  async #passed(
    error: unknown,
    { topic, partition }: { readonly topic: string; readonly partition: number },
  ): Promise<Pick<ReadRecords, 'records' | 'nextOffset'> & { readonly isPassed: boolean }> {
    if (!(error instanceof KafkaError) || error.code !== 'OFFSET_OUT_OF_RANGE') throw error
    const starts = await this.#context.client.admin().records.offsets(topic, 'earliest')
    const start = starts.find((each) => each.partition === partition)?.offset ?? 0
    return { records: [], nextOffset: start, isPassed: true }
  }
}
