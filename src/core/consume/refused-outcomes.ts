import type { ResolvedConsumeOptions } from './consume-options.ts'
import type { Clock } from '../clock.ts'
import { PublishError } from '../errors.ts'
import type { PendingDelivery, Refusals } from './pending-delivery.ts'
import { backoffMs } from './retry.ts'
import type { Outcome } from '../transport.ts'

export interface RefusedOutcomesHost {
  readonly clock: Clock
  /** Sends an outcome to the broker again. */
  settleAgain(pending: PendingDelivery, outcome: Outcome): void
  /** The outcome of a delivery that has a failure; `slim`: its dead letter in the shortest form. */
  rejection(pending: PendingDelivery, slim: boolean): Outcome
  /** Its ack is refused for good: it is dead-lettered with this error. */
  giveUp(pending: PendingDelivery, error: Error): void
  /** Gives back the credit of a delivery that stays unsettled. */
  freed(count: number, bytes: number): void
}

/** Backoff for what can't be stored with an outcome; meanwhile the source stays unsettled, and its key waits. */
const SETTLE_BACKOFF = { backoff: 'exponential', baseMs: 200, maxMs: 30_000 } as const
/** How often an ack whose messages the broker refuses for good is sent again, over some minutes, before its message is dead-lettered. */
const MAX_REFUSED_ACKS = 15

/**
 * The outcomes that carry something which the broker could not store: dead letters, and acks with messages. Each is sent again
 * until it is stored, so that nothing is lost or overtaken.
 */
export class RefusedOutcomes {
  readonly #host: RefusedOutcomesHost
  readonly #limits: Pick<ResolvedConsumeOptions, 'prefetch' | 'prefetchBytes'>
  /** Each with what sends its outcome at once. */
  readonly #waiting = new Map<PendingDelivery, () => void>()
  /** Messages that are set aside, and their bytes. */
  #asideCount = 0
  #asideBytes = 0

  constructor(host: RefusedOutcomesHost, limits: Pick<ResolvedConsumeOptions, 'prefetch' | 'prefetchBytes'>) {
    this.#host = host
    this.#limits = limits
  }

  /** The dead letter could not be stored. Its source stays unsettled until it is. */
  deadLetter(pending: PendingDelivery, error: Error): void {
    // A dead letter that is refused for good may be too large because of our headers.
    const slim = PublishError.is(error) && !error.retryable
    const refusals = refusalsOf(pending)
    if (slim && refusals.isSlim) this.#setAside(pending, refusals)
    refusals.isSlim = slim
    this.#later(pending, () => this.#host.rejection(pending, slim))
  }

  /**
   * What it publishes could not be stored, so it was not acked either. Its handler has succeeded and does not run again, unless
   * the broker keeps refusing for good: then the message is dead-lettered, and a redrive runs its handler again.
   */
  ack(pending: PendingDelivery, outcome: Outcome, error: Error): void {
    if (PublishError.is(error) && !error.retryable) {
      const refusals = refusalsOf(pending)
      if (++refusals.refusedAcks > MAX_REFUSED_ACKS) {
        refusals.tries = 0
        this.#host.giveUp(pending, error)
        return
      }
      this.#setAside(pending, refusals)
    }
    this.#later(pending, () => outcome)
  }

  /** Sends the outcome of this delivery now, if it waits here: it is lost, and the transport reports that. */
  sendNow(pending: PendingDelivery): void {
    this.#waiting.get(pending)?.()
  }

  /** Sends all of them now: a last attempt, for a close that waits for them. */
  sendAll(): void {
    for (const send of this.#waiting.values()) send()
  }

  /** The delivery has its outcome at last, and frees its place: its credit, or the room of what was set aside. */
  leave({ refusals, delivery }: PendingDelivery): void {
    if (refusals?.isSetAside === true) {
      this.#asideCount--
      this.#asideBytes -= delivery.bytes
    } else this.#host.freed(1, delivery.bytes)
  }

  /**
   * What the broker refuses for good must not hold up other messages for long: its source stays here, but gives back its credit.
   * Not without bound: as much again as may be unsettled anyway.
   */
  #setAside({ delivery }: PendingDelivery, refusals: Refusals): void {
    const { prefetch, prefetchBytes } = this.#limits
    const { bytes } = delivery
    if (refusals.isSetAside || this.#asideCount >= prefetch || this.#asideBytes >= prefetchBytes) return
    refusals.isSetAside = true
    this.#asideCount++
    this.#asideBytes += bytes
    this.#host.freed(1, bytes)
  }

  #later(pending: PendingDelivery, outcome: () => Outcome): void {
    const send = (): void => {
      pending.timer?.cancel()
      pending.timer = undefined
      this.#waiting.delete(pending)
      this.#host.settleAgain(pending, outcome())
    }
    this.#waiting.set(pending, send)
    pending.timer = this.#host.clock.setTimer(backoffMs(SETTLE_BACKOFF, ++refusalsOf(pending).tries), send)
  }
}

function refusalsOf(pending: PendingDelivery): Refusals {
  return (pending.refusals ??= { tries: 0, refusedAcks: 0, isSlim: false, isSetAside: false })
}
