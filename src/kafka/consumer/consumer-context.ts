import type { Cluster } from '../cluster/cluster.ts'
import type { Clock } from '../network/clock.ts'
import type { ConsumerHooks } from './consumer-hooks.ts'

/** What a consumer stands on. */
export interface ConsumerContext {
  readonly cluster: Cluster
  readonly clock: Clock
  /** From 0 to 1. */
  readonly random: () => number
  readonly hooks?: ConsumerHooks
  /** Called once, when it has been closed. */
  readonly onClosed?: () => void
}
