import type { Outcome, Settlement, SettlementFailure, TransportSubscription } from '../transport.ts'
import type { PendingDelivery } from './pending-delivery.ts'

export interface SettlerHost {
  /** The broker has accepted the outcome. */
  settled(pending: PendingDelivery, outcome: Outcome): void
  /** The broker has not accepted the outcome. */
  settleFailed(pending: PendingDelivery, outcome: Outcome, error: SettlementFailure['error']): void
  /**
   * This many deliveries are done, and may be replaced. Not called for rejects and acks with messages: the host knows when
   * those are done.
   */
  freed(count: number, bytes: number): void
}

const ACK: Outcome = Object.freeze({ type: 'ack' })
/** A turn with many synchronous handlers must not hold back their acks until the last one. */
const FLUSH_AT = 1_000

/** Gathers outcomes and settles them in batches, once per turn of the event loop. */
export class Settler {
  readonly #subscription: TransportSubscription
  readonly #host: SettlerHost
  /** Returns undefined without an observer, otherwise a function to call with the answer. */
  readonly #observe: (batch: readonly Settlement[]) => ((failures: readonly SettlementFailure[]) => void) | undefined
  #settlements: Settlement[] = []
  #freedCount = 0
  #freedBytes = 0
  #scheduled = false
  /** Batches that the transport has not answered, oldest first. */
  readonly #inFlight = new Set<readonly Settlement[]>()
  #waiting: (() => void)[] = []

  constructor(
    subscription: TransportSubscription,
    host: SettlerHost,
    observe: (batch: readonly Settlement[]) => ((failures: readonly SettlementFailure[]) => void) | undefined,
  ) {
    this.#subscription = subscription
    this.#host = host
    this.#observe = observe
  }

  ack(pending: PendingDelivery): void {
    this.#freedCount++
    this.#freedBytes += pending.delivery.bytes
    this.again(pending, ACK)
  }

  add(pending: PendingDelivery, outcome: Outcome): void {
    // What goes with the outcome may take long to be stored, and the source is held until then: don't replace it meanwhile.
    if (outcome.type !== 'reject' && !('publish' in outcome)) {
      this.#freedCount++
      this.#freedBytes += pending.delivery.bytes
    }
    this.again(pending, outcome)
  }

  /** Sends an outcome again that the broker did not accept. */
  again(pending: PendingDelivery, outcome: Outcome): void {
    pending.state = 'settling'
    this.#settlements.push({ delivery: pending.delivery, outcome })
    if (this.#settlements.length >= FLUSH_AT) this.flush()
    else if (!this.#scheduled) {
      this.#scheduled = true
      setImmediate(() => {
        this.#scheduled = false
        this.flush()
      })
    }
  }

  flush(): void {
    const batch = this.#settlements
    if (batch.length === 0) return
    const freedCount = this.#freedCount
    const freedBytes = this.#freedBytes
    this.#settlements = []
    this.#freedCount = 0
    this.#freedBytes = 0
    this.#inFlight.add(batch)
    const observed = this.#observe(batch)
    this.#subscription.settle(batch).then(
      (failures) => this.#settled(batch, failures, observed),
      // By contract `settle` never rejects; if it does, no outcome of the batch is certain.
      (error: unknown) =>
        this.#settled(
          batch,
          batch.map((_, index) => ({ index, error: error as SettlementFailure['error'] })),
          observed,
        ),
    )
    if (freedCount > 0) this.#host.freed(freedCount, freedBytes)
  }

  #settled(
    batch: readonly Settlement[],
    failures: readonly SettlementFailure[],
    observed: ((failures: readonly SettlementFailure[]) => void) | undefined,
  ): void {
    this.#inFlight.delete(batch)
    observed?.(failures)
    this.#report(batch, failures)
    if (this.#inFlight.size > 0 || this.#settlements.length > 0) return
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }

  /** Resolves when everything added so far has been answered. */
  idle(): Promise<void> {
    this.flush()
    if (this.#inFlight.size === 0) return Promise.resolve()
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  /** The first delivery of each batch that the transport has not answered. */
  unanswered(): readonly PendingDelivery[] {
    return Array.from(this.#inFlight, ([first]) => first?.delivery.runtime as PendingDelivery)
  }

  #report(batch: readonly Settlement[], failures: readonly SettlementFailure[]): void {
    if (failures.length === 0) {
      for (const { delivery, outcome } of batch) this.#host.settled(delivery.runtime as PendingDelivery, outcome)
      return
    }
    const failed = new Map(failures.map((failure) => [failure.index, failure.error]))
    for (const [index, { delivery, outcome }] of batch.entries()) {
      const error = failed.get(index)
      if (error === undefined) this.#host.settled(delivery.runtime as PendingDelivery, outcome)
      else this.#host.settleFailed(delivery.runtime as PendingDelivery, outcome, error)
    }
  }
}
