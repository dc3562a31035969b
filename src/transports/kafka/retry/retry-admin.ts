import type { Admin, GroupOffset, NewGroupOffset, TopicPartition } from '../../../kafka/index.ts'
import { codeOf } from '../admin/error-code.ts'
import { isAuthorization } from '../errors.ts'
import { emptyRecord, encodeRecord } from '../partitions/commit-record.ts'
import { isRetryTopic, logsBeside, retryTopic } from './retry-topic.ts'

const MISSING = new Set(['UNKNOWN_TOPIC_OR_PARTITION', 'NOT_FOUND'])

/** The partitions of a retry topic; none if there is no such topic, as there is none before it is first needed. */
export async function retryLogs(admin: Admin, name: string | undefined): Promise<readonly number[]> {
  if (name === undefined) return []
  try {
    const [info] = await admin.topics.describe([name])
    return info?.partitions.map(({ index }) => index) ?? []
  } catch (error) {
    // Who may not see it has never made it.
    if (MISSING.has(codeOf(error)) || isAuthorization(error)) return []
    throw error
  }
}

/** What a group has committed for these partitions of a topic, and beside them. */
export async function offsetsWithRetries(
  admin: Admin,
  groupId: string,
  partitions: readonly TopicPartition[],
): Promise<readonly GroupOffset[]> {
  const beside = partitions.flatMap(({ topic, partition }) => {
    const name = retryTopic(topic, groupId)
    return name === undefined ? [] : logsBeside(partition).map((log) => ({ topic: name, partition: log }))
  })
  try {
    return await admin.offsets.list(groupId, { partitions: [...partitions, ...beside], requireStable: false })
  } catch (error) {
    if (!isAuthorization(error)) throw error
    return admin.offsets.list(groupId, { partitions, requireStable: false })
  }
}

/** What gives up everything in the retry topic of a group without members. */
export async function retriesGivenUp(admin: Admin, topic: string, groupId: string): Promise<readonly NewGroupOffset[]> {
  const name = retryTopic(topic, groupId)
  if (name === undefined || (await retryLogs(admin, name)).length === 0) return []
  const ends = await admin.records.offsets(name, 'latest')
  return ends.map(({ partition, offset }) => {
    return { topic: name, partition, offset, metadata: encodeRecord(emptyRecord(offset)) }
  })
}

/** Deletes what waits in the retry topics of a topic, whatever group it waits for. */
export async function purgeRetries(admin: Admin, topic: string): Promise<void> {
  const prefix = `${topic}.`
  for (const name of await admin.topics.list()) {
    // `<topic>.<group>.retry`: a group is one token.
    if (!isRetryTopic(name) || !name.startsWith(prefix) || name.slice(prefix.length).split('.').length !== 2) continue
    const ends = await admin.records.offsets(name, 'latest')
    await admin.records.deleteBefore(name, Object.fromEntries(ends.map((end) => [end.partition, end.offset])))
  }
}

/** Those that are no retry topics of others among them. */
export function withoutRetryTopics(topics: readonly string[]): readonly string[] {
  const all = new Set(topics)
  return topics.filter((name) => !isRetryTopic(name) || !all.has(name.split('.').slice(0, -2).join('.')))
}
