import { KafkaError } from '../../../../../src/kafka/errors.ts'
import { seededRandom } from '../../../../../src/testing/random.ts'
import type { Random } from '../../../../../src/testing/random.ts'

interface Event {
  readonly at: number
  readonly order: number
  readonly run: () => void
}

/** How often what goes wrong. */
export interface Faults {
  readonly loss: number
  readonly slow: number
}

/** Requests of one connection arrive in order. */
export interface Channel {
  lastAt: number
}

export const NO_FAULTS: Faults = { loss: 0, slow: 0 }

/** Virtual time, and a network that loses and delays. */
export class World {
  readonly random: Random
  readonly #queue: Event[] = []
  now = 0
  #order = 0
  faults: Faults = NO_FAULTS
  requests = 0

  constructor(seed: number | string) {
    this.random = seededRandom(seed)
  }

  after(delay: number, run: () => void): void {
    const event = { at: this.now + delay, order: this.#order++, run }
    let low = 0
    let high = this.#queue.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const other = this.#queue[middle] as Event
      if (other.at > event.at) low = middle + 1
      else high = middle
    }
    this.#queue.splice(low, 0, event)
  }

  runUntil(end: number): void {
    for (let event = this.#queue.at(-1); event !== undefined && event.at <= end; event = this.#queue.at(-1)) {
      this.#queue.pop()
      this.now = Math.max(this.now, event.at)
      event.run()
    }
    this.now = end
  }

  /** A request to a coordinator and its answer; either may be lost, which the sender finds out some time later, or never. */
  exchange<Answer>(
    serve: (answer: (answer: Answer) => void) => void,
    answered: (answer: Answer) => void,
    failed: (error: KafkaError) => void,
    channel: Channel = { lastAt: 0 },
  ): void {
    this.requests++
    let isSettled = false
    const settle = (run: () => void) => {
      if (!isSettled) run()
      isSettled = true
    }
    const lost = () =>
      this.after(this.random.chance(0.7) ? this.#latency() : 5_000, () => settle(() => failed(lostConnection())))
    if (this.random.chance(this.faults.loss)) return lost()
    const arrivesAt = Math.max(channel.lastAt, this.now + this.#latency())
    channel.lastAt = arrivesAt
    this.after(arrivesAt - this.now, () =>
      serve((answer) => {
        if (this.random.chance(this.faults.loss)) return lost()
        this.after(this.#latency(), () => settle(() => answered(answer)))
      }),
    )
  }

  #latency(): number {
    return this.random.chance(this.faults.slow) ? this.random.integer(50, 3_000) : this.random.integer(1, 20)
  }
}

export function lostConnection(): KafkaError {
  return new KafkaError('lost', { code: 'CONNECTION_CLOSED', action: 'refresh', outcome: 'unknown' })
}
