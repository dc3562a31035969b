import { CODE } from './codes.ts'

/** Who has acquired records: its session at the broker. */
export interface ShareHolder {
  /** Ends with its session: what it holds is free again. */
  readonly isOpen: boolean
}

export interface AcquiredRange {
  readonly firstOffset: number
  readonly lastOffset: number
  readonly deliveryCount: number
}

export interface Acknowledged {
  readonly firstOffset: number
  readonly lastOffset: number
  /** One for all offsets, or one for each. */
  readonly acknowledgeTypes: readonly number[]
}

type State = 'available' | 'acquired' | 'acknowledged' | 'archived'

interface Entry {
  state: State
  holder: ShareHolder | undefined
  count: number
  lockEndsAt: number
}

const TYPES = ['gap', 'accept', 'release', 'reject', 'renew'] as const

/** What a share group knows of one partition: the state of each record that was ever acquired (KIP-932). */
export class SharePartitionState {
  readonly lockMs: number
  readonly deliveryLimit: number
  readonly #entries = new Map<number, Entry>()
  /** Epoch of the leader that has it: another one knows no locks. */
  leaderEpoch = -1

  constructor(lockMs: number, deliveryLimit: number) {
    this.lockMs = lockMs
    this.deliveryLimit = deliveryLimit
  }

  stateOf(offset: number, now: number): State {
    const entry = this.#entries.get(offset)
    if (entry === undefined) return 'available'
    this.#endLock(entry, now)
    return entry.state
  }

  countOf(offset: number): number {
    return this.#entries.get(offset)?.count ?? 0
  }

  /** Of these offsets, those that are free, in runs with the same count; at most so many. */
  acquire(
    holder: ShareHolder,
    offsets: Iterable<number>,
    now: number,
    most: number = Infinity,
  ): readonly AcquiredRange[] {
    const ranges: { firstOffset: number; lastOffset: number; deliveryCount: number }[] = []
    let left = most
    for (const offset of offsets) {
      if (left === 0) break
      if (this.stateOf(offset, now) !== 'available') continue
      left--
      const count = this.countOf(offset) + 1
      this.#entries.set(offset, { state: 'acquired', holder, count, lockEndsAt: now + this.lockMs })
      const last = ranges.at(-1)
      if (last?.lastOffset === offset - 1 && last.deliveryCount === count) last.lastOffset = offset
      else ranges.push({ firstOffset: offset, lastOffset: offset, deliveryCount: count })
    }
    return ranges
  }

  /** All of it counts, or nothing. */
  acknowledge(holder: ShareHolder, batches: readonly Acknowledged[], now: number): number {
    const changes: (readonly [Entry, (typeof TYPES)[number]])[] = []
    for (const { firstOffset, lastOffset, acknowledgeTypes } of batches) {
      for (let offset = firstOffset; offset <= lastOffset; offset++) {
        const entry = this.#entries.get(offset)
        const type = TYPES[acknowledgeTypes[offset - firstOffset] ?? acknowledgeTypes[0] ?? -1]
        if (entry === undefined || type === undefined) return CODE.INVALID_RECORD_STATE
        this.#endLock(entry, now)
        if (entry.state !== 'acquired' || entry.holder !== holder) return CODE.INVALID_RECORD_STATE
        changes.push([entry, type])
      }
    }
    for (const [entry, type] of changes) {
      if (type === 'renew') entry.lockEndsAt = now + this.lockMs
      else if (type === 'release') this.#free(entry)
      else entry.state = type === 'accept' ? 'acknowledged' : 'archived'
    }
    return 0
  }

  /** Everything that a holder has, or, without one, that anybody has, is free again. */
  release(holder?: ShareHolder): void {
    for (const entry of this.#entries.values()) {
      if (entry.state === 'acquired' && (holder === undefined || entry.holder === holder)) this.#free(entry)
    }
  }

  #endLock(entry: Entry, now: number): void {
    if (entry.state === 'acquired' && (now >= entry.lockEndsAt || entry.holder?.isOpen !== true)) this.#free(entry)
  }

  #free(entry: Entry): void {
    entry.holder = undefined
    entry.state = entry.count >= this.deliveryLimit ? 'archived' : 'available'
  }
}
