import type { NatsDelivery, StoredNote } from './delivery.ts'

interface Waiting {
  readonly delivery: NatsDelivery
  /** Its note is being read. */
  isOpen: boolean
}

/**
 * Deliveries that come again, and wait until their note about attempts is read. What comes after them waits too, so that
 * all leave in the order in which they came.
 */
export class HistoryLookups {
  readonly #read: (delivery: NatsDelivery) => Promise<StoredNote | undefined>
  readonly #done: (delivery: NatsDelivery) => void
  #waiting: Waiting[] = []

  /** `read` must not reject. `done`: the history of the delivery is known, and nothing before it waits. */
  constructor(
    read: (delivery: NatsDelivery) => Promise<StoredNote | undefined>,
    done: (delivery: NatsDelivery) => void,
  ) {
    this.#read = read
    this.#done = done
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0
  }

  get deliveries(): readonly NatsDelivery[] {
    return this.#waiting.map(({ delivery }) => delivery)
  }

  add(delivery: NatsDelivery): void {
    const waiting: Waiting = { delivery, isOpen: !delivery.known }
    this.#waiting.push(waiting)
    if (!waiting.isOpen) return
    void this.#read(delivery).then((note) => {
      delivery.learn(note)
      waiting.isOpen = false
      while (this.#waiting[0]?.isOpen === false) this.#done((this.#waiting.shift() as Waiting).delivery)
    })
  }

  /** Forgets all, and returns them. */
  drop(): readonly NatsDelivery[] {
    const { deliveries } = this
    this.#waiting = []
    return deliveries
  }
}
