const OFFSET = 0x811c9dc5
const PRIME = 0x01000193

/**
 * The partition of a key: FNV-1a (32 bits) over its UTF-8 bytes, modulo the number of partitions. Part of the format:
 * other programs that write messages and need the order of a key kept must compute the same.
 */
export function partitionOf(key: string, partitions: number): number {
  if (partitions === 1) return 0
  let hash = OFFSET
  for (let at = 0; at < key.length; at++) {
    const code = key.charCodeAt(at)
    if (code > 0x7f) return hashBytes(Buffer.from(key, 'utf8')) % partitions
    hash = Math.imul(hash ^ code, PRIME)
  }
  return (hash >>> 0) % partitions
}

function hashBytes(bytes: Uint8Array): number {
  let hash = OFFSET
  for (const byte of bytes) hash = Math.imul(hash ^ byte, PRIME)
  return hash >>> 0
}
