import { COMPACT_MARK, compactForm } from '../../../core/compact-envelope.ts'
import { NO_HEADERS } from '../../../core/message.ts'
import type { IncomingMessage } from './incoming-message.ts'
import { FRAME_OVERHEAD } from './frame-buffer.ts'
import { fixedInstant } from './instant.ts'
import { attemptsOf, topicOf } from './read-message.ts'
import {
  ACQUIRED_COUNT,
  ATTEMPTS,
  CLOUD_EVENTS,
  COPY,
  DELIVERY_COUNT,
  FIRST_AT,
  fromWireName,
  GROUP_QUEUE,
  isTransportHeader,
  NO_BODY,
  STREAM_OFFSET,
  TOPIC,
} from './wire-headers.ts'

const HEAD = 7
const BASIC_DELIVER = 60 * 65_536 + 60
const HAS_CONTENT_TYPE = 0x8000
const HAS_HEADERS = 0x2000
const HAS_DELIVERY_MODE = 0x1000
const HAS_MESSAGE_ID = 0x0080
const HAS_TIMESTAMP = 0x0040
const HAS_APP_ID = 0x0008
/**
 * content-encoding, priority, correlation-id, reply-to, expiration, type, user-id, cluster-id: copies keep these, and the
 * library reads them.
 */
const HAS_MORE = 0x4000 | 0x0800 | 0x0400 | 0x0200 | 0x0100 | 0x0020 | 0x0010 | 0x0004

const TEXT = 0x53
const YES_OR_NO = 0x74
const INT_32 = 0x49
const INT_64 = 0x6c
const INT_16 = 0x73

const BEYOND_ASCII = /[^\0-\x7f]/

/** Whether a method frame, which begins at `at`, announces a delivery. */
export function isDelivery(bytes: Buffer, at: number): boolean {
  return bytes.readUInt32BE(at + HEAD) === BASIC_DELIVER
}

/**
 * Reads method and header frames of deliveries in the form that Busbar writes: CloudEvents headers, all text plain
 * ASCII. Decoding everything once and taking substrings costs a fraction of the library's general decoder. Anything
 * else is left to the library.
 */
export class DeliveryDecoder {
  readonly #arrival: IncomingMessage
  /** The text of both frames, one character per byte. */
  #text = ''
  #at = 0
  /** These have the same value in nearly every message. */
  #type = ''
  #source = ''
  #contentType = ''
  #exchange = ''

  constructor(arrival: IncomingMessage) {
    this.#arrival = arrival
  }

