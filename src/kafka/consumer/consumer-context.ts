import type { Cluster } from '../cluster/cluster.ts'
import type { Clock } from '../network/clock.ts'

/** What a consumer stands on. */
export interface ConsumerContext {
  readonly cluster: Cluster
  readonly clock: Clock
  /** From 0 to 1. */
  readonly random: () => number
}
