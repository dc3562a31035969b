import { NO_HEADERS } from '../../core/message.ts'
import type { OutgoingMessage } from '../../core/message.ts'
import type { RawChannel } from './amqp.ts'
import type { ChannelWriter } from './channel-writer.ts'
import { BUCKETS } from './options.ts'
import type { Parcel } from './parcel.ts'
import {
  ATTEMPTS,
  bucketKey,
  CARBON_COPY,
  CLOUD_EVENTS,
  FIRST_AT,
  PLUGIN_DELAY,
  rungHeader,
  TARGETED,
  TOPIC,
  toWireName,
} from './wire-headers.ts'

const METHOD = 1
const HEADER = 2
const BODY = 3
const FRAME_END = 0xce
const FRAME_OVERHEAD = 8

const BASIC = 60
const PUBLISH = 40
const ACK = 80
const NACK = 120

const MANDATORY = 1
const MULTIPLE = 1
const REQUEUE = 2

/** Bits of the AMQP properties that are present, in the order of the properties. */
const HAS = {
  contentType: 0x8000,
  headers: 0x2000,
  deliveryMode: 0x1000,
  priority: 0x0800,
  correlationId: 0x0400,
  replyTo: 0x0200,
  messageId: 0x0080,
  timestamp: 0x0040,
  type: 0x0020,
  userId: 0x0010,
  appId: 0x0008,
} as const

const MAX_SHORT = 255
const SLAB_BYTES = 65_536
/** A larger body is not copied: it goes to the socket as it is. */
const COPY_UP_TO = 16_384
/** Above that, the publisher waits for the socket. */
const FULL_BYTES = 4_194_304
/** Room for everything of a publish that is not text of the message: fixed fields and names of our own headers. */
const FIXED_BYTES = 2_048

/** Name of a header, and the type of its value, as they stand in an AMQP table. */
function entry(name: string, type: string): Buffer {
  return Buffer.concat([Buffer.from([Buffer.byteLength(name)]), Buffer.from(name), Buffer.from(type, 'latin1')])
}

const attribute = (name: string): Buffer => entry(CLOUD_EVENTS + name, 'S')
const SPEC_VERSION = Buffer.concat([attribute('specversion'), Buffer.from([0, 0, 0, 3]), Buffer.from('1.0')])
const ID = attribute('id')
const TYPE = attribute('type')
const SOURCE = attribute('source')
const TIME = attribute('time')
const PARTITION_KEY = attribute('partitionkey')
const SUBJECT = attribute('subject')
const DATA_SCHEMA = attribute('dataschema')
const DATA_VERSION = attribute('dataversion')
const CORRELATION_ID = attribute('correlationid')
const CAUSATION_ID = attribute('causationid')
const EXPIRY_TIME = attribute('expirytime')
const TRACE_PARENT = entry('traceparent', 'S')
const TRACE_STATE = entry('tracestate', 'S')
const TARGETED_GROUP = Buffer.concat([entry(TARGETED, 'S'), Buffer.from([0, 0, 0, 5]), Buffer.from('group')])
const TOPIC_NAME = entry(TOPIC, 'S')
const ATTEMPT_COUNT = entry(ATTEMPTS, 'I')
const FIRST_ATTEMPT = entry(FIRST_AT, 'l')
const DELAY_MS = entry(PLUGIN_DELAY, 'l')
const RUNGS: readonly Buffer[] = Array.from({ length: 32 }, (_, level) =>
  Buffer.concat([entry(rungHeader(level), 't'), Buffer.from([1])]),
)

/** `CC: ['~7']`: a list of one string. */
const COPIES: readonly Buffer[] = Array.from({ length: BUCKETS }, (_, bucket) => {
  const key = Buffer.from(bucketKey(bucket))
  const list = Buffer.concat([Buffer.from('S'), Buffer.from([0, 0, 0, key.length]), key])
  return Buffer.concat([entry(CARBON_COPY, 'A'), Buffer.from([0, 0, 0, list.length]), list])
})

