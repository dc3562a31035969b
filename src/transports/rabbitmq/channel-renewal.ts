import type { Clock, Timer } from '../../core/clock.ts'

const FIRST_AFTER_MS = 100
const AT_MOST_EVERY_MS = 10_000
/** A refusal that comes so long after the last one is about something else. */
const FORGOTTEN_AFTER_MS = 30_000

/**
 * When a channel for publishing is to make room for a new one, because a queue refuses what it sends. RabbitMQ keeps on each
 * channel what it knows of a quorum queue, from the first message on. Where that was while the queue had no leader, since its node
 * had just died, RabbitMQ 3 has the channel refuse each message for that queue until the channel ends, though the queue is well
 * again a moment later. A new channel looks again. A queue that is full refuses just as well: for its sake the pace slows down.
 */
export class ChannelRenewal {
  readonly #clock: Clock
  readonly #renew: () => void
  #timer: Timer | undefined
  #waitMs = FIRST_AFTER_MS
  #lastAt = -Infinity

  constructor(clock: Clock, renew: () => void) {
    this.#clock = clock
    this.#renew = renew
  }

  /** A queue refused a message. */
  refused(): void {
    if (this.#timer !== undefined) return
    const now = this.#clock.monotonic()
    if (now - this.#lastAt > FORGOTTEN_AFTER_MS) this.#waitMs = FIRST_AFTER_MS
    const waitMs = this.#waitMs
    this.#waitMs = Math.min(AT_MOST_EVERY_MS, 2 * waitMs)
    this.#timer = this.#clock.setTimer(waitMs, () => {
      this.#timer = undefined
      this.#lastAt = this.#clock.monotonic()
      this.#renew()
    })
  }

  /** The channel has ended by itself. */
  cancel(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }
}
