import type { Clock, Timer } from '../../core/clock.ts'

const FIRST_AFTER_MS = 100
const AT_MOST_EVERY_MS = 10_000
/** A refusal that comes so long after the last one is about something else. */
const FORGOTTEN_AFTER_MS = 30_000
/** How long messages may be held back for a channel to be answered in full, so that a new one can follow it. */
const HOLD_MS = 1_000

export interface ChannelRenewalHost {
  /** Every message that was sent on the channel is answered. */
  isAnswered(): boolean
  /** Puts a new channel in the place of the one that is answered in full. */
  replace(): void
  /** The channel stays, for now: sending goes on. */
  resume(): void
}

/**
 * When a channel for publishing is to make room for a new one, because a queue refuses what it sends. RabbitMQ keeps on each
 * channel what it knows of a quorum queue, from the first message on. Where that was while the queue had no leader, since its node
 * had just died, RabbitMQ 3 has the channel refuse each message for that queue until the channel ends, though the queue is well
 * again a moment later. A new channel looks again. A queue that is full refuses just as well: for its sake the pace slows down.
 *
 * Messages of the new channel must not overtake those of the old one, so sending is held back until all of these are answered.
 */
export class ChannelRenewal {
  readonly #clock: Clock
  readonly #host: ChannelRenewalHost
  #timer: Timer | undefined
  #hold: Timer | undefined
  #waitMs = FIRST_AFTER_MS
  #lastAt = -Infinity

  constructor(clock: Clock, host: ChannelRenewalHost) {
    this.#clock = clock
    this.#host = host
  }

  /** While it is true, nothing more is to be sent on the channel. */
  get isHolding(): boolean {
    return this.#hold !== undefined
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
      this.#holdBack()
    })
  }

  /** Messages were answered. */
  answered(): void {
    if (this.#hold === undefined || !this.#host.isAnswered()) return
    this.cancel()
    this.#host.replace()
  }

  /** The channel has ended. */
  cancel(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#hold?.cancel()
    this.#hold = undefined
  }

  #holdBack(): void {
    // A refusal may come while sending is held back already: then it is for that much longer.
    this.#hold?.cancel()
    this.#hold = this.#clock.setTimer(HOLD_MS, () => {
      // Some queue does not answer. It must not keep the others from their messages; the next refusal brings us back here.
      this.#hold = undefined
      this.#host.resume()
    })
    this.answered()
  }
}
