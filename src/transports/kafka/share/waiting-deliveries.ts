import type { Clock, Timer } from '../../../core/clock.ts'
import { DueHeap } from '../../../core/util/due-heap.ts'
import type { ShareDelivery } from './share-delivery.ts'

/** Deliveries whose time has not come: their locks are renewed meanwhile, and they stay in memory. */
export class WaitingDeliveries {
  readonly #clock: Clock
  readonly #due: (deliveries: readonly ShareDelivery[]) => void
  #heap = new DueHeap<ShareDelivery>()
  #timer: Timer | undefined
  #timerAt = Infinity
  bytes = 0

  constructor(clock: Clock, due: (deliveries: readonly ShareDelivery[]) => void) {
    this.#clock = clock
    this.#due = due
  }

  get size(): number {
    return this.#heap.size
  }

  add(delivery: ShareDelivery): void {
    this.#heap.push(delivery)
    this.bytes += delivery.bytes
    this.#arm()
  }

  /** Takes out those that `isMeant` names. */
  take(isMeant: (delivery: ShareDelivery) => boolean): readonly ShareDelivery[] {
    const taken: ShareDelivery[] = []
    this.#heap.keep((delivery) => {
      if (!isMeant(delivery)) return true
      taken.push(delivery)
      this.bytes -= delivery.bytes
      return false
    })
    this.#arm()
    return taken
  }

  #arm(): void {
    const at = this.#heap.first?.dueAt ?? Infinity
    if (at === this.#timerAt) return
    this.#timer?.cancel()
    this.#timer = undefined
    this.#timerAt = at
    if (at === Infinity) return
    this.#timer = this.#clock.setTimer(Math.max(0, at - this.#clock.now()), () => this.#wake())
  }

  #wake(): void {
    this.#timer = undefined
    this.#timerAt = Infinity
    const now = this.#clock.now()
    const due: ShareDelivery[] = []
    while ((this.#heap.first?.dueAt ?? Infinity) <= now) {
      const delivery = this.#heap.shift() as ShareDelivery
      this.bytes -= delivery.bytes
      due.push(delivery)
    }
    this.#arm()
    if (due.length > 0) this.#due(due)
  }
}
