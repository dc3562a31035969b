import { MalformedError } from '../errors.ts'

/** Array elements of one message, in all its arrays together. The metadata of 200,000 partitions has 1.4 million. */
const MAX_ELEMENTS = 4_000_000

/**
 * Reads the primitive types of the protocol. Whatever the bytes are, a read ends with a value or a {@link MalformedError}: no length
 * is trusted before it is compared with what is left.
 */
export class Reader {
  readonly buffer: Buffer
  readonly #view: DataView
  readonly end: number
  pos: number
  #elements = 0

  constructor(buffer: Buffer, start = 0, end: number = buffer.length) {
    this.buffer = buffer
    this.#view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length)
    this.pos = start
    this.end = end
  }

  get remaining(): number {
    return this.end - this.pos
  }

  /** Moves past `size` bytes and returns where they start. */
  take(size: number): number {
    const start = this.pos
    if (size > this.end - start) throw this.#truncated(size)
    this.pos = start + size
    return start
  }

  bool(): boolean {
    return this.#view.getInt8(this.take(1)) !== 0
  }

  i8(): number {
    return this.#view.getInt8(this.take(1))
  }

  i16(): number {
    return this.#view.getInt16(this.take(2))
  }

  u16(): number {
    return this.#view.getUint16(this.take(2))
  }

  i32(): number {
    return this.#view.getInt32(this.take(4))
  }

  u32(): number {
    return this.#view.getUint32(this.take(4))
  }

  f64(): number {
    return this.#view.getFloat64(this.take(8))
  }

  /** An int64 that must fit a number exactly: offsets, ids, sizes. */
  i64(): number {
    const value = this.time()
    if (value > Number.MAX_SAFE_INTEGER || value < Number.MIN_SAFE_INTEGER) {
      throw new MalformedError('INVALID_VALUE', `int64 ${this.#view.getBigInt64(this.pos - 8)} is beyond 2^53`)
    }
    return value
  }

  /** An int64 of milliseconds. Users can set any; beyond 2^53 the nearest number is as good. */
  time(): number {
    const start = this.take(8)
    return this.#view.getInt32(start) * 4_294_967_296 + this.#view.getUint32(start + 4)
  }

  big(): bigint {
    return this.#view.getBigInt64(this.take(8))
  }

  /** Unsigned, up to 32 bits. */
  uvarint(): number {
    let value = 0
    for (let shift = 0; shift <= 28; shift += 7) {
      const byte = this.#view.getUint8(this.take(1))
      // The fifth byte has room for four bits.
      if (shift === 28 && byte > 15)
        throw new MalformedError('INVALID_VARINT', `a varint exceeds 32 bits at ${this.pos}`)
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
    throw new MalformedError('INVALID_VARINT', `a varint does not end at ${this.pos}`)
  }

  /** Zigzag, 32 bits. */
  varint(): number {
    const value = this.uvarint()
    return (value >>> 1) ^ -(value & 1)
  }

  /** Zigzag, 64 bits, to the nearest number. */
  varlong(): number {
    let low = 0
    let high = 0
    for (let index = 0; index < 10; index++) {
      const byte = this.#view.getUint8(this.take(1))
      if (index === 9 && byte > 1)
        throw new MalformedError('INVALID_VARINT', `a varlong exceeds 64 bits at ${this.pos}`)
      const bits = byte & 0x7f
      if (index < 4) low |= bits << (7 * index)
      else if (index === 4) {
        low |= bits << 28
        high = bits >>> 4
      } else high |= bits << (7 * index - 32)
      if (byte < 0x80) return unzigzag(high >>> 0, low >>> 0)
    }
    throw new MalformedError('INVALID_VARINT', `a varlong does not end at ${this.pos}`)
  }

  /** As Kafka prints it: 22 characters of base64url. */
  uuid(): string {
    const start = this.take(16)
    return this.buffer.toString('base64url', start, start + 16)
  }

  /** Length before a string or bytes; -1 for null. */
  length(compact: boolean, wide: boolean): number {
    const length = compact ? this.uvarint() - 1 : wide ? this.i32() : this.i16()
    if (length < -1) throw new MalformedError('INVALID_LENGTH', `length ${length} at ${this.pos}`)
    if (length > this.end - this.pos) throw this.#truncated(length)
    return length
  }

  str(compact: boolean): string {
    return this.strOrNull(compact) ?? this.unexpectedNull('string')
  }

  strOrNull(compact: boolean): string | null {
    const length = this.length(compact, false)
    if (length === -1) return null
    const start = this.take(length)
    return this.buffer.toString('utf8', start, start + length)
  }

  bytes(compact: boolean): Buffer {
    return this.bytesOrNull(compact) ?? this.unexpectedNull('bytes')
  }

  /** A view of the message, not a copy. */
  bytesOrNull(compact: boolean): Buffer | null {
    const length = this.length(compact, true)
    if (length === -1) return null
    const start = this.take(length)
    return this.buffer.subarray(start, start + length)
  }

  /** How many elements follow, each of at least `minSize` bytes; -1 for null. */
  count(compact: boolean, minSize: number): number {
    const count = compact ? this.uvarint() - 1 : this.i32()
    if (count < -1) throw new MalformedError('INVALID_LENGTH', `array of ${count} at ${this.pos}`)
    if (count * minSize > this.end - this.pos) throw this.#truncated(count * minSize)
    this.#elements += count
    if (this.#elements > MAX_ELEMENTS) throw new MalformedError('TOO_LARGE', `more than ${MAX_ELEMENTS} array elements`)
    return count
  }

  /** Size of a tagged field; returns where it ends. */
  tagEnd(): number {
    const size = this.uvarint()
    if (size > this.end - this.pos) throw this.#truncated(size)
    return this.pos + size
  }

  /** After a tagged field: its size and its content must agree. */
  expectAt(end: number): void {
    if (this.pos !== end) throw new MalformedError('INVALID_LENGTH', `a tagged field ends at ${this.pos}, not ${end}`)
  }

  /** Passes over tagged fields that nobody here reads. */
  skipTags(): void {
    for (let left = this.uvarint(); left > 0; left--) {
      this.uvarint()
      this.take(this.uvarint())
    }
  }

  /** After a whole message: more bytes mean that it was read with the wrong layout. */
  expectEnd(what: string): void {
    if (this.pos === this.end) return
    throw new MalformedError('INVALID_LENGTH', `${what} ends ${this.end - this.pos} bytes before its frame`)
  }

  unexpectedNull(what: string): never {
    throw new MalformedError('UNEXPECTED_NULL', `null ${what} at ${this.pos}`)
  }

  #truncated(size: number): MalformedError {
    return new MalformedError('TRUNCATED', `${size} bytes wanted at ${this.pos}, ${this.end - this.pos} are left`)
  }
}

/** -(v & 1) ^ (v >>> 1) on two halves, without BigInt. */
function unzigzag(high: number, low: number): number {
  const sign = -(low & 1)
  const lowHalf = ((low >>> 1) | (high << 31)) ^ sign
  const highHalf = (high >>> 1) ^ sign
  return highHalf * 4_294_967_296 + (lowHalf >>> 0)
}
