import { keyHash } from '../../../core/util/key-hash.ts'
import type { IncomingMessage } from '../wire/incoming-message.ts'
import { BUCKETS, hasBucket, partitionOf } from '../topology/names.ts'

/** The bucket of a key. Part of the wire format: if it changed, a key's messages would be in two queues at once. */
export function bucketOf(key: string): number {
  const hash = keyHash(key)
  // FNV's low bits are weak for short keys: fold in the high ones.
  return ((hash >>> 16) ^ hash) & (BUCKETS - 1)
}

/**
 * True for a message that is in the first queue because its publisher named no bucket, while Busbar puts the messages of
 * its key into another one.
 */
export function isMisplaced({ key, routingKey, isCopy }: IncomingMessage, partitions: number): boolean {
  if (key === undefined || partitions === 1 || isCopy || hasBucket(routingKey)) return false
  return partitionOf(bucketOf(key), partitions) !== 0
}
