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

/** What the watchdog knows of a delivery: its state at the last checks. */
export interface Watch {
  state: PendingState
  /** Since when it has been seen in that state (monotonic). */
  since: number
  isStuck: boolean
}

/** How the broker has refused to store what goes with the outcome of a delivery. */
export interface Refusals {
  /** How often. */
  tries: number
  /** How often for good, for what goes with its ack. */
  refusedAcks: number
  /** Its dead letter was last sent in its shortest form. */
  isSlim: boolean
  /** Its dead letter is refused in its shortest form too. It has given back its credit, so that others can take its place. */
  isSetAside: boolean
}

/**
 * One delivery in a consumer, from arrival to settlement. There is one for each message that arrives, so what few messages need
 * is in objects of its own.
 */
export class PendingDelivery {
  previous: PendingDelivery | undefined = undefined
  next: PendingDelivery | undefined = undefined
  readonly delivery: Delivery
  readonly message: IncomingMessage
  readonly receivedAt: number
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
  /** The filter `where` of the consumer does not match its data: it needs no handler. */
  isUnwanted = false
  /** Size of what its handler has published and that waits for its ack (`publishOnAck`). */
  heldBytes = 0
  /** Noted at the broker as running. */
  isNoted = false
  /** When its handler is to be noted, if it still runs, as counted by `RunningNotes`; 0 before its handler has started. */
  noteAtTick = 0
  /** Its handler has a deadline that ends it, so it can't be stuck. */
  hasDeadline = false
  /** When the attempt started (monotonic), and how long its handler ran; undefined when not measured. */
  times: { readonly startedAt: number; handlerMs: number } | undefined = undefined
  /** Why it is dead-lettered. */
  failure: Failure | undefined = undefined
  refusals: Refusals | undefined = undefined
  watch: Watch | undefined = undefined

  constructor(delivery: Delivery, message: IncomingMessage, receivedAt: number) {
    this.delivery = delivery
    this.message = message
    this.receivedAt = receivedAt
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
