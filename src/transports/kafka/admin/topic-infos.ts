import type { RetentionInfo, TopicInfo } from '../../../core/transport.ts'
import { isDeadLetterTopic } from '../../../core/topic.ts'
import type { Admin, ConfigEntry, KafkaClient } from '../../../kafka/index.ts'
import { isAuthorization } from '../errors.ts'
import { adminOf } from './client-admin.ts'
import { DeadLetterLog, REMOVALS } from './dead-letter-log.ts'
import { inTurns } from './in-turns.ts'

/** Letters of one topic; beyond that, its offsets count. */
const MOST_COUNTED = 1_000
const RETENTION = ['retention.ms', 'retention.bytes', 'cleanup.policy']

/** Sizes, ages and limits of topics. */
export async function topicInfos(client: KafkaClient, topics: readonly string[]): Promise<readonly TopicInfo[]> {
  const admin = adminOf(client)
  const sizes = await bytesByTopic(admin)
  return inTurns(topics, (topic) => topicInfo(client, topic, sizes?.get(topic)))
}

async function topicInfo(client: KafkaClient, topic: string, bytes: number | undefined): Promise<TopicInfo> {
  const admin = adminOf(client)
  const isLetters = isDeadLetterTopic(topic)
  const [starts, ends, configs, removed] = await Promise.all([
    admin.records.offsets(topic, 'earliest'),
    admin.records.offsets(topic, 'latest'),
    admin.configs.describe({ type: 'topic', name: topic }, RETENTION),
    isLetters ? new DeadLetterLog(client, topic).removed() : undefined,
  ])
  const endOf = new Map(ends.map(({ partition, offset }) => [partition, offset]))
  const filled = starts
    .filter(({ partition }) => !isLetters || partition !== REMOVALS)
    .filter(({ partition, offset }) => (endOf.get(partition) ?? 0) > offset)
  const counts = filled.map(async (start) => {
    const end = endOf.get(start.partition) ?? 0
    return isLetters ? countLetters(admin, { topic, ...start }, end) : end - start.offset
  })
  const messages = (await Promise.all(counts)).reduce((sum, count) => sum + count, 0)
  const oldest = await Promise.all(
    filled.map(
      async (start) => (await admin.records.read({ topic, ...start }, { maxRecords: 1 })).records[0]?.timestamp,
    ),
  )
  const times = oldest.filter((time) => time !== undefined && time >= 0) as number[]
  return {
    topic,
    messages: Math.max(0, messages - (removed?.size ?? 0)),
    bytes,
    oldestAt: times.length === 0 ? undefined : Math.min(...times),
    retention: retentionOf(configs, starts.length),
  }
}

/** Markers of transactions have offsets, too, and dead letters are few: those are counted, up to a number that is cheap to read. */
async function countLetters(
  admin: Admin,
  place: { readonly topic: string; readonly partition: number; readonly offset: number },
  end: number,
): Promise<number> {
  let count = 0
  let { offset } = place
  while (offset < end && count < MOST_COUNTED) {
    const { records, nextOffset } = await admin.records.read({ ...place, offset }, { maxRecords: MOST_COUNTED })
    count += records.length
    if (nextOffset <= offset) break
    offset = nextOffset
  }
  return count + Math.max(0, end - offset)
}

/** As the broker applies it. It counts bytes by partition. */
function retentionOf(configs: readonly ConfigEntry[], partitions: number): RetentionInfo {
  const values = new Map(configs.map(({ name, value }) => [name, value ?? '']))
  const limit = (name: string): number => Number(values.get(name) ?? -1)
  if (!(values.get('cleanup.policy') ?? 'delete').includes('delete')) return {}
  const [ageMs, bytes] = [limit('retention.ms'), limit('retention.bytes')]
  return {
    ...(ageMs < 0 ? {} : { maxAgeMs: ageMs }),
    ...(bytes < 0 ? {} : { maxBytes: bytes * partitions }),
  }
}

/** One copy of each partition counts: the largest, which is that of the leader. Undefined where it may not be asked for. */
async function bytesByTopic(admin: Admin): Promise<ReadonlyMap<string, number> | undefined> {
  const largest = new Map<string, Map<number, number>>()
  const dirs = await admin.cluster.logDirs().catch((error: unknown) => {
    if (isAuthorization(error)) return undefined
    throw error
  })
  if (dirs === undefined) return undefined
  for (const { topic, partition, bytes } of dirs.flatMap(({ replicas }) => replicas)) {
    let partitions = largest.get(topic)
    if (partitions === undefined) largest.set(topic, (partitions = new Map()))
    partitions.set(partition, Math.max(bytes, partitions.get(partition) ?? 0))
  }
  return new Map(
    [...largest].map(([topic, sizes]) => [topic, [...sizes.values()].reduce((sum, size) => sum + size, 0)]),
  )
}
