import { Buffer } from 'node:buffer'
import { isTraceparent } from '../causality.ts'
import type { Causality, CausalityContext } from '../causality.ts'
import type { AsyncCodec, Codec, CodecRegistry } from '../codec.ts'
import type { Clock } from '../clock.ts'
import type { AnyEventDefinition } from '../define.ts'
import { CodecError, ValidationError } from '../errors.ts'
import { checkHeaders } from '../headers.ts'
import { NO_HEADERS } from '../message.ts'
import type { OutgoingMessage } from '../message.ts'
import type { PublishItem, PublishOptions } from './publish-options.ts'
import { checkTopicName } from '../topic.ts'
import { UuidGenerator } from './uuid.ts'
import { validate } from '../util/validate.ts'
import { WireCheck } from './wire-check.ts'
import type { WireCheckMode } from './wire-check.ts'

const MAX_ID_LENGTH = 256
const MAX_KEY_LENGTH = 1024
/** Enough for any service. Bounded, because a program that keeps inventing topic names must not fill the memory. */
const MAX_KNOWN_TOPICS = 10_000

/** Turns a user's data into the message that a transport sends: checks, validates, encodes and fills in the envelope. */
export class MessageFactory {
  readonly #source: string
  readonly #codecs: CodecRegistry
  readonly #clock: Clock
  readonly #wireCheck: WireCheck
  readonly #ids = new UuidGenerator()
  readonly #knownTopics = new Set<string>()

  constructor(parts: {
    readonly source: string
    readonly codecs: CodecRegistry
    readonly clock: Clock
    readonly checkWire: WireCheckMode
  }) {
    this.#source = parts.source
    this.#codecs = parts.codecs
    this.#clock = parts.clock
    this.#wireCheck = new WireCheck(parts.checkWire)
  }

  /** A new id for a message of that time. */
  nextId(now: number): string {
    return this.#ids.next(now)
  }

