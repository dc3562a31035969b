import type { PartitionState } from '../partitions/partition-state.ts'
import { JOIN, RESTORE } from '../scripts/group.ts'
import type { MemberContext } from '../consume/member-context.ts'

/** Maximum number of held entries that one script makes pending again. */
const CHUNK = 500
const DELETED = 'its stream was deleted, with what the group had not read'

/** Creates the consumer group on a partition where it is missing, to begin after that id. Resolves with its generation. */
export async function joinGroup(member: MemberContext, partition: PartitionState, start: string): Promise<string> {
  const { context, spec } = member
  const [made, generation, floor, newest, state] = (await context.scripts.run(
    JOIN,
    [partition.keys.stream, partition.group.meta],
    [spec.group, start, String(partition.keys.partition), String(context.options.leaseMs)],
  )) as readonly [number, Buffer, Buffer?, Buffer?, number?]
  // A group for one subscription alone: no other member has read in it.
  if (made === 1 && spec.ephemeral) partition.lastRead = String(floor)
  if (made === 2) {
    if (String(newest) !== '') partition.againUntil = String(newest)
    reportMadeAgain(member, partition, String(floor), state === 1)
  }
  return String(generation)
}

/**
 * Repairs what was deleted during use: the group alone, the stream with it, or a consumer with everything it had
 * pending. What is here stays here, and is pending again; reading continues with the very next message.
 */
export async function restoreGroup(member: MemberContext, partition: PartitionState): Promise<void> {
  const { context, spec, consumer } = member
  const { generation } = partition
  for (const source of partition.sources) {
    const ids = partition.unsettled(source)
    for (let from = 0; from === 0 || from < ids.length; from += CHUNK) {
      const [made, restored, state, start] = (await context.scripts.run(
        RESTORE,
        [source.stream, partition.group.meta, source.later],
        [
          spec.group,
          generation,
          source.isSide ? 'side' : (partition.lastRead ?? ''),
          consumer,
          ownerName(member),
          ...ids.slice(from, from + CHUNK),
        ],
      )) as readonly [number, number, number, Buffer]
      if (source.isSide) source.missing = state === 0
      if (made === 1 && !source.isSide) reportMadeAgain(member, partition, String(start), state === 1)
      else if (made === 0 && restored > 0)
        context.reports.warn(
          'redis-consumer-deleted',
          `A consumer of group "${spec.group}" on ${source.stream} was deleted with entries that it had pending (XGROUP DELCONSUMER). The ${restored} that are still being handled were made pending again`,
        )
    }
  }
}

function reportMadeAgain(
  { context, spec }: MemberContext,
  { keys, reads }: PartitionState,
  start: string,
  streamIsThere: boolean,
): void {
  context.reports.warn(
    'redis-group-made-again',
    `Group "${spec.group}" on ${keys.stream} had been deleted, and was made again from ${start === '0' ? 'the start of the stream' : `entry ${start}`}`,
  )
  reads.forgetSeen()
  reads.see(start)
  if (streamIsThere) return
  reads.reset()
  context.host.events.emit('loss', {
    transport: context.host.name,
    topic: keys.topic,
    group: spec.group,
    count: undefined,
    position: { partition: keys.partition },
    reason: DELETED,
  })
}

/** How a partition names its owner; empty where partitions have none. */
export function ownerName({ context, spec, owned }: MemberContext): string {
  return owned ? `${context.lease.name} ${spec.consumerId}` : ''
}
