import type { Failure } from './dead-letter.ts'
import type { IncomingMessage } from './incoming-message.ts'
import type { Delivery } from './transport.ts'
import type { Timer } from './clock.ts'

/**
 * Where a delivery is. `queued`: waits for its turn. `preparing`: its turn has come, and something has to be known or
 * stored before its handler starts. `waitingForRetry`: its next attempt is due later. `running`: with a handler.
 * `settling`: its outcome is on the way to the broker. `settled`: the broker has it, or took it back.
 */
export type PendingState = 'queued' | 'preparing' | 'waitingForRetry' | 'running' | 'settling' | 'settled'

/** One delivery inside a consumer, from its arrival to its settlement. */
export class PendingDelivery {
  previous: PendingDelivery | undefined = undefined
  next: PendingDelivery | undefined = undefined
  readonly delivery: Delivery
  readonly message: IncomingMessage
  readonly receivedAt: number
  readonly firstAt: number
  queue: KeyQueue | undefined = undefined
  state: PendingState = 'queued'
  /** Until its retry, or until its dead letter is tried again. */
  timer: Timer | undefined = undefined
  /** When its next attempt is due, in ms since 1970; while it is `waitingForRetry`. */
  retryAt = 0
  /** Everything that had to be known or stored before its next attempt is. */
  isPrepared = false
  /** The broker has been asked whether it may start, and has not answered: when that fails, it is asked again. */
  isAsking = false
  /** Its batch was about to start when it could not: the next one must not wait to be filled. */
  hasWaitedForBatch = false
  /** A handler has had it in its hands, and may have changed its data. */
  wasHandled = false
  /** Why it is being acked: its handler has just succeeded, or did so for an earlier delivery of the message. */
  ackOf: 'this' | 'earlier' | undefined = undefined
  /** Its data is the output of the schema already. */
  isValidated = false
  /** Noted at the broker as running. */
  isNoted = false
  /** Its handler has a deadline that ends it, so it can't be stuck. */
  hasDeadline = false
  /** Monotonic time at which the attempt began; 0 when nobody wanted to know. */
  startedAt = 0
  /** Why it goes to the dead letters. */
  failure: Failure | undefined = undefined
  deadLetterTries = 0
  /** Since when the watchdog has seen it in its state (monotonic). */
  watchedSince = 0
  watchedState: PendingState | undefined = undefined
  isStuck = false

  constructor(delivery: Delivery, message: IncomingMessage, receivedAt: number, now: number) {
    this.delivery = delivery
    this.message = message
    this.receivedAt = receivedAt
    this.firstAt = delivery.firstDeliveredAt ?? now
    delivery.runtime = this
  }

  /** The attempt that runs, or runs next. */
  get attempt(): number {
    return this.delivery.attempt
  }

  /** Its last handler may have ended its process: no other such message may run beside it. */
  get mustRunAlone(): boolean {
    return this.delivery.history === 'died' && !this.wasHandled
  }
}

/** The messages of one key. Some are in progress (running, waiting for a retry, on their way back or to the dead letters); the others wait behind them. */
export class KeyQueue {
  readonly key: string
  /** In order; all of state `queued`. */
  readonly waiting: PendingDelivery[] = []
  /** How many were taken out and have not been finished. A queue is created for its first delivery, which counts at once. */
  inProgress = 1
  /** How many of those go back to the broker. As long as some do, whatever still arrives must go back behind them. */
  returning = 0

  constructor(key: string) {
    this.key = key
  }
}
