import type { Clock, Timer } from '../../../core/clock.ts'

const FIRST_AFTER_MS = 100
const AT_MOST_EVERY_MS = 10_000
/** A refusal this long after the last one has another cause. */
const FORGOTTEN_AFTER_MS = 30_000
/** How long messages may be held back until a channel has no unanswered ones, so that a new one can replace it. */
const HOLD_MS = 1_000

export interface ChannelRenewalHost {
  /** Every message sent on the channel is answered. */
  isAnswered(): boolean
  /** Replaces the channel, which has no unanswered messages. */
  replace(): void
  /** The channel stays for now: sending continues. */
  resume(): void
}

/**
 * Decides when a publishing channel is replaced because a queue refuses its messages. RabbitMQ keeps state about a
 * quorum queue on each channel, from the first message on. If the queue had no leader then, because its node had just
 * died, RabbitMQ 3 has the channel refuse each message for that queue until the channel ends, although the queue
 * recovers a moment later. A new channel reads the state again. A full queue refuses in the same way: for that case,
 * replacements slow down.
 *
 * Messages of the new channel must not overtake those of the old one, so sending is held back until all of these are
 * answered.
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

  /** While true, nothing more may be sent on the channel. */
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
    // A refusal may come while sending is already held back, which then lasts longer.
    this.#hold?.cancel()
    this.#hold = this.#clock.setTimer(HOLD_MS, () => {
      // A queue does not answer. It must not block messages for other queues; the next refusal tries again.
      this.#hold = undefined
      this.#host.resume()
    })
    this.answered()
  }
}
