import { errorFromBroker } from '../errors.ts'
import type { KafkaError } from '../errors.ts'
import { decodeAssignment } from '../protocol/embedded.ts'
import { checkItems } from './admin-context.ts'
import type { AdminContext } from './admin-context.ts'
import { checkArguments, groupName, list } from './arguments.ts'

/** A group in the list of groups. */
export interface GroupListing {
  readonly groupId: string
  /** `consumer` for groups of consumers, empty for one that only has offsets. */
  readonly protocolType: string
  /** As the broker names it: `Stable`, `Empty`, … Empty before Kafka 2.6. */
  readonly state: string
  /** `classic`, `consumer` (KIP-848), `share`, …; empty before Kafka 4.0. */
  readonly type: string
}

/** A member of a group, and what it has been assigned. */
export interface GroupMember {
  readonly memberId: string
  readonly instanceId: string | null
  readonly clientId: string
  readonly clientHost: string
  readonly assignment: readonly { readonly topic: string; readonly partitions: readonly number[] }[]
}

/** A group and its members. */
export interface GroupInfo {
  readonly groupId: string
  readonly type: 'classic' | 'consumer' | 'share'
  readonly state: string
  /** Empty while there are no members. */
  readonly assignor: string
  readonly members: readonly GroupMember[]
}

const GROUP_ID_NOT_FOUND = 69
const UNSUPPORTED = 'UNSUPPORTED_API'
const DESCRIBE = { consumer: 'ConsumerGroupDescribe', share: 'ShareGroupDescribe' } as const

/** Consumer groups: `admin.groups`. */
export class GroupsAdmin {
  readonly #context: AdminContext

  /** @internal */
  constructor(context: AdminContext) {
    this.#context = context
  }

  /** The groups of all brokers. */
  list(): Promise<readonly GroupListing[]> {
    return this.#context.read('list groups', async () => {
      const answers = await this.#context.toAll('ListGroups', {})
      return answers.flatMap(({ nodeId, response }) => {
        if (response.errorCode !== 0) throw errorFromBroker(response.errorCode, `list groups of broker ${nodeId}`)
        return response.groups.map(({ groupId, protocolType, groupState, groupType }) => ({
          groupId,
          protocolType,
          state: groupState,
          type: groupType,
        }))
      })
    })
  }

  /**
   * The members of a group of any type, and their partitions. Rejects with GROUP_ID_NOT_FOUND if the group doesn't
   * exist.
   */
  async describe(groupId: string): Promise<GroupInfo> {
    checkArguments('admin.groups.describe', { groupId: [groupId, groupName] })
    return this.#context.read(
      `describe group ${groupId}`,
      async () =>
        (await this.#describeNew(groupId, 'consumer')) ??
        (await this.#describeNew(groupId, 'share')) ??
        this.#describeClassic(groupId),
    )
  }

  /** Deletes groups without members, and their offsets. */
  async delete(groupIds: readonly string[]): Promise<void> {
    checkArguments('admin.groups.delete', { groupIds: [groupIds, list(groupName, 'names of groups')] })
    const answers = await Promise.all(
      groupIds.map((groupId) =>
        this.#context.write(`delete group ${groupId}`, async () => {
          const { results } = await this.#context.toCoordinator('group', groupId, 'DeleteGroups', {
            groupsNames: [groupId],
          })
          const errorCode = results[0]?.errorCode ?? -1
          this.#context.repeatIfPassing('group', groupId, errorCode, `delete group ${groupId}`)
          return { item: groupId, errorCode }
        }),
      ),
    )
    checkItems('delete group', answers)
  }

  /** Undefined if the group is of another kind, or the broker too old for this one. */
  async #describeNew(groupId: string, type: 'consumer' | 'share'): Promise<GroupInfo | undefined> {
    const body = { groupIds: [groupId], includeAuthorizedOperations: false }
    const answer = await this.#context.toCoordinator('group', groupId, DESCRIBE[type], body).catch((error: unknown) => {
      if ((error as KafkaError).code === UNSUPPORTED) return undefined
      throw error
    })
    const group = answer?.groups[0]
    if (group === undefined || group.errorCode === GROUP_ID_NOT_FOUND) return undefined
    this.#context.checkCoordinator('group', groupId, group.errorCode, `describe group ${groupId}`, group.errorMessage)
    return {
      groupId,
      type,
      state: group.groupState,
      assignor: group.assignorName,
      members: group.members.map(({ assignment, memberId, clientId, clientHost, ...member }) => ({
        memberId,
        instanceId: 'instanceId' in member ? member.instanceId : null,
        clientId,
        clientHost,
        assignment: assignment.topicPartitions.map(({ topicName, partitions }) => ({ topic: topicName, partitions })),
      })),
    }
  }

  async #describeClassic(groupId: string): Promise<GroupInfo> {
    const { groups } = await this.#context.toCoordinator('group', groupId, 'DescribeGroups', { groups: [groupId] })
    const [group] = groups
    const what = `describe group ${groupId}`
    this.#context.checkCoordinator('group', groupId, group?.errorCode ?? -1, what, group?.errorMessage)
    // Before version 6, a group that does not exist is said to be dead.
    if (group === undefined || group.groupState === 'Dead') throw errorFromBroker(GROUP_ID_NOT_FOUND, what)
    const isConsumer = group.protocolType === 'consumer'
    return {
      groupId,
      type: 'classic',
      state: group.groupState,
      assignor: group.protocolData,
      members: group.members.map(({ memberId, groupInstanceId, clientId, clientHost, memberAssignment }) => ({
        memberId,
        instanceId: groupInstanceId,
        clientId,
        clientHost,
        assignment: isConsumer ? decodeAssignment(memberAssignment).assignedPartitions : [],
      })),
    }
  }
}
