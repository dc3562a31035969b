import { badData, GrowingOutput, tooLarge } from './growing-output.ts'
import { copyBytes, hashOf, matchLength, MatchTable, MatchWriter, viewOf } from './match-table.ts'
import { xxhash32 } from './xxhash32.ts'

// The lz4 frame format. Written as Java does: independent blocks of 64 KiB, no checksums but the header's. Read: everything that the
// format allows but dictionaries.

const MAGIC = 0x184d2204
const FLG_VERSION = 0x40
const FLG_INDEPENDENT = 0x20
const FLG_BLOCK_CHECKSUM = 0x10
const FLG_CONTENT_SIZE = 0x08
const FLG_CONTENT_CHECKSUM = 0x04
const FLG_DICTIONARY = 0x01
const BD_64_KIB = 0x40
const BLOCK = 64 * 1024
const UNCOMPRESSED = 0x8000_0000
/** The format wants the last match to start this far from the end, and the last bytes to be literals. */
const MATCH_LIMIT = 12
const LAST_LITERALS = 5
const MIN_MATCH = 4

const table = new MatchTable()

export function compressLz4(data: Buffer): Buffer {
  const blocks = Math.ceil(data.length / BLOCK)
  const output = Buffer.allocUnsafe(7 + 4 + blocks * 4 + data.length + Math.ceil(data.length / 255) + 16 * (blocks + 1))
  output.writeUInt32LE(MAGIC, 0)
  output[4] = FLG_VERSION | FLG_INDEPENDENT
  output[5] = BD_64_KIB
  output[6] = (xxhash32(output, 4, 6) >>> 8) & 255
  let pos = 7
  for (let start = 0; start < data.length; start += BLOCK) {
    const block = data.subarray(start, start + BLOCK)
    const end = compressBlock(block, output, pos + 4)
    const size = end - pos - 4
    if (size < block.length) {
      output.writeUInt32LE(size, pos)
      pos = end
    } else {
      output.writeUInt32LE(UNCOMPRESSED + block.length, pos)
      block.copy(output, pos + 4)
      pos += 4 + block.length
    }
  }
  output.writeUInt32LE(0, pos)
  return output.subarray(0, pos + 4)
}

function compressBlock(data: Buffer, output: Buffer, at: number): number {
  const { length } = data
  const view = viewOf(data)
  const { places } = table
  const base = table.start(length)
  let out = at
  let literalStart = 0
  let pos = 0
  let skip = 64
  while (pos + MATCH_LIMIT <= length) {
    const word = view.getInt32(pos, true)
    const hash = hashOf(word)
    const candidate = (places[hash] as number) - base
    places[hash] = pos + base
    // A block has 64 KiB: the first of its bytes is one too far from the last.
    if (candidate < 0 || view.getInt32(candidate, true) !== word || pos - candidate > 65_535) {
      pos += skip++ >>> 6
      continue
    }
    skip = 64
    const extra = matchLength(view, candidate + MIN_MATCH, pos + MIN_MATCH, length - LAST_LITERALS)
    out = writeSequence(data, literalStart, pos, output, out, extra)
    output[out++] = (pos - candidate) & 255
    output[out++] = (pos - candidate) >>> 8
    if (extra >= 15) out = writeLength(output, out, extra - 15)
    pos += MIN_MATCH + extra
    literalStart = pos
  }
  return writeSequence(data, literalStart, length, output, out, 0)
}

/** A token, and the literals before a match. */
function writeSequence(
  data: Buffer,
  start: number,
  end: number,
  output: Buffer,
  at: number,
  matchExtra: number,
): number {
  const literals = end - start
  let out = at
  output[out++] = (Math.min(literals, 15) << 4) | Math.min(matchExtra, 15)
  if (literals >= 15) out = writeLength(output, out, literals - 15)
  copyBytes(data, start, literals, output, out)
  return out + literals
}

function writeLength(output: Buffer, at: number, length: number): number {
  let out = at
  let left = length
  for (; left >= 255; left -= 255) output[out++] = 255
  output[out++] = left
  return out
}

/**
 * `allowBrokenChecksum`: Kafka's first clients computed the checksum of the frame's header over too many bytes (KIP-57). Messages of
 * format 0 may have it.
 */
export function decompressLz4(data: Buffer, limit: number, allowBrokenChecksum = false): Buffer {
  const output = new GrowingOutput(Math.min(8 * data.length, limit), limit)
  let pos = 0
  // Frames may follow each other.
  do pos = decompressFrame(data, pos, output, limit, allowBrokenChecksum)
  while (pos < data.length)
  return output.result()
}

