import { expect, it } from 'vitest'
import { keyHash } from '../../../src/core/util/key-hash.ts'

// Published values of FNV-1a (32 bits) over UTF-8. They decide which partition a stored message is in: never change them.
it.each([
  ['', 0x811c9dc5],
  ['a', 0xe40c292c],
  ['foobar', 0xbf9cf968],
  ['key-1', keyHashOfBytes('key-1')],
  ['schlüssel', keyHashOfBytes('schlüssel')],
  ['🌱', keyHashOfBytes('🌱')],
])('hashes %j as FNV-1a over its UTF-8 bytes', (key, hash) => {
  expect(keyHash(key)).toBe(hash)
})

/** The definition, with arithmetic that can't overflow. */
function keyHashOfBytes(key: string): number {
  let hash = 0x811c9dc5n
  for (const byte of Buffer.from(key, 'utf8')) hash = ((hash ^ BigInt(byte)) * 0x01000193n) & 0xffffffffn
  return Number(hash)
}
