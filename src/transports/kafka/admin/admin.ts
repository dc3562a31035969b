import { UnsupportedError } from '../../../core/errors.ts'
import type { Position } from '../../../core/message.ts'
import { isDeadLetterTopic } from '../../../core/topic.ts'
import type { GroupInfo, TransportAdmin } from '../../../core/transport.ts'
import { KafkaError } from '../../../kafka/index.ts'
import type { Admin } from '../../../kafka/index.ts'
import { movesGroup } from '../consume/group-moves.ts'
import type { KafkaContext } from '../context.ts'
import { toBusbarError } from '../errors.ts'
import {
  deleteShareGroup,
  seekShareGroup,
  shareGroupIdsOf,
  shareGroupInfos,
  shareOffsetsOf,
} from '../share/share-admin.ts'
import { shareGroupOf } from '../share/share-group.ts'
import { purgeRetries, retryLogs, withoutRetryTopics } from '../retry/retry-admin.ts'
import { retryTopic } from '../retry/retry-topic.ts'
import { placeOf, positionOf } from '../wire/mapping.ts'
import { adminOf } from './client-admin.ts'
import { DeadLetterLog, REMOVALS } from './dead-letter-log.ts'
import { codeOf } from './error-code.ts'
import { groupIdsOf, groupInfos } from './group-infos.ts'
import { seekGroup } from './seek-group.ts'
import { readStoredRange } from './stored-range.ts'
import type { PlacedRecord } from './stored-range.ts'
import { topicInfos } from './topic-infos.ts'

const IN_USE = new Set(['GROUP_SUBSCRIBED_TO_TOPIC', 'NON_EMPTY_GROUP'])

/** `context`: of the open transport. */
export function kafkaAdmin(context: () => KafkaContext): TransportAdmin {
  const clientAdmin = (): Admin => adminOf(context().client)

  /** None of a topic that does not exist: it holds nothing. */
  async function partitionsOf(topic: string): Promise<readonly number[]> {
    try {
      const [info] = await clientAdmin().topics.describe([topic])
      return info?.partitions.map(({ index }) => index) ?? []
    } catch (error) {
      if (codeOf(error) === 'UNKNOWN_TOPIC_OR_PARTITION') return []
      throw error
    }
  }

  async function readLetters(
    topic: string,
    partitions: readonly number[],
    after: Position | undefined,
    limit: number,
  ): Promise<readonly PlacedRecord[]> {
    const removed = await new DeadLetterLog(context().client, topic).removed()
    const letters = partitions.filter((partition) => partition !== REMOVALS)
    const found: PlacedRecord[] = []
    let from = after
    while (found.length < limit) {
      const page = await readStoredRange(clientAdmin(), topic, letters, from, limit)
      found.push(...page.filter(({ partition, record }) => !removed.has(partition, record.offset)))
      const last = page.at(-1)
      if (last === undefined || page.length < limit) break
      from = positionOf(last.partition, last.record.offset)
    }
    return found.slice(0, limit)
  }

  return withBusbarErrors({
    ensureTopic: (topic) => context().topics.ensure(topic),
    async topics() {
      return topicInfos(context().client, (await clientAdmin().topics.list()).toSorted())
    },
    async groups(topic, group) {
      const { groupId, groupOf } = context()
      const partitions = topic === undefined ? undefined : await partitionsOf(topic)
      if (partitions?.length === 0) return []
      const question = {
        groupIds: group === undefined ? await groupIdsOf(clientAdmin()) : [groupId(group)],
        topics: topic === undefined ? withoutRetryTopics(await clientAdmin().topics.list()) : [topic],
        partitions: partitions?.map((partition) => ({ topic: topic as string, partition })),
      }
      const shareIds = group === undefined ? await shareGroupIdsOf(clientAdmin()) : [shareGroupOf(groupId(group))]
      const [ordinary, shared] = await Promise.all([
        groupInfos(clientAdmin(), question, groupOf),
        shareGroupInfos(clientAdmin(), { groupIds: shareIds, topics: question.topics }, groupOf),
      ])
      return withShared(ordinary, shared)
    },
    async seek(topic, group, to) {
      const { topics, groupId, host } = context()
      await topics.ensure(topic)
      const shareGroup = shareGroupOf(groupId(group))
      const isShared = (await shareOffsetsOf(clientAdmin(), shareGroup)).some((each) => each.topic === topic)
      if (isShared) return seekShareGroup(clientAdmin(), topic, shareGroup, to)
      await seekGroup({ admin: clientAdmin(), clock: host.clock }, topic, groupId(group), to)
    },
    async read(topic, { after, limit }) {
      const { mapping } = context()
      const partitions = await partitionsOf(topic)
      if (partitions.length === 0) return []
      const found = isDeadLetterTopic(topic)
        ? await readLetters(topic, partitions, after, limit)
        : await readStoredRange(clientAdmin(), topic, partitions, after, limit)
      return found.map((placed) => ({
        message: mapping.decode(placed.record, topic, placed.partition).message,
        position: positionOf(placed.partition, placed.record.offset),
      }))
    },
    async remove(topic, positions) {
      if (!isDeadLetterTopic(topic)) {
        const remedy = 'Kafka deletes from the start of a log only: purge the topic, or let its retention delete them'
        throw new UnsupportedError(`Single messages can't be removed from "${topic}": ${remedy}`)
      }
      const places = positions.map(placeOf).filter((place) => place !== undefined)
      return (await partitionsOf(topic)).length === 0 ? 0 : new DeadLetterLog(context().client, topic).remove(places)
    },
    async purge(topic) {
      if ((await partitionsOf(topic)).length === 0) return 0
      const { records } = clientAdmin()
      const [starts, ends] = await Promise.all([records.offsets(topic, 'earliest'), records.offsets(topic, 'latest')])
      const removed = isDeadLetterTopic(topic) ? (await new DeadLetterLog(context().client, topic).removed()).size : 0
      const left = await records.deleteBefore(topic, Object.fromEntries(ends.map((end) => [end.partition, end.offset])))
      await purgeRetries(clientAdmin(), topic)
      const startOf = new Map(starts.map(({ partition, offset }) => [partition, offset]))
      const deleted = left
        .filter(({ partition }) => !isDeadLetterTopic(topic) || partition !== REMOVALS)
        .reduce((sum, { partition, offset }) => sum + offset - (startOf.get(partition) ?? offset), 0)
      return Math.max(0, deleted - removed)
    },
    async deleteGroup(topic, group) {
      const groupId = context().groupId(group)
      const { offsets, groups, topics } = clientAdmin()
      const retries = retryTopic(topic, groupId)
      try {
        await deleteShareGroup(clientAdmin(), topic, shareGroupOf(groupId))
        for (const id of [movesGroup(groupId), groupId]) {
          const committed = await offsets.list(id)
          const ofTopic = committed.filter((offset) => offset.topic === topic || offset.topic === retries)
          if (ofTopic.length > 0) await offsets.delete(id, ofTopic)
          if (committed.length > 0 && ofTopic.length === committed.length) await groups.delete([id])
        }
        // What waits there waits for this group alone.
        if (retries !== undefined && (await retryLogs(clientAdmin(), retries)).length > 0)
          await topics.delete([retries])
      } catch (error) {
        // While it has members, it would be made again at its position at once; without offsets, the broker has deleted it by itself.
        if (!IN_USE.has(codeOf(error)) && codeOf(error) !== 'GROUP_ID_NOT_FOUND') throw error
      }
    },
  })
}