function decompressFrame(
  data: Buffer,
  start: number,
  output: GrowingOutput,
  limit: number,
  allowBrokenChecksum: boolean,
): number {
  const left = data.length - start
  if (left < 7 || data.readUInt32LE(start) !== MAGIC) throw badData('lz4', 'no frame')
  const flags = data[start + 4] as number
  if ((flags & 0xc0) !== FLG_VERSION) throw badData('lz4', `frame version ${flags >>> 6}`)
  if ((flags & FLG_DICTIONARY) !== 0) throw badData('lz4', 'a frame that needs a dictionary')
  const headerEnd = start + 6 + ((flags & FLG_CONTENT_SIZE) === 0 ? 0 : 8)
  if (headerEnd >= data.length) throw badData('lz4', 'a frame without header')
  checkHeader(data, start, headerEnd, allowBrokenChecksum)
  const size = (flags & FLG_CONTENT_SIZE) === 0 ? undefined : Number(data.readBigUInt64LE(start + 6))
  if (size !== undefined && size > limit - output.pos) throw tooLarge(limit)
  const maxBlock = 1 << (8 + 2 * (((data[start + 5] as number) >>> 4) & 7))
  const begin = output.pos
  let pos = headerEnd + 1
  for (;;) {
    if (data.length - pos < 4) throw badData('lz4', 'a frame without end')
    const word = data.readUInt32LE(pos)
    pos += 4
    if (word === 0) break
    const blockSize = word % UNCOMPRESSED
    if (blockSize > data.length - pos || blockSize > maxBlock) throw badData('lz4', `a block of ${blockSize} bytes`)
    const blockEnd = pos + blockSize
    // A byte gives at most 255.
    const room = Math.min(maxBlock, 255 * blockSize, limit - output.pos)
    const buffer = output.reserve(room)
    if (word >= UNCOMPRESSED) {
      if (blockSize > room) throw tooLarge(limit)
      copyBytes(data, pos, blockSize, buffer, output.pos)
      output.pos += blockSize
    } else {
      const floor = (flags & FLG_INDEPENDENT) === 0 ? begin : output.pos
      const end = decompressBlock(data, pos, blockEnd, buffer, output.pos, floor, output.pos + room)
      if (end === -1)
        throw room < limit - output.pos ? badData('lz4', 'a block larger than its frame allows') : tooLarge(limit)
      output.pos = end
    }
    if ((flags & FLG_BLOCK_CHECKSUM) !== 0) checkSum(data, blockEnd, xxhash32(data, pos, blockEnd))
    pos = blockEnd + ((flags & FLG_BLOCK_CHECKSUM) === 0 ? 0 : 4)
  }
  if (size !== undefined && output.pos - begin !== size) throw badData('lz4', `not the ${size} bytes it promised`)
  if ((flags & FLG_CONTENT_CHECKSUM) === 0) return pos
  checkSum(data, pos, xxhash32(output.buffer, begin, output.pos))
  return pos + 4
}

function checkHeader(data: Buffer, start: number, end: number, allowBroken: boolean): void {
  const expected = data[end] as number
  if (((xxhash32(data, start + 4, end) >>> 8) & 255) === expected) return
  if (allowBroken && ((xxhash32(data, start, end) >>> 8) & 255) === expected) return
  throw badData('lz4', 'the checksum of the frame header is wrong')
}

function checkSum(data: Buffer, at: number, actual: number): void {
  if (data.length - at < 4 || data.readUInt32LE(at) !== actual) throw badData('lz4', 'a checksum is wrong')
}

/** Returns where the output ends; -1 if it has no room. */
function decompressBlock(
  data: Buffer,
  start: number,
  end: number,
  buffer: Buffer,
  at: number,
  floor: number,
  ceiling: number,
): number {
  const matches = new MatchWriter(buffer)
  let pos = start
  let out = at
  while (pos < end) {
    const token = data[pos++] as number
    let literals = token >>> 4
    if (literals === 15) {
      let byte
      do {
        if (pos >= end) throw badData('lz4', 'a length past the end')
        byte = data[pos++] as number
        literals += byte
      } while (byte === 255)
    }
    if (literals > end - pos) throw badData('lz4', 'literals past the end')
    if (literals > ceiling - out) return -1
    copyBytes(data, pos, literals, buffer, out)
    pos += literals
    out += literals
    if (pos === end) return out
    if (end - pos < 2) throw badData('lz4', 'a match without offset')
    const offset = (data[pos] as number) | ((data[pos + 1] as number) << 8)
    pos += 2
    let length = token & 15
    if (length === 15) {
      let byte
      do {
        if (pos >= end) throw badData('lz4', 'a length past the end')
        byte = data[pos++] as number
        length += byte
      } while (byte === 255)
    }
    length += MIN_MATCH
    if (offset === 0 || offset > out - floor) throw badData('lz4', 'a match from before the block')
    if (length > ceiling - out) return -1
    matches.repeat(out, offset, length)
    out += length
  }
  throw badData('lz4', 'a block that ends with a match')
}
