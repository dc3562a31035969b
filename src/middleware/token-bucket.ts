/** How fast a bucket hands out tokens. */
export interface Rate {
  /** Time until one token is refilled, in ms. */
  readonly intervalMs: number
  /** Tokens in a full bucket, at least 1; may be fractional. */
  readonly burst: number
}

/**
 * A token bucket that stores only the time at which it is full again (the generic cell rate algorithm), so it needs no refill
 * timer. In any period of `t` ms it hands out at most `burst + t / intervalMs` tokens.
 */
export class TokenBucket {
  readonly #rate: Rate
  #fullAt = -Infinity

  constructor(rate: Rate) {
    this.#rate = rate
  }

  /** Takes a token and returns 0, or takes none and returns the ms until there is one. */
  take(now: number): number {
    const { intervalMs, burst } = this.#rate
    const from = Math.max(this.#fullAt, now)
    const waitMs = from - (burst - 1) * intervalMs - now
    if (waitMs > 0) return waitMs
    this.#fullAt = from + intervalMs
    return 0
  }
}
