import { isDeadLetterTopic } from '../../../core/topic.ts'
import type { PartitionState } from '../partitions/partition-state.ts'
import { readStateOf } from './read-count.ts'
import type { Gap, ReadStateReply } from './read-count.ts'
import { atOnce } from '../scripts/at-once.ts'
import { SWEEP_CONSUMERS } from '../scripts/group.ts'
import { LOOK, PENDING_ELSEWHERE } from '../scripts/look.ts'
import type { MemberContext } from './member-context.ts'

/** Consumers of members that ended cost the server a few bytes, and hold nothing. */
const SWEEP_EVERY_MS = 600_000
/** Members that have been silent for that many leases, and hold nothing, are removed. */
const SILENT_LEASES = 6
const MIN_SILENT_MS = 60_000
const REMOVED = 'removed from the stream, or skipped by moving the group, before the group had read them'
const REPLACED = 'the stream was replaced by an older state of it that lacks messages'

/** Periodic work of a member for its group that no caller waits for: if it fails, it is done again the next time. */
export class LossDetector {
  readonly #member: MemberContext
  #sweptAt: number

  constructor(member: MemberContext) {
    this.#member = member
    // Processes that never live that long do their share, too.
    this.#sweptAt = member.context.host.clock.monotonic() - Math.random() * SWEEP_EVERY_MS
  }

  /**
   * Looks for what was removed from the stream, by any process, before the group had read it. `alone`: no other member
   * reads the partition. Resolves with whether something was compared: if not, it must be looked for again.
   */
  async lookForLoss(partition: PartitionState, alone: boolean): Promise<boolean> {
    const { context, spec } = this.#member
    const { generation, reads } = partition
    const { resets } = reads
    const reply = (await context.scripts.run(
      LOOK,
      [partition.keys.stream, partition.group.meta],
      [spec.group, generation],
    )) as ReadStateReply
    const state = readStateOf(reply)
    if (reply.length === 0) return false
    // The server does not count: there is nothing that could be compared.
    if (state === undefined) return partition.generation === generation
    const isCurrent = partition.generation === generation && reads.resets === resets
    if (isCurrent && alone) {
      const isCompared = reads.heard(state, resets)
      if (isCompared || reads.isCounting) return isCompared
    } else if (isCurrent) reads.reset()
    // Several members read, or it was lost since it was asked: only the server knows how much was read. Its count has been corrected,
    // so no other look will find this.
    const { passed, read, last } = state
    if (passed !== undefined && read !== undefined && passed > read)
      this.reportRemoved(partition, { count: passed - read, since: last })
    return isCurrent && !alone
  }

  reportRemoved(partition: PartitionState, { count, since, unless }: Gap): void {
    const { context, spec, consumer } = this.#member
    const { topic, stream } = partition.keys
    // Without `keepUnacked`, the process that trims has reported what it removed.
    if (!context.options.retention.keepUnacked || isDeadLetterTopic(topic)) return
    const report = (lost: number | undefined, reason: string): void =>
      context.host.events.emit('loss', {
        transport: context.host.name,
        topic,
        group: spec.group,
        count: lost,
        position: { partition: partition.keys.partition },
        reason,
      })
    if (count === undefined) {
      if (unless === undefined) report(undefined, REPLACED)
      else
        context.commands.call(stream, ['XRANGE', stream, unless, unless]).then(
          (found) => {
            if ((found as readonly unknown[]).length === 0) report(undefined, REPLACED)
          },
          () => {},
        )
      return
    }
    // What another program reads in the name of the group comes later, unless that program acks it.
    context.scripts.run(PENDING_ELSEWHERE, [stream], [spec.group, consumer, since]).then(
      (elsewhere) => {
        if (count > Number(elsewhere)) report(count - Number(elsewhere), REMOVED)
      },
      () => report(count, REMOVED),
    )
  }

  /** Removes consumers of members that ended long ago. One script for many streams; in a cluster one for each. */
  sweepConsumers(partitions: readonly PartitionState[]): void {
    const { context, spec, consumer } = this.#member
    const now = context.host.clock.monotonic()
    if (now - this.#sweptAt < SWEEP_EVERY_MS) return
    this.#sweptAt = now
    const idle = String(Math.max(MIN_SILENT_MS, context.options.leaseMs * SILENT_LEASES))
    const streams = partitions.filter(({ phase }) => phase === 'held').map(({ keys }) => keys.stream)
    for (const some of atOnce(streams, context.commands))
      context.scripts.run(SWEEP_CONSUMERS, some, [spec.group, idle, consumer]).catch(() => {})
  }
}
