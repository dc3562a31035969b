import type { Clock, Timer } from '../../../core/clock.ts'
import type { PublishError } from '../../../core/errors.ts'
import { Queue } from '../../../core/util/queue.ts'
import { CONFIRMED } from '../publish/publish-job.ts'
import type { PublishJob } from '../publish/publish-job.ts'

interface Waiting {
  readonly job: PublishJob
  readonly index: number
  /** When its queue is old enough, in monotonic ms. Never earlier than that of a message before it. */
  readonly safeAt: number
}

/** Messages that the broker has confirmed but that are not safe yet: the queue where they wait was just created. */
export class YoungConfirms {
  readonly #clock: Clock
  readonly #youngForMs: () => number
  readonly #waiting = new Queue<Waiting>()
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
    this.#waiting.push({ job, index, safeAt: this.#clock.monotonic() + youngMs })
    this.#timer ??= this.#clock.setTimer(youngMs, () => this.#settle())
  }

  #settle(): void {
    this.#timer = undefined
    const now = this.#clock.monotonic()
    for (let next = this.#waiting.peek(); next !== undefined; next = this.#waiting.peek()) {
      // Another queue was created meanwhile.
      if (next.safeAt > now) {
        this.#timer = this.#clock.setTimer(next.safeAt - now, () => this.#settle())
        return
      }
      this.#waiting.shift()
      next.job.settle(next.index, CONFIRMED)
    }
  }

  lost(error: PublishError): void {
    this.#timer?.cancel()
    this.#timer = undefined
    for (const { job, index } of this.#waiting.drain()) job.settle(index, { error })
  }
}
