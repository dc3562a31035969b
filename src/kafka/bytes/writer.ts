import { UnencodableError } from '../errors.ts'
import { uvarintSize } from './varint.ts'

const MAX_I16 = 32_767

/**
 * Writes the primitive types of the protocol into a buffer that grows. Large bytes (record batches) are not copied: they become
 * chunks of their own between the written ones, see {@link Writer.chunks}.
 */
export class Writer {
  #buffer: Buffer
  #view: DataView
  /** Chunks that are complete, with what was given by reference between them. */
  readonly #done: Buffer[] = []
  #doneSize = 0
  #start = 0
  pos = 0

  constructor(initialSize = 512) {
    this.#buffer = Buffer.allocUnsafe(initialSize)
    this.#view = viewOf(this.#buffer)
  }

  /** Bytes written so far, given ones included. */
  get size(): number {
    return this.#doneSize + this.pos - this.#start
  }

  /** All that was written, in order. The writer must not be used after that. */
  chunks(): Buffer[] {
    if (this.pos > this.#start) this.#done.push(this.#buffer.subarray(this.#start, this.pos))
    return this.#done
  }

  toBuffer(): Buffer {
    const chunks = this.chunks()
    return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks)
  }

  bool(value: boolean): void {
    const start = this.reserve(1)
    this.#view.setInt8(start, value ? 1 : 0)
  }

  i8(value: number): void {
    if (value !== (value << 24) >> 24) throw unfit(value, 'i8')
    const start = this.reserve(1)
    this.#view.setInt8(start, value)
  }

  i16(value: number): void {
    if (value !== (value << 16) >> 16) throw unfit(value, 'i16')
    const start = this.reserve(2)
    this.#view.setInt16(start, value)
  }

  u16(value: number): void {
    if (value !== (value & 0xffff)) throw unfit(value, 'u16')
    const start = this.reserve(2)
    this.#view.setUint16(start, value)
  }

  i32(value: number): void {
    if (value !== (value | 0)) throw unfit(value, 'i32')
    const start = this.reserve(4)
    this.#view.setInt32(start, value)
  }

  u32(value: number): void {
    if (value !== value >>> 0) throw unfit(value, 'u32')
    const start = this.reserve(4)
    this.#view.setUint32(start, value)
  }

  f64(value: number): void {
    const start = this.reserve(8)
    this.#view.setFloat64(start, value)
  }

  i64(value: number): void {
    if (!Number.isSafeInteger(value)) throw new UnencodableError(`${value} is not an integer below 2^53`)
    this.time(value)
  }

  time(value: number): void {
    const start = this.reserve(8)
    const high = Math.floor(value / 4_294_967_296)
    this.#view.setInt32(start, high)
    this.#view.setUint32(start + 4, value - high * 4_294_967_296)
  }

  big(value: bigint): void {
    const start = this.reserve(8)
    this.#view.setBigInt64(start, value)
  }

  uvarint(value: number): void {
    let pos = this.reserve(uvarintSize(value))
    let rest = value
    while (rest > 127) {
      this.#view.setUint8(pos++, (rest & 0x7f) | 0x80)
      rest = rest >>> 7
    }
    this.#view.setUint8(pos, rest)
  }

  varint(value: number): void {
    this.uvarint(((value << 1) ^ (value >> 31)) >>> 0)
  }

  uuid(value: string): void {
    const start = this.reserve(16)
    if (value.length !== 22 || this.#buffer.write(value, start, 16, 'base64url') !== 16) {
      throw new UnencodableError(`${JSON.stringify(value)} is not a uuid of Kafka: 22 characters of base64url`)
    }
  }

  str(value: string, compact: boolean): void {
    const length = Buffer.byteLength(value)
    if (compact) this.uvarint(length + 1)
    else if (length > MAX_I16) throw new UnencodableError(`a string of ${length} bytes is longer than ${MAX_I16}`)
    else this.i16(length)
    const start = this.reserve(length)
    this.#buffer.write(value, start, length, 'utf8')
  }

  strOrNull(value: string | null, compact: boolean): void {
    if (value !== null) this.str(value, compact)
    else if (compact) this.uvarint(0)
    else this.i16(-1)
  }

  bytes(value: Uint8Array, compact: boolean): void {
    this.length(value.length, compact)
    this.raw(value)
  }

  bytesOrNull(value: Uint8Array | null, compact: boolean): void {
    if (value === null) this.length(-1, compact)
    else this.bytes(value, compact)
  }

  /** Length of bytes or count of an array; -1 for null. */
  length(length: number, compact: boolean): void {
    if (compact) this.uvarint(length + 1)
    else this.i32(length)
  }

  raw(value: Uint8Array): void {
    const start = this.reserve(value.length)
    this.#buffer.set(value, start)
  }

  /** Bytes that must stay unchanged until they are on the wire. */
  records(value: Buffer | readonly Buffer[] | null, compact: boolean): void {
    if (value === null) return this.length(-1, compact)
    const parts = Buffer.isBuffer(value) ? [value] : value
    let size = 0
    for (const part of parts) size += part.length
    this.length(size, compact)
    for (const part of parts) this.#reference(part)
  }

  /** A tagged field: its size goes before it, so it's written aside first. */
  tag(tag: number, write: (writer: Writer) => void): void {
    const aside = new Writer(64)
    write(aside)
    this.uvarint(tag)
    this.uvarint(aside.size)
    for (const chunk of aside.chunks()) this.raw(chunk)
  }

  /** Makes room and returns where it starts. `#view` and `#buffer` may be others after it. */
  reserve(size: number): number {
    const start = this.pos
    if (start + size > this.#buffer.length) return this.#grow(size)
    this.pos = start + size
    return start
  }

  #reference(part: Buffer): void {
    if (this.pos > this.#start) {
      this.#done.push(this.#buffer.subarray(this.#start, this.pos))
      this.#doneSize += this.pos - this.#start
      this.#start = this.pos
    }
    this.#done.push(part)
    this.#doneSize += part.length
  }

  #grow(size: number): number {
    const used = this.pos - this.#start
    const buffer = Buffer.allocUnsafe(Math.max(2 * this.#buffer.length, used + size))
    this.#buffer.copy(buffer, 0, this.#start, this.pos)
    this.#buffer = buffer
    this.#view = viewOf(buffer)
    this.#start = 0
    this.pos = used + size
    return used
  }
}

function unfit(value: number, type: string): UnencodableError {
  return new UnencodableError(`${value} does not fit ${type}`)
}

function viewOf(buffer: Buffer): DataView {
  return new DataView(buffer.buffer, buffer.byteOffset, buffer.length)
}
