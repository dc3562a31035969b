import { Queue } from './queue.ts'

/** Lets a bounded number of calls be in progress at once; the others wait for their turn, in order. */
export class Turns {
  readonly #most: number
  #running = 0
  readonly #waiting = new Queue<() => void>()

  constructor(most: number) {
    this.#most = most
  }

  /** Settles as `work` does. */
  async run<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#running < this.#most) this.#running++
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    try {
      return await work()
    } finally {
      // The turn passes on without being free in between, or a new call would overtake those that wait.
      const next = this.#waiting.shift()
      if (next === undefined) this.#running--
      else next()
    }
  }
}
