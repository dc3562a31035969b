import type { Clock, Timer } from '../../core/clock.ts'
import type { PublishError } from '../../core/errors.ts'
import { CONFIRMED } from './publish-job.ts'
import type { PublishJob } from './publish-job.ts'

/** Messages that the broker has confirmed but that are not safe yet: the queue where they wait was just created. */
export class YoungConfirms {
  readonly #clock: Clock
  readonly #youngForMs: () => number
  readonly #waiting = new Set<{ readonly job: PublishJob; readonly index: number }>()
  #timer: Timer | undefined

  constructor(clock: Clock, youngForMs: () => number) {
    this.#clock = clock
    this.#youngForMs = youngForMs
  }

  confirmed(job: PublishJob, index: number): void {
    const youngMs = this.#youngForMs()
    if (youngMs === 0) {
      job.settle(index, CONFIRMED)
      return
    }
    this.#waiting.add({ job, index })
    this.#timer ??= this.#clock.setTimer(youngMs, () => {
      this.#timer = undefined
      for (const { job: old, index: at } of this.#waiting) old.settle(at, CONFIRMED)
      this.#waiting.clear()
    })
  }

  lost(error: PublishError): void {
    this.#timer?.cancel()
    this.#timer = undefined
    for (const { job, index } of this.#waiting) job.settle(index, { error })
    this.#waiting.clear()
  }
}
