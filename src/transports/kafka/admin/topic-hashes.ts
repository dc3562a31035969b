import type { Admin } from '../../../kafka/index.ts'
import { hashOfTopic } from '../partitions/commit-record.ts'

/** What commit records call these topics: one that is made again has another id. Topics without an id, of old brokers, are left out. */
export async function topicHashes(admin: Admin, topics: readonly string[]): Promise<ReadonlyMap<string, number>> {
  const hashes = new Map<string, number>()
  for (const { name, id } of await admin.topics.describe(topics))
    if (id !== undefined) hashes.set(name, hashOfTopic(id))
  return hashes
}
