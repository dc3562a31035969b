import { sleep } from '../../../core/clock.ts'
import type { Timer } from '../../../core/clock.ts'
import { messageBytes } from '../../../core/message.ts'
import { DueHeap } from '../../../core/util/due-heap.ts'
import type { KafkaContext } from '../context.ts'
import { KafkaDelivery } from '../partitions/kafka-delivery.ts'
import type { Delayed, Partition } from '../partitions/partition.ts'

/** Longest time that a timer waits: the clock may be set meanwhile. */
const MAX_WAIT_MS = 30_000
/** Number of entries of partitions that were lost, besides as many as there are wanted ones. */
const MAX_UNWANTED = 1_000
/** Pause after records could not be read. */
const AGAIN_MS = 500
/** Records read at once: messages that were delayed together are often near each other. */
const MAX_READ = 500

interface Entry {
  readonly partition: Partition
  readonly delayed: Delayed
  readonly dueAt: number
}

/** Messages that wait for their time. What there was no room to keep is read again when it is due. */
export class PartitionDelays {
  readonly #context: KafkaContext
  /** Memory for what waits. */
  readonly #maxBytes: number
  readonly #wake: (partition: Partition) => void
  readonly #changed: (partition: Partition) => void
  readonly #heap = new DueHeap<Entry>()
  /** Due, and to be read again; by partition. */
  readonly #toRead = new Map<Partition, Entry[]>()
  /** Number of entries when all were wanted. */
  #wanted = 0
  #bytes = 0
  #timer: Timer | undefined
  readonly #closing = new AbortController()

  constructor(
    context: KafkaContext,
    maxBytes: number,
    host: { wake(partition: Partition): void; changed(partition: Partition): void },
  ) {
    this.#context = context
    this.#maxBytes = maxBytes
    this.#wake = (partition) => host.wake(partition)
    this.#changed = (partition) => host.changed(partition)
  }

  /** Whether the body of another message may be kept. */
  mayKeep(bytes: number): boolean {
    return this.#bytes + bytes <= this.#maxBytes
  }

  add(partition: Partition, delayed: Delayed): void {
    const entry = { partition, delayed, dueAt: delayed.dueAt }
    this.#bytes += delayed.delivery?.bytes ?? 0
    this.#heap.push(entry)
    if (this.#heap.size > 2 * this.#wanted + MAX_UNWANTED) this.#forget()
    if (this.#heap.first === entry) this.#arm()
  }

  /** A partition was lost: what it kept is free. */
  lost(): void {
    this.#forget()
  }

  close(): void {
    this.#closing.abort()
    this.#timer?.cancel()
  }

  #forget(): void {
    this.#heap.keep((entry) => this.#isWanted(entry))
    this.#wanted = this.#heap.size
    const partitions = new Set<Partition>()
    let bytes = 0
    this.#heap.keep(({ partition }) => {
      if (!partitions.has(partition)) bytes += partition.delayedBytes
      partitions.add(partition)
      return true
    })
    this.#bytes = bytes
  }

  #arm(): void {
    this.#timer?.cancel()
    const { first } = this.#heap
    if (first === undefined || this.#closing.signal.aborted) return
    const { clock } = this.#context.host
    const waitMs = Math.min(MAX_WAIT_MS, Math.max(0, first.dueAt - clock.now()))
    this.#timer = clock.setTimer(waitMs, () => this.#due())
  }

  #due(): void {
    const now = this.#context.host.clock.now()
    const woken = new Set<Partition>()
    for (let { first } = this.#heap; first !== undefined && first.dueAt <= now; { first } = this.#heap) {
      this.#heap.shift()
      if (!this.#isWanted(first)) continue
      const { partition, delayed } = first
      if (delayed.delivery === undefined) {
        this.#readLater(first)
        continue
      }
      this.#bytes -= delayed.delivery.bytes
      partition.due(delayed)
      woken.add(partition)
    }
    for (const partition of woken) this.#wake(partition)
    this.#arm()
  }

  /** The partition may have been lost, and the message may be another member's. */
  #isWanted({ partition, delayed }: Entry): boolean {
    return partition.mine && partition.delayed.get(delayed.offset) === delayed
  }

  #readLater(entry: Entry): void {
    const waiting = this.#toRead.get(entry.partition)
    if (waiting !== undefined) {
      waiting.push(entry)
      return
    }
    this.#toRead.set(entry.partition, [entry])
    void this.#readAll(entry.partition)
  }

  /** Reads what is due of one partition, in the order of its offsets. */
  async #readAll(partition: Partition): Promise<void> {
    const entries = this.#toRead.get(partition) ?? []
    while (entries.length > 0 && partition.mine && !this.#closing.signal.aborted) {
      entries.sort((a, b) => b.delayed.offset - a.delayed.offset)
      try {
        await this.#read(partition, entries)
      } catch (error) {
        this.#context.reports.error(error, `reading delayed messages of ${partition.name}`)
        await sleep(this.#context.host.clock, AGAIN_MS, this.#closing.signal).catch(() => {})
      }
    }
    this.#toRead.delete(partition)
  }

  /** The last of `entries` is the first in the log. */
  async #read(partition: Partition, entries: Entry[]): Promise<void> {
    const { client, mapping } = this.#context
    const { topic, index } = partition
    const offset = (entries.at(-1) as Entry).delayed.offset
    const place = { topic, partition: index, offset }
    const { records, nextOffset } = await client.admin().records.read(place, { maxRecords: MAX_READ, committed: true })
    const found = new Map(records.map((record) => [record.offset, record]))
    const end = Math.max(offset + 1, nextOffset)
    for (let entry = entries.at(-1); entry !== undefined && entry.delayed.offset < end; entry = entries.at(-1)) {
      entries.pop()
      if (!this.#isWanted(entry)) continue
      const { delayed } = entry
      const record = found.get(delayed.offset)
      if (record === undefined) {
        // Retention, or compaction, has removed it.
        partition.due(delayed)
        partition.changes++
        this.#changed(partition)
        continue
      }
      const { message } = mapping.decode(record, topic, index)
      const bytes = messageBytes(message)
      partition.due(delayed, new KafkaDelivery(partition, message, delayed.offset, delayed.ordinal, bytes, delayed))
    }
    this.#wake(partition)
  }
}
