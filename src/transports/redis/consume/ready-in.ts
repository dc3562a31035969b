import type { RedisContext } from '../context.ts'
import type { PartitionState } from '../partitions/partition-state.ts'
import { GROUP_INFO } from '../scripts/look.ts'

/** Messages of a partition that could be delivered now: unread, due again, or waiting here for credit. */
export async function readyIn({ scripts }: RedisContext, partition: PartitionState): Promise<number> {
  const { keys, group, sources } = partition
  const reply = (await scripts.run(
    GROUP_INFO,
    [keys.stream, group.side, group.later, group.sideLater, keys.delayed, group.delayed, group.meta],
    [group.group, String(keys.partition)],
  )) as readonly [number, number, number, number]
  const [unread, , , due] = reply
  return unread + due + sources.reduce((total, { ready }) => total + ready.length, 0)
}
