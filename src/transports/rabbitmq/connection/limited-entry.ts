/** Lets a number of callers in at once, in the order of their calls. */
export class LimitedEntry {
  #free: number
  readonly #waiting: (() => void)[] = []

  constructor(most: number) {
    this.#free = most
  }

  async enter(): Promise<void> {
    if (this.#free-- > 0) return
    await new Promise<void>((resolve) => void this.#waiting.push(resolve))
  }

  leave(): void {
    this.#free++
    this.#waiting.shift()?.()
  }
}
