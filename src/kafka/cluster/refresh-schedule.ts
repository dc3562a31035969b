import { backoffMs } from './backoff.ts'
import type { BackoffOptions } from './backoff.ts'

export interface RefreshOptions {
  /** Between the starts of two refreshes. @default 100 */
  readonly minGapMs?: number
  /** Without a reason. @default 300_000 */
  readonly maxAgeMs?: number
  /** Without an answer of any broker: start again from the bootstrap addresses (KIP-899). @default 30_000 */
  readonly bootstrapAfterMs?: number
  /** After failures. */
  readonly backoff?: BackoffOptions
}

/**
 * When metadata is read again. All who want it between two refreshes share one; a wish while one is on its way needs another, because
 * its answer may be older than the wish. What is missing is looked for in between, alone. Pure: time and random numbers are given.
 */
export class RefreshSchedule {
  readonly #minGapMs: number
  readonly #maxAgeMs: number
  readonly #bootstrapAfterMs: number
  readonly #backoff: BackoffOptions
  #isRunning = false
  #isWanted = true
  #missingAt = Infinity
  /** The refresh that is running, or was the last, reads what is missing only. */
  #isPartial = false
  #lastStart = -Infinity
  #lastSuccess: number
  /** Of a refresh of everything. */
  #lastWhole: number
  #notBefore = -Infinity
  #failures = 0

  constructor(now: number, options: RefreshOptions = {}) {
    const { minGapMs = 100, maxAgeMs = 300_000, bootstrapAfterMs = 30_000, backoff = {} } = options
    this.#backoff = backoff
    this.#minGapMs = minGapMs
    this.#maxAgeMs = maxAgeMs
    this.#bootstrapAfterMs = bootstrapAfterMs
    this.#lastSuccess = this.#lastWhole = now
  }

  /** When the next refresh is due; Infinity while one is running. */
  get dueAt(): number {
    if (this.#isRunning) return Infinity
    return Math.max(Math.min(this.#wholeAt, this.#missingAt), this.#lastStart + this.#minGapMs, this.#notBefore)
  }

  /** Something is outdated: a leader has moved, a topic is new. */
  want(): void {
    this.#isWanted = true
  }

  /** Something is missing that may come: only that is looked for then. */
  lookAt(time: number): void {
    this.#missingAt = time
  }

  /** True if everything is to be read now; false: what is missing. */
  started(now: number): boolean {
    this.#isPartial = this.#missingAt < this.#wholeAt
    this.#isRunning = true
    this.#missingAt = Infinity
    this.#isWanted = false
    this.#lastStart = now
    return !this.#isPartial
  }

  succeeded(now: number): void {
    this.#isRunning = false
    this.#failures = 0
    this.#lastSuccess = now
    if (!this.#isPartial) this.#lastWhole = now
    this.#notBefore = -Infinity
  }

  failed(now: number, random: number): void {
    this.#isRunning = false
    this.#isWanted = true
    this.#failures++
    this.#notBefore = now + backoffMs(this.#failures, random, this.#backoff)
  }

  /** Whether none of the brokers that are known has answered for so long that their addresses may be outdated. */
  mustBootstrap(now: number): boolean {
    return now - this.#lastSuccess >= this.#bootstrapAfterMs && this.#failures > 0
  }

  /** After going back to the bootstrap addresses: they have their time too. */
  bootstrapped(now: number): void {
    this.#lastSuccess = now
  }

  /** When everything is to be read. */
  get #wholeAt(): number {
    return this.#isWanted ? -Infinity : this.#lastWhole + this.#maxAgeMs
  }
}
