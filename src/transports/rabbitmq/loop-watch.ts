import type { Clock, Timer } from '../../core/clock.ts'

const TICK_MS = 500

/**
 * Notices when the event loop of this process stands still: then heartbeats are missed, and the broker gives up a connection that
 * nothing is wrong with.
 */
export class LoopWatch {
  readonly #clock: Clock
  #timer: Timer | undefined
  #tickedAt: number
  #blocked: { readonly at: number; readonly ms: number } | undefined

  constructor(clock: Clock) {
    this.#clock = clock
    this.#tickedAt = clock.monotonic()
    this.#tick()
  }

  /** The longest time that it has just stood still for, in ms; of what ended more than `withinMs` ago, nothing. */
  blockedMs(withinMs: number): number {
    const now = this.#clock.monotonic()
    this.#look(now)
    return this.#blocked !== undefined && this.#blocked.at >= now - withinMs ? this.#blocked.ms : 0
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  #tick(): void {
    this.#timer = this.#clock.setTimer(TICK_MS, () => {
      const now = this.#clock.monotonic()
      this.#look(now)
      this.#tickedAt = now
      this.#tick()
    })
    this.#timer.unref?.()
  }

  #look(now: number): void {
    const ms = now - this.#tickedAt - TICK_MS
    if (ms >= TICK_MS) this.#blocked = { at: now, ms }
  }
}
