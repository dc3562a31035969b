import type { Clock } from './clock.ts'
import type { KeyQueue, PendingDelivery } from './pending-delivery.ts'
import type { Scheduler } from './scheduler.ts'

/** Hands deliveries to a handler: one by one, or in batches. */
export interface Runner {
  /** Handlers (or batches) at work. */
  readonly running: number
  /** Starts whatever may start now. */
  pump(): void
  /** Aborts the signals of running handlers: of all, or of those that have a message that fits. */
  abort(reason: unknown, only?: (pending: PendingDelivery) => boolean): void
  /** Drops what was gathered and has not started: its state is still `queued`. */
  flush(): void
}

/** What a runner reports to its consumer, which decides about settlement. */
export interface RunnerHost {
  readonly scheduler: Scheduler
  readonly clock: Clock
  /** How many handlers may run at once right now. */
  readonly maxConcurrency: number
  /** Deliveries that start as soon as the broker has a note of it. Each takes the place of a handler. */
  readonly noting: number
  /**
   * Marks the delivery as running. False when it must not be handled now: the host has dealt with it, and as long as it has
   * its key queue, what comes later of the key must wait.
   */
  begin(pending: PendingDelivery): boolean
  /** True when `begin` would have to wait first: for its time, or for something that the broker is asked or told. */
  needsPreparing(pending: PendingDelivery): boolean
  /** Its handler has begun and did not end at once. */
  started(pending: PendingDelivery): void
  succeeded(pending: PendingDelivery): void
  /** True when it will be tried again, so that what comes later of its key must not be settled before it. */
  failed(pending: PendingDelivery, error: unknown): boolean
  /** The handler returned although it had called `ctx.reject` or `ctx.retry`: something between caught what that threw. */
  swallowed(pending: PendingDelivery, request: Error): void
  /** These ran in one batch behind one that failed: they are to be handled again after it. */
  requeueBehind(queue: KeyQueue, deliveries: readonly PendingDelivery[]): void
  /** These were to run in one batch behind one that may not begin: they wait again. */
  notStarted(queue: KeyQueue, deliveries: readonly PendingDelivery[]): void
  /** The handler ignored its deadline and the grace period. It may still be running; its result will be ignored. */
  abandoned(pending: PendingDelivery, reason: unknown): void
  /** An abandoned handler has ended after all; its message has its outcome already. */
  late(pending: PendingDelivery): void
}
