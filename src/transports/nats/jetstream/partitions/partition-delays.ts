import { DelayQueue } from '../../../../core/partitions/delay-queue.ts'
import type { DelayEntry } from '../../../../core/partitions/delay-queue.ts'
import { PartitionDelivery } from '../../../../core/partitions/partition-delivery.ts'
import type { JetStreamApi } from '../server/jetstream-api.ts'
import type { Mapping } from '../../wire/mapping.ts'
import type { Delayed, Partition } from './partition.ts'
import type { Session } from '../../connection/session.ts'
import { readStored } from '../server/stored-message.ts'
import type { Subjects } from '../../wire/subjects.ts'

/** Messages that are fetched at once. */
const FETCHES = 16
/** Pause after a message could not be fetched. */
const AGAIN_MS = 500

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
  readonly #queue: DelayQueue<Partition>
  #fetching = 0
  #closed = false

  constructor(host: DelaysHost) {
    this.#host = host
    this.#queue = new DelayQueue(host.session.host.clock, () => this.fetch())
  }

  /** Number of entries, including those of partitions that were lost. */
  get size(): number {
    return this.#queue.size
  }

  add(partition: Partition, delayed: Delayed): void {
    this.#queue.add(partition, delayed)
  }

  /** Fetches what is due, as far as there is room. */
  fetch(): void {
    while (this.#fetching < FETCHES && this.#host.session.ready && !this.#closed && this.#host.hasRoom()) {
      const entry = this.#queue.take()
      if (entry === undefined) return
      void this.#fetch(entry)
    }
  }

  async #fetch(entry: DelayEntry<Partition>): Promise<void> {
    const { session, api, mapping, subjects } = this.#host
    const { partition, delayed } = entry
    this.#fetching++
    try {
      const stored = await api.message(partition.streamName, { seq: delayed.place })
      if (!this.#queue.isWanted(entry)) return
      if (stored === undefined) {
        partition.due(delayed)
        partition.missing++
        partition.changes++
        this.#host.changed(partition)
        return
      }
      const { message, bytes } = readStored(stored, partition.streamName, subjects.topicOf(stored.subject), mapping)
      const { place, ordinal } = delayed
      const known = { ...delayed, notBefore: undefined }
      partition.due(delayed, new PartitionDelivery(partition, message, place, ordinal, bytes, known, stored.subject))
      this.#host.wake()
    } catch (error) {
      if (session.ready) session.error(error, 'fetching a delayed message')
      // It stays in the partition, and is tried again.
      if (this.#queue.isWanted(entry)) {
        const again = { ...delayed, dueAt: Math.max(delayed.dueAt, session.host.clock.now() + AGAIN_MS) }
        partition.delayed.set(delayed.place, again)
        this.add(partition, again)
      }
    } finally {
      this.#fetching--
      this.fetch()
    }
  }

  /** The connection is back. */
  up(): void {
    this.#queue.arm()
  }

  close(): void {
    this.#closed = true
    this.#queue.close()
  }
}
