import { createHash } from 'node:crypto'

/** Databases index a few kilobytes at most, and a key of four-byte characters must fit too. */
const MAX_CHARACTERS = 500

/**
 * The key as every database can store it: itself, or a hash of it if it is too long or contains what UTF-8 text columns refuse
 * (NUL) or change (half a surrogate pair, which would make two keys one).
 */
export function storedKey(key: string): string {
  if (key.length <= MAX_CHARACTERS && !key.includes('\0') && key.isWellFormed()) return key
  return `sha256:${createHash('sha256').update(key, 'utf16le').digest('hex')}`
}
