import { CloseDeadline } from './close-deadline.ts'
import type { CloseOptions } from './close-deadline.ts'
import type { Clock } from './network/clock.ts'

/** The closing of a client, a producer or a consumer: it happens once, however often `close` is called. */
export class Closing {
  readonly deadline: CloseDeadline
  #closed: Promise<void> | undefined

  /** `subject` and `byDefaultMs`: see {@link CloseDeadline}. */
  constructor(clock: Clock, subject: string, byDefaultMs?: number) {
    this.deadline = new CloseDeadline(clock, subject, byDefaultMs)
  }

  /** Nothing new may begin. */
  get hasBegun(): boolean {
    return this.#closed !== undefined
  }

  /**
   * Calls `close` unless it has been called, and settles as it does. The options of a later call can make the deadline sooner; undefined
   * leaves it as it is. Rejects with an {@link InvalidOptionsError} if the options can't be used.
   */
  async run(options: CloseOptions | undefined, close: () => Promise<void>): Promise<void> {
    if (options !== undefined) this.deadline.set(options)
    // Not at once: what it calls, listeners and hooks, may call close again, and must find that it has begun.
    this.#closed ??= Promise.resolve().then(close)
    await this.#closed
  }
}
