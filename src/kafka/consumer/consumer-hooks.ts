import { callHook } from '../cluster/hooks.ts'
import type { ConsumerEvents } from './consumer-events.ts'
import type { LossReason } from './group-machine.ts'
import type { TopicPartition } from './partition-set.ts'

/** What a consumer may work on has changed. */
export interface RebalanceEvent {
  /**
   * - `assigned`: these are read from now on.
   * - `revoking`: these go to another member; what is finished in time is committed first.
   * - `lost`: these are gone without warning; `reason` says why.
   */
  readonly type: 'assigned' | 'revoking' | 'lost'
  /** Undefined without a group. */
  readonly group: string | undefined
  readonly partitions: readonly TopicPartition[]
  readonly reason?: LossReason | 'recreated'
}

/** Reading goes on somewhere else than where it was: see {@link ConsumerEvents}. */
export interface LossEvent {
  /**
   * - `truncated`: records that were read are no longer in the log (KIP-320).
   * - `reset`: the log did not have the offset. If `to` is larger than `from`, what is between them was missed.
   */
  readonly type: 'truncated' | 'reset'
  readonly group: string | undefined
  readonly partition: TopicPartition
  readonly from: number
  readonly to: number
}

/** Called synchronously. What a hook throws is ignored. */
export interface ConsumerHooks {
  /** Partitions came to a consumer, or went. */
  readonly onRebalance?: ((event: RebalanceEvent) => void) | undefined
  /** A consumer goes on somewhere else than where it was: records were truncated, or are gone before they were read. */
  readonly onLoss?: ((event: LossEvent) => void) | undefined
}

/** Listeners of a consumer that report to hooks. */
export function reportingTo(
  { onRebalance, onLoss }: ConsumerHooks,
  group: string | undefined,
): Partial<ConsumerEvents> {
  return {
    assigned: (partitions) => callHook(onRebalance, { type: 'assigned', group, partitions }),
    revoking: (partitions) => callHook(onRebalance, { type: 'revoking', group, partitions }),
    lost: (partitions, reason) => callHook(onRebalance, { type: 'lost', group, partitions, reason }),
    truncated: (partition, offsets) => callHook(onLoss, { type: 'truncated', group, partition, ...offsets }),
    reset: (partition, offsets) => callHook(onLoss, { type: 'reset', group, partition, ...offsets }),
  }
}