/** A consumer that has changed to a share group, or back, has left the other one behind: what it reads with now counts. */
function withShared(ordinary: readonly GroupInfo[], shared: readonly GroupInfo[]): readonly GroupInfo[] {
  const isSame = (a: GroupInfo, b: GroupInfo): boolean => a.topic === b.topic && a.group === b.group
  const isLeft = ({ members = 0 }: GroupInfo, other: GroupInfo | undefined): boolean =>
    other !== undefined && members === 0 && (other.members ?? 0) > 0
  const keptShared = shared.filter(
    (each) =>
      !isLeft(
        each,
        ordinary.find((other) => isSame(each, other)),
      ),
  )
  return [...ordinary.filter((each) => !keptShared.some((other) => isSame(each, other))), ...keptShared]
}

/** What the client rejects with becomes an error of ours, and says what was being done. */
function withBusbarErrors(admin: TransportAdmin): TransportAdmin {
  const converted = <T>(doing: string, result: Promise<T>): Promise<T> =>
    result.catch((error: unknown) => {
      throw error instanceof KafkaError ? toBusbarError(error, doing) : error
    })
  return {
    ensureTopic: (topic) => converted(`Creating "${topic}" failed`, admin.ensureTopic(topic)),
    topics: () => converted('Listing topics failed', admin.topics()),
    groups: (topic, group) => converted('Listing groups failed', admin.groups(topic, group)),
    seek: (topic, group, to) => converted(`Moving the group "${group}" failed`, admin.seek(topic, group, to)),
    read: (topic, options) => converted(`Reading "${topic}" failed`, admin.read(topic, options)),
    remove: (topic, positions) => converted(`Removing from "${topic}" failed`, admin.remove(topic, positions)),
    purge: (topic) => converted(`Purging "${topic}" failed`, admin.purge(topic)),
    deleteGroup: (topic, group) => converted(`Deleting the group "${group}" failed`, admin.deleteGroup(topic, group)),
  }
}
