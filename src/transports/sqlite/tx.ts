import { KeyCounts } from './key-counts.ts'
import type { Seat } from './members.ts'

/**
 * One transaction while it runs. What it changes in memory waits in `after` until the file has it: after a rollback the
 * memory still says what the file says.
 */
export class Tx {
  /** Wall-clock time, the same for everything in the transaction. */
  readonly now: number
  readonly #after: (() => void)[] = []
  readonly #seen = new Set<object>()
  /** How many deliveries of each key were settled so far, by their seat. */
  readonly #freed = new Map<Seat, KeyCounts>()

  constructor(now: number) {
    this.now = now
  }

  after(effect: () => void): void {
    this.#after.push(effect)
  }

  /** True the first time it is asked about that thing in this transaction. */
  first(thing: object): boolean {
    if (this.#seen.has(thing)) return false
    this.#seen.add(thing)
    return true
  }

  /** Counts a settled delivery of a key; resolves to how many there are by now. */
  free(seat: Seat, key: string): number {
    let keys = this.#freed.get(seat)
    if (keys === undefined) this.#freed.set(seat, (keys = new KeyCounts()))
    return keys.add(key)
  }

  /** Whether the seat has anything of the key once this is committed. */
  holds(seat: Seat, key: string): boolean {
    return seat.held.get(key) > (this.#freed.get(seat)?.get(key) ?? 0)
  }

  /** Of how many keys the seat has anything once this is committed. */
  keysHeld(seat: Seat): number {
    let held = seat.held.size
    for (const key of this.#freed.get(seat)?.keys() ?? []) if (!this.holds(seat, key)) held--
    return held
  }

  /**
   * To be called once, when the commit has succeeded. Every effect runs, whatever becomes of the others: callers wait for
   * their answers. Throws the first error at the end.
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
