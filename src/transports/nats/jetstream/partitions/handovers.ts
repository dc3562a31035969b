import type { Session } from '../../connection/session.ts'
import type { Partition } from './partition.ts'

/** Handovers of partitions that wait for the deliveries that are still being handled. */
export class Handovers {
  readonly #session: Session
  /** One for each: called when deliveries are settled or lost. */
  readonly #waiting = new Set<() => void>()
  #closed = false

  constructor(session: Session) {
    this.#session = session
  }

  /**
   * Resolves when nothing of the partition is outstanding any more, after `handoverTimeoutMs`, or when the member closes.
   * `lost`: there is nothing left to hand over; seen with the next call of `settled`.
   */
  async wait(partition: Partition, lost: AbortSignal): Promise<void> {
    const isOver = (): boolean => lost.aborted || this.#closed || partition.outstanding.size === 0
    if (isOver()) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const { host, options } = this.#session
    const timer = host.clock.setTimer(options.handoverTimeoutMs, resolve)
    const check = (): void => {
      if (isOver()) resolve()
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
    this.#closed = true
    this.settled()
  }
}
