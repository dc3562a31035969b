import { badData, GrowingOutput, tooLarge } from './growing-output.ts'
import { copyBytes, hashOf, matchLength, MatchTable, MatchWriter, viewOf } from './match-table.ts'

// The raw format, and the framing of xerial's snappy-java around it, which Java producers write: a header of 16 bytes, then chunks
// of four bytes of length and a raw block.

const XERIAL_MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00])
const XERIAL_HEADER = Buffer.concat([XERIAL_MAGIC, Buffer.from([0, 0, 0, 1, 0, 0, 0, 1])])
const XERIAL_CHUNK = 32 * 1024
/** Offsets of copies have two bytes: matches are looked for within one block of this size. */
const BLOCK = 64 * 1024

const table = new MatchTable()

/** Compresses with xerial's framing, as Java does. */
export function compressSnappy(data: Buffer): Buffer {
  const parts: Buffer[] = [XERIAL_HEADER]
  for (let pos = 0; pos < data.length; pos += XERIAL_CHUNK) {
    const block = compressRawSnappy(data.subarray(pos, pos + XERIAL_CHUNK))
    const size = Buffer.allocUnsafe(4)
    size.writeUInt32BE(block.length)
    parts.push(size, block)
  }
  return Buffer.concat(parts)
}

/** Framed or not: the two can't be confused. */
export function decompressSnappy(data: Buffer, limit: number): Buffer {
  if (data.length < XERIAL_HEADER.length || !data.subarray(0, XERIAL_MAGIC.length).equals(XERIAL_MAGIC)) {
    const output = new GrowingOutput(0, limit)
    decompressBlock(data, output, limit)
    return output.result()
  }
  const output = new GrowingOutput(4 * data.length, limit)
  let pos = XERIAL_HEADER.length
  while (pos < data.length) {
    if (data.length - pos < 4) throw badData('snappy', 'a chunk without size')
    const size = data.readUInt32BE(pos)
    pos += 4
    if (size > data.length - pos) throw badData('snappy', `a chunk of ${size} bytes, ${data.length - pos} are left`)
    decompressBlock(data.subarray(pos, pos + size), output, limit)
    pos += size
  }
  return output.result()
}

export function compressRawSnappy(data: Buffer): Buffer {
  const output = Buffer.allocUnsafe(32 + data.length + Math.ceil(data.length / 6))
  let pos = 0
  let rest = data.length
  while (rest > 127) {
    output[pos++] = (rest & 0x7f) | 0x80
    rest >>>= 7
  }
  output[pos++] = rest
  for (let start = 0; start < data.length; start += BLOCK) {
    pos = compressBlock(data.subarray(start, start + BLOCK), output, pos)
  }
  return output.subarray(0, pos)
}

function compressBlock(data: Buffer, output: Buffer, at: number): number {
  const { length } = data
  const view = viewOf(data)
  const { places } = table
  const base = table.start(length)
  let out = at
  let literalStart = 0
  let pos = 0
  // The longer nothing matches, the larger the steps: data that can't be compressed passes quickly.
  let skip = 32
  while (pos + 4 <= length) {
    const word = view.getInt32(pos, true)
    const hash = hashOf(word)
    const candidate = (places[hash] as number) - base
    places[hash] = pos + base
    if (candidate < 0 || view.getInt32(candidate, true) !== word) {
      pos += skip++ >>> 5
      continue
    }
    skip = 32
    out = writeLiteral(data, literalStart, pos, output, out)
    const size = 4 + matchLength(view, candidate + 4, pos + 4, length)
    out = writeCopies(output, out, pos - candidate, size)
    pos += size
    literalStart = pos
  }
  return writeLiteral(data, literalStart, length, output, out)
}

function writeLiteral(data: Buffer, start: number, end: number, output: Buffer, at: number): number {
  const size = end - start
  if (size === 0) return at
  let out = at
  const stored = size - 1
  if (stored < 60) output[out++] = stored << 2
  else if (stored < 256) {
    output[out++] = 60 << 2
    output[out++] = stored
  } else {
    output[out++] = 61 << 2
    output[out++] = stored & 255
    output[out++] = stored >>> 8
  }
  copyBytes(data, start, size, output, out)
  return out + size
}

/** Copies of at most 64 bytes, with an offset of two bytes. */
function writeCopies(output: Buffer, at: number, offset: number, size: number): number {
  let out = at
  let left = size
  while (left > 0) {
    const part = Math.min(left, 64)
    output[out++] = ((part - 1) << 2) | 2
    output[out++] = offset & 255
    output[out++] = offset >>> 8
    left -= part
  }
  return out
}

function decompressBlock(data: Buffer, output: GrowingOutput, limit: number): void {
  const [size, start] = readSize(data)
  if (size > limit - output.pos) throw tooLarge(limit)
  // An element gives at most 64 bytes for three: a block can't promise more than that.
  if (size > 22 * data.length + 64) throw badData('snappy', `${size} bytes can't be in ${data.length}`)
  const buffer = output.reserve(size)
  const matches = new MatchWriter(buffer)
  const begin = output.pos
  const end = begin + size
  let out = begin
  let pos = start
  while (pos < data.length) {
    const tag = data[pos++] as number
    const kind = tag & 3
    if (kind === 0) {
      let literal = (tag >>> 2) + 1
      if (literal > 60) {
        const bytes = literal - 60
        if (bytes > data.length - pos) throw badData('snappy', 'a literal without size')
        literal = data.readUIntLE(pos, bytes) + 1
        pos += bytes
      }
      if (literal > data.length - pos || literal > end - out) throw badData('snappy', 'a literal past the end')
      copyBytes(data, pos, literal, buffer, out)
      pos += literal
      out += literal
      continue
    }
    const bytes = kind === 3 ? 4 : kind
    if (bytes > data.length - pos) throw badData('snappy', 'a copy without offset')
    const length = kind === 1 ? ((tag >>> 2) & 7) + 4 : (tag >>> 2) + 1
    let offset = data[pos] as number
    if (kind === 1) offset |= (tag >>> 5) << 8
    else if (kind === 2) offset |= (data[pos + 1] as number) << 8
    else offset = data.readUInt32LE(pos)
    pos += bytes
    if (offset === 0 || offset > out - begin) throw badData('snappy', 'a copy from before the block')
    if (length > end - out) throw badData('snappy', 'a copy past the end')
    matches.repeat(out, offset, length)
    out += length
  }
  if (out !== end) throw badData('snappy', `${out - begin} bytes instead of ${size}`)
  output.pos = end
}

function readSize(data: Buffer): readonly [number, number] {
  let size = 0
  for (let index = 0; index < 5; index++) {
    const byte = data[index]
    if (byte === undefined || (index === 4 && byte > 15)) break
    size += (byte & 0x7f) * 2 ** (7 * index)
    if (byte < 0x80) return [size, index + 1]
  }
  throw badData('snappy', 'a block without size')
}
