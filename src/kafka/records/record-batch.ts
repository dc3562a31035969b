import { MalformedError } from '../errors.ts'
import { ATTRIBUTES, BATCH, CODECS, LENGTH_END } from './batch-format.ts'
import type { Codec } from './batch-format.ts'
import { crc32c } from './crc32c.ts'

/** The header of a batch, and where its bytes are. Records are decoded by {@link decodeRecords}. */
export interface RecordBatch {
  readonly magic: number
  readonly baseOffset: number
  /** Of the last record that the batch ever had: compaction may have removed it. */
  readonly lastOffset: number
  readonly leaderEpoch: number
  readonly codec: Codec
  readonly isLogAppendTime: boolean
  readonly isTransactional: boolean
  readonly isControl: boolean
  readonly baseTimestamp: number
  readonly maxTimestamp: number
  readonly producerId: bigint
  readonly producerEpoch: number
  readonly baseSequence: number
  /** Records in the batch. -1 in formats before 2, which don't say. */
  readonly count: number
  /** The whole batch, as it came. */
  readonly bytes: Buffer
}

/**
 * The batches of a fetch response, without their records. The last one may be cut off: brokers send as many bytes as were asked for,
 * and it comes again with the next fetch.
 */
export function scanBatches(records: Buffer): readonly RecordBatch[] {
  const batches: RecordBatch[] = []
  let pos = 0
  while (records.length - pos > BATCH.magic) {
    const size = LENGTH_END + records.readInt32BE(pos + BATCH.length)
    if (size <= BATCH.magic) throw corrupt(`a batch of ${size} bytes`)
    if (size > records.length - pos) break
    batches.push(headerOf(records.subarray(pos, pos + size)))
    pos += size
  }
  return batches
}

function headerOf(bytes: Buffer): RecordBatch {
  const magic = bytes.readInt8(BATCH.magic)
  if (magic === 0 || magic === 1) return legacyHeader(bytes, magic)
  if (magic !== 2) throw corrupt(`a batch of format ${magic}, which this client does not know`)
  if (bytes.length < BATCH.records) throw corrupt(`a batch of ${bytes.length} bytes`)
  const attributes = bytes.readInt16BE(BATCH.attributes)
  const codec = CODECS[attributes & ATTRIBUTES.codec]
  if (codec === undefined) throw corrupt(`a batch with compression ${attributes & ATTRIBUTES.codec}`)
  const baseOffset = int64(bytes, BATCH.baseOffset)
  return {
    magic,
    baseOffset,
    lastOffset: baseOffset + bytes.readInt32BE(BATCH.lastOffsetDelta),
    leaderEpoch: bytes.readInt32BE(BATCH.leaderEpoch),
    codec,
    isLogAppendTime: (attributes & ATTRIBUTES.logAppendTime) !== 0,
    isTransactional: (attributes & ATTRIBUTES.transactional) !== 0,
    isControl: (attributes & ATTRIBUTES.control) !== 0,
    baseTimestamp: int64(bytes, BATCH.baseTimestamp),
    maxTimestamp: int64(bytes, BATCH.maxTimestamp),
    producerId: bytes.readBigInt64BE(BATCH.producerId),
    producerEpoch: bytes.readInt16BE(BATCH.producerEpoch),
    baseSequence: bytes.readInt32BE(BATCH.baseSequence),
    count: bytes.readInt32BE(BATCH.count),
    bytes,
  }
}

/** A message of format 0 or 1 stands for itself, or wraps compressed ones: its offset is then that of the last. */
function legacyHeader(bytes: Buffer, magic: number): RecordBatch {
  const attributesAt = BATCH.magic + 1
  if (bytes.length < attributesAt + (magic === 1 ? 9 : 1)) throw corrupt(`a message of ${bytes.length} bytes`)
  const attributes = bytes.readInt8(attributesAt)
  const codec = CODECS[attributes & ATTRIBUTES.codec]
  if (codec === undefined) throw corrupt(`a message with compression ${attributes & ATTRIBUTES.codec}`)
  const offset = int64(bytes, BATCH.baseOffset)
  const timestamp = magic === 1 ? int64(bytes, attributesAt + 1) : -1
  return {
    magic,
    baseOffset: offset,
    lastOffset: offset,
    leaderEpoch: -1,
    codec,
    isLogAppendTime: magic === 1 && (attributes & ATTRIBUTES.logAppendTime) !== 0,
    isTransactional: false,
    isControl: false,
    baseTimestamp: timestamp,
    maxTimestamp: timestamp,
    producerId: -1n,
    producerEpoch: -1,
    baseSequence: -1,
    count: -1,
    bytes,
  }
}

/** Throws if a batch of format 2 is not as its producer has sealed it. Older messages are checked as they are decoded. */
export function checkCrc(batch: RecordBatch): void {
  if (batch.magic !== 2) return
  const expected = batch.bytes.readUInt32BE(BATCH.crc)
  const actual = crc32c(batch.bytes, BATCH.attributes)
  if (actual === expected) return
  throw corrupt(`the checksum of the batch at offset ${batch.baseOffset} is ${actual}, not ${expected}`)
}

export function corrupt(what: string): MalformedError {
  return new MalformedError('CORRUPT_BATCH', what)
}

function int64(bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at) * 4_294_967_296 + bytes.readUInt32BE(at + 4)
}
