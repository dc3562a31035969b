const OFFSET = 0x811c9dc5
const PRIME = 0x01000193

/**
 * FNV-1a (32 bits) of the UTF-8 bytes of a key. Decides which partition a key belongs to, so it is part of what is stored at
 * brokers and of what other programs compute: it must never change.
 */
export function keyHash(key: string): number {
  let hash = OFFSET
  for (let at = 0; at < key.length; at++) {
    const code = key.charCodeAt(at)
    if (code > 0x7f) return hashBytes(Buffer.from(key, 'utf8'))
    hash = Math.imul(hash ^ code, PRIME)
  }
  return hash >>> 0
}

function hashBytes(bytes: Uint8Array): number {
  let hash = OFFSET
  for (const byte of bytes) hash = Math.imul(hash ^ byte, PRIME)
  return hash >>> 0
}