const GROUP_OF_PERSISTENT = 2
const GROUP_OF_TRANSIENT = 1

/**
 * Encodes frames straight into large buffers and hands them to the socket in one piece: what makes a publish cost a
 * fraction of the client library's own. The bytes are those that the library would write.
 */
export class FrameWriter implements ChannelWriter {
  readonly #channel: RawChannel
  #slab: Buffer = Buffer.allocUnsafeSlow(SLAB_BYTES)
  /** Everything before that is with the socket. */
  #start = 0
  #at = 0
  #time = -1
  #timeText = ''

  constructor(channel: RawChannel) {
    this.#channel = channel
  }

  get isFull(): boolean {
    return this.#channel.socket.writableLength > FULL_BYTES
  }

  onceDrained(listener: () => void): void {
    this.#channel.socket.once('drain', listener)
  }

  flush(): void {
    if (this.#at === this.#start) return
    const bytes = this.#slab.subarray(this.#start, this.#at)
    this.#start = this.#at
    this.#channel.send(bytes)
  }

  ack(deliveryTag: number, multiple: boolean): void {
    this.#settle(ACK, deliveryTag, multiple ? MULTIPLE : 0)
  }

  requeue(deliveryTag: number): void {
    this.#settle(NACK, deliveryTag, REQUEUE)
  }

  #settle(method: number, deliveryTag: number, bits: number): void {
    this.#reserve(32)
    const begin = this.#begin(METHOD)
    this.#short(BASIC)
    this.#short(method)
    this.#long(deliveryTag)
    this.#slab[this.#at++] = bits
    this.#end(begin)
  }

  publish(parcel: Parcel): void {
    const { body } = parcel.message
    const copied = body.byteLength <= COPY_UP_TO
    this.#reserve(boundOf(parcel) + (copied ? body.byteLength : 0))
    const rollback = this.#at
    try {
      this.#method(parcel)
      this.#header(parcel)
    } catch (error) {
      this.#at = rollback
      throw error
    }
    if (body.byteLength === 0) return
    const most = this.#channel.frameMax - FRAME_OVERHEAD
    if (copied && body.byteLength <= most) {
      const begin = this.#begin(BODY)
      this.#slab.set(body, this.#at)
      this.#at += body.byteLength
      this.#end(begin)
    } else this.#largeBody(body, most)
  }

