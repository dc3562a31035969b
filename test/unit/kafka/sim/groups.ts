import { ZERO_UUID } from '../../../../src/kafka/protocol/layout.ts'
import type { Call, Handlers } from './broker.ts'
import { ClassicGroup } from './classic-group.ts'
import { CODE } from './codes.ts'
import { ConsumerGroup } from './consumer-group.ts'
import { GroupOffsets } from './offsets.ts'
import type { SimCluster } from './sim-cluster.ts'

interface Group {
  readonly offsets: GroupOffsets
  classic: ClassicGroup
  consumer: ConsumerGroup
}

/** All groups of the cluster, whichever broker coordinates them. */
export class SimGroups {
  readonly #cluster: SimCluster
  readonly #groups = new Map<string, Group>()

  constructor(cluster: SimCluster) {
    this.#cluster = cluster
  }

  offsets(groupId: string): GroupOffsets {
    return this.#of(groupId).offsets
  }

  /** Its classic side. A group is of one kind at a time: that of its members. */
  classic(groupId: string): ClassicGroup {
    return this.#of(groupId).classic
  }

  consumer(groupId: string): ConsumerGroup {
    return this.#of(groupId).consumer
  }

  topicDeleted(name: string): void {
    for (const { offsets } of this.#groups.values()) offsets.expire(name)
  }

  endTransaction(groupId: string, producerId: bigint, isCommit: boolean): void {
    this.offsets(groupId).endTransaction(producerId, isCommit)
  }

  /** Whether a member's commit counts; -1 and no id: someone outside of the group. */
  checkMember(groupId: string, memberId: string, instanceId: string | null, generation: number): number {
    const { classic, consumer } = this.#of(groupId)
    if (consumer.members.length > 0) return consumer.check(memberId, generation)
    return classic.checkCommit(memberId, instanceId, generation)
  }

  handlers(): Handlers {
    return { ...this.#classicHandlers(), ...this.#consumerHandlers(), ...this.#offsetHandlers() }
  }

  #of(groupId: string): Group {
    let group = this.#groups.get(groupId)
    if (group === undefined) {
      const { clock, topics, random } = this.#cluster
      const consumer = new ConsumerGroup({
        clock,
        topics: () =>
          [...topics.all()].map(({ name, id, partitions }) => ({ name, id, partitions: partitions.length })),
        random: () => random.uuid(),
      })
      group = { offsets: new GroupOffsets(), classic: new ClassicGroup(clock), consumer }
      this.#groups.set(groupId, group)
    }
    return group
  }

  #check(call: Call, groupId: string): number {
    return this.#cluster.coordinators.check('group', groupId, call.broker.id)
  }

