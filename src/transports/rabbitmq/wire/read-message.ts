import type { ConsumeMessage, GetMessage } from 'amqplib'
import { COMPACT_MARK, compactForm } from '../../../core/compact-envelope.ts'
import { NO_HEADERS } from '../../../core/message.ts'
import type { Headers } from '../../../core/message.ts'
import type { IncomingMessage } from './incoming-message.ts'
import { fixedInstant, fromTimestamp } from './instant.ts'
import { unbucketed } from '../topology/names.ts'
import { carriedFrom } from './carried-properties.ts'
import { readStructured } from './structured-event.ts'
import {
  ACQUIRED_COUNT,
  ATTEMPTS,
  CLOUD_EVENTS,
  CLOUD_EVENTS_JMS,
  COPY,
  DELIVERY_COUNT,
  FIRST_AT,
  fromWireName,
  GROUP_QUEUE,
  isEnvelopeHeader,
  isTransportHeader,
  NO_BODY,
  STREAM_OFFSET,
  TOPIC,
} from './wire-headers.ts'

export type AmqpHeaders = Readonly<Record<string, unknown>>

const MAX_INT = 2 ** 31 - 1
const NONE: AmqpHeaders = Object.freeze({})

export function headersOf(message: ConsumeMessage | GetMessage): AmqpHeaders {
  return message.properties.headers ?? NONE
}

/**
 * The topic of a message. A routing key is the topic and a bucket, except for copies for one group and names too long
 * for AMQP: those have a header.
 */
export function topicOf({ topicHeader, routingKey }: IncomingMessage): string {
  return topicHeader ?? unbucketed(routingKey)
}

/**
 * Parses CloudEvents binary mode, the counterpart of the writers. A message without our headers is accepted as it is:
 * its attributes come from AMQP's own properties.
 */
export function readMessage(arrival: IncomingMessage, message: ConsumeMessage | GetMessage): IncomingMessage {
  const { fields, properties } = message
  const headers = headersOf(message)
  arrival.reset()
  arrival.native = message
  arrival.deliveryTag = fields.deliveryTag
  arrival.redelivered = fields.redelivered
  arrival.exchange = fields.exchange
  arrival.routingKey = fields.routingKey
  arrival.contentType = text(properties.contentType) ?? text(headers['content-type']) ?? ''
  arrival.body = message.content
  const structured = readStructured(arrival.contentType, message.content)
  if (structured !== undefined) {
    arrival.contentType = structured.contentType
    arrival.body = structured.body
  }
  const attributes = structured?.attributes
  const attribute = (name: string): unknown =>
    headers[CLOUD_EVENTS + name] ?? headers[CLOUD_EVENTS_JMS + name] ?? attributes?.[name]
  arrival.id = attributeText(attribute('id')) ?? text(properties.messageId)
  arrival.type = attributeText(attribute('type')) ?? text(properties.type)
  arrival.source = attributeText(attribute('source')) ?? text(properties.appId)
  const { timestamp } = properties as { readonly timestamp?: unknown }
  arrival.time = instant(attribute('time')) ?? fromTimestamp(timestamp)
  arrival.key = attributeText(attribute('partitionkey'))
  arrival.subject = attributeText(attribute('subject'))
  arrival.dataSchema = attributeText(attribute('dataschema'))
  arrival.version = version(attribute('dataversion'))
  const form = compactForm(text(headers[COMPACT_MARK]))
  arrival.correlationId =
    attributeText(attribute('correlationid')) ?? (form === undefined ? text(properties.correlationId) : undefined)
  arrival.causationId = attributeText(attribute('causationid'))
  arrival.traceparent = text(headers['traceparent']) ?? text(attributes?.['traceparent'])
  arrival.tracestate = text(headers['tracestate']) ?? text(attributes?.['tracestate'])
  arrival.expiresAt = instant(attribute('expirytime'))
  // In a compact envelope, the source is in the property, unless the user has set that.
  arrival.carried = carriedFrom(message, form !== undefined && attribute('source') === undefined)
  arrival.headers = userHeaders(headers, form !== undefined)
  arrival.isCopy = headers[COPY] === true
  arrival.isNull = headers[NO_BODY] === true
  arrival.groupQueue = text(headers[GROUP_QUEUE])
  arrival.topicHeader = typeof headers[TOPIC] === 'string' ? headers[TOPIC] : undefined
  arrival.returns = number(headers[DELIVERY_COUNT])
  arrival.acquired = number(headers[ACQUIRED_COUNT])
  arrival.attempts = attemptsOf(headers[ATTEMPTS])
  arrival.firstAt = integer(headers[FIRST_AT])
  arrival.offset = number(headers[STREAM_OFFSET])
  if (form !== undefined) {
    if (attribute('type') === undefined) arrival.type = undefined
    if (attribute('time') === undefined) arrival.time = undefined
    arrival.derive(form, topicOf(arrival))
    arrival.time ??= fromTimestamp(timestamp)
  }
  return arrival
}

function userHeaders(headers: AmqpHeaders, isCompact: boolean): Headers {
  let found: Record<string, string> | undefined
  for (const name in headers) {
    if (isEnvelopeHeader(name) || isTransportHeader(name) || (isCompact && name === COMPACT_MARK)) continue
    found ??= Object.create(null) as Record<string, string>
    found[fromWireName(name)] = headerText(headers[name])
  }
  return found ?? NO_HEADERS
}

/** AMQP headers have types; a handler sees text. */
function headerText(value: unknown): string {
  if (typeof value === 'string') return value
  if (Buffer.isBuffer(value)) return value.toString()
  if (typeof value !== 'object' || value === null) return String(value)
  const at = taggedTime(value)
  return at === undefined ? JSON.stringify(value) : new Date(at).toISOString()
}

/** AMQP's type for a time, in ms; undefined for anything else, and for what no date can hold. */
function taggedTime(value: unknown): number | undefined {
  const tagged = value as { readonly '!'?: unknown; readonly value?: unknown } | null | undefined
  return tagged?.['!'] === 'timestamp' ? fromTimestamp(tagged.value) : undefined
}

/** An attribute of an event may be a number or a boolean of AMQP. */
function attributeText(value: unknown): string | undefined {
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : text(value)
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** Parses our own format without the general parser, which is used for anything else. */
function instant(value: unknown): number | undefined {
  const at = taggedTime(value)
  if (at !== undefined) return at
  if (typeof value !== 'string') return undefined
  const ms = value.length === 24 ? fixedInstant(value, 0) : Number.NaN
  const found = Number.isNaN(ms) ? Date.parse(value) : ms
  return Number.isNaN(found) ? undefined : found
}

/** Another program may have set it to anything. */
export function attemptsOf(value: unknown): number {
  return Math.min(MAX_INT, Math.max(0, integer(value) ?? 0))
}

function integer(value: unknown): number | undefined {
  return Number.isSafeInteger(value) ? (value as number) : undefined
}

function number(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined
}

function version(value: unknown): number | undefined {
  const digits = attributeText(value)
  return digits !== undefined && /^\d{1,9}$/.test(digits) ? Number(digits) : undefined
}
