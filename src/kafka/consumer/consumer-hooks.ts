import { callHook } from '../cluster/hooks.ts'
import type { ConsumerEvents } from './consumer-events.ts'
import type { LossReason } from './group-machine.ts'
import type { TopicPartition } from './partition-set.ts'

/** A consumer got or lost partitions. */
export interface RebalanceEvent {
  /**
   * `assigned`: the consumer reads these from now on. `revoking`: these move to another member; what is finished in
   * time is committed first. `lost`: these were lost without warning; `reason` says why.
   */
  readonly type: 'assigned' | 'revoking' | 'lost'
  /** Undefined without a group. */
  readonly group: string | undefined
  readonly partitions: readonly TopicPartition[]
  readonly reason?: LossReason | 'recreated'
}

/** A consumer continues at another offset than the one it was at: see {@link ConsumerEvents}. */
export interface LossEvent {
  /**
   * `truncated`: records that were read are no longer in the log (KIP-320). `reset`: the log did not have the offset;
   * if `to` is larger than `from`, the records between them were missed.
   */
  readonly type: 'truncated' | 'reset'
  readonly group: string | undefined
  readonly partition: TopicPartition
  readonly from: number
  readonly to: number
}

/** Called synchronously. Errors that a hook throws are ignored. */
export interface ConsumerHooks {
  /** A consumer got or lost partitions. */
  readonly onRebalance?: ((event: RebalanceEvent) => void) | undefined
  /** A consumer skipped or lost records: the log was truncated, or records were deleted before they were read. */
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
