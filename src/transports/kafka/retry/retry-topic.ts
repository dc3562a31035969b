import { crc32 } from 'node:zlib'

const SUFFIX = '.retry'
/** What Kafka takes. */
const MAX_LENGTH = 249
const TOKEN = /^[A-Za-z0-9_-]+$/
/** Delays from here on go into a log of their own: those of many hours must not stand before those of a minute. */
const LATER_MS = 600_000

/** Partitions of a retry topic beside each partition of its source: what is due soon, and what is due later. */
export const LOGS = 2

/**
 * Name of the topic that has the delayed messages of one group of the broker: `<topic>.<group>.retry`. Undefined where Kafka does not take
 * that name. The group is one token, as it is in the name of a dead-letter topic; of other programs' group names, a hash keeps apart
 * what would look alike.
 */
export function retryTopic(topic: string, groupId: string): string | undefined {
  const token = TOKEN.test(groupId)
    ? groupId
    : `${groupId.replaceAll(/[^A-Za-z0-9_-]/g, '_')}-${crc32(groupId).toString(16)}`
  const name = `${topic}.${token}${SUFFIX}`
  return name.length > MAX_LENGTH ? undefined : name
}

/** True for the results of `retryTopic`, and for a user's topic with the same ending. */
export function isRetryTopic(topic: string): boolean {
  return topic.endsWith(SUFFIX)
}

/** The partitions of the retry topic beside one of its source. */
export function logsBeside(partition: number): readonly number[] {
  return Array.from({ length: LOGS }, (_, log) => partition * LOGS + log)
}

/** Where a message of that partition waits that is due in so many ms. */
export function logFor(partition: number, dueInMs: number): number {
  return partition * LOGS + (dueInMs >= LATER_MS ? 1 : 0)
}

/** The partition of the source that a partition of the retry topic belongs to. */
export function sourceOf(log: number): number {
  return Math.floor(log / LOGS)
}
