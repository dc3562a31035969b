import { KeyCounts } from '../key-counts.ts'
import type { Seat } from './members.ts'

/**
 * A running transaction. Its changes in memory wait in `after` until it is committed, so that after a rollback memory
 * still matches the file.
 */
export class Tx {
  /** Wall-clock time, the same for everything in the transaction. */
  readonly now: number
  /** Groups with messages that became ready here other than by publishing: other processes must look at them. */
  readonly changed: Set<number> = new Set()
  /** Other processes may have losses to report. */
  lost = false
  readonly #after: (() => void)[] = []
  readonly #seen = new Set<object>()
  /** Number of settled deliveries for each key, by seat. */
  readonly #freed = new Map<Seat, KeyCounts>()
  /** Keys that may continue with what is parked behind them, and how many of their deliveries were settled, by seat. */
  readonly #advanced = new Map<Seat, Map<string, number>>()
  /** Number of deliveries for each key whose outcome could be written after all, by seat. */
  readonly #unstuck = new Map<Seat, KeyCounts>()

  constructor(now: number) {
    this.now = now
  }

  after(effect: () => void): void {
    this.#after.push(effect)
  }

  /** True the first time it is called with that object in this transaction. */
  first(thing: object): boolean {
    if (this.#seen.has(thing)) return false
    this.#seen.add(thing)
    return true
  }

  /** Counts a settled delivery of a key; returns their number so far. */
  free(seat: Seat, key: string): number {
    return countsOf(this.#freed, seat).add(key)
  }

  /** How many deliveries of the key the seat has after the commit. */
  held(seat: Seat, key: string): number {
    return seat.held.get(key) - (this.#freed.get(seat)?.get(key) ?? 0)
  }

  /** Whether the seat has any delivery of the key after the commit. */
  holds(seat: Seat, key: string): boolean {
    return this.held(seat, key) > 0
  }

  /** How many keys the seat has deliveries of after the commit. */
  keysHeld(seat: Seat): number {
    let held = seat.held.size
    for (const key of this.#freed.get(seat)?.keys() ?? []) if (!this.holds(seat, key)) held--
    return held
  }

  /** Deliveries of a key are done: what is parked behind them may be handed out. */
  advance(seat: Seat, key: string, settled: number): void {
    let keys = this.#advanced.get(seat)
    if (keys === undefined) this.#advanced.set(seat, (keys = new Map()))
    keys.set(key, (keys.get(key) ?? 0) + settled)
  }

  /** Keys of a seat that may continue but have not done so yet. */
  advanced(seat: Seat): Iterable<string> {
    return this.#advanced.get(seat)?.keys() ?? []
  }

  /** The key has continued, or something else of it is in play that will make it continue. */
  wentOn(seat: Seat, key: string): void {
    this.#advanced.get(seat)?.delete(key)
  }

  *leftBehind(): Iterable<{ readonly seat: Seat; readonly key: string; readonly settled: number }> {
    for (const [seat, keys] of this.#advanced) for (const [key, settled] of keys) yield { seat, key, settled }
  }

  /** Abandoned deliveries were given back: they no longer block their key. */
  unstick(seat: Seat, key: string): void {
    countsOf(this.#unstuck, seat).add(key)
  }

  /** Whether an outcome of the key is still unwritten after the commit. */
  isStuck(seat: Seat, key: string): boolean {
    return seat.stuck.get(key) > (this.#unstuck.get(seat)?.get(key) ?? 0)
  }

  /**
   * Call once, when the commit has succeeded. Runs every effect even if others fail, because callers wait for their
   * answers. Throws the first error at the end.
   */
  committed(): void {
    const errors: unknown[] = []
    for (const effect of this.#after) {
      try {
        effect()
      } catch (error) {
        errors.push(error)
      }
    }
    if (errors.length > 0) throw errors[0]
  }
}

function countsOf(counts: Map<Seat, KeyCounts>, seat: Seat): KeyCounts {
  let keys = counts.get(seat)
  if (keys === undefined) counts.set(seat, (keys = new KeyCounts()))
  return keys
}
