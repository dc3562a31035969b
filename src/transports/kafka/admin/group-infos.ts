import type { GroupInfo, PartitionInfo } from '../../../core/transport.ts'
import type { Admin, GroupMemberInfo, GroupOffset, TopicPartition } from '../../../kafka/index.ts'
import { isMovesGroup } from '../consume/group-moves.ts'
import { decodeRecord } from '../partitions/commit-record.ts'
import { offsetsWithRetries } from '../retry/retry-admin.ts'
import { retryTopic, sourceOf } from '../retry/retry-topic.ts'
import { positionOf } from '../wire/mapping.ts'
import { codeOf } from './error-code.ts'
import { inTurns } from './in-turns.ts'

/** Where the partitions of a topic begin and end. */
export interface TopicEnds {
  readonly starts: ReadonlyMap<number, number>
  /** As readers of committed records see them. */
  readonly ends: ReadonlyMap<number, number>
}

interface KafkaGroup {
  readonly groupId: string
  readonly members: readonly GroupMemberInfo[]
  readonly offsets: readonly GroupOffset[]
}

/** What is asked about. */
export interface GroupQuestion {
  readonly groupIds: readonly string[]
  readonly topics: readonly string[]
  /** The partitions of these topics, where they are few: then a group is not asked for all that it has. */
  readonly partitions?: readonly TopicPartition[] | undefined
}

/** Groups that have a position in one of these topics. Two requests for each group, whatever number of topics it reads. */
export async function groupInfos(
  admin: Admin,
  { groupIds, topics, partitions }: GroupQuestion,
  groupOf: (groupId: string) => string,
): Promise<readonly GroupInfo[]> {
  const groups = await inTurns(groupIds, async (groupId) => ({
    groupId,
    members: await membersOf(admin, groupId),
    // A transaction that is open for long must not hold up who only watches.
    offsets:
      partitions === undefined
        ? await admin.offsets.list(groupId, { requireStable: false })
        : await offsetsWithRetries(admin, groupId, partitions),
  }))
  const infos = await inTurns(topics, async (topic) => {
    const ofTopic = groups.filter(
      (each) => each.offsets.some((offset) => offset.topic === topic) || holders(each, topic) > 0,
    )
    if (ofTopic.length === 0) return []
    const ends = await endsOf(admin, topic)
    return inTurns(ofTopic, (group) => groupInfo(admin, topic, group, ends, groupOf))
  })
  return infos.flat().sort((a, b) => compare(a.topic, b.topic) || compare(a.group, b.group))
}

/** All groups of consumers. */
export async function groupIdsOf(admin: Admin): Promise<readonly string[]> {
  const listed = await admin.groups.list()
  return listed
    .filter(({ type, protocolType }) => type !== 'share' && (protocolType === 'consumer' || protocolType === ''))
    .filter(({ groupId }) => !isMovesGroup(groupId))
    .map(({ groupId }) => groupId)
}

/** One that has been deleted since it was listed has none. */
async function membersOf(admin: Admin, groupId: string): Promise<readonly GroupMemberInfo[]> {
  try {
    return (await admin.groups.describe(groupId)).members
  } catch (error) {
    if (codeOf(error) === 'GROUP_ID_NOT_FOUND') return []
    throw error
  }
}

function holders({ members }: KafkaGroup, topic: string): number {
  return members.filter(({ assignment }) => assignment.some((each) => each.topic === topic)).length
}

function isHeld({ members }: KafkaGroup, topic: string, partition: number): boolean {
  return members.some(({ assignment }) =>
    assignment.some((each) => each.topic === topic && each.partitions.includes(partition)),
  )
}

export async function endsOf(admin: Admin, topic: string): Promise<TopicEnds> {
  const [starts, ends] = await Promise.all([
    admin.records.offsets(topic, 'earliest'),
    admin.records.offsets(topic, 'latest', { committed: true }),
  ])
  const byPartition = (all: typeof ends) => new Map(all.map(({ partition, offset }) => [partition, offset]))
  return { starts: byPartition(starts), ends: byPartition(ends) }
}

