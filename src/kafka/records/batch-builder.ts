import { uvarintSize, varintSize } from '../bytes/varint.ts'
import { UnencodableError } from '../errors.ts'
import { kindOf } from '../options-reader.ts'
import { ATTRIBUTES, BATCH, CODECS, LENGTH_END } from './batch-format.ts'
import type { Codec } from './batch-format.ts'
import { crc32c } from './crc32c.ts'
import { varlongSize, writeUvarint, writeVarint, writeVarlong } from './varint-write.ts'

/** A key or a value: bytes, or text, which is written as UTF-8. */
export type RecordBytes = Uint8Array | string | null

/** A header to be written. Keys may repeat; order is kept. */
export interface RecordHeader {
  readonly key: string
  readonly value: RecordBytes
}

/** Who writes a batch: the broker finds gaps and repetitions by it. */
export interface ProducerStamp {
  readonly producerId: bigint
  readonly producerEpoch: number
  readonly baseSequence: number
  readonly isTransactional: boolean
}

const NO_HEADERS: readonly RecordHeader[] = []
const NO_BLOCK = Buffer.alloc(0)

/**
 * One batch, encoded as records are appended, into a block that the caller gives: `room` bytes at its start stay free for what goes
 * before the batch on the wire. Nothing is allocated per record.
 */
export class BatchBuilder {
  #block: Buffer
  /** Where the batch starts in the block. */
  readonly start: number
  #pos: number
  #count = 0
  #baseTimestamp = 0
  #maxTimestamp = 0

  constructor(block: Buffer, room = 0) {
    this.#block = block
    this.start = room
    this.#pos = room + BATCH.records
  }

  get block(): Buffer {
    return this.#block
  }

  /** Continues in a larger block, into which it copies what it has. */
  moveTo(block: Buffer): void {
    this.#block.copy(block, this.start, this.start, this.#pos)
    this.#block = block
  }

  /** Lets go of the block: only the size is known from now on. */
  drop(): void {
    this.#block = NO_BLOCK
  }

  get count(): number {
    return this.#count
  }

  /** Bytes of the batch so far, uncompressed. */
  get size(): number {
    return this.#pos - this.start
  }

