import { UnsupportedError } from '../../../core/errors.ts'
import type { GroupInfo, PartitionInfo, StartFrom } from '../../../core/transport.ts'
import type { Admin, ShareGroupOffset } from '../../../kafka/index.ts'
import { codeOf } from '../admin/error-code.ts'
import { endsOf, nextRecord } from '../admin/group-infos.ts'
import type { TopicEnds } from '../admin/group-infos.ts'
import { inTurns } from '../admin/in-turns.ts'
import { startOffsets } from '../admin/start-offsets.ts'
import { positionOf } from '../wire/mapping.ts'
import { groupIdOfShare, isUnsupported } from './share-group.ts'

/** Share groups that have begun with one of these topics. Two requests for each group. */
export async function shareGroupInfos(
  admin: Admin,
  { groupIds, topics }: { readonly groupIds: readonly string[]; readonly topics: readonly string[] },
  groupOf: (groupId: string) => string,
): Promise<readonly GroupInfo[]> {
  const groups = await inTurns(groupIds, async (groupId) => {
    const offsets = await shareOffsetsOf(admin, groupId)
    return { groupId, offsets, members: offsets.length === 0 ? 0 : await membersOf(admin, groupId) }
  })
  const infos = await inTurns(topics, async (topic) => {
    const ofTopic = groups.filter(({ offsets }) => offsets.some((offset) => offset.topic === topic))
    if (ofTopic.length === 0) return []
    const ends = await endsOf(admin, topic)
    return inTurns(ofTopic, async ({ groupId, offsets, members }) => {
      const partitions = await inTurns([...ends.ends.keys()], (partition) =>
        partitionInfo(
          admin,
          topic,
          partition,
          ends,
          offsets.find((each) => each.topic === topic && each.partition === partition),
        ),
      )
      return infoOf(topic, groupOf(groupIdOfShare(groupId) ?? groupId), members, partitions)
    })
  })
  return infos.flat()
}

/** None where there are no share groups. */
export async function shareOffsetsOf(admin: Admin, shareGroup: string): Promise<readonly ShareGroupOffset[]> {
  try {
    return await admin.shareOffsets.list(shareGroup)
  } catch (error) {
    if (isUnsupported(error)) return []
    throw error
  }
}

/** All share groups. */
export async function shareGroupIdsOf(admin: Admin): Promise<readonly string[]> {
  return (await admin.groups.list()).filter(({ type }) => type === 'share').map(({ groupId }) => groupId)
}

/** Where a group has members, Kafka moves it for nobody. */
export async function seekShareGroup(admin: Admin, topic: string, shareGroup: string, to: StartFrom): Promise<void> {
  const starts = await startOffsets(admin, topic, to)
  try {
    await admin.shareOffsets.alter(
      shareGroup,
      [...starts].map(([partition, startOffset]) => ({ topic, partition, startOffset })),
    )
  } catch (error) {
    if (codeOf(error) !== 'NON_EMPTY_GROUP') throw error
    throw new UnsupportedError(
      `Share group "${shareGroup}" of "${topic}" can't be moved while it has members: Kafka refuses it. Stop them first`,
    )
  }
}

export async function deleteShareGroup(admin: Admin, topic: string, shareGroup: string): Promise<void> {
  const offsets = await shareOffsetsOf(admin, shareGroup)
  const others = offsets.some((each) => each.topic !== topic)
  if (offsets.some((each) => each.topic === topic)) await admin.shareOffsets.delete(shareGroup, [topic])
  if (offsets.length > 0 && !others) await admin.groups.delete([shareGroup])
}

/** One that has been deleted since has none. */
async function membersOf(admin: Admin, groupId: string): Promise<number> {
  try {
    return (await admin.groups.describe(groupId)).members.length
  } catch (error) {
    if (codeOf(error) === 'GROUP_ID_NOT_FOUND') return 0
    throw error
  }
}

function infoOf(topic: string, group: string, members: number, partitions: readonly PartitionInfo[]): GroupInfo {
  const lags = partitions.map(({ lag }) => lag)
  const oldest = partitions.map(({ oldestUnackedAt }) => oldestUnackedAt).filter((time) => time !== undefined)
  return {
    topic,
    group,
    lag: lags.includes(undefined) ? undefined : lags.reduce<number>((sum, lag) => sum + (lag ?? 0), 0),
    inFlight: members > 0 ? undefined : 0,
    members,
    oldestUnackedAt: oldest.length === 0 ? undefined : Math.min(...oldest),
    partitions,
  }
}

/** Every member may have messages of every partition. The broker counts what has no final verdict. */
async function partitionInfo(
  admin: Admin,
  topic: string,
  partition: number,
  { starts, ends }: TopicEnds,
  known: ShareGroupOffset | undefined,
): Promise<PartitionInfo> {
  const [start, end] = [starts.get(partition) ?? 0, ends.get(partition) ?? 0]
  // One that the group has not begun with will be read from its start.
  const floor = Math.max(start, known === undefined || known.startOffset < 0 ? start : known.startOffset)
  const next = floor < end ? await nextRecord(admin, { topic, partition, offset: floor }) : undefined
  const counted = known === undefined || known.lag < 0 ? undefined : known.lag
  // Markers of transactions have offsets, too: behind the last message there may be nothing but those.
  const lag =
    next === undefined ? 0 : (counted ?? (known === undefined || known.startOffset < 0 ? end - floor : undefined))
  const at = (offset: number) => (offset < 0 ? undefined : positionOf(partition, offset))
  return {
    partition: `${topic}/${partition}`,
    lag,
    inFlight: undefined,
    position: next === undefined ? at(end - 1) : at(floor - 1),
    head: end > start ? at(end - 1) : undefined,
    start: end > start ? at(start) : undefined,
    oldestUnackedAt: next,
  }
}
