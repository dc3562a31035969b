import { ERR, JetStreamError } from '../../errors.ts'
import { decodeRecord } from './partition-record.ts'
import type { PartitionRecord } from './partition-record.ts'
import type { StateRecords } from '../server/state-records.ts'

/** The last known sequences of a record; 0 when there is none. */
export interface StoredAt {
  readonly seq: number
  /** In the stream in memory. */
  readonly spare: number
}

export const NOWHERE: StoredAt = { seq: 0, spare: 0 }

export interface FoundRecord {
  readonly at: StoredAt
  readonly record: PartitionRecord | undefined
}

/**
 * The records of the partitions of one group on one topic. A server whose disk is full takes none; then they go to the
 * stream in memory, so that a backlog can be worked off. The one with the higher version counts.
 */
export class PartitionStore {
  readonly #records: StateRecords
  readonly #groupId: string

  constructor(records: StateRecords, groupId: string) {
    this.#records = records
    this.#groupId = groupId
  }

  async read(unit: string): Promise<FoundRecord> {
    const [stored, spare] = await Promise.all([
      this.#records.read(this.#records.partitionSubject(this.#groupId, unit)),
      this.#records.readLease(this.#records.spareSubject(this.#groupId, unit)),
    ])
    const at = { seq: stored?.seq ?? 0, spare: spare?.seq ?? 0 }
    const record = stored === undefined ? undefined : decodeRecord(stored.text)
    if (spare === undefined) return { at, record }
    const other = decodeRecord(spare.text)
    return { at, record: record !== undefined && record.version >= other.version ? record : other }
  }

  /** Replaces a record; undefined when the last one is not the one that we know. */
  async write(unit: string, text: string, at: StoredAt): Promise<StoredAt | undefined> {
    const subject = this.#records.partitionSubject(this.#groupId, unit)
    try {
      const seq = await this.#records.write(subject, text, at.seq)
      if (seq === undefined) return undefined
      if (at.spare === 0) return { seq, spare: 0 }
      // Older than what was just stored, so it does no harm if it stays.
      await this.#records.forgetSpare(this.#records.spareSubject(this.#groupId, unit)).catch(() => undefined)
      return { seq, spare: 0 }
    } catch (error) {
      if (!isFull(error)) throw error
    }
    const spare = await this.#records.write(this.#records.spareSubject(this.#groupId, unit), text, at.spare)
    return spare === undefined ? undefined : { seq: at.seq, spare }
  }
}

function isFull(error: unknown): boolean {
  return (
    error instanceof JetStreamError &&
    (error.errCode === ERR.noResources || /insufficient|maximum|exceeded/i.test(error.message))
  )
}
