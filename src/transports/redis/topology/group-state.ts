import type { RedisContext } from '../context.ts'
import { atOnce } from '../scripts/at-once.ts'
import { GROUP_INFO } from '../scripts/look.ts'
import type { GroupKeys, PartitionKeys } from './keys.ts'

/** How a group stands in one partition, as far as one script can count; see `GROUP_INFO`. */
export interface PartitionOfGroup {
  readonly exists: boolean
  readonly unread: number
  readonly pending: number
  /** Pending entries that were handed back: until a later time, and due. */
  readonly waiting: number
  readonly due: number
  readonly delayed: number
  /** Ids, or empty. */
  readonly oldest: string
  /** After which id to continue counting unread entries of the stream, and of the group's copies; empty when all were counted. */
  readonly more: string
  readonly sideMore: string
  readonly start: string
  readonly head: string
  readonly settled: string
  readonly unsettled: string
  readonly wasTrimmed: boolean
  /** Process and member, or empty. */
  readonly owner: string
}

/** How a group stands in each of these partitions. */
export async function groupState(
  { scripts, commands }: RedisContext,
  partitions: readonly { readonly keys: PartitionKeys; readonly group: GroupKeys }[],
): Promise<readonly PartitionOfGroup[]> {
  const replies = await Promise.all(
    atOnce(partitions, commands).map(async (some) => {
      const keys = some.flatMap(({ keys: { stream, delayed }, group }) => [
        stream,
        group.side,
        group.later,
        group.sideLater,
        delayed,
        group.delayed,
        group.meta,
      ])
      const args = some.map(({ keys: { partition } }) => `${partition}:`)
      return (await scripts.run(GROUP_INFO, keys, [
        (some[0] as (typeof some)[0]).group.group,
        ...args,
      ])) as readonly Row[]
    }),
  )
  return replies.flat().map(read)
}

type Row = readonly (number | Buffer)[]

function read(row: Row): PartitionOfGroup {
  const [unread, pending, waiting, due, delayed] = row.slice(0, 5) as [number, number, number, number, number]
  const [oldest, more, sideMore, start, head, settled, unsettled] = row.slice(5, 12).map(String) as Ids
  return {
    exists: unread >= 0,
    unread: Math.max(0, unread),
    pending,
    waiting,
    due,
    delayed,
    oldest,
    more,
    sideMore,
    start,
    head,
    settled,
    unsettled,
    wasTrimmed: row[12] === 1,
    owner: String(row[13]),
  }
}

type Ids = [
  oldest: string,
  more: string,
  sideMore: string,
  start: string,
  head: string,
  settled: string,
  unsettled: string,
]
