import type { Failure } from '../dead-letters/dead-letter.ts'
import type { IncomingMessage } from './incoming-message.ts'
import type { Delivery } from '../transport.ts'
import type { Timer } from '../clock.ts'

/**
 * State of a delivery. `queued`: waits for its turn. `preparing`: its turn has come, but the broker must be asked or notified
 * before its handler starts. `waitingForRetry`: its next attempt is due later. `running`: with a handler. `settling`: its
 * outcome is on the way to the broker. `settled`: the broker has the outcome, or took the delivery back.
 */
export type PendingState = 'queued' | 'preparing' | 'waitingForRetry' | 'running' | 'settling' | 'settled'

/** One delivery in a consumer, from arrival to settlement. */
export class PendingDelivery {
  previous: PendingDelivery | undefined = undefined
  next: PendingDelivery | undefined = undefined
  readonly delivery: Delivery
  readonly message: IncomingMessage
  readonly receivedAt: number
  readonly firstAt: number
  queue: KeyQueue | undefined = undefined
  state: PendingState = 'queued'
  /** Timer until its retry, or until its dead letter is sent again. */
  timer: Timer | undefined = undefined
  /** When its next attempt is due, in ms since 1970. Valid while it is `waitingForRetry`. */
  retryAt = 0
  /** Its next attempt is prepared: its handler may start. */
  isPrepared = false
  /** The broker has been asked whether it may start, and has not answered. If that fails, it is asked again. */
  isAsking = false
  /** It could not start with its batch, so the next batch must not wait to be filled. */
  hasWaitedForBatch = false
  /** A handler has had it, and may have changed its data. */
  wasHandled = false
  /** Why it is being acked: its handler succeeded for this delivery, or for an earlier delivery of the message. */
  ackOf: 'this' | 'earlier' | undefined = undefined
  /** Its data is already the output of the schema. */
  isValidated = false
  /** Size of what its handler has published and that waits for its ack (`publishOnAck`). */
  heldBytes = 0
  /** Noted at the broker as running. */
  isNoted = false
  /** How long its last handler ran; 0 when not measured. */
  handlerMs = 0
  /** Its handler has a deadline that ends it, so it can't be stuck. */
  hasDeadline = false
  /** When the attempt started (monotonic); negative when not measured. */
  startedAt = -1
  /** Why it is dead-lettered. */
  failure: Failure | undefined = undefined
  /** How often the broker has refused to store what goes with its outcome. */
  settleTries = 0
  /** How often the broker has refused for good what goes with its ack. */
  refusedAcks = 0
  /** Its dead letter was last sent in its shortest form. */
  isSlim = false
  /** Its dead letter is refused in its shortest form too. It has given back its credit, so that others can take its place. */
  isSetAside = false
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

  /** Its last handler may have killed the process: no other such message may run at the same time. */
  get mustRunAlone(): boolean {
    return this.delivery.history === 'died' && !this.wasHandled
  }
}

/**
 * The messages of one key. Some are in progress (running, waiting for a retry, being returned or dead-lettered); the others
 * wait behind them.
 */
export class KeyQueue {
  readonly key: string
  /** In order; all are `queued`. */
  readonly waiting: PendingDelivery[] = []
  /** Number of deliveries taken out and not finished. A queue is created for its first delivery, which counts at once. */
  inProgress = 1
  /** How many of those are being returned to the broker. Until all are, newly arriving messages must be returned behind them. */
  returning = 0

  constructor(key: string) {
    this.key = key
  }
}
