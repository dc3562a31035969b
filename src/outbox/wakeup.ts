import type { Clock, Timer } from '../core/clock.ts'

/** Lets one loop wait for a time, or until it is woken. A wake that comes while it does not wait is remembered. */
export class Wakeup {
  readonly #clock: Clock
  #isDue = false
  #end: (() => void) | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  wake(): void {
    this.#isDue = true
    this.#end?.()
  }

  /** Resolves with true if it was woken. */
  async wait(ms: number): Promise<boolean> {
    let timer: Timer | undefined
    if (!this.#isDue) {
      await new Promise<void>((resolve) => {
        this.#end = resolve
        timer = this.#clock.setTimer(ms, resolve)
      })
      timer?.cancel()
      this.#end = undefined
    }
    const wasWoken = this.#isDue
    this.#isDue = false
    return wasWoken
  }
}
