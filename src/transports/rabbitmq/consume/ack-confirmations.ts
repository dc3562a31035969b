import { sleep } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import type { RabbitMqDelivery } from './delivery.ts'

/** Each question costs both sides about as much as a message. */
const ASK_EVERY_MS = 10

const YES: Promise<boolean> = Promise.resolve(true)

/**
 * Finds out which acks of one channel the broker has read. AMQP does not answer acks, so this sends a request that is
 * answered, in the order of the channel: now and then, for all that was sent since the last one.
 */
export class AckConfirmations {
  readonly #clock: Clock
  readonly #ask: () => Promise<unknown>
  /** Settled and acked to the broker, which has not shown yet that it has read the ack. */
  #unheard: RabbitMqDelivery[] = []
  #asking: Promise<boolean> = YES
  #next: Promise<boolean> | undefined
  #askedAt = -ASK_EVERY_MS
  #isOver = false
  /** An ack was sent on the channel. */
  hasAcked = false

  constructor(clock: Clock, ask: () => Promise<unknown>) {
    this.#clock = clock
    this.#ask = ask
  }

  /** Acks of these were sent. */
  sent(acked: readonly RabbitMqDelivery[]): void {
    if (acked.length === 0) return
    this.hasAcked = true
    // Skipped messages have no outcome that could be lost, and nobody may ask for a long time.
    for (const delivery of acked) if (delivery.isKnown) this.#unheard.push(delivery)
  }

  /** Resolves with true when the broker has read what was sent so far, with false when the channel ended first. */
  heard(): Promise<boolean> {
    this.#next ??= this.#mayAsk().then(() => {
      this.#next = undefined
      this.#askedAt = this.#clock.monotonic()
      this.#asking = this.#askNow()
      return this.#asking
    })
    return this.#next
  }

  /** The channel ended. Returns what the broker may not have read. */
  end(): readonly RabbitMqDelivery[] {
    this.#isOver = true
    return this.#unheard
  }

  async #mayAsk(): Promise<void> {
    await this.#asking
    const waitMs = this.#askedAt + ASK_EVERY_MS - this.#clock.monotonic()
    if (waitMs > 0) await sleep(this.#clock, waitMs)
  }

  async #askNow(): Promise<boolean> {
    if (this.#isOver) return false
    const asked = this.#unheard.length
    try {
      await this.#ask()
    } catch {
      return false
    }
    if (this.#isOver) return false
    if (asked === this.#unheard.length) this.#unheard = []
    else this.#unheard.splice(0, asked)
    return true
  }
}
