import type { Clock, Timer } from '../clock.ts'

/** A deadline that can be shortened while it is awaited, as when an operator asks to close a second time. */
export class CloseDeadline {
  /** Resolves when the time is up, with the limit that was exceeded, in ms. */
  readonly reached: Promise<number>
  readonly #clock: Clock
  #reach: (limitMs: number) => void = () => {}
  #timer: Timer | undefined
  #endsAt = Infinity

  constructor(clock: Clock, timeoutMs: number) {
    this.#clock = clock
    this.reached = new Promise((resolve) => {
      this.#reach = resolve
    })
    this.shorten(timeoutMs)
  }

  get leftMs(): number {
    return this.#endsAt - this.#clock.monotonic()
  }

  /** Moves the deadline to `timeoutMs` from now, if that is sooner. */
  shorten(timeoutMs: number): void {
    const endsAt = this.#clock.monotonic() + timeoutMs
    if (endsAt >= this.#endsAt) return
    this.#endsAt = endsAt
    this.#timer?.cancel()
    if (timeoutMs <= 0) this.#reach(timeoutMs)
    else this.#timer = this.#clock.setTimer(timeoutMs, () => this.#reach(timeoutMs))
  }

  /** Releases the timer. `reached` then never resolves, unless it already has. */
  cancel(): void {
    this.#timer?.cancel()
  }
}
