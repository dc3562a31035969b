/** Lets a number of callers in at once, in the order of their calls. */
export class LimitedEntry {
  #free: number
  readonly #waiting: (() => void)[] = []

  constructor(most: number) {
    this.#free = most
  }

  /** Runs the work when it is its turn. */
  async run<Result>(work: () => Promise<Result>): Promise<Result> {
    await this.enter()
    try {
      return await work()
    } finally {
      this.leave()
    }
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