  #method({ exchange, routingKey, mandatory }: Parcel): void {
    const begin = this.#begin(METHOD)
    this.#short(BASIC)
    this.#short(PUBLISH)
    this.#short(0)
    this.#shortText(exchange)
    this.#shortText(routingKey)
    this.#slab[this.#at++] = mandatory ? MANDATORY : 0
    this.#end(begin)
  }

  #header(parcel: Parcel): void {
    const { message, properties } = parcel
    const begin = this.#begin(HEADER)
    this.#short(BASIC)
    this.#short(0)
    this.#long(message.body.byteLength)
    const flagsAt = this.#at
    this.#at += 2
    let flags = HAS.headers | HAS.deliveryMode | HAS.timestamp
    if (message.contentType !== '' && this.#shortTextIfFits(message.contentType)) flags |= HAS.contentType
    this.#table(parcel)
    this.#slab[this.#at++] = properties?.persistent === false ? GROUP_OF_TRANSIENT : GROUP_OF_PERSISTENT
    if (properties?.priority !== undefined) {
      this.#slab[this.#at++] = properties.priority
      flags |= HAS.priority
    }
    if (this.#optional(properties?.correlationId)) flags |= HAS.correlationId
    if (this.#optional(properties?.replyTo)) flags |= HAS.replyTo
    if (this.#shortTextIfFits(message.id)) flags |= HAS.messageId
    this.#long(Math.max(0, Math.floor(message.time / 1000)))
    if (this.#optional(properties?.type)) flags |= HAS.type
    if (this.#optional(properties?.userId)) flags |= HAS.userId
    if (this.#optional(properties?.appId)) flags |= HAS.appId
    this.#slab.writeUInt16BE(flags, flagsAt)
    this.#end(begin)
    const size = this.#at - begin
    if (size > this.#channel.frameMax)
      throw new RangeError(
        `has ${size} bytes of headers; the broker takes ${this.#channel.frameMax - FRAME_OVERHEAD} (frame_max)`,
      )
  }

  #table(parcel: Parcel): void {
    const { message } = parcel
    const begin = this.#at
    this.#at += 4
    this.#bytes(SPEC_VERSION)
    this.#field(ID, message.id)
    this.#field(TYPE, message.type)
    this.#field(SOURCE, message.source)
    this.#field(TIME, this.#isoTime(message.time))
    if (message.key !== undefined) this.#field(PARTITION_KEY, message.key)
    if (message.correlationId !== undefined) this.#field(CORRELATION_ID, message.correlationId)
    if (message.causationId !== undefined) this.#field(CAUSATION_ID, message.causationId)
    if (message.traceparent !== undefined) this.#field(TRACE_PARENT, message.traceparent)
    this.#rareFields(message)
    this.#bytes(COPIES[parcel.bucket] as Buffer)
    this.#transportFields(parcel)
    const { headers } = message
    if (headers !== NO_HEADERS)
      for (const name in headers) {
        this.#shortText(toWireName(name))
        this.#slab[this.#at++] = 0x53
        this.#longText(headers[name] as string)
      }
    this.#slab.writeUInt32BE(this.#at - begin - 4, begin)
  }

  #rareFields(message: OutgoingMessage): void {
    if (message.tracestate !== undefined) this.#field(TRACE_STATE, message.tracestate)
    if (message.subject !== undefined) this.#field(SUBJECT, message.subject)
    if (message.dataSchema !== undefined) this.#field(DATA_SCHEMA, message.dataSchema)
    if (message.version !== undefined) this.#field(DATA_VERSION, String(message.version))
    if (message.expiresAt !== undefined) this.#field(EXPIRY_TIME, new Date(message.expiresAt).toISOString())
  }

  #transportFields(parcel: Parcel): void {
    if (parcel.targeted) this.#bytes(TARGETED_GROUP)
    if (parcel.topic !== undefined) this.#field(TOPIC_NAME, parcel.topic)
    if (parcel.attempts > 0) {
      this.#bytes(ATTEMPT_COUNT)
      this.#at = this.#slab.writeInt32BE(parcel.attempts, this.#at)
    }
    if (parcel.firstAt !== undefined) {
      this.#bytes(FIRST_ATTEMPT)
      this.#long(parcel.firstAt)
    }
    if (parcel.delayMs > 0) {
      this.#bytes(DELAY_MS)
      this.#long(parcel.delayMs)
    }
    for (let rungs = parcel.rungs, level = 0; rungs > 0; rungs >>>= 1, level++)
      if (rungs & 1) this.#bytes(RUNGS[level] as Buffer)
  }

  /** Straight from the caller's memory, which the contract leaves untouched until the publish is settled. */
  #largeBody(body: Uint8Array, most: number): void {
    const { socket } = this.#channel
    socket.cork()
    for (let from = 0; from < body.byteLength; from += most) {
      const part = body.subarray(from, from + most)
      this.#reserve(FRAME_OVERHEAD)
      this.#slab[this.#at] = BODY
      this.#slab.writeUInt16BE(this.#channel.number, this.#at + 1)
      this.#slab.writeUInt32BE(part.byteLength, this.#at + 3)
      this.#at += 7
      this.flush()
      this.#channel.send(part)
      this.#reserve(1)
      this.#slab[this.#at++] = FRAME_END
    }
    this.flush()
    socket.uncork()
  }

  // --- bytes -------------------------------------------------------------------------------------------------------

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#slab.length) return
    this.flush()
    this.#slab = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, bytes))
    this.#start = 0
    this.#at = 0
  }

  #begin(type: number): number {
    const begin = this.#at
    this.#slab[begin] = type
    this.#slab[begin + 1] = this.#channel.number >>> 8
    this.#slab[begin + 2] = this.#channel.number & 0xff
    this.#at = begin + 7
    return begin
  }

  #end(begin: number): void {
    this.#slab.writeUInt32BE(this.#at - begin - 7, begin + 3)
    this.#slab[this.#at++] = FRAME_END
  }

  #short(value: number): void {
    this.#slab[this.#at++] = value >>> 8
    this.#slab[this.#at++] = value & 0xff
  }

  /** 64 bits of a number that is safe as a double. */
  #long(value: number): void {
    this.#slab.writeUInt32BE(Math.floor(value / 0x1_0000_0000), this.#at)
    this.#slab.writeUInt32BE(value % 0x1_0000_0000, this.#at + 4)
    this.#at += 8
  }

  #bytes(bytes: Buffer): void {
    this.#slab.set(bytes, this.#at)
    this.#at += bytes.length
  }

  #field(name: Buffer, value: string): void {
    this.#bytes(name)
    this.#longText(value)
  }

  #longText(text: string): void {
    const lengthAt = this.#at
    this.#at += 4
    this.#slab.writeUInt32BE(this.#text(text), lengthAt)
  }

  #shortText(text: string): void {
    if (!this.#shortTextIfFits(text))
      throw new RangeError(`has a name of more than ${MAX_SHORT} bytes: ${text.slice(0, 40)}...`)
  }

  #shortTextIfFits(text: string): boolean {
    const lengthAt = this.#at++
    const length = this.#text(text)
    if (length > MAX_SHORT) {
      this.#at = lengthAt
      return false
    }
    this.#slab[lengthAt] = length
    return true
  }

  #optional(text: string | undefined): boolean {
    return text !== undefined && this.#shortTextIfFits(text)
  }

  /** Returns how many bytes it took. Short plain text, which nearly all of it is, needs no call out of JavaScript. */
  #text(text: string): number {
    const { length } = text
    const slab = this.#slab
    const at = this.#at
    if (length <= 48) {
      let index = 0
      for (; index < length; index++) {
        const code = text.charCodeAt(index)
        if (code > 0x7f) break
        slab[at + index] = code
      }
      if (index === length) {
        this.#at = at + length
        return length
      }
    }
    const bytes = slab.write(text, at, 'utf8')
    this.#at = at + bytes
    return bytes
  }

  /** Messages of one batch often share their millisecond. */
  #isoTime(time: number): string {
    if (time !== this.#time) {
      this.#timeText = new Date(time).toISOString()
      this.#time = time
    }
    return this.#timeText
  }
}

/** An upper bound of what method and header frame of a parcel take: three bytes a character is the most that UTF-8 needs. */
function boundOf({ message, exchange, routingKey, topic, properties }: Parcel): number {
  let characters =
    exchange.length +
    routingKey.length +
    2 * message.id.length +
    message.type.length +
    message.source.length +
    message.contentType.length +
    (message.key?.length ?? 0) +
    (message.subject?.length ?? 0) +
    (message.dataSchema?.length ?? 0) +
    (message.correlationId?.length ?? 0) +
    (message.causationId?.length ?? 0) +
    (message.traceparent?.length ?? 0) +
    (message.tracestate?.length ?? 0) +
    (topic?.length ?? 0)
  if (properties !== undefined)
    for (const value of Object.values(properties)) if (typeof value === 'string') characters += value.length
  let entries = 0
  if (message.headers !== NO_HEADERS)
    for (const name in message.headers) {
      characters += name.length + (message.headers[name] as string).length
      entries++
    }
  return FIXED_BYTES + 3 * characters + 32 * entries
}
