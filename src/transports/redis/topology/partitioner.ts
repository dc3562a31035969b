import { keyHash } from '../../../core/util/key-hash.ts'

/**
 * The partition of a key. Part of the format: other programs that write messages and need the order of a key kept must
 * compute the same.
 */
export function partitionOf(key: string, partitions: number): number {
  return partitions === 1 ? 0 : keyHash(key) % partitions
}
