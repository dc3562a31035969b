import { errorFromBroker } from '../../errors.ts'
import type { KafkaError } from '../../errors.ts'
import type {
  OffsetCommitRequest,
  OffsetCommitResponse,
  OffsetFetchRequest,
  OffsetFetchResponse,
} from '../../protocol/generated/api-types.ts'
import type { MemberIdentity } from '../group-machine.ts'
import type { CommitEntry, CommitRequest } from './commit-pipeline.ts'

export interface NamedPartition {
  readonly topic: string
  /** Undefined if the cluster is too old to have ids. */
  readonly topicId: string | undefined
  readonly partition: number
}

export interface FoundCommit<P> {
  readonly partition: P
  readonly offset: number
  readonly leaderEpoch: number
  readonly metadata: string
}

const FIRST_COMMIT_WITH_IDS = 10
/** Offsets of open transactions are waited for (KIP-447). */
const FIRST_STABLE_FETCH = 7
const FIRST_FETCH_OF_GROUPS = 8
const FIRST_FETCH_WITH_IDS = 10
const NONE = -1
const REQUEST_TIMED_OUT = 7

/** Versions beyond this name topics by ids. */
export const LAST_VERSION_WITH_NAMES = 9

interface Member {
  readonly groupId: string
  readonly instanceId: string | null
}

export function commitBody(
  { groupId, instanceId }: Member,
  { identity, entries }: CommitRequest,
  idOf: (entry: CommitEntry) => string | undefined,
  version: number,
): OffsetCommitRequest {
  const groups = Map.groupBy(entries, ({ span }) => span.topic)
  return {
    groupId,
    generationIdOrMemberEpoch: identity.epoch,
    memberId: identity.memberId,
    groupInstanceId: instanceId,
    topics: [...groups].map(([name, group]) => ({
      ...topicOf(name, group[0] === undefined ? undefined : idOf(group[0]), version >= FIRST_COMMIT_WITH_IDS),
      partitions: group.map(({ span, commit }) => ({
        partitionIndex: span.partition,
        committedOffset: commit.offset,
        committedLeaderEpoch: commit.leaderEpoch,
        committedMetadata: commit.metadata,
      })),
    })),
  }
}

/** The code of each entry; one that the answer leaves out counts as a timeout. */
export function commitCodes(
  response: OffsetCommitResponse,
  idOf: (entry: CommitEntry) => string | undefined,
): (entry: CommitEntry) => number {
  const codes = new Map<string, number>()
  for (const { name, topicId, partitions } of response.topics) {
    for (const { partitionIndex, errorCode } of partitions) {
      codes.set(`${partitionIndex} ${name}`, errorCode)
      codes.set(`${partitionIndex} ${topicId}`, errorCode)
    }
  }
  return (entry) => {
    const { topic, partition } = entry.span
    return codes.get(`${partition} ${topic}`) ?? codes.get(`${partition} ${idOf(entry) ?? ''}`) ?? REQUEST_TIMED_OUT
  }
}

export function offsetFetchBody(
  { groupId }: Member,
  identity: MemberIdentity | undefined,
  partitions: readonly NamedPartition[],
  version: number,
): OffsetFetchRequest {
  const groups = [...Map.groupBy(partitions, ({ topic }) => topic)]
  const topics = groups.map(([name, group]) => ({
    ...topicOf(name, group[0]?.topicId, version >= FIRST_FETCH_WITH_IDS),
    partitionIndexes: group.map(({ partition }) => partition),
  }))
  if (version < FIRST_FETCH_OF_GROUPS) {
    const named = groups.map(([name, group]) => ({ name, partitionIndexes: group.map(({ partition }) => partition) }))
    return { groupId, topics: named, ...(version < FIRST_STABLE_FETCH ? {} : { requireStable: true }) }
  }
  const member = identity === undefined ? {} : { memberId: identity.memberId, memberEpoch: identity.epoch }
  return { groups: [{ groupId, ...member, topics }], requireStable: true }
}

/** What is committed; throws the first error in the answer, so that a part of it never counts for all. */
export function foundCommits<P extends NamedPartition>(
  { groupId }: Member,
  response: OffsetFetchResponse,
  partitions: readonly P[],
): readonly FoundCommit<P>[] {
  const what = `OffsetFetch of group ${groupId}`
  const group = response.groups[0]
  const errorCode = group?.errorCode ?? response.errorCode
  if (errorCode !== 0) throw errorFromBroker(errorCode, what)
  const found: FoundCommit<P>[] = []
  for (const topic of group?.topics ?? response.topics) {
    for (const answer of topic.partitions) {
      if (answer.errorCode !== 0) throw errorFromBroker(answer.errorCode, what)
      const partition = partitions.find(
        (each) =>
          each.partition === answer.partitionIndex && isTopic(each, topic as { name: string; topicId?: string }),
      )
      const { committedOffset: offset, committedLeaderEpoch: leaderEpoch, metadata } = answer
      if (partition === undefined || offset === NONE) continue
      found.push({ partition, offset, leaderEpoch, metadata: metadata ?? '' })
    }
  }
  return found
}

/** Whether asking again may bring an answer: a member between two epochs is no reason to give up. */
export function mayBeFoundLater({ retriable, action }: KafkaError): boolean {
  return retriable || action === 'rejoin'
}

function isTopic(partition: NamedPartition, { name, topicId }: { readonly name: string; readonly topicId?: string }) {
  return name === '' ? topicId === partition.topicId : name === partition.topic
}

function topicOf(name: string, topicId: string | undefined, usesIds: boolean): { name?: string; topicId?: string } {
  return usesIds && topicId !== undefined ? { topicId } : { name }
}
