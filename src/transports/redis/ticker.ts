import type { Clock, Timer } from '../../core/clock.ts'

const MIN_MS = 5

/** Does something again and again, one at a time: as often as `everyMs` says, and sooner when it is asked to. */
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

  /** Comes back no later than in so many ms. */
  soon(ms: number): void {
    if (this.#stopped) return
    const delay = Math.max(MIN_MS, ms)
    const at = this.#clock.monotonic() + delay
    if (at >= this.#at) return
    this.#timer?.cancel()
    this.#at = at
    this.#timer = this.#clock.setTimer(delay, () => {
      this.#at = Infinity
      // While it works, nothing more is begun; when it ends, the next is armed anyway.
      this.#running ??= this.#work().finally(() => {
        this.#running = undefined
        this.soon(this.#pauseMs())
      })
    })
  }

  /** Resolves when nothing is under way. */
  async quiet(): Promise<void> {
    await this.#running
  }

  stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    return this.quiet()
  }

  /** With jitter, so that members don't do it all at once. */
  #pauseMs(): number {
    return this.#everyMs * (0.8 + Math.random() * 0.4)
  }
}