  /**
   * Throws (or, with an asynchronous schema, rejects with) `ValidationError` or `CodecError`. `parent` is what the message
   * continues, such as the handled message. With `tombstones`, the message of `null` has no body. `now` is the time of the call,
   * read once for many messages.
   */
  make(
    target: string | AnyEventDefinition,
    data: unknown,
    options: PublishOptions | PublishItem,
    parent: Causality | undefined,
    tombstones: boolean,
    now: number = this.#clock.now(),
  ): OutgoingMessage | Promise<OutgoingMessage> {
    // Checked in every mode of `checkWire`: a forgotten await, which JSON would send as {}.
    if (data instanceof Promise)
      throw new ValidationError(
        `The data for "${typeof target === 'string' ? target : target.topic}" is a Promise: await it`,
      )
    if (typeof target === 'string') {
      this.#checkTopic(target)
      return this.#encode(target, data, options, parent, tombstones, now)
    }
    if (target.schema === undefined) return this.#encode(target, data, options, parent, tombstones, now)
    // The input is published, not the output: the consumer runs the schema too, and a transformation must not run twice.
    const validated = validate(target.schema, data, `The data for "${target.topic}"`)
    if (validated instanceof Promise)
      return validated.then(() => this.#encode(target, data, options, parent, tombstones, now))
    return this.#encode(target, data, options, parent, tombstones, now)
  }

  #encode(
    target: string | AnyEventDefinition,
    data: unknown,
    options: PublishOptions | PublishItem,
    parent: Causality | undefined,
    tombstones: boolean,
    now: number,
  ): OutgoingMessage | Promise<OutgoingMessage> {
    const definition = typeof target === 'string' ? undefined : target
    const codec = definition?.codec ?? this.#codecs.forData(data)
    // Without its codec: a broker that compacts the topic must see that there is no body.
    if (data === null && tombstones) return this.#assemble(target, data, options, parent, now, codec, null)
    const encoded = codec.encode(data)
    if (encoded instanceof Promise)
      return encoded.then((bytes) => this.#assemble(target, data, options, parent, now, codec, bytes))
    return this.#assemble(target, data, options, parent, now, codec, encoded)
  }

  #assemble(
    target: string | AnyEventDefinition,
    data: unknown,
    options: PublishOptions | PublishItem,
    parent: Causality | undefined,
    now: number,
    codec: Codec | AsyncCodec,
    encoded: Uint8Array | null,
  ): OutgoingMessage | Promise<OutgoingMessage> {
    const definition = typeof target === 'string' ? undefined : target
    const topic = typeof target === 'string' ? target : target.topic
    // Copy bytes that the caller still holds: the caller may change them before they are sent.
    const body = encoded !== null && encoded === data ? Buffer.from(encoded) : encoded
    if (body !== null && !(body instanceof Uint8Array))
      throw new CodecError(`The codec for "${codec.contentType}" returned no Uint8Array`)
    const id = options.id === undefined ? this.#ids.next(now) : checkText('id', options.id, MAX_ID_LENGTH)
    const key = options.key ?? (definition?.key === undefined ? undefined : keyOf(definition, data))
    const message: Draft = {
      id,
      topic,
      type: definition?.type ?? topic,
      source: this.#source,
      time: now,
      key: key === undefined ? undefined : checkText('key', key, MAX_KEY_LENGTH),
      contentType: codec.contentType,
      subject: undefined,
      dataSchema: definition?.dataSchema,
      version: definition?.version,
      // A message without a conversation starts one: messages that follow from it belong to it.
      correlationId: id,
      causationId: undefined,
      traceparent: undefined,
      tracestate: undefined,
      expiresAt: undefined,
      headers: NO_HEADERS,
      body,
      deliverAt: undefined,
      group: undefined,
    }
    if (parent !== undefined) inherit(message, parent)
    if (hasOptions(options)) apply(message, options, now)
    if (body === null || !this.#wireCheck.isDue(target)) return message
    const checked = this.#wireCheck.check(target, codec, data, body)
    return checked === undefined ? message : checked.then(() => message)
  }

  #checkTopic(topic: string): void {
    if (this.#knownTopics.has(topic)) return
    checkTopicName(topic)
    if (this.#knownTopics.size >= MAX_KNOWN_TOPICS) this.#knownTopics.clear()
    this.#knownTopics.add(topic)
  }
}

function keyOf({ topic, key }: AnyEventDefinition, data: unknown): string | undefined {
  try {
    return key?.(data)
  } catch (error) {
    if (data !== null) throw error
    throw new ValidationError(
      `The key of "${topic}" can't be computed from null: pass the option key, so that consumers know what was deleted`,
    )
  }
}

/** A message that is being made. */
type Draft = { -readonly [Field in keyof OutgoingMessage]: OutgoingMessage[Field] }

/** Most messages have no options but their key. */
function hasOptions(options: PublishOptions | PublishItem): boolean {
  for (const name in options) if (name !== 'data' && name !== 'key') return true
  return false
}

function inherit(message: Draft, { id, correlationId, traceparent, tracestate }: Causality): void {
  message.correlationId = inherited(correlationId ?? id, MAX_ID_LENGTH) ?? message.id
  message.causationId = inherited(id, MAX_ID_LENGTH)
  message.traceparent = inherited(traceparent, MAX_ID_LENGTH)
  message.tracestate = inherited(tracestate, MAX_KEY_LENGTH)
}

/** Sets what the options say, except for id and key. */
function apply(message: Draft, options: PublishOptions | PublishItem, now: number): void {
  const { type, source, occurredAt, subject, dataSchema, headers, extensions, ttlMs } = options
  const { correlationId, causationId, traceparent, tracestate } = options
  const notBefore = deliverAt(options, now)
  const expiresAt = ttlMs === undefined ? undefined : inCalendar('ttlMs', now + checkMs('ttlMs', ttlMs))
  if (expiresAt !== undefined && notBefore !== undefined && expiresAt <= notBefore)
    throw new ValidationError(
      `ttlMs (${String(ttlMs)}) ends ${notBefore - expiresAt} ms before the message may be delivered: it would be dead-lettered unhandled. ttlMs counts from the publish; make it longer than the delay`,
    )
  message.deliverAt = notBefore
  message.expiresAt = expiresAt
  if (options.native !== undefined) message.native = options.native
  if (type !== undefined) message.type = checkText('type', type, MAX_ID_LENGTH)
  if (source !== undefined) message.source = checkText('source', source, MAX_KEY_LENGTH)
  if (occurredAt !== undefined) message.time = checkDate('occurredAt', occurredAt)
  if (subject !== undefined) message.subject = checkText('subject', subject, MAX_KEY_LENGTH)
  if (dataSchema !== undefined) message.dataSchema = checkText('dataSchema', dataSchema, MAX_KEY_LENGTH)
  if (correlationId !== undefined) message.correlationId = checkText('correlationId', correlationId, MAX_ID_LENGTH)
  if (causationId !== undefined) message.causationId = checkText('causationId', causationId, MAX_ID_LENGTH)
  if (traceparent !== undefined) message.traceparent = checkTraceparent(traceparent)
  if (tracestate !== undefined) message.tracestate = checkText('tracestate', tracestate, MAX_KEY_LENGTH)
  if (headers !== undefined || extensions !== undefined) message.headers = checkHeaders(headers, extensions)
}

function deliverAt(options: PublishOptions | PublishItem, now: number): number | undefined {
  const { delayMs, deliverAt: instant } = options
  if (instant !== undefined) {
    if (delayMs !== undefined) throw new ValidationError('Give either delayMs or deliverAt, not both')
    const at = checkDate('deliverAt', instant)
    return at > now ? at : undefined
  }
  return delayMs === undefined || delayMs === 0 ? undefined : inCalendar('delayMs', now + checkMs('delayMs', delayMs))
}

/** End of the year 9999: later times have no RFC 3339 form, and would fail the other messages of the batch. */
const LAST_INSTANT = 253_402_300_799_999

const FIRST_INSTANT = -62_167_219_200_000

function inCalendar(name: string, at: number): number {
  if (at <= LAST_INSTANT && at >= FIRST_INSTANT) return at
  throw new ValidationError(`${name} is outside of the years 0 to 9999: leave it out if it is to mean never`)
}

function checkDate(name: string, value: unknown): number {
  const at = value instanceof Date ? value.getTime() : Number.NaN
  if (Number.isNaN(at)) throw new ValidationError(`${name} must be a valid Date`)
  return inCalendar(name, at)
}

function checkMs(name: string, value: unknown): number {
  if (typeof value === 'number' && Number.isFinite(value) && value >= 0) return Math.ceil(value)
  throw new ValidationError(`${name} must be a number of milliseconds >= 0`)
}

// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const CONTROL = /[\u0000-\u001f\u007f]/

/**
 * Returns a value of the handled message, or undefined when no broker could carry it: another program may have written that
 * message, and its ids must not inject lines into our headers.
 */
function inherited(value: string | undefined, maxLength: number): string | undefined {
  if (value === undefined || value.length > maxLength || CONTROL.test(value) || !value.isWellFormed()) return undefined
  return value
}

/** Throws `ValidationError` for invalid attributes of a conversation. */
export function checkConversation({ correlationId, causationId, traceparent, tracestate }: CausalityContext): void {
  if (correlationId !== undefined) checkText('correlationId', correlationId, MAX_ID_LENGTH)
  if (causationId !== undefined) checkText('causationId', causationId, MAX_ID_LENGTH)
  if (traceparent !== undefined) checkText('traceparent', traceparent, MAX_ID_LENGTH)
  if (tracestate !== undefined) checkText('tracestate', tracestate, MAX_KEY_LENGTH)
}

function checkTraceparent(value: unknown): string {
  const text = checkText('traceparent', value, MAX_ID_LENGTH)
  if (isTraceparent(text)) return text
  throw new ValidationError(
    `traceparent "${text}" is not a W3C trace context, such as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`,
  )
}

function checkText(name: string, value: unknown, maxLength: number): string {
  if (typeof value !== 'string')
    throw new ValidationError(`${name} must be a string, got ${value === null ? 'null' : typeof value}`)
  if (value === '') throw new ValidationError(`${name} must not be empty`)
  if (value.length > maxLength)
    throw new ValidationError(`${name} is ${value.length} characters long, the limit is ${maxLength}`)
  if (CONTROL.test(value)) throw new ValidationError(`${name} contains a line break, NUL or another control character`)
  if (!value.isWellFormed())
    throw new ValidationError(`${name} contains half a surrogate pair, which has no UTF-8 form`)
  return value
}
