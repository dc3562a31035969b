import { BATCH } from './batch-format.ts'
import { KafkaRecord } from './record.ts'
import type { RecordSource } from './record.ts'
import { corrupt } from './record-batch.ts'
import type { RecordBatch } from './record-batch.ts'

/** A record takes at least: its length, attributes, two deltas, two lengths and a count of headers. */
const MIN_RECORD = 7

/**
 * The records of a batch of format 2. `payload`: what its bytes were before compression; without it, they are in the batch as they
 * are. Everything is checked now, so that views can't fail later.
 */
export function decodeRecords(batch: RecordBatch, payload?: Buffer): KafkaRecord[] {
  const bytes = payload ?? batch.bytes
  const { count } = batch
  let pos = payload === undefined ? BATCH.records : 0
  if (count < 0 || count * MIN_RECORD > bytes.length - pos) {
    throw corrupt(`the batch at offset ${batch.baseOffset} claims ${count} records in ${bytes.length - pos} bytes`)
  }
  const { baseOffset } = batch
  const fixedTime = batch.isLogAppendTime
  const baseTimestamp = fixedTime ? batch.maxTimestamp : batch.baseTimestamp
  const source: RecordSource = { bytes, baseOffset, baseTimestamp }
  const maxDelta = batch.lastOffset - baseOffset
  const cursor = new Cursor(bytes, baseOffset)
  const records: KafkaRecord[] = []
  for (let index = 0; index < count; index++) {
    cursor.pos = pos
    const size = cursor.varint()
    const end = cursor.pos + size
    if (size < 0 || end > bytes.length) throw corrupt(`a record of ${size} bytes at offset ${baseOffset}`)
    cursor.end = end
    cursor.pos++
    const timestampDelta = cursor.varlong()
    const offsetDelta = cursor.varint()
    if (offsetDelta < 0 || offsetDelta > maxDelta) throw corrupt(`offset delta ${offsetDelta} at offset ${baseOffset}`)
    const keySize = cursor.varint()
    const keyStart = cursor.skip(keySize)
    const valueSize = cursor.varint()
    const valueStart = cursor.skip(valueSize)
    const headersStart = cursor.skipHeaders()
    if (cursor.pos !== end)
      throw corrupt(`a record at offset ${baseOffset + offsetDelta} has another size than it claims`)
    const time = fixedTime ? 0 : timestampDelta
    records.push(new KafkaRecord(source, offsetDelta, time, keyStart, keySize, valueStart, valueSize, headersStart))
    pos = end
  }
  if (pos !== bytes.length) throw corrupt(`${bytes.length - pos} bytes follow the records at offset ${baseOffset}`)
  return records
}

/** Varints of the batch, each with a fast way for one and two bytes. */
class Cursor {
  readonly #bytes: Buffer
  readonly #baseOffset: number
  pos = 0
  end = 0

  constructor(bytes: Buffer, baseOffset: number) {
    this.#bytes = bytes
    this.#baseOffset = baseOffset
  }

  varint(): number {
    const bytes = this.#bytes
    const first = bytes[this.pos++] as number
    if (first < 0x80) return (first >>> 1) ^ -(first & 1)
    const second = bytes[this.pos++] as number
    if (second < 0x80) {
      const value = (first & 0x7f) | (second << 7)
      return (value >>> 1) ^ -(value & 1)
    }
    return this.#longVarint((first & 0x7f) | ((second & 0x7f) << 7))
  }

  #longVarint(start: number): number {
    let value = start
    for (let shift = 14; shift <= 28; shift += 7) {
      const byte = this.#bytes[this.pos++]
      // Past the end, or more than 32 bits.
      if (byte === undefined || (shift === 28 && byte > 15)) break
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return (value >>> 1) ^ -(value & 1)
    }
    throw corrupt(`a number at offset ${this.#baseOffset} does not end`)
  }

  /** 64 bits, to the nearest number: four bytes reach a day and a half of milliseconds, the rest is rare. */
  varlong(): number {
    const bytes = this.#bytes
    const start = this.pos
    let value = 0
    for (let shift = 0; shift <= 21; shift += 7) {
      const byte = bytes[this.pos++] as number
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return (value >>> 1) ^ -(value & 1)
    }
    this.pos = start
    return this.#longVarlong()
  }

  #longVarlong(): number {
    let value = 0n
    for (let shift = 0n; shift <= 63n; shift += 7n) {
      const byte = this.#bytes[this.pos++]
      if (byte === undefined) break
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return Number(BigInt.asIntN(64, (value >> 1n) ^ -(value & 1n)))
    }
    throw corrupt(`a number at offset ${this.#baseOffset} does not end`)
  }

  /** Passes over a key or a value; -1 is null. Returns where it starts. */
  skip(size: number): number {
    const start = this.pos
    if (size > this.end - start || size < -1) throw corrupt(`a field of ${size} bytes at offset ${this.#baseOffset}`)
    if (size > 0) this.pos = start + size
    return start
  }

  /** Where the headers start; -1 if there are none. */
  skipHeaders(): number {
    const start = this.pos
    const count = this.varint()
    if (count === 0) return -1
    if (count < 0 || 2 * count > this.end - this.pos) throw corrupt(`${count} headers at offset ${this.#baseOffset}`)
    for (let left = count; left > 0; left--) {
      const keySize = this.varint()
      if (keySize < 0) throw corrupt(`a header without key at offset ${this.#baseOffset}`)
      this.skip(keySize)
      this.skip(this.varint())
    }
    return start
  }
}
