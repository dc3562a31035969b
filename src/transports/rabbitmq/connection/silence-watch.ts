import type { Clock, Timer } from '../../../core/clock.ts'

const STEP_MS = 5_000
/** Number of steps without a sign of life; the first of them asks for one. */
const MAX_SILENT_STEPS = 3

export interface SilenceWatchHost {
  /** Something sent is unanswered. */
  isOwed(): boolean
  /** The broker has said that it is blocking this connection. */
  isExcused(): boolean
  /** Asks the channel something that it answers at once. Rejects when the channel ends first. */
  ask(): Promise<unknown>
  /** Nothing came for this long, not even the answer to that question. */
  giveUp(silentMs: number): void
}

/**
 * Notices a channel that is stuck at the broker. The first message of a channel for a quorum queue registers the
 * channel with the queue's leader; while there is none, RabbitMQ blocks the whole channel, for 65 s and more, and
 * messages for healthy queues wait behind it (`rabbit_fifo_client:enqueue`). A channel that only waits for a slow queue
 * answers the question, and is left alone.
 *
 * Counts steps, not time: while this process is frozen, answers are not missed.
 */
export class SilenceWatch {
  readonly #clock: Clock
  readonly #host: SilenceWatchHost
  #timer: Timer | undefined
  #silentSteps = 0

  constructor(clock: Clock, host: SilenceWatchHost) {
    this.#clock = clock
    this.#host = host
  }

  /** Something that needs an answer was sent. */
  sent(): void {
    if (this.#timer === undefined) this.#next()
  }

  /** The channel has answered something. */
  heard(): void {
    this.#silentSteps = 0
  }

  /** The channel has ended. */
  cancel(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  #next(): void {
    this.#timer = this.#clock.setTimer(STEP_MS, () => {
      this.#timer = undefined
      this.#step()
    })
  }

  #step(): void {
    if (!this.#host.isOwed()) {
      // `sent` starts it again.
      this.#silentSteps = 0
      return
    }
    this.#silentSteps = this.#host.isExcused() ? 0 : this.#silentSteps + 1
    if (this.#silentSteps >= MAX_SILENT_STEPS) {
      this.#host.giveUp(MAX_SILENT_STEPS * STEP_MS)
      return
    }
    this.#next()
    if (this.#silentSteps !== 1) return
    this.#host.ask().then(
      () => this.heard(),
      // The end of the channel is reported elsewhere.
      () => undefined,
    )
  }
}
