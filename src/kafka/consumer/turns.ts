import type { Clock } from '../network/clock.ts'

/** Records that wait already could be delivered without end before the process looks at its sockets and timers again. */
const LONGEST_TURN_MS = 5

/** Sees to it that a consumer that never waits lets the event loop turn. */
export class Turns {
  readonly #clock: Clock
  #began: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#began = clock.now()
  }

  isDue(): boolean {
    return this.#clock.now() - this.#began >= LONGEST_TURN_MS
  }

  /** It has just turned. */
  began(): void {
    this.#began = this.#clock.now()
  }

  async next(): Promise<void> {
    await new Promise(setImmediate)
    this.began()
  }
}
