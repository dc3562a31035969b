/** A number from 0 up to 1 that depends only on the texts: an order has the same luck in every run, process and attempt. */
export function chance(...texts: readonly string[]): number {
  // FNV-1a, then a finalizer that spreads the last characters over all bits.
  let hash = 0x811c9dc5
  for (const character of texts.join('\n')) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32
}