  /**
   * Fills the arrival, except its body.
   *
   * @param from Where the method frame begins.
   * @param header Where the header frame begins.
   * @param end Where the header frame ends.
   * @returns The size of the body in bytes, or -1 when the message is left to the library.
   */
  read(bytes: Buffer, from: number, header: number, end: number): number {
    const properties = header + HEAD + 12
    const flags = bytes.readUInt16BE(properties)
    if ((flags & HAS_HEADERS) === 0 || (flags & HAS_MORE) !== 0) return -1
    const text = bytes.toString('latin1', from, end)
    this.#text = text
    this.#at = properties - from + 2
    const arrival = this.#arrival
    arrival.reset()
    if ((flags & HAS_CONTENT_TYPE) !== 0) {
      const contentType = this.#short(this.#contentType)
      if (contentType !== this.#contentType && BEYOND_ASCII.test(contentType)) return -1
      arrival.contentType = this.#contentType = contentType
    }
    const tableEnd = this.#at + 4 + this.#long()
    // Behind its length, which may be any bytes.
    if (BEYOND_ASCII.test(text.substring(this.#at + 4, tableEnd))) return -1
    arrival.id = undefined
    arrival.time = undefined
    arrival.type = undefined
    arrival.source = undefined
    this.#at += 4
    while (this.#at < tableEnd) if (!this.#entry(bytes, from)) return -1
    if (!this.#method(bytes, from, tableEnd, flags)) return -1
    if (
      arrival.id === undefined ||
      arrival.type === undefined ||
      arrival.source === undefined ||
      arrival.time === undefined
    )
      return -1
    return bytes.readUInt32BE(header + HEAD + 4) * 0x1_0000_0000 + bytes.readUInt32BE(header + HEAD + 8)
  }

  /** Reads what is in the method frame, and the properties of a compact envelope. */
  #method(bytes: Buffer, from: number, tableEnd: number, flags: number): boolean {
    const arrival = this.#arrival
    this.#at = HEAD + 4
    this.#at += 1 + this.#text.charCodeAt(this.#at)
    const tag = from + this.#at
    arrival.deliveryTag = bytes.readUInt32BE(tag) * 0x1_0000_0000 + bytes.readUInt32BE(tag + 4)
    arrival.redelivered = this.#text.charCodeAt(this.#at + 8) !== 0
    this.#at += 9
    arrival.exchange = this.#exchange = this.#short(this.#exchange)
    arrival.routingKey = this.#short('')
    const { form } = arrival
    // Without the mark, the library says what these properties of another program mean.
    if (form === undefined) return (flags & HAS_APP_ID) === 0
    this.#at = tableEnd + ((flags & HAS_DELIVERY_MODE) === 0 ? 0 : 1)
    if ((flags & HAS_MESSAGE_ID) !== 0) {
      const id = this.#ascii()
      if (id === undefined) return false
      arrival.id ??= id
    }
    if ((flags & HAS_TIMESTAMP) !== 0) return false
    if ((flags & HAS_APP_ID) !== 0) {
      const source = this.#ascii()
      // With both, the user has set the property, and copies keep it.
      if (source === undefined || arrival.source !== undefined) return false
      arrival.source = this.#source = source === this.#source ? this.#source : source
    }
    arrival.derive(form, topicOf(arrival))
    return true
  }

  /** A short text; undefined when it is empty, or not all of it is ASCII. */
  #ascii(): string | undefined {
    const text = this.#short(this.#source)
    return text === '' || BEYOND_ASCII.test(text) ? undefined : text
  }

  /** Reads one entry of the table; false for types that are left to the library. */
  #entry(bytes: Buffer, from: number): boolean {
    const text = this.#text
    const name = this.#at + 1
    const length = text.charCodeAt(this.#at)
    const type = text.charCodeAt(name + length)
    this.#at = name + length + 1
    if (type === TEXT) {
      const size = this.#long()
      const value = this.#at + 4
      this.#at = value + size
      if (text.startsWith(CLOUD_EVENTS, name))
        return this.#attribute(name + CLOUD_EVENTS.length, length - CLOUD_EVENTS.length, value, size)
      return this.#textEntry(text.substring(name, name + length), value)
    }
    const number = this.#number(type, bytes, from)
    return number !== undefined && this.#numberEntry(text.substring(name, name + length), number)
  }

  #attribute(name: number, length: number, value: number, size: number): boolean {
    const text = this.#text
    const arrival = this.#arrival
    const is = (attribute: string): boolean => text.startsWith(attribute, name)
    const string = (): string => text.substring(value, value + size)
    switch (length) {
      case 2:
        arrival.id = size === 0 ? undefined : string()
        return is('id')
      case 4:
        if (is('type')) arrival.type = this.#type = this.#same(this.#type, value, size)
        else {
          arrival.time = size === 24 ? fixedInstant(text, value) : Number.NaN
          return is('time') && !Number.isNaN(arrival.time)
        }
        return size > 0
      case 6:
        arrival.source = this.#source = this.#same(this.#source, value, size)
        return is('source') && size > 0
      case 7:
        arrival.subject = string()
        return is('subject') && size > 0
      case 10:
        if (is('dataschema')) arrival.dataSchema = string()
        else {
          arrival.expiresAt = size === 24 ? fixedInstant(text, value) : Number.NaN
          return is('expirytime') && !Number.isNaN(arrival.expiresAt)
        }
        return size > 0
      case 11:
        if (is('causationid')) arrival.causationId = string()
        else if (is('dataversion')) {
          const version = string()
          arrival.version = Number(version)
          return /^\d{1,9}$/.test(version)
        } else return is('specversion')
        return size > 0
      case 12:
        arrival.key = string()
        return is('partitionkey') && size > 0
      case 13:
        arrival.correlationId = string()
        return is('correlationid') && size > 0
      default:
        return false
    }
  }

  #textEntry(name: string, value: number): boolean {
    const arrival = this.#arrival
    const text = this.#text.substring(value, this.#at)
    switch (name) {
      case 'traceparent':
        arrival.traceparent = text
        return text !== ''
      case 'tracestate':
        arrival.tracestate = text
        return text !== ''
      case COMPACT_MARK: {
        const form = compactForm(text)
        if (form === undefined) return false
        arrival.form = form
        return true
      }
      case GROUP_QUEUE:
        arrival.groupQueue = text
        return true
      case TOPIC:
        arrival.topicHeader = text
        return true
      default:
        if (isTransportHeader(name)) return false
        if (name.length === 12 && name.toLowerCase() === 'content-type') return false
        if (arrival.headers === NO_HEADERS) arrival.headers = Object.create(null) as Record<string, string>
        ;(arrival.headers as Record<string, string>)[fromWireName(name)] = text
        return true
    }
  }

  #numberEntry(name: string, number: number): boolean {
    const arrival = this.#arrival
    switch (name) {
      case DELIVERY_COUNT:
        arrival.returns = number
        return true
      case ACQUIRED_COUNT:
        arrival.acquired = number
        return true
      case COPY:
        arrival.isCopy = true
        return true
      case NO_BODY:
        arrival.isNull = number !== 0
        return true
      case ATTEMPTS:
        arrival.attempts = attemptsOf(number)
        return true
      case FIRST_AT:
        arrival.firstAt = number
        return true
      case STREAM_OFFSET:
        arrival.offset = number
        return true
      default:
        return isTransportHeader(name)
    }
  }

  #number(type: number, bytes: Buffer, from: number): number | undefined {
    const at = from + this.#at
    switch (type) {
      case YES_OR_NO:
        this.#at += 1
        return bytes[at]
      case INT_16:
        this.#at += 2
        return bytes.readInt16BE(at)
      case INT_32:
        this.#at += 4
        return bytes.readInt32BE(at)
      case INT_64:
        this.#at += 8
        return bytes.readInt32BE(at) * 0x1_0000_0000 + bytes.readUInt32BE(at + 4)
      default:
        return undefined
    }
  }

  #long(): number {
    const text = this.#text
    const at = this.#at
    return (
      text.charCodeAt(at) * 0x100_0000 +
      ((text.charCodeAt(at + 1) << 16) | (text.charCodeAt(at + 2) << 8) | text.charCodeAt(at + 3))
    )
  }

  #short(last: string): string {
    const length = this.#text.charCodeAt(this.#at)
    const value = this.#at + 1
    this.#at = value + length
    return this.#same(last, value, length)
  }

  /** Returns the last text again when it is equal: no new string, and nothing that keeps the whole frame in memory. */
  #same(last: string, at: number, length: number): string {
    return last.length === length && this.#text.startsWith(last, at) ? last : this.#text.substring(at, at + length)
  }
}

/** Size of the frame that begins at `at`, in bytes; 0 when it is incomplete. */
export function frameSize(bytes: Buffer, at: number): number {
  if (bytes.length < at + FRAME_OVERHEAD) return 0
  const size = bytes.readUInt32BE(at + 3) + FRAME_OVERHEAD
  return bytes.length < at + size ? 0 : size
}
