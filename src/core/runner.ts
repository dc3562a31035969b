import type { Clock } from './clock.ts'
import type { Scheduler } from './scheduler.ts'
import type { Lane, Work } from './work.ts'

/** Hands deliveries to a handler: one by one, or in batches. */
export interface Runner {
  /** Handlers (or batches) at work. */
  readonly running: number
  /** Starts whatever may start now. */
  pump(): void
  /** Aborts the signals of running handlers: of all, or of those whose work fits. */
  abort(reason: unknown, only?: (work: Work) => boolean): void
  /** Gives back what was gathered and has not started. */
  flush(): void
}

/** What a runner reports to its consumer, which decides about settlement. */
export interface RunnerHost {
  readonly scheduler: Scheduler
  readonly clock: Clock
  /** How many handlers may run at once right now. */
  readonly maxConcurrency: number
  /** Marks the work as running. False when it must not be handled at all (expired, out of attempts): the consumer has dealt with it. */
  begin(work: Work): boolean
  succeeded(work: Work): void
  /** True when it will be tried again, so that what comes later of its key must not be settled before it. */
  failed(work: Work, error: unknown): boolean
  /** These ran in one batch behind one that failed: they are to be handled again after it. */
  putBack(lane: Lane, works: readonly Work[]): void
  /** Neither ended nor failed: its handler goes on somewhere and is no longer waited for. */
  abandoned(work: Work, reason: unknown): void
  /** An abandoned handler has ended after all; its message has its outcome already. */
  late(work: Work): void
}
