import { readable, showJson } from './inspected.ts'

/** A header of a record. Keys may repeat; order is kept. */
export interface ReadHeader {
  readonly key: string
  readonly value: Buffer | null
}

/** A record as logs show it. Bytes that are not UTF-8 are `base64:` and their Base64. */
export interface LoggedRecord {
  readonly offset: number
  readonly timestamp: number
  readonly key: string | null
  readonly value: string | null
  readonly headers: readonly { readonly key: string; readonly value: string | null }[]
}

/** What the records of a batch share. */
export interface RecordSource {
  readonly bytes: Buffer
  readonly baseOffset: number
  readonly baseTimestamp: number
}

/**
 * A record, as a view of the response that it came in. Key, value and headers are decoded when you access them.
 * Holding on to a record keeps the whole response in memory: hold on to {@link KafkaRecord.copy} instead.
 */
export class KafkaRecord {
  static {
    showJson('KafkaRecord', KafkaRecord.prototype)
  }

  #source: RecordSource
  readonly #offsetDelta: number
  readonly #timestampDelta: number
  readonly #keyStart: number
  readonly #keySize: number
  readonly #valueStart: number
  readonly #valueSize: number
  readonly #headersStart: number

  /** @internal */
  constructor(
    source: RecordSource,
    offsetDelta: number,
    timestampDelta: number,
    keyStart: number,
    keySize: number,
    valueStart: number,
    valueSize: number,
    headersStart: number,
  ) {
    this.#source = source
    this.#offsetDelta = offsetDelta
    this.#timestampDelta = timestampDelta
    this.#keyStart = keyStart
    this.#keySize = keySize
    this.#valueStart = valueStart
    this.#valueSize = valueSize
    this.#headersStart = headersStart
  }

  /** Its place in the partition. */
  get offset(): number {
    return this.#source.baseOffset + this.#offsetDelta
  }

  /** Milliseconds; -1 if the record has none. */
  get timestamp(): number {
    return this.#source.baseTimestamp + this.#timestampDelta
  }

  /** Null if it has none. */
  get key(): Buffer | null {
    if (this.#keySize < 0) return null
    return this.#source.bytes.subarray(this.#keyStart, this.#keyStart + this.#keySize)
  }

  /** Null: a tombstone. */
  get value(): Buffer | null {
    if (this.#valueSize < 0) return null
    return this.#source.bytes.subarray(this.#valueStart, this.#valueStart + this.#valueSize)
  }

  /** The key as text (UTF-8), without a view in between. */
  get keyText(): string | null {
    if (this.#keySize < 0) return null
    return this.#source.bytes.toString('utf8', this.#keyStart, this.#keyStart + this.#keySize)
  }

  /** The value as text. */
  get valueText(): string | null {
    if (this.#valueSize < 0) return null
    return this.#source.bytes.toString('utf8', this.#valueStart, this.#valueStart + this.#valueSize)
  }

  /** In bytes; -1 if it has none. */
  get keySize(): number {
    return this.#keySize
  }

  /** In bytes; -1 for a tombstone. */
  get valueSize(): number {
    return this.#valueSize
  }

  /** In the order in which they were written. */
  get headers(): readonly ReadHeader[] {
    return this.#headersStart < 0 ? [] : readHeaders(this.#source.bytes, this.#headersStart)
  }

  /** Calls `visit` with each header as text, in order, without views in between. A value may be null. */
  eachHeader(visit: (key: string, value: string | null) => void): void {
    if (this.#headersStart < 0) return
    const { bytes } = this.#source
    const cursor = new HeaderCursor(bytes, this.#headersStart)
    for (let left = cursor.varint(); left > 0; left--) {
      const keyEnd = cursor.varint() + cursor.pos
      const key = bytes.toString('utf8', cursor.pos, keyEnd)
      cursor.pos = keyEnd
      const size = cursor.varint()
      visit(key, size < 0 ? null : bytes.toString('utf8', cursor.pos, cursor.pos + size))
      cursor.pos += Math.max(0, size)
    }
  }

  /** For `JSON.stringify` and `console.log`: key and value as text. */
  toJSON(): LoggedRecord {
    const { offset, timestamp, key, value } = this
    const headers = this.headers.map((header) => ({ key: header.key, value: readable(header.value) }))
    return { offset, timestamp, key: readable(key), value: readable(value), headers }
  }

  /** The same record in its own memory, so that the response it came in can be freed. */
  copy(): KafkaRecord {
    const { bytes, baseOffset, baseTimestamp } = this.#source
    const end =
      this.#headersStart < 0 ? this.#valueStart + Math.max(0, this.#valueSize) : headersEnd(bytes, this.#headersStart)
    const start = this.#keyStart
    const own = Buffer.allocUnsafeSlow(end - start)
    bytes.copy(own, 0, start, end)
    return new KafkaRecord(
      { bytes: own, baseOffset, baseTimestamp },
      this.#offsetDelta,
      this.#timestampDelta,
      0,
      this.#keySize,
      this.#valueStart - start,
      this.#valueSize,
      this.#headersStart < 0 ? -1 : this.#headersStart - start,
    )
  }
}

/** The bytes of headers have been checked when the record was decoded. */
function readHeaders(bytes: Buffer, start: number): readonly ReadHeader[] {
  const cursor = new HeaderCursor(bytes, start)
  const headers: ReadHeader[] = []
  for (let left = cursor.varint(); left > 0; left--) {
    const keyEnd = cursor.varint() + cursor.pos
    const key = bytes.toString('utf8', cursor.pos, keyEnd)
    cursor.pos = keyEnd
    const size = cursor.varint()
    const value = size < 0 ? null : bytes.subarray(cursor.pos, cursor.pos + size)
    cursor.pos += Math.max(0, size)
    headers.push({ key, value })
  }
  return headers
}

function headersEnd(bytes: Buffer, start: number): number {
  const cursor = new HeaderCursor(bytes, start)
  for (let left = 2 * cursor.varint(); left > 0; left--) {
    const size = cursor.varint()
    cursor.pos += Math.max(0, size)
  }
  return cursor.pos
}

class HeaderCursor {
  readonly #bytes: Buffer
  pos: number

  constructor(bytes: Buffer, pos: number) {
    this.#bytes = bytes
    this.pos = pos
  }

  varint(): number {
    let value = 0
    let shift = 0
    for (;;) {
      const byte = this.#bytes[this.pos++] ?? 0
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return (value >>> 1) ^ -(value & 1)
      shift += 7
    }
  }
}