async function groupInfo(
  admin: Admin,
  topic: string,
  of: KafkaGroup,
  { starts, ends }: TopicEnds,
  groupOf: (groupId: string) => string,
): Promise<GroupInfo> {
  const committed = new Map(of.offsets.filter((each) => each.topic === topic).map((each) => [each.partition, each]))
  const waiting = await waitingBeside(admin, topic, of)
  const partitions = await inTurns([...ends.keys()], async (partition) => {
    const info = await partitionInfo(admin, topic, committed.get(partition), {
      partition,
      name: `${topic}/${partition}`,
      start: starts.get(partition) ?? 0,
      end: ends.get(partition) ?? 0,
      isHeld: isHeld(of, topic, partition),
    })
    return { ...info, lag: (info.lag ?? 0) + (waiting.get(partition) ?? 0) }
  })
  const oldest = partitions.map(({ oldestUnackedAt }) => oldestUnackedAt).filter((time) => time !== undefined)
  return {
    topic,
    group: groupOf(of.groupId),
    lag: partitions.reduce((sum, { lag }) => sum + (lag ?? 0), 0),
    inFlight: undefined,
    members: holders(of, topic),
    oldestUnackedAt: oldest.length === 0 ? undefined : Math.min(...oldest),
    partitions,
  }
}

/** By partition: how many of its messages wait in the retry topic. Markers of transactions may be among them. */
async function waitingBeside(
  admin: Admin,
  topic: string,
  { groupId, offsets }: KafkaGroup,
): Promise<ReadonlyMap<number, number>> {
  const name = retryTopic(topic, groupId)
  const waiting = new Map<number, number>()
  const committed = offsets.filter((each) => each.topic === name)
  if (name === undefined || committed.length === 0) return waiting
  const { ends } = await endsOf(admin, name)
  for (const each of committed) {
    const { partition: log, offset } = each
    const lag = (ends.get(log) ?? 0) - offset - finishedAhead(each)
    if (lag <= 0 || (await nextRecord(admin, { topic: name, partition: log, offset })) === undefined) continue
    waiting.set(sourceOf(log), (waiting.get(sourceOf(log)) ?? 0) + lag)
  }
  return waiting
}

interface Log {
  readonly partition: number
  readonly name: string
  readonly start: number
  readonly end: number
  /** A member of the group has it. */
  readonly isHeld: boolean
}

/** A partition without a commit is one that the group has not begun with: it will read all of it. */
async function partitionInfo(
  admin: Admin,
  topic: string,
  committed: GroupOffset | undefined,
  { partition, name, start, end, isHeld: mayBeInFlight }: Log,
): Promise<PartitionInfo> {
  const floor = Math.max(start, committed?.offset ?? start)
  const next = floor < end ? await nextRecord(admin, { topic, partition, offset: floor }) : undefined
  // Markers of transactions have offsets, too: behind the last message there may be nothing but those.
  const settled = next === undefined ? end : floor
  const ahead = committed === undefined || settled === end ? 0 : finishedAhead(committed)
  const at = (offset: number) => (offset < 0 ? undefined : positionOf(partition, offset))
  return {
    partition: name,
    lag: Math.max(0, end - settled - ahead),
    // Only its member knows.
    inFlight: mayBeInFlight ? undefined : 0,
    position: settled > 0 ? at(settled - 1) : undefined,
    head: end > start ? at(end - 1) : undefined,
    start: end > start ? at(start) : undefined,
    oldestUnackedAt: next,
  }
}

/** The time of the first record that is left; undefined if there is none. */
export async function nextRecord(
  admin: Admin,
  place: { readonly topic: string; readonly partition: number; readonly offset: number },
): Promise<number | undefined> {
  try {
    return (await admin.records.read(place, { maxRecords: 1 })).records[0]?.timestamp
  } catch (error) {
    // Retention has removed it meanwhile.
    if (codeOf(error) === 'OFFSET_OUT_OF_RANGE') return undefined
    throw error
  }
}

/** Records behind the commit that are finished. */
function finishedAhead({ metadata, offset }: GroupOffset): number {
  const record = decodeRecord(metadata, offset)
  if (record === undefined) return 0
  const open = record.open.reduce((sum, [first, last]) => sum + last - first + 1, 0)
  return Math.max(0, record.to - record.floor - open)
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
