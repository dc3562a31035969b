import type { Clock, Timer } from '../../../core/clock.ts'

const MIN_MS = 5

/** Repeats work, one run at a time: every `everyMs`, and sooner on request. */
export class Ticker {
  readonly #clock: Clock
  readonly #everyMs: number
  readonly #work: () => Promise<void>
  #timer: Timer | undefined
  #at = Infinity
  #running: Promise<void> | undefined
  #stopped = false

  /** `work` must not reject. */
  constructor(clock: Clock, everyMs: number, work: () => Promise<void>) {
    this.#clock = clock
    this.#everyMs = everyMs
    this.#work = work
  }

  start(): void {
    this.soon(this.#pauseMs())
  }

  /** Runs again after at most `ms`. */
  soon(ms: number): void {
    if (this.#stopped) return
    const delay = Math.max(MIN_MS, ms)
    const at = this.#clock.monotonic() + delay
    if (at >= this.#at) return
    this.#timer?.cancel()
    this.#at = at
    this.#timer = this.#clock.setTimer(delay, () => {
      this.#at = Infinity
      // While it works, nothing more is started; when it ends, the next run is scheduled anyway.
      this.#running ??= this.#work().finally(() => {
        this.#running = undefined
        this.soon(this.#pauseMs())
      })
    })
  }

  /** Resolves when no run is in progress. */
  async quiet(): Promise<void> {
    await this.#running
  }

  stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    return this.quiet()
  }

  /** With jitter, so that members don't run all at once. */
  #pauseMs(): number {
    return this.#everyMs * (0.8 + Math.random() * 0.4)
  }
}