  /**
   * Appends a record; false, and nothing has changed, if the block has no room for it. Strings are UTF-8. `timestamp` in
   * milliseconds.
   */
  append(
    key: RecordBytes,
    value: RecordBytes,
    timestamp: number,
    headers: readonly RecordHeader[] = NO_HEADERS,
  ): boolean {
    checkTimestamp(timestamp)
    const delta = this.#count === 0 ? 0 : timestamp - this.#baseTimestamp
    const keySize = sizeOf(key)
    const valueSize = sizeOf(value)
    let body = 1 + varlongSize(delta) + varintSize(this.#count) + fieldSize(keySize) + fieldSize(valueSize)
    body += headers.length === 0 ? 1 : headersSize(headers)
    const block = this.#block
    let pos = this.#pos
    if (pos + varintSize(body) + body > block.length) return false
    pos = writeVarint(block, pos, body)
    block[pos++] = 0
    pos = writeVarlong(block, pos, delta)
    pos = writeVarint(block, pos, this.#count)
    pos = writeField(block, pos, key, keySize)
    pos = writeField(block, pos, value, valueSize)
    if (headers.length === 0) block[pos++] = 0
    else pos = writeHeaders(block, pos, headers)
    this.#pos = pos
    if (this.#count++ === 0) this.#baseTimestamp = this.#maxTimestamp = timestamp
    else if (timestamp > this.#maxTimestamp) this.#maxTimestamp = timestamp
    return true
  }

  /** The records without the header: what compression works on. */
  records(): Buffer {
    return this.#block.subarray(this.start + BATCH.records, this.#pos)
  }

  /** The batch, uncompressed, in its block. It still needs {@link stampBatch}. */
  seal(): Buffer {
    const batch = this.#block.subarray(this.start, this.#pos)
    this.#writeHeader(batch, 'none')
    return batch
  }

  /** The batch with what compression has made of {@link records}, in a block of its own, behind `room` free bytes. */
  sealCompressed(codec: Codec, records: Buffer, block: Buffer, room = 0): Buffer {
    const batch = block.subarray(room, room + BATCH.records + records.length)
    batch.set(records, BATCH.records)
    this.#writeHeader(batch, codec)
    return batch
  }

  #writeHeader(batch: Buffer, codec: Codec): void {
    if (this.#count === 0) throw new UnencodableError('a batch without records')
    batch.fill(0, 0, BATCH.length)
    batch.writeInt32BE(batch.length - LENGTH_END, BATCH.length)
    batch.writeInt32BE(-1, BATCH.leaderEpoch)
    batch[BATCH.magic] = 2
    batch.writeInt16BE(CODECS.indexOf(codec), BATCH.attributes)
    batch.writeInt32BE(this.#count - 1, BATCH.lastOffsetDelta)
    batch.writeBigInt64BE(BigInt(this.#baseTimestamp), BATCH.baseTimestamp)
    batch.writeBigInt64BE(BigInt(this.#maxTimestamp), BATCH.maxTimestamp)
    batch.writeInt32BE(this.#count, BATCH.count)
  }
}

export const NO_PRODUCER: ProducerStamp = {
  producerId: -1n,
  producerEpoch: -1,
  baseSequence: -1,
  isTransactional: false,
}

/** Writes producer and sequence into a sealed batch, and the checksum over all. May be done again, after an epoch bump. */
export function stampBatch(batch: Buffer, stamp: ProducerStamp): void {
  batch.writeBigInt64BE(stamp.producerId, BATCH.producerId)
  batch.writeInt16BE(stamp.producerEpoch, BATCH.producerEpoch)
  batch.writeInt32BE(stamp.baseSequence, BATCH.baseSequence)
  const codec = batch.readInt16BE(BATCH.attributes) & ATTRIBUTES.codec
  batch.writeInt16BE(codec | (stamp.isTransactional ? ATTRIBUTES.transactional : 0), BATCH.attributes)
  batch.writeUInt32BE(crc32c(batch, BATCH.attributes), BATCH.crc)
}

/** Throws if it is not a time that a record can have. */
export function checkTimestamp(timestamp: number): void {
  if (!Number.isSafeInteger(timestamp)) throw new UnencodableError(`${timestamp} is not a timestamp in milliseconds`)
}

/** Bytes that a record takes at most, whatever its place in a batch: to choose a block for it. */
export function maxRecordSize(key: RecordBytes, value: RecordBytes, headers: readonly RecordHeader[]): number {
  return 5 + 1 + 10 + 5 + fieldSize(sizeOf(key)) + fieldSize(sizeOf(value)) + headersSize(headers)
}

/** Up to here, a loop over a string costs less than a call into C++. */
const SHORT_STRING = 24

/** -1 for null. Anything but text and bytes is refused here: its size would make the batch unreadable. */
function sizeOf(value: RecordBytes): number {
  if (value === null) return -1
  if (typeof value === 'string') return utf8Size(value)
  // Of one realm or another: `instanceof` would refuse bytes from elsewhere, as in tests with Jest.
  if (value?.BYTES_PER_ELEMENT !== 1) {
    throw new UnencodableError(`a key, value or header is ${kindOf(value)}: give a string, bytes, or null`)
  }
  return value.length
}

function utf8Size(text: string): number {
  const { length } = text
  if (length > SHORT_STRING) return Buffer.byteLength(text)
  for (let index = 0; index < length; index++) {
    if (text.charCodeAt(index) > 127) return Buffer.byteLength(text)
  }
  return length
}

function writeText(block: Buffer, at: number, text: string, size: number): void {
  if (size > SHORT_STRING || size !== text.length) block.write(text, at, size, 'utf8')
  else for (let index = 0; index < size; index++) block[at + index] = text.charCodeAt(index)
}

function fieldSize(size: number): number {
  return size === -1 ? 1 : varintSize(size) + size
}

function writeField(block: Buffer, at: number, value: RecordBytes, size: number): number {
  if (value === null) {
    // Zigzag of -1.
    block[at] = 1
    return at + 1
  }
  const pos = writeVarint(block, at, size)
  if (typeof value === 'string') writeText(block, pos, value, size)
  else block.set(value, pos)
  return pos + size
}

function headersSize(headers: readonly RecordHeader[]): number {
  const isList: boolean = Array.isArray(headers)
  if (!isList) {
    throw new UnencodableError(`headers are ${kindOf(headers)}: give an array of { key, value }`)
  }
  let size = uvarintSize(2 * headers.length)
  for (const { key, value } of headers) size += fieldSize(utf8Size(key)) + fieldSize(sizeOf(value))
  return size
}

function writeHeaders(block: Buffer, at: number, headers: readonly RecordHeader[]): number {
  let pos = writeUvarint(block, at, 2 * headers.length)
  for (const { key, value } of headers) {
    pos = writeField(block, pos, key, utf8Size(key))
    pos = writeField(block, pos, value, sizeOf(value))
  }
  return pos
}