  #classicHandlers(): Handlers {
    return {
      JoinGroup: (request, call) => {
        const errorCode = this.#check(call, request.groupId)
        if (errorCode !== 0) return { errorCode }
        const { classic, consumer } = this.#of(request.groupId)
        if (consumer.members.length > 0) return { errorCode: CODE.INCONSISTENT_GROUP_PROTOCOL }
        return classic.join(request, call.version, call.clientId)
      },
      SyncGroup: (request, call) => {
        const errorCode = this.#check(call, request.groupId)
        return errorCode === 0 ? this.classic(request.groupId).sync(request) : { errorCode }
      },
      Heartbeat: (request, call) => {
        const errorCode = this.#check(call, request.groupId)
        return { errorCode: errorCode === 0 ? this.classic(request.groupId).heartbeat(request) : errorCode }
      },
      LeaveGroup: ({ groupId, memberId, members }, call) => {
        const errorCode = this.#check(call, groupId)
        if (errorCode !== 0) return { errorCode }
        const classic = this.classic(groupId)
        if (call.version < 3) return { errorCode: classic.leave(memberId, null) }
        const answers = members.map((member) => ({
          memberId: member.memberId,
          groupInstanceId: member.groupInstanceId,
          errorCode: classic.leave(member.memberId, member.groupInstanceId),
        }))
        return { errorCode: 0, members: answers }
      },
    }
  }

  #consumerHandlers(): Handlers {
    return {
      ConsumerGroupHeartbeat: (request, call) => {
        const errorCode = this.#check(call, request.groupId)
        if (errorCode !== 0) return { errorCode }
        const { classic, consumer } = this.#of(request.groupId)
        if (classic.members.length > 0) return { errorCode: CODE.GROUP_ID_NOT_FOUND }
        return consumer.heartbeat(request)
      },
    }
  }

  #offsetHandlers(): Handlers {
    return {
      OffsetCommit: ({ groupId, memberId, groupInstanceId, generationIdOrMemberEpoch, topics }, call) => {
        const groupError =
          this.#check(call, groupId) || this.checkMember(groupId, memberId, groupInstanceId, generationIdOrMemberEpoch)
        return {
          topics: topics.map(({ name, topicId, partitions }) => ({
            name,
            topicId,
            partitions: partitions.map(
              ({ partitionIndex, committedOffset, committedLeaderEpoch, committedMetadata }) => {
                const topic = this.#topic(call.version >= 10 ? { id: topicId } : { name })
                const errorCode = groupError || (topic === undefined ? this.#unknown(call.version) : 0)
                if (topic !== undefined && errorCode === 0) {
                  const committed = {
                    offset: committedOffset,
                    leaderEpoch: committedLeaderEpoch,
                    metadata: committedMetadata,
                  }
                  this.offsets(groupId).commit(topic.name, partitionIndex, committed)
                }
                return { partitionIndex, errorCode }
              },
            ),
          })),
        }
      },

      OffsetFetch: (request, call) => {
        const { requireStable } = request
        if (call.version < 8) {
          const { groupId, topics } = request
          const errorCode = this.#check(call, groupId)
          return { errorCode, topics: errorCode === 0 ? this.#fetchOffsets(groupId, topics, requireStable, call) : [] }
        }
        return {
          groups: request.groups.map(({ groupId, memberId, memberEpoch, topics }) => {
            const { consumer } = this.#of(groupId)
            const asMember = memberId !== null && memberEpoch >= 0 && consumer.members.length > 0
            const errorCode = this.#check(call, groupId) || (asMember ? consumer.check(memberId, memberEpoch) : 0)
            return {
              groupId,
              errorCode,
              topics: errorCode === 0 ? this.#fetchOffsets(groupId, topics, requireStable, call) : [],
            }
          }),
        }
      },

      OffsetDelete: ({ groupId, topics }, call) => ({
        errorCode: this.#check(call, groupId),
        topics: topics.map(({ name, partitions }) => {
          this.offsets(groupId).expire(name)
          return { name, partitions: partitions.map(({ partitionIndex }) => ({ partitionIndex, errorCode: 0 })) }
        }),
      }),
    }
  }

  #topic({ name, id }: { readonly name?: string; readonly id?: string }) {
    const { topics } = this.#cluster
    return id === undefined ? topics.named(name ?? '') : topics.ofId(id)
  }

  #unknown(version: number): number {
    return version >= 10 ? CODE.UNKNOWN_TOPIC_ID : CODE.UNKNOWN_TOPIC_OR_PARTITION
  }

  /** Null: all that the group has. */
  #fetchOffsets(
    groupId: string,
    topics:
      | readonly { readonly name: string; readonly topicId?: string; readonly partitionIndexes: readonly number[] }[]
      | null,
    requireStable: boolean,
    call: Call,
  ) {
    const offsets = this.offsets(groupId)
    const wanted =
      topics ?? offsets.entries().map(([name, index]) => ({ name, partitionIndexes: [index], topicId: undefined }))
    return wanted.map(({ name: asked, topicId: id, partitionIndexes }) => {
      const topic = this.#topic(call.version >= 10 && id !== undefined ? { id } : { name: asked })
      const name = topic?.name ?? asked
      const isUnknown = topic === undefined && call.version >= 10
      return {
        name,
        topicId: id ?? topic?.id ?? ZERO_UUID,
        partitions: partitionIndexes.map((partitionIndex) => {
          const isUnstable = requireStable && offsets.isUnstable(name, partitionIndex)
          const found = isUnstable ? undefined : offsets.get(name, partitionIndex)
          return {
            partitionIndex,
            committedOffset: found?.offset ?? -1,
            committedLeaderEpoch: found?.leaderEpoch ?? -1,
            metadata: found?.metadata ?? '',
            errorCode: isUnknown ? CODE.UNKNOWN_TOPIC_ID : isUnstable ? CODE.UNSTABLE_OFFSET_COMMIT : 0,
          }
        }),
      }
    })
  }
}
