const POLYNOMIAL = 0x82f63b78
const SLICES = 16

let tables: Int32Array<ArrayBuffer> | undefined

/** 16 tables of 256 entries: table k has the CRC of a byte that k zero bytes follow. */
export function crcTables(): Int32Array<ArrayBuffer> {
  if (tables !== undefined) return tables
  const made = new Int32Array(SLICES * 256)
  for (let value = 0; value < 256; value++) {
    let crc = value
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? POLYNOMIAL : 0)
    made[value] = crc
  }
  for (let index = 256; index < made.length; index++) {
    const crc = made[index - 256] as number
    made[index] = (made[crc & 255] as number) ^ (crc >>> 8)
  }
  tables = made
  return made
}

/** Four tables of 256 entries, one for each byte of a state: what it becomes when `size` zero bytes follow. */
export function shiftTable(size: number): Int32Array {
  const first = crcTables()
  // The operation is linear: 32 bits are enough, the rest is their sum.
  const ofBit = Array.from({ length: 32 }, (_, bit) => {
    let state = 1 << bit
    for (let left = size; left > 0; left--) state = (first[state & 255] as number) ^ (state >>> 8)
    return state
  })
  const shifted = new Int32Array(4 * 256)
  for (let index = 0; index < shifted.length; index++) {
    let sum = 0
    for (let bit = 0; bit < 8; bit++) {
      if (index & 255 & (1 << bit)) sum ^= ofBit[(index >>> 8) * 8 + bit] as number
    }
    shifted[index] = sum
  }
  return shifted
}

/** Slicing-by-16. State and result are inverted, as in the inner loop of every CRC. */
export function updateCrc(state: number, data: Uint8Array, start: number, end: number): number {
  const t = tables ?? crcTables()
  let crc = state
  let p = start
  for (; p + 16 <= end; p += 16) {
    const a = crc ^ word(data, p)
    const b = word(data, p + 4)
    const c = word(data, p + 8)
    const d = word(data, p + 12)
    crc =
      (t[3840 + (a & 255)] as number) ^
      (t[3584 + ((a >>> 8) & 255)] as number) ^
      (t[3328 + ((a >>> 16) & 255)] as number) ^
      (t[3072 + (a >>> 24)] as number) ^
      (t[2816 + (b & 255)] as number) ^
      (t[2560 + ((b >>> 8) & 255)] as number) ^
      (t[2304 + ((b >>> 16) & 255)] as number) ^
      (t[2048 + (b >>> 24)] as number) ^
      (t[1792 + (c & 255)] as number) ^
      (t[1536 + ((c >>> 8) & 255)] as number) ^
      (t[1280 + ((c >>> 16) & 255)] as number) ^
      (t[1024 + (c >>> 24)] as number) ^
      (t[768 + (d & 255)] as number) ^
      (t[512 + ((d >>> 8) & 255)] as number) ^
      (t[256 + ((d >>> 16) & 255)] as number) ^
      (t[d >>> 24] as number)
  }
  for (; p < end; p++) crc = (t[(crc ^ (data[p] as number)) & 255] as number) ^ (crc >>> 8)
  return crc
}

function word(data: Uint8Array, p: number): number {
  return (
    (data[p] as number) |
    ((data[p + 1] as number) << 8) |
    ((data[p + 2] as number) << 16) |
    ((data[p + 3] as number) << 24)
  )
}
