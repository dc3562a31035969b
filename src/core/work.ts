import type { Failure } from './dead-letter.ts'
import type { IncomingMessage } from './incoming-message.ts'
import type { Delivery } from './transport.ts'
import type { Timer } from './clock.ts'

/**
 * Where a delivery stands. `queued`: waits its turn. `parked`: waits for an inline retry. `running`: with a handler.
 * `settling`: its outcome is on the way to the broker. `gone`: settled or lost.
 */
export type WorkState = 'queued' | 'parked' | 'running' | 'settling' | 'gone'

/** One delivery inside a consumer, from its arrival to its settlement. */
export class Work {
  previous: Work | undefined = undefined
  next: Work | undefined = undefined
  readonly delivery: Delivery
  readonly message: IncomingMessage
  /** The attempt that runs or runs next: the broker's count plus retries made here. */
  attempt: number
  readonly receivedAt: number
  lane: Lane | undefined = undefined
  state: WorkState = 'queued'
  /** Of a parked one. */
  timer: Timer | undefined = undefined
  firstAt: number
  /** Its data is the output of the schema already. */
  validated = false
  /** Monotonic time at which the attempt began; 0 when nobody wanted to know. */
  startedAt = 0
  /** Why it goes to the dead letters. */
  failure: Failure | undefined = undefined
  deadLetterTries = 0

  constructor(delivery: Delivery, message: IncomingMessage, receivedAt: number, now: number) {
    this.delivery = delivery
    this.message = message
    this.attempt = delivery.attempt
    this.receivedAt = receivedAt
    this.firstAt = delivery.firstDeliveredAt ?? now
    delivery.runtime = this
  }
}

/** The messages of one key. Some are held (running, parked, on their way back or to the dead letters); the others wait behind them. */
export class Lane {
  readonly key: string
  /** In order; all of state `queued`. */
  readonly waiting: Work[] = []
  /** How many were taken out and have not left. A lane is born with its first one taken. */
  held = 1
  /** How many of those go back to the broker. As long as some do, whatever still arrives must go back behind them. */
  returning = 0

  constructor(key: string) {
    this.key = key
  }
}
