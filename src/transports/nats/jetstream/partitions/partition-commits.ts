import type { Timer } from '../../../../core/clock.ts'
import { OncePerTurn } from '../../../../core/util/once-per-turn.ts'
import type { Partition } from './partition.ts'
import type { PartitionLeases } from './partition-leases.ts'
import type { Session } from '../../connection/session.ts'

/** Minimum interval between two records of a partition: the work that a crash may cause to be done again. */
const INTERVAL_MS = 100
/** Per entry of a large record, so that a partition with many delayed messages does not write all the time. */
const MS_PER_ENTRY = 0.1
/** After this time the record also says what was handed out, for people who look. */
const HANDED_OUT_MS = 400
/** Pause after a record could not be written. */
const AGAIN_MS = 500

/**
 * Decides when the record of a partition is written: at once when nothing was written for a while, else gathered. A
 * partition without changes writes nothing.
 */
export class PartitionCommits {
  readonly #session: Session
  readonly #leases: PartitionLeases
  readonly #waiting = new Set<Partition>()
  #timer: Timer | undefined
  #timerAt = Infinity
  /** What else happens in this turn goes into the same record. */
  readonly #soon = new OncePerTurn(() => this.#write())
  readonly #handedOut = new Set<Partition>()
  #late: Timer | undefined
  #closed = false

  constructor(session: Session, leases: PartitionLeases) {
    this.#session = session
    this.#leases = leases
  }

  /** Something of the partition has changed. */
  changed(partition: Partition): void {
    if (this.#closed || this.#waiting.has(partition)) return
    this.#waiting.add(partition)
    this.#schedule(Math.max(0, this.#dueAt(partition) - this.#now()))
  }

  /** Messages were handed out: most are settled before that has to be stored. */
  handedOut(partition: Partition): void {
    if (this.#closed) return
    this.#handedOut.add(partition)
    this.#late ??= this.#session.host.clock.setTimer(HANDED_OUT_MS, () => {
      this.#late = undefined
      const all = [...this.#handedOut]
      this.#handedOut.clear()
      for (const each of all) {
        if (!each.mine || each.storedTo === each.to) continue
        each.changes++
        this.changed(each)
      }
    })
  }

  /** The next record must not wait. */
  now(partition: Partition): void {
    partition.committedAt = -Infinity
    this.#waiting.add(partition)
    this.#schedule(0)
  }

  #schedule(delayMs: number): void {
    if (delayMs === 0) {
      this.#soon.schedule()
      return
    }
    const at = this.#now() + delayMs
    if (at >= this.#timerAt) return
    this.#timer?.cancel()
    this.#timerAt = at
    this.#timer = this.#session.host.clock.setTimer(delayMs, () => {
      this.#timerAt = Infinity
      this.#write()
    })
  }

  #write(): void {
    if (!this.#session.ready) return
    const now = this.#now()
    for (const partition of this.#waiting) {
      if (!partition.mine) {
        this.#waiting.delete(partition)
        continue
      }
      const dueAt = this.#dueAt(partition)
      if (dueAt > now) {
        this.#schedule(dueAt - now)
        continue
      }
      this.#waiting.delete(partition)
      // The next one counts from here, also while this one is on its way.
      partition.committedAt = now
      this.#leases.commit(partition.name).then(
        (isStored) => {
          if (isStored && partition.stored < partition.changes) this.changed(partition)
        },
        (error: unknown) => this.#failed(partition, error),
      )
    }
  }

  #failed(partition: Partition, error: unknown): void {
    this.#waiting.add(partition)
    // Without a connection it waits for the next one.
    if (!this.#session.ready || this.#closed) return
    this.#session.error(error, `storing how far partition ${partition.name} has been handled`)
    partition.committedAt = this.#now() + AGAIN_MS - INTERVAL_MS
    this.#schedule(AGAIN_MS)
  }

  /** The connection is back. */
  up(partitions: Iterable<Partition>): void {
    for (const partition of partitions) if (partition.mine && partition.stored < partition.changes) this.now(partition)
    // Those that were lost meanwhile are removed; they may become ours again.
    if (this.#waiting.size > 0) this.#schedule(0)
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
    this.#late?.cancel()
    this.#waiting.clear()
  }

  #dueAt({ committedAt, records }: Partition): number {
    return committedAt + INTERVAL_MS + records * MS_PER_ENTRY
  }

  #now(): number {
    return this.#session.host.clock.monotonic()
  }
}
