import type { ServiceStats } from './service.ts'

/** Where the services run: each in a process of its own, or all in this one. */
export interface Workers {
  /** For people: `5 worker processes`. */
  readonly description: string
  /** Rejects when a worker ends that nobody asked to. Never resolves. */
  readonly failed: Promise<never>
  /** Resolves when the service is subscribed. `fixed` is the release without the bug. */
  start(service: string, options: { readonly fixed: boolean }): Promise<void>
  /** Lets it finish what is running. Rejects when it did not in time, and had to be forced. */
  stop(service: string): Promise<void>
  /** SIGKILL. Resolves with the process id when it is gone. */
  kill(service: string): Promise<number>
  /** Over all services and all their lives. What a killed one had not reported yet is not in it. */
  totals(): ServiceStats
  /** Ends all of them, as `stop` does. Safe to call twice. Rejects when one had to be forced. */
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
