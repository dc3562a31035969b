import { countFrom } from '../server/count-messages.ts'
import { isNotFound } from '../../errors.ts'
import type { JetStreamApi } from '../server/jetstream-api.ts'
import type { StreamInfo } from '../server/jetstream-types.ts'
import type { Partition } from './partition.ts'
import type { Session } from '../../connection/session.ts'

export const DELETED = 'deleted from the stream before the group had handled them (its limits, or a purge)'
export const STREAM_DELETED = 'their stream was deleted'
export const STREAM_EMPTIED = 'their stream came back without them, as one in memory does with its node'

export interface PartitionLossesHost {
  readonly session: Session
  readonly api: JetStreamApi
  readonly stream: string
  changed(partition: Partition): void
  report(count: number, after: number, reason: string): void
}

/**
 * Notices messages that were deleted from the stream (by its limits or by hand) before the group handled them. The server
 * does not report that; but what was counted once, and was neither read nor is there any more, is certainly lost. The
 * count is part of the partition's record, so that it outlives the member. Messages that came and went between two looks
 * are not seen.
 */
export class PartitionLosses {
  readonly #host: PartitionLossesHost
  #looking = false
  #first = 0
  #gaps = 0

  constructor(host: PartitionLossesHost) {
    this.#host = host
  }

  /** Called periodically. `isBehind`: whether messages of a partition may be waiting in the stream. Never rejects. */
  async look(partitions: readonly Partition[], isBehind: (partition: Partition) => boolean): Promise<void> {
    if (this.#looking) return
    const all = partitions.filter(
      (partition) => partition.mine && (partition.waiting !== undefined || partition.left > 0 || isBehind(partition)),
    )
    if (all.length === 0) return
    this.#looking = true
    const { session, api, stream } = this.#host
    try {
      const info = await api.streamInfo(stream)
      const { first_seq: first, num_deleted: gaps = 0 } = info.state
      const isThinner = first !== this.#first || gaps !== this.#gaps
      // One after the other: there may be many partitions, of many topics.
      for (const partition of all) {
        if (partition.waiting === undefined) await this.#count(partition)
        else if (isThinner) await this.#compare(partition, info)
        await this.#checkLeft(partition)
        this.report(partition)
      }
      this.#first = first
      this.#gaps = gaps
    } catch (error) {
      // A missing stream is noticed by the reader.
      if (session.ready && !isNotFound(error))
        session.error(error, `looking what became of messages in stream "${stream}"`)
    } finally {
      this.#looking = false
    }
  }

  async #count(partition: Partition): Promise<void> {
    const { api, stream } = this.#host
    const { readTo } = partition
    const open = { count: 0, last: Infinity, read: 0 }
    partition.waiting = open
    try {
      const count = await countFrom(api, stream, partition.filters, readTo + 1)
      // Afterwards: what is stored meanwhile must not look lost.
      const { state } = await api.streamInfo(stream)
      const counting: Partition['waiting'] = partition.waiting
      if (counting?.last !== Infinity) return
      partition.waiting = count === 0 ? undefined : { count, last: state.last_seq, read: counting.read }
      if (count > 0) this.#host.changed(bumped(partition))
    } finally {
      if (partition.waiting?.last === Infinity) partition.waiting = undefined
    }
  }

  /** What the owner before has left open is missing when nothing is left in the stream. */
  async #checkLeft(partition: Partition): Promise<void> {
    if (partition.left === 0) return
    const { api, stream } = this.#host
    const { readTo } = partition
    const count = await countFrom(api, stream, partition.filters, readTo + 1)
    if (count === 0 && partition.mine && partition.readTo === readTo) partition.readAll()
  }

  async #compare(partition: Partition, { state }: StreamInfo): Promise<void> {
    const { api, stream } = this.#host
    const { waiting } = partition
    if (waiting === undefined || waiting.last === Infinity || partition.readTo >= waiting.last) return
    // In this order: messages that are read meanwhile must not look lost.
    const newer = await countFrom(api, stream, partition.filters, waiting.last + 1)
    const left = await countFrom(api, stream, partition.filters, partition.readTo + 1)
    const now = partition.waiting
    if (now?.last !== waiting.last || state.first_seq === 0) return
    const there = Math.max(0, left - newer)
    const lost = now.count - now.read - there
    if (lost <= 0) return
    partition.missing += lost
    partition.waiting = { ...now, count: now.count - lost }
    this.#host.changed(bumped(partition))
  }

  /** Reports what is known to be missing. */
  report(partition: Partition): void {
    const { missing } = partition
    if (missing === 0) return
    partition.missing = 0
    this.#host.changed(bumped(partition))
    this.#host.report(missing, partition.to, DELETED)
  }
}

function bumped(partition: Partition): Partition {
  partition.changes++
  return partition
}
