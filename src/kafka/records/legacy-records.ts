import { crc32 } from 'node:zlib'
import { ATTRIBUTES, CODECS } from './batch-format.ts'
import { KafkaRecord } from './record.ts'
import { corrupt } from './record-batch.ts'
import type { RecordBatch } from './record-batch.ts'

/** Formats 0 and 1, from before Kafka 0.11: offset, size, CRC-32, format, attributes, timestamp (1 only), key, value. */
const MESSAGE = { size: 8, crc: 12, magic: 16, attributes: 17, timestamp: 18 } as const
const SIZE_END = 12

/** The bytes that a compressed message wraps. */
export function legacyPayload(batch: RecordBatch): Buffer {
  const { bytes } = batch
  const keyAt = checkedMessage(bytes, 0, bytes.length, batch.magic)
  const { valueStart, valueSize } = fieldsOf(bytes, keyAt, bytes.length)
  if (valueSize < 0) throw corrupt(`the compressed message at offset ${batch.baseOffset} is empty`)
  return bytes.subarray(valueStart, valueStart + valueSize)
}

/** The one record of a message that is not compressed. */
export function decodeLegacyMessage(batch: RecordBatch): KafkaRecord[] {
  const { bytes } = batch
  const keyAt = checkedMessage(bytes, 0, bytes.length, batch.magic)
  return [recordOf(bytes, keyAt, bytes.length, batch.baseOffset, batch.baseTimestamp)]
}

/** The records in what a compressed message wrapped. */
export function decodeLegacyPayload(batch: RecordBatch, payload: Buffer): KafkaRecord[] {
  const records: { offset: number; timestamp: number; keyAt: number; end: number }[] = []
  let pos = 0
  while (payload.length - pos > MESSAGE.magic) {
    const end = pos + SIZE_END + payload.readInt32BE(pos + MESSAGE.size)
    if (end <= pos + MESSAGE.magic || end > payload.length) throw corrupt(`a message in offset ${batch.baseOffset}`)
    const magic = payload.readInt8(pos + MESSAGE.magic)
    const keyAt = checkedMessage(payload, pos, end, magic)
    if ((payload.readInt8(pos + MESSAGE.attributes) & ATTRIBUTES.codec) !== CODECS.indexOf('none')) {
      throw corrupt(`compressed messages within the compressed message at offset ${batch.baseOffset}`)
    }
    const own = magic === 1 ? int64(payload, pos + MESSAGE.timestamp) : -1
    records.push({
      offset: int64(payload, pos),
      timestamp: batch.isLogAppendTime ? batch.maxTimestamp : own,
      keyAt,
      end,
    })
    pos = end
  }
  if (pos !== payload.length) throw corrupt(`${payload.length - pos} bytes follow the messages in ${batch.baseOffset}`)
  const last = records.at(-1)
  // Format 1 counts from 0 and has the offset of the last message outside.
  const base = batch.magic === 1 && last !== undefined ? batch.baseOffset - last.offset : 0
  return records.map(({ offset, timestamp, keyAt, end }) => recordOf(payload, keyAt, end, base + offset, timestamp))
}

/** Checks a message and returns where its key is. */
function checkedMessage(bytes: Buffer, start: number, end: number, magic: number): number {
  if (magic !== 0 && magic !== 1) throw corrupt(`a message of format ${magic} among older ones`)
  const keyAt = start + (magic === 1 ? MESSAGE.timestamp + 8 : MESSAGE.timestamp)
  if (keyAt + 8 > end) throw corrupt(`a message of ${end - start} bytes`)
  const expected = bytes.readUInt32BE(start + MESSAGE.crc)
  const actual = crc32(bytes.subarray(start + MESSAGE.magic, end))
  if (actual !== expected) throw corrupt(`the checksum of a message is ${actual}, not ${expected}`)
  return keyAt
}

function fieldsOf(bytes: Buffer, keyAt: number, end: number) {
  const keySize = bytes.readInt32BE(keyAt)
  const keyStart = keyAt + 4
  const valueAt = keyStart + Math.max(0, keySize)
  if (keySize < -1 || valueAt + 4 > end) throw corrupt(`a key of ${keySize} bytes`)
  const valueSize = bytes.readInt32BE(valueAt)
  const valueStart = valueAt + 4
  if (valueSize < -1 || valueStart + Math.max(0, valueSize) !== end) throw corrupt(`a value of ${valueSize} bytes`)
  return { keyStart, keySize, valueStart, valueSize }
}

function recordOf(bytes: Buffer, keyAt: number, end: number, offset: number, timestamp: number): KafkaRecord {
  const { keyStart, keySize, valueStart, valueSize } = fieldsOf(bytes, keyAt, end)
  const source = { bytes, baseOffset: offset, baseTimestamp: timestamp }
  return new KafkaRecord(source, 0, 0, keyStart, keySize, valueStart, valueSize, -1)
}

function int64(bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at) * 4_294_967_296 + bytes.readUInt32BE(at + 4)
}
