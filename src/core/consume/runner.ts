import type { Clock } from '../clock.ts'
import type { OutgoingMessage } from '../message.ts'
import type { KeyQueue, PendingDelivery } from './pending-delivery.ts'
import type { Scheduler } from './scheduler.ts'

/** Hands deliveries to a handler: one by one, or in batches. */
export interface Runner {
  /** Number of running handlers (or batches). */
  readonly running: number
  /** Starts everything that may start now. */
  pump(): void
  /** Aborts the signals of running handlers: of all, or of those with a matching message. */
  abort(reason: unknown, only?: (pending: PendingDelivery) => boolean): void
  /** Drops gathered deliveries that have not started; their state is still `queued`. */
  flush(): void
}

/** The consumer's side of a runner: it gets the results and decides how to settle. */
export interface RunnerHost {
  readonly scheduler: Scheduler
  readonly clock: Clock
  /** Maximum number of handlers that may run at once now. */
  readonly maxConcurrency: number
  /** Number of deliveries that start once the broker has stored a note. Each takes a handler's slot. */
  readonly noting: number
  /**
   * Marks the delivery as running. False when it must not be handled now: the host has taken care of it, and as long as it has
   * its key queue, later messages of the key must wait.
   */
  begin(pending: PendingDelivery): boolean
  /** True when `begin` would have to wait: for the delivery's time, or for the broker. */
  needsPreparing(pending: PendingDelivery): boolean
  /** Its handler has started and did not end synchronously. */
  started(pending: PendingDelivery): void
  /** `withAck`: messages to be stored with its ack, in one atomic step. */
  succeeded(pending: PendingDelivery, withAck?: readonly OutgoingMessage[]): void
  /** Returns true when it will be retried, so later messages of its key must not be settled before it. */
  failed(pending: PendingDelivery, error: unknown): boolean
  /** The handler returned although it had called `ctx.reject` or `ctx.retry`: some code caught the error. */
  swallowed(pending: PendingDelivery, request: Error): void
  /** These ran in one batch behind a message that failed: they must be handled again after it. */
  requeueBehind(queue: KeyQueue, deliveries: readonly PendingDelivery[]): void
  /** These were gathered in one batch behind a message that can't begin: they wait again. */
  notStarted(queue: KeyQueue, deliveries: readonly PendingDelivery[]): void
  /** The handler ignored its deadline and the grace period. It may still run; its result will be ignored. */
  abandoned(pending: PendingDelivery, reason: unknown): void
  /** An abandoned handler has ended; its message already has its outcome. */
  late(pending: PendingDelivery): void
}
