import type { PartitionState } from './partition-state.ts'
import { SWEEP_CONSUMERS } from './scripts/group.ts'
import { LOST_UNREAD } from './scripts/look.ts'
import type { Seat } from './seat.ts'

const SWEEP_EVERY_MS = 60_000
/** Members that have been silent for that many leases, and hold nothing, are removed. */
const SILENT_LEASES = 6

/** Periodic work of a member for its group that no caller waits for: if it fails, it is done again the next time. */
export class Housekeeping {
  readonly #seat: Seat
  /** Number of lost unread entries reported so far. */
  readonly #lost = new Map<PartitionState, number>()
  #sweptAt: number

  constructor(seat: Seat) {
    this.#seat = seat
    this.#sweptAt = seat.context.host.clock.monotonic()
  }

  /** Reports what was removed from the stream before the group had read it, by any process. */
  lookForLoss(partition: PartitionState): void {
    const { context, spec } = this.#seat
    const { topic, stream } = partition.keys
    context.scripts.run(LOST_UNREAD, [stream, partition.group.meta], [spec.group]).then(
      (reply) => {
        const count = Number(reply)
        const known = this.#lost.get(partition) ?? 0
        this.#lost.set(partition, Math.max(0, count))
        // With the option trimUnacked, the process that trims has reported what it removed.
        if (count <= known || context.options.trimUnacked || topic.endsWith('.dlq')) return
        context.host.events.emit('loss', {
          transport: context.host.name,
          topic,
          group: spec.group,
          count: count - known,
          position: { partition: partition.keys.partition },
          reason: 'removed from the stream before the group had read them',
        })
      },
      () => {},
    )
  }

  /** Removes consumers of members that ended long ago. */
  sweepConsumers(partitions: readonly PartitionState[]): void {
    const { context, spec, member } = this.#seat
    const now = context.host.clock.monotonic()
    if (now - this.#sweptAt < SWEEP_EVERY_MS) return
    this.#sweptAt = now
    const idle = String(Math.max(SWEEP_EVERY_MS, context.options.leaseMs * SILENT_LEASES))
    for (const { phase, keys } of partitions)
      if (phase === 'held')
        context.scripts.run(SWEEP_CONSUMERS, [keys.stream], [spec.group, idle, member]).catch(() => {})
  }
}
