/** Writes an unsigned varint below 2^32 into `block` and returns where it ends. */
export function writeUvarint(block: Uint8Array, at: number, value: number): number {
  let pos = at
  let rest = value
  while (rest > 127) {
    block[pos++] = (rest & 0x7f) | 0x80
    rest >>>= 7
  }
  block[pos++] = rest
  return pos
}

/** Zigzag, 32 bits. */
export function writeVarint(block: Uint8Array, at: number, value: number): number {
  return writeUvarint(block, at, ((value << 1) ^ (value >> 31)) >>> 0)
}

/** Zigzag of an integer of up to 2^53. */
export function writeVarlong(block: Uint8Array, at: number, value: number): number {
  if (value >= -0x4000_0000 && value <= 0x3fff_ffff) return writeVarint(block, at, value)
  let rest = BigInt.asUintN(64, (BigInt(value) << 1n) ^ (BigInt(value) >> 63n))
  let pos = at
  while (rest > 127n) {
    block[pos++] = Number(rest & 0x7fn) | 0x80
    rest >>= 7n
  }
  block[pos++] = Number(rest)
  return pos
}

export function varlongSize(value: number): number {
  if (value >= -0x4000_0000 && value <= 0x3fff_ffff) {
    const zigzag = ((value << 1) ^ (value >> 31)) >>> 0
    return zigzag < 0x80 ? 1 : zigzag < 0x4000 ? 2 : zigzag < 0x20_0000 ? 3 : zigzag < 0x1000_0000 ? 4 : 5
  }
  let rest = 2 * Math.abs(value)
  let size = 1
  while (rest > 127) {
    rest = Math.floor(rest / 128)
    size++
  }
  return size
}
