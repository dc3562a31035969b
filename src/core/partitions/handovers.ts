import type { Clock } from '../clock.ts'

/** Handovers of partitions that wait for the deliveries that are still being handled. */
export class Handovers {
  readonly #clock: Clock
  /** One for each: called when deliveries are settled or lost. */
  readonly #waiting = new Set<() => void>()
  #isClosed = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Resolves when `isOver`, as seen whenever something is settled; after `limitMs`; or when the member closes. */
  async wait(limitMs: number, isOver: () => boolean): Promise<void> {
    if (this.#isClosed || isOver()) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = this.#clock.setTimer(limitMs, resolve)
    const check = (): void => {
      if (this.#isClosed || isOver()) resolve()
    }
    this.#waiting.add(check)
    await promise
    this.#waiting.delete(check)
    timer.cancel()
  }

  /** Some deliveries were settled, or lost. */
  settled(): void {
    for (const check of this.#waiting) check()
  }

  close(): void {
    this.#isClosed = true
    this.settled()
  }
}
