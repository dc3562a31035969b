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
  readonly #freed = new Map<object, Map<string, number>>()

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
  free(seat: object, key: string): number {
    let keys = this.#freed.get(seat)
    if (keys === undefined) this.#freed.set(seat, (keys = new Map()))
    const count = (keys.get(key) ?? 0) + 1
    keys.set(key, count)
    return count
  }

  /** To be called once, when the commit has succeeded. */
  committed(): void {
    for (const effect of this.#after) effect()
  }
}
