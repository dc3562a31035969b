/**
 * Counts what was sent and not yet handled, and keeps the sender from running away: an unbounded backlog would measure the
 * garbage collector. Two numbers and one promise for a whole burst, so that it costs the measured code nothing.
 */
export class Backlog {
  readonly #most: number
  #sent = 0
  #handled = 0
  #wakeAt = Infinity
  #wake: (() => void) | undefined

  constructor(most: number) {
    this.#most = most
  }

  get handled(): number {
    return this.#handled
  }

  get size(): number {
    return this.#sent - this.#handled
  }

  get full(): boolean {
    return this.#sent - this.#handled >= this.#most
  }

  sent(count: number): void {
    this.#sent += count
  }

  done(): void {
    if (++this.#handled >= this.#wakeAt) this.#release()
  }

  doneMany(count: number): void {
    this.#handled += count
    if (this.#handled >= this.#wakeAt) this.#release()
  }

  /** Resolves when half of the backlog is free. */
  room(): Promise<void> {
    return this.#until(this.#sent - Math.floor(this.#most / 2))
  }

  /** Resolves when everything that was sent is handled. */
  empty(): Promise<void> {
    return this.#until(this.#sent)
  }

  #until(handled: number): Promise<void> {
    if (this.#handled >= handled) return Promise.resolve()
    return new Promise((resolve) => {
      const others = this.#wake
      this.#wakeAt = Math.max(handled, others === undefined ? 0 : this.#wakeAt)
      this.#wake = () => {
        others?.()
        resolve()
      }
    })
  }

  #release(): void {
    const wake = this.#wake
    this.#wakeAt = Infinity
    this.#wake = undefined
    wake?.()
  }
}
