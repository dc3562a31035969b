import type { ServiceStats } from './service.ts'

/** Where the services run: each in a separate process, or all in this one. */
export interface Workers {
  /** For people: `5 worker processes`. */
  readonly description: string
  /** Rejects when a worker ends unexpectedly. Never resolves. */
  readonly failed: Promise<never>
  /** Resolves when the service is subscribed. `fixed` is the release without the bug. */
  start(service: string, options: { readonly fixed: boolean }): Promise<void>
  /** Lets running handlers finish. Rejects when they did not in time and the worker had to be killed. */
  stop(service: string): Promise<void>
  /** Sends SIGKILL. Resolves with the process id when the process has ended. */
  kill(service: string): Promise<number>
  /** Totals of all services, including earlier processes. Leaves out what a killed one had not reported yet. */
  totals(): ServiceStats
  /** Stops all of them, as `stop` does. Safe to call twice. Rejects when one had to be killed. */
  close(): Promise<void>
}

export const NO_STATS: ServiceStats = { acked: 0, retried: 0, deadLettered: 0, duplicates: 0 }

export function addStats(a: ServiceStats, b: ServiceStats): ServiceStats {
  return {
    acked: a.acked + b.acked,
    retried: a.retried + b.retried,
    deadLettered: a.deadLettered + b.deadLettered,
    duplicates: a.duplicates + b.duplicates,
  }
}
