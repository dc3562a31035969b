import type { Timer } from '../../../../core/clock.ts'
import type { JetStreamApi } from '../server/jetstream-api.ts'
import type { Mapping } from '../../wire/mapping.ts'
import { DueHeap } from '../../../../core/util/due-heap.ts'
import type { Delayed, Partition } from './partition.ts'
import { PartitionDelivery } from './partition-delivery.ts'
import type { Session } from '../../connection/session.ts'
import { readStored } from '../server/stored-message.ts'
import type { Subjects } from '../../wire/subjects.ts'

/** Messages that are fetched at once. */
const FETCHES = 16
/** Longest time that a timer waits: the clock may be set meanwhile. */
const MAX_WAIT_MS = 30_000
/** Number of entries of partitions that were lost, besides as many as there are wanted ones. */
const MAX_UNWANTED = 1_000
/** Pause after a message could not be fetched. */
const AGAIN_MS = 500

interface Entry {
  readonly partition: Partition
  readonly delayed: Delayed
  readonly dueAt: number
}

export interface DelaysHost {
  readonly session: Session
  readonly api: JetStreamApi
  readonly mapping: Mapping
  readonly subjects: Subjects
  /** There is room for more. */
  hasRoom(): boolean
  /** Messages have come into the buffers. */
  wake(): void
  changed(partition: Partition): void
}

/** Messages that wait for their time. Their bodies are not kept, but fetched when they are due. */
export class PartitionDelays {
  readonly #host: DelaysHost
  readonly #heap = new DueHeap<Entry>()
  /** Number of entries when all were wanted. */
  #wanted = 0
  #timer: Timer | undefined
  #fetching = 0
  #closed = false

  constructor(host: DelaysHost) {
    this.#host = host
  }

  /** Number of entries, including those of partitions that were lost. */
  get size(): number {
    return this.#heap.size
  }

  add(partition: Partition, delayed: Delayed): void {
    const entry = { partition, delayed, dueAt: delayed.dueAt }
    this.#heap.push(entry)
    if (this.size > 2 * this.#wanted + MAX_UNWANTED) {
      this.#heap.keep((each) => this.#isWanted(each))
      this.#wanted = this.size
    }
    if (this.#heap.first === entry) this.#arm()
  }

  #arm(): void {
    this.#timer?.cancel()
    const { first } = this.#heap
    if (first === undefined || this.#closed) return
    const waitMs = first.dueAt - this.#host.session.host.clock.now()
    this.#timer = this.#host.session.host.clock.setTimer(Math.min(MAX_WAIT_MS, Math.max(0, waitMs)), () => this.fetch())
  }

  /** Fetches what is due, as far as there is room. */
  fetch(): void {
    const { session } = this.#host
    const now = session.host.clock.now()
    while (this.#fetching < FETCHES && session.ready && !this.#closed && this.#host.hasRoom()) {
      const { first } = this.#heap
      if (first === undefined) return
      if (first.dueAt > now) return this.#arm()
      this.#heap.shift()
      if (this.#isWanted(first)) void this.#fetch(first)
    }
  }

  /** The partition may have been lost, and the message may be another member's. */
  #isWanted({ partition, delayed }: Entry): boolean {
    return partition.mine && partition.delayed.get(delayed.seq) === delayed
  }

  async #fetch(entry: Entry): Promise<void> {
    const { session, api, mapping, subjects } = this.#host
    const { partition, delayed } = entry
    this.#fetching++
    try {
      const stored = await api.message(partition.streamName, { seq: delayed.seq })
      if (!this.#isWanted(entry)) return
      partition.delayed.delete(delayed.seq)
      if (stored === undefined) {
        partition.missing++
        partition.changes++
        this.#host.changed(partition)
        return
      }
      const { message, bytes } = readStored(stored, partition.streamName, subjects.topicOf(stored.subject), mapping)
      partition.push(
        new PartitionDelivery(partition, message, stored.subject, delayed.seq, delayed.ordinal, bytes, {
          ...delayed,
          notBefore: undefined,
        }),
      )
      this.#host.wake()
    } catch (error) {
      if (session.ready) session.error(error, 'fetching a delayed message')
      // It stays in the partition, and is tried again.
      if (this.#isWanted(entry)) {
        const again = { ...delayed, dueAt: Math.max(delayed.dueAt, session.host.clock.now() + AGAIN_MS) }
        partition.delayed.set(delayed.seq, again)
        this.add(partition, again)
      }
    } finally {
      this.#fetching--
      this.fetch()
    }
  }

  /** The connection is back. */
  up(): void {
    this.#arm()
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }
}
