const P1 = 0x9e3779b1
const P2 = 0x85ebca77
const P3 = 0xc2b2ae3d
const P4 = 0x27d4eb2f
const P5 = 0x165667b1

/** XXH32 with seed 0, unsigned: the checksum of the lz4 frame format. */
export function xxhash32(data: Uint8Array, start = 0, end: number = data.length): number {
  let pos = start
  let hash: number
  if (end - start >= 16) {
    let a = (P1 + P2) | 0
    let b = P2 | 0
    let c = 0
    let d = -P1 | 0
    for (; pos + 16 <= end; pos += 16) {
      a = round(a, word(data, pos))
      b = round(b, word(data, pos + 4))
      c = round(c, word(data, pos + 8))
      d = round(d, word(data, pos + 12))
    }
    hash = rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18)
  } else hash = P5
  hash = (hash + (end - start)) | 0
  for (; pos + 4 <= end; pos += 4) hash = Math.imul(rotate((hash + Math.imul(word(data, pos), P3)) | 0, 17), P4)
  for (; pos < end; pos++) hash = Math.imul(rotate((hash + Math.imul(data[pos] as number, P5)) | 0, 11), P1)
  hash = Math.imul(hash ^ (hash >>> 15), P2)
  hash = Math.imul(hash ^ (hash >>> 13), P3)
  return (hash ^ (hash >>> 16)) >>> 0
}

function round(lane: number, input: number): number {
  return Math.imul(rotate((lane + Math.imul(input, P2)) | 0, 13), P1)
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits))
}

function word(data: Uint8Array, p: number): number {
  return (
    (data[p] as number) |
    ((data[p + 1] as number) << 8) |
    ((data[p + 2] as number) << 16) |
    ((data[p + 3] as number) << 24)
  )
}
