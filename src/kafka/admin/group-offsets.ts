import { errorFromBroker, KafkaError } from '../errors.ts'
import { offsetSpec, placesOf } from './records.ts'
import type { OffsetSpec, RecordsAdmin } from './records.ts'
import { checkItems } from './admin-context.ts'
import type { AdminContext } from './admin-context.ts'
import {
  anyText,
  checkArguments,
  groupName,
  leaderEpoch,
  list,
  only,
  optional,
  partitionIndex,
  topicName,
  topicNames,
  topicPartitions,
  trueOrFalse,
  whole,
} from './arguments.ts'
import { byTopic } from './by-topic.ts'

/** What a group has committed for one partition. */
export interface GroupOffset {
  readonly topic: string
  readonly partition: number
  /** The next offset that the group reads. */
  readonly offset: number
  /** -1 if it isn't known. */
  readonly leaderEpoch: number
  readonly metadata: string
}

/**
 * Where a group should continue. You can pass what {@link GroupOffsetsAdmin.list} resolves with, also for another
 * group.
 */
export interface NewGroupOffset {
  readonly topic: string
  readonly partition: number
  /** 0 or more. */
  readonly offset: number
  /** The epoch of the leader that wrote the record before. @default -1, not known */
  readonly leaderEpoch?: number | undefined
  /** @default '' */
  readonly metadata?: string | undefined
}

interface AnsweredTopic {
  readonly name: string
  readonly partitions: readonly { readonly partitionIndex: number; readonly errorCode: number }[]
}

const FIRST_VERSION_OF_GROUPS = 8

const NEW_OFFSET = only({
  topic: topicName,
  partition: partitionIndex,
  offset: whole(0),
  leaderEpoch: optional(leaderEpoch),
  metadata: optional(anyText('text')),
})

/** Committed offsets of groups: `admin.offsets`. */
export class GroupOffsetsAdmin {
  readonly #context: AdminContext
  readonly #records: RecordsAdmin

  /** @internal */
  constructor(context: AdminContext, records: RecordsAdmin) {
    this.#context = context
    this.#records = records
  }

