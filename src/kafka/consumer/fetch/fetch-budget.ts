/** Bytes that may be in memory: of answers that are on their way, and of those that wait to be delivered. */
export class FetchBudget {
  readonly limit: number
  #used = 0

  constructor(limit: number) {
    this.limit = limit
  }

  get used(): number {
    return this.#used
  }

  /** At most `bytes`, fewer if there is less room; 0 if there is none worth a fetch. */
  reserve(bytes: number, least: number): number {
    const room = Math.min(bytes, this.limit - this.#used)
    if (room < least) return 0
    this.#used += room
    return room
  }

  /** More than was reserved is possible: a broker sends one batch in any case. */
  take(bytes: number): void {
    this.#used += bytes
  }

  release(bytes: number): void {
    this.#used -= bytes
  }
}
