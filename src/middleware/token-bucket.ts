/** How fast a bucket gives out tokens. */
export interface Rate {
  /** Time in which one token comes back, in ms. */
  readonly intervalMs: number
  /** Tokens in a full bucket, at least 1; need not be whole. */
  readonly burst: number
}

/**
 * A token bucket, kept as the one instant at which it is full again (the generic cell rate algorithm), so that it needs no
 * refill timer. In any stretch of `t` ms it gives out at most `burst + t / intervalMs` tokens.
 */
export class TokenBucket {
  readonly #rate: Rate
  #fullAt = -Infinity

  constructor(rate: Rate) {
    this.#rate = rate
  }

  /** Takes a token and returns 0, or takes none and returns in how many ms there is one. */
  take(now: number): number {
    const { intervalMs, burst } = this.#rate
    const from = Math.max(this.#fullAt, now)
    const waitMs = from - (burst - 1) * intervalMs - now
    if (waitMs > 0) return waitMs
    this.#fullAt = from + intervalMs
    return 0
  }
}
