const SEED = 0x9747b28c
const M = 0x5bd1e995

/**
 * Kafka's murmur2 of the first `length` bytes, 32 bits signed: the same partition for the same key in every client that is compatible
 * with Java's.
 */
export function murmur2(data: Uint8Array, length: number = data.length): number {
  let hash = SEED ^ length
  let pos = 0
  for (const end = length & ~3; pos < end; pos += 4) {
    let word =
      (data[pos] as number) |
      ((data[pos + 1] as number) << 8) |
      ((data[pos + 2] as number) << 16) |
      ((data[pos + 3] as number) << 24)
    word = Math.imul(word, M)
    word ^= word >>> 24
    hash = Math.imul(hash, M) ^ Math.imul(word, M)
  }
  const left = length & 3
  if (left > 2) hash ^= (data[pos + 2] as number) << 16
  if (left > 1) hash ^= (data[pos + 1] as number) << 8
  if (left > 0) hash = Math.imul(hash ^ (data[pos] as number), M)
  hash ^= hash >>> 13
  hash = Math.imul(hash, M)
  return hash ^ (hash >>> 15)
}

/** The partition that Java's default partitioner gives a key. */
export function partitionOfKey(key: Uint8Array, partitions: number, length: number = key.length): number {
  return (murmur2(key, length) & 0x7fff_ffff) % partitions
}
