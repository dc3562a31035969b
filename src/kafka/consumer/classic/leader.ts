import { decodeSubscription, encodeAssignment, encodeSubscription } from '../../protocol/embedded.ts'
import type { Subscription } from '../../protocol/embedded.ts'
import type { Assignor, GroupMember, TopicInfos } from '../assignors/assignor.ts'
import type { PartitionSet } from '../partition-set.ts'
import type { Joined, MemberAssignments } from './classic-member.ts'

export interface SubscribedMember {
  readonly topics: readonly string[]
  readonly rack: string | null
  /** What it holds; of an eager member, nothing. */
  readonly owned: PartitionSet
  /** What it had at last. */
  readonly last: PartitionSet
  readonly generation: number
}

/** What a member tells the leader when it joins: one for each assignor, since each has its own user data. */
export function subscriptionFor(assignor: Assignor, member: SubscribedMember): Buffer {
  const { topics, rack, owned, last, generation } = member
  return encodeSubscription({
    topics: [...topics].sort(),
    userData: assignor.userData?.(last, generation) ?? null,
    ownedPartitions: owned.toTopics(),
    generationId: generation,
    rackId: rack,
  })
}

/** The topics that any member of the group wants: the leader must know their partitions. */
export function topicsOf(joined: Joined): readonly string[] {
  return [...new Set((joined.members ?? []).flatMap(({ metadata }) => decodeSubscription(metadata).topics))]
}

/** What the leader decides. Every member gets an answer, also one that gets nothing. Throws if a member's bytes can't be read. */
export function assignmentsOf(assignor: Assignor, joined: Joined, topics: TopicInfos): MemberAssignments {
  const members = (joined.members ?? []).map(({ memberId, groupInstanceId, metadata }) =>
    memberOf(assignor, memberId, groupInstanceId, decodeSubscription(metadata)),
  )
  return [...assignor.assign(members, topics)].map(([memberId, partitions]) => ({
    memberId,
    assignment: encodeAssignment({ assignedPartitions: partitions.toTopics(), userData: null }),
  }))
}

function memberOf(
  assignor: Assignor,
  id: string,
  instanceId: string | null,
  { topics, userData, ownedPartitions, generationId, rackId }: Subscription,
): GroupMember {
  const base = { id, instanceId, topics, rack: rackId, owned: ownedPartitions, generation: generationId }
  if (ownedPartitions.length > 0 || userData === null || userData.length === 0) return base
  return { ...base, ...assignor.readUserData?.(Buffer.from(userData)) }
}
