import type { RedisContext } from '../context.ts'
import type { PartitionState } from '../partitions/partition-state.ts'
import { atOnce } from '../scripts/at-once.ts'
import { MAY_BE_READY } from '../scripts/look.ts'
import { compareIds } from '../topology/compare-ids.ts'
import { groupState } from '../topology/group-state.ts'

/** Messages of these partitions that could be delivered now: unread, due again, or waiting here for credit. */
export async function readyIn(context: RedisContext, partitions: readonly PartitionState[]): Promise<number> {
  const counts = await Promise.all(atOnce(partitions, context.commands).map((some) => countOf(context, some)))
  return counts.reduce((total, count) => total + count, 0)
}

/** For idle consumers, which ask again and again, one script answers that there is nothing. */
async function countOf(context: RedisContext, partitions: readonly PartitionState[]): Promise<number> {
  const here = partitions.reduce(
    (total, { sources }) => sources.reduce((count, { ready }) => count + ready.length, total),
    0,
  )
  const [{ group }] = partitions.map((partition) => partition.group) as [PartitionState['group']]
  const streams = partitions.flatMap((partition) => [partition.keys.stream, partition.group.side])
  const handedBack = partitions.flatMap((partition) => [partition.group.later, partition.group.sideLater])
  // What was copied for the group is deleted when it is acked.
  const readTo = partitions.flatMap((partition) => [readToIn(partition), '0-0'])
  const args = [group, String(streams.length), ...readTo]
  if ((await context.scripts.run(MAY_BE_READY, [...streams, ...handedBack], args)) === 0) return here
  const found = await groupState(context, partitions)
  return found.reduce((total, { unread, due }) => total + unread + due, here)
}

function readToIn({ lastRead, reads }: PartitionState): string {
  if (lastRead === undefined || reads.seen === '') return lastRead ?? (reads.seen || '0-0')
  return compareIds(lastRead, reads.seen) < 0 ? reads.seen : lastRead
}