  /**
   * Committed offsets of a group, by topic and partition; empty if the group doesn't exist.
   *
   * - `partitions`: only of these. @default all that the group has committed
   * - `requireStable`: waits for open transactions that commit offsets of the group. Without it, what was committed before
   *   them is the answer, at once: enough to watch a group, but not to continue where it is. @default true
   */
  async list(
    groupId: string,
    options: {
      readonly partitions?: readonly { readonly topic: string; readonly partition: number }[] | undefined
      readonly requireStable?: boolean | undefined
    } = {},
  ): Promise<readonly GroupOffset[]> {
    checkArguments('admin.offsets.list', {
      groupId: [groupId, groupName],
      options: [options, only({ partitions: optional(topicPartitions), requireStable: optional(trueOrFalse) })],
    })
    const { partitions: wanted, requireStable = true } = options
    const topics =
      wanted === undefined
        ? null
        : byTopic(wanted).map(([name, some]) => ({ name, partitionIndexes: some.map(({ partition }) => partition) }))
    const what = `list offsets of group ${groupId}`
    return this.#context.read(what, async () => {
      // By name: version 10 would answer with ids.
      const response = await this.#context.toCoordinator(
        'group',
        groupId,
        'OffsetFetch',
        (version) =>
          version < FIRST_VERSION_OF_GROUPS
            ? { groupId, topics, requireStable: requireStable && version === 7 }
            : { groups: [{ groupId, topics }], requireStable },
        { maxVersion: 9 },
      )
      const group = response.groups[0] ?? response
      this.#context.checkCoordinator('group', groupId, group.errorCode, what)
      const offsets = group.topics.flatMap(({ name, partitions }) =>
        partitions.flatMap(({ partitionIndex, committedOffset, committedLeaderEpoch, metadata, errorCode }) => {
          if (errorCode !== 0) throw errorFromBroker(errorCode, `${what}, ${name}[${partitionIndex}]`)
          if (committedOffset < 0) return []
          const offset = { topic: name, partition: partitionIndex, offset: committedOffset }
          return [{ ...offset, leaderEpoch: committedLeaderEpoch, metadata: metadata ?? '' }]
        }),
      )
      return offsets.sort((a, b) => (a.topic === b.topic ? a.partition - b.partition : a.topic < b.topic ? -1 : 1))
    })
  }

  /** Sets offsets of a group without members. Rejects with NON_EMPTY_GROUP if it has members: stop them first. */
  async alter(groupId: string, offsets: readonly NewGroupOffset[]): Promise<void> {
    checkArguments('admin.offsets.alter', {
      groupId: [groupId, groupName],
      offsets: [offsets, list(NEW_OFFSET, '{ topic, partition, offset }')],
    })
    const what = `alter offsets of group ${groupId}`
    const topics = byTopic(offsets).map(([name, partitions]) => ({
      name,
      partitions: partitions.map(({ partition, offset, leaderEpoch: epoch = -1, metadata = '' }) => ({
        partitionIndex: partition,
        committedOffset: offset,
        committedLeaderEpoch: epoch,
        committedMetadata: metadata,
      })),
    }))
    await this.#context.read(what, async () => {
      const body = { groupId, memberId: '', topics }
      const answer = await this.#context.toCoordinator('group', groupId, 'OffsetCommit', body, { maxVersion: 9 })
      refuseMembers(what, answer.topics)
      this.#checkPartitions(groupId, what, answer.topics)
    })
  }

  /**
   * Moves a group without members to the start or the end of the partitions of topics, or to a time: to the first
   * record that is not older, or the end if there is none. Rejects with NON_EMPTY_GROUP as {@link
   * GroupOffsetsAdmin.alter} does.
   */
  async reset(groupId: string, topics: readonly string[], to: OffsetSpec): Promise<void> {
    checkArguments('admin.offsets.reset', {
      groupId: [groupId, groupName],
      topics: [topics, topicNames],
      to: [to, offsetSpec],
    })
    const offsets: NewGroupOffset[] = []
    for (const topic of topics) {
      for (const { partition, offset } of await placesOf(this.#records, topic, to)) {
        offsets.push({ topic, partition, offset })
      }
    }
    await this.alter(groupId, offsets)
  }

  /** Deletes offsets of topics that no member of the group subscribes to. */
  async delete(
    groupId: string,
    partitions: readonly { readonly topic: string; readonly partition: number }[],
  ): Promise<void> {
    checkArguments('admin.offsets.delete', {
      groupId: [groupId, groupName],
      partitions: [partitions, topicPartitions],
    })
    const what = `delete offsets of group ${groupId}`
    const topics = byTopic(partitions).map(([name, some]) => ({
      name,
      partitions: some.map(({ partition }) => ({ partitionIndex: partition })),
    }))
    await this.#context.read(what, async () => {
      const answer = await this.#context.toCoordinator('group', groupId, 'OffsetDelete', { groupId, topics })
      this.#context.checkCoordinator('group', groupId, answer.errorCode, what)
      this.#checkPartitions(groupId, what, answer.topics)
    })
  }

  #checkPartitions(groupId: string, what: string, topics: readonly AnsweredTopic[]): void {
    const answers = topics.flatMap(({ name, partitions }) =>
      partitions.map(({ partitionIndex, errorCode }) => ({ item: `${name}[${partitionIndex}]`, errorCode })),
    )
    for (const { errorCode } of answers) this.#context.repeatIfPassing('group', groupId, errorCode, what)
    checkItems(`${what},`, answers)
  }
}

/** A commit of nobody is refused as that of a member who is not one: the group has others. */
function refuseMembers(what: string, topics: readonly AnsweredTopic[]): void {
  for (const { errorCode } of topics.flatMap(({ partitions }) => partitions)) {
    if (errorCode === 0 || errorFromBroker(errorCode, what).action !== 'rejoin') continue
    const message = `${what} failed: the group has members; stop them first (the broker answered ${errorCode})`
    throw new KafkaError(message, {
      code: 'NON_EMPTY_GROUP',
      brokerCode: errorCode,
      action: 'fatal',
      outcome: 'rejected',
    })
  }
}
