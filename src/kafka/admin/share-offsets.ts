import { errorFromBroker } from '../errors.ts'
import { checkItems } from './admin-context.ts'
import type { AdminContext } from './admin-context.ts'
import { checkArguments, groupName, list, only, partitionIndex, topicName, topicNames, whole } from './arguments.ts'
import { byTopic } from './by-topic.ts'
import { offsetSpec, placesOf } from './records.ts'
import type { OffsetSpec, RecordsAdmin } from './records.ts'

/** Where a share group is in one partition. */
export interface ShareGroupOffset {
  readonly topic: string
  readonly partition: number
  /** All records before it have a final verdict, and some behind it may; -1 if the group has not read the partition yet. */
  readonly startOffset: number
  readonly leaderEpoch: number
  /** How many records have no final verdict; -1 if the broker doesn't say, as before Kafka 4.2. */
  readonly lag: number
}

/** Where a share group should continue. */
export interface NewShareGroupOffset {
  readonly topic: string
  readonly partition: number
  /** 0 or more. */
  readonly startOffset: number
}

const NEW_OFFSET = only({ topic: topicName, partition: partitionIndex, startOffset: whole(0) })

/** Offsets of share groups (KIP-932, Kafka 4.2): `admin.shareOffsets`. */
export class ShareOffsetsAdmin {
  readonly #context: AdminContext
  readonly #records: RecordsAdmin

  /** @internal */
  constructor(context: AdminContext, records: RecordsAdmin) {
    this.#context = context
    this.#records = records
  }

  /** The start offsets of a share group, by topic and partition; empty if the group doesn't exist. */
  async list(groupId: string): Promise<readonly ShareGroupOffset[]> {
    checkArguments('admin.shareOffsets.list', { groupId: [groupId, groupName] })
    const what = `list offsets of share group ${groupId}`
    return this.#context.read(what, async () => {
      const body = { groups: [{ groupId, topics: null }] }
      const { groups } = await this.#context.toCoordinator('group', groupId, 'DescribeShareGroupOffsets', body)
      const [group] = groups
      this.#context.checkCoordinator('group', groupId, group?.errorCode ?? -1, what, group?.errorMessage)
      const offsets = (group?.topics ?? []).flatMap(({ topicName: topic, partitions }) =>
        partitions.map(({ partitionIndex: partition, startOffset, leaderEpoch, lag, errorCode, errorMessage }) => {
          if (errorCode !== 0) throw errorFromBroker(errorCode, `${what}, ${topic}[${partition}]`, errorMessage)
          return { topic, partition, startOffset, leaderEpoch, lag }
        }),
      )
      return offsets.sort((a, b) => (a.topic === b.topic ? a.partition - b.partition : a.topic < b.topic ? -1 : 1))
    })
  }

  /**
   * Moves a share group without members. It then delivers all records from the new offset on, including those that
   * had a verdict. Rejects with NON_EMPTY_GROUP if it has members: stop them first.
   */
  async alter(groupId: string, offsets: readonly NewShareGroupOffset[]): Promise<void> {
    checkArguments('admin.shareOffsets.alter', {
      groupId: [groupId, groupName],
      offsets: [offsets, list(NEW_OFFSET, '{ topic, partition, startOffset }')],
    })
    const what = `alter offsets of share group ${groupId}`
    const topics = byTopic(offsets).map(([name, partitions]) => ({
      topicName: name,
      partitions: partitions.map(({ partition, startOffset }) => ({ partitionIndex: partition, startOffset })),
    }))
    await this.#context.read(what, async () => {
      const answer = await this.#context.toCoordinator('group', groupId, 'AlterShareGroupOffsets', { groupId, topics })
      this.#context.checkCoordinator('group', groupId, answer.errorCode, what, answer.errorMessage)
      const items = answer.responses.flatMap(({ topicName: name, partitions }) =>
        partitions.map((each) => ({ ...each, item: `${name}[${each.partitionIndex}]` })),
      )
      for (const { errorCode } of items) this.#context.repeatIfPassing('group', groupId, errorCode, what)
      checkItems(`${what},`, items)
    })
  }

  /**
   * Moves a share group without members to the start or the end of the partitions of topics, or to a time: to the
   * first record that is not older, or the end if there is none. Rejects as {@link ShareOffsetsAdmin.alter} does.
   */
  async reset(groupId: string, topics: readonly string[], to: OffsetSpec): Promise<void> {
    checkArguments('admin.shareOffsets.reset', {
      groupId: [groupId, groupName],
      topics: [topics, topicNames],
      to: [to, offsetSpec],
    })
    const offsets: NewShareGroupOffset[] = []
    for (const topic of topics) {
      for (const { partition, offset } of await placesOf(this.#records, topic, to)) {
        offsets.push({ topic, partition, startOffset: offset })
      }
    }
    await this.alter(groupId, offsets)
  }

  /**
   * Deletes the offsets of topics from a share group without members. If it subscribes to them again, it starts where
   * its config says.
   */
  async delete(groupId: string, topics: readonly string[]): Promise<void> {
    checkArguments('admin.shareOffsets.delete', { groupId: [groupId, groupName], topics: [topics, topicNames] })
    const what = `delete offsets of share group ${groupId}`
    await this.#context.read(what, async () => {
      const body = { groupId, topics: topics.map((name) => ({ topicName: name })) }
      const answer = await this.#context.toCoordinator('group', groupId, 'DeleteShareGroupOffsets', body)
      this.#context.checkCoordinator('group', groupId, answer.errorCode, what, answer.errorMessage)
      const items = answer.responses.map((each) => ({ ...each, item: each.topicName }))
      for (const { errorCode } of items) this.#context.repeatIfPassing('group', groupId, errorCode, what)
      checkItems(`${what},`, items)
    })
  }
}
