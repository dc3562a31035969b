import type { Clock, Timer } from '../../../core/clock.ts'

const TICK_MS = 500

/**
 * Notices when this process's event loop is blocked: heartbeats are then missed, and the broker drops a connection that
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

  /** The longest recent block of the event loop, in ms; blocks that ended more than `withinMs` ago are ignored. */
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
