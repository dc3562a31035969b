/**
 * When a circuit opens: at a number of failures, or at a share of failures among at least `minimum` results, within the window.
 */
export type FailureLimit =
  | { readonly windowMs: number; readonly failures: number }
  | { readonly windowMs: number; readonly rate: number; readonly minimum: number }

/** The recent results of a circuit. Its size depends only on the limit, not on the traffic. */
export interface FailureWindow {
  success(now: number): void
  /** Records a failure; returns true when the limit is reached. */
  failure(now: number): boolean
  clear(): void
}

export function failureWindow(limit: FailureLimit): FailureWindow {
  return 'failures' in limit ? new CountWindow(limit.windowMs, limit.failures) : new RateWindow(limit)
}

/** A ring of the times of the last failures: the limit is reached when the oldest is still within the window. */
class CountWindow implements FailureWindow {
  readonly #windowMs: number
  readonly #instants: number[]
  #at = 0

  constructor(windowMs: number, failures: number) {
    this.#windowMs = windowMs
    this.#instants = Array.from({ length: failures }, () => -Infinity)
  }

  success(): void {
    // Successes don't undo failures: a dependency that fails every other call is broken.
  }

  failure(now: number): boolean {
    this.#instants[this.#at] = now
    this.#at = (this.#at + 1) % this.#instants.length
    const oldest = this.#instants[this.#at] ?? -Infinity
    return now - oldest < this.#windowMs
  }

  clear(): void {
    this.#instants.fill(-Infinity)
  }
}

const SLICES = 10

/** Counts in ten slices of the window; the oldest is dropped as time passes. */
class RateWindow implements FailureWindow {
  readonly #sliceMs: number
  readonly #rate: number
  readonly #minimum: number
  readonly #results: number[] = Array.from({ length: SLICES }, () => 0)
  readonly #failures: number[] = Array.from({ length: SLICES }, () => 0)
  /** Index of the current slice, counted from the clock's zero. */
  #slice = 0
  #allResults = 0
  #allFailures = 0

  constructor(limit: { readonly windowMs: number; readonly rate: number; readonly minimum: number }) {
    this.#sliceMs = limit.windowMs / SLICES
    this.#rate = limit.rate
    this.#minimum = limit.minimum
  }

  success(now: number): void {
    this.#count(now, 0)
  }

  failure(now: number): boolean {
    this.#count(now, 1)
    return this.#allResults >= this.#minimum && this.#allFailures / this.#allResults >= this.#rate
  }

  clear(): void {
    this.#results.fill(0)
    this.#failures.fill(0)
    this.#allResults = 0
    this.#allFailures = 0
  }

  #count(now: number, failures: 0 | 1): void {
    this.#moveTo(Math.floor(now / this.#sliceMs))
    const index = this.#slice % SLICES
    this.#results[index] = (this.#results[index] ?? 0) + 1
    this.#failures[index] = (this.#failures[index] ?? 0) + failures
    this.#allResults++
    this.#allFailures += failures
  }

  #moveTo(slice: number): void {
    if (slice - this.#slice >= SLICES) {
      this.clear()
      this.#slice = slice
    }
    while (this.#slice < slice) {
      this.#slice++
      const index = this.#slice % SLICES
      this.#allResults -= this.#results[index] ?? 0
      this.#allFailures -= this.#failures[index] ?? 0
      this.#results[index] = 0
      this.#failures[index] = 0
    }
  }
}
