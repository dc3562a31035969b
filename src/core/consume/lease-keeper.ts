import type { Clock, Timer } from '../clock.ts'
import type { LinkedList } from '../util/linked-list.ts'
import type { Delivery, TransportSubscription } from '../transport.ts'
import type { PendingDelivery } from './pending-delivery.ts'

/**
 * Renews the leases of all deliveries that a consumer holds, in good time and in one call: running and waiting ones, so that a
 * slow handler never causes other messages to be delivered twice.
 */
export class LeaseKeeper {
  readonly #outstanding: LinkedList<PendingDelivery>
  readonly #subscription: TransportSubscription
  readonly #clock: Clock
  readonly #onError: (error: unknown) => void
  readonly #everyMs: number
  #timer: Timer | undefined

  constructor(parts: {
    outstanding: LinkedList<PendingDelivery>
    subscription: TransportSubscription
    leaseMs: number
    clock: Clock
    onError: (error: unknown) => void
  }) {
    this.#outstanding = parts.outstanding
    this.#subscription = parts.subscription
    this.#clock = parts.clock
    this.#onError = parts.onError
    // Since `renew` skips young deliveries, a lease is renewed at 3/8, 5/8 and 7/8 of its time at the latest: two renewals may
    // fail.
    this.#everyMs = parts.leaseMs / 4
    this.#arm()
  }

  close(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  #arm(): void {
    this.#timer = this.#clock.setTimer(this.#everyMs, () => {
      this.#renew().then(
        () => this.#next(),
        (error: unknown) => {
          this.#onError(error)
          this.#next()
        },
      )
    })
  }

  #next(): void {
    if (this.#timer !== undefined) this.#arm()
  }

  async #renew(): Promise<void> {
    const youngest = this.#clock.monotonic() - this.#everyMs / 2
    const deliveries: Delivery[] = []
    // In order of arrival, so stop at the first young one.
    for (
      let pending = this.#outstanding.first;
      pending !== undefined && pending.receivedAt <= youngest;
      pending = pending.next
    ) {
      if (!pending.delivery.lost) deliveries.push(pending.delivery)
    }
    if (deliveries.length > 0) await this.#subscription.extend?.(deliveries)
  }
}
