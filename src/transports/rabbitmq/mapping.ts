import type { ConsumeMessage, GetMessage } from 'amqplib'
import { NO_HEADERS } from '../../core/message.ts'
import type { EncodedMessage, Headers } from '../../core/message.ts'
import { unbucketed } from './names.ts'
import {
  ATTEMPTS,
  CLOUD_EVENTS,
  DELIVERY_COUNT,
  FIRST_AT,
  fromWireName,
  isTransportHeader,
  STREAM_OFFSET,
  TARGETED,
  TOPIC,
} from './wire-headers.ts'

const ID = `${CLOUD_EVENTS}id`
const TYPE = `${CLOUD_EVENTS}type`
const SOURCE = `${CLOUD_EVENTS}source`
const TIME = `${CLOUD_EVENTS}time`
const PARTITION_KEY = `${CLOUD_EVENTS}partitionkey`
const SUBJECT = `${CLOUD_EVENTS}subject`
const DATA_SCHEMA = `${CLOUD_EVENTS}dataschema`
const DATA_VERSION = `${CLOUD_EVENTS}dataversion`
const CORRELATION_ID = `${CLOUD_EVENTS}correlationid`
const CAUSATION_ID = `${CLOUD_EVENTS}causationid`
const EXPIRY_TIME = `${CLOUD_EVENTS}expirytime`

export type AmqpHeaders = Readonly<Record<string, unknown>>

const NONE: AmqpHeaders = Object.freeze({})

export function headersOf(message: ConsumeMessage | GetMessage): AmqpHeaders {
  return message.properties.headers ?? NONE
}

/** The id that the publisher gave the message; undefined for a message of somebody who gives none. */
export function idOf(message: ConsumeMessage | GetMessage): string | undefined {
  const id = headersOf(message)[ID]
  if (typeof id === 'string' && id !== '') return id
  const messageId = message.properties.messageId as unknown
  return typeof messageId === 'string' && messageId !== '' ? messageId : undefined
}

/** How often the broker has taken the message back; undefined when the queue does not count. */
export function deliveryCountOf(headers: AmqpHeaders): number | undefined {
  const value = headers[DELIVERY_COUNT]
  return typeof value === 'number' ? value : undefined
}

/** Attempts that the group had used up when this copy was made. */
export function attemptsOf(headers: AmqpHeaders): number {
  return count(headers[ATTEMPTS])
}

export function firstAtOf(headers: AmqpHeaders): number | undefined {
  const value = headers[FIRST_AT]
  return typeof value === 'number' ? value : undefined
}

/** Where in a stream the message lies. */
export function offsetOf(headers: AmqpHeaders): number | undefined {
  const value = headers[STREAM_OFFSET]
  return typeof value === 'number' ? value : undefined
}

function count(value: unknown): number {
  return typeof value === 'number' && value > 0 ? value : 0
}

/**
 * The topic of a delivery. A routing key is the topic and a bucket, but for copies for one group (which begin with the group)
 * and names too long for AMQP (which travel as a header).
 */
export function topicOf(message: ConsumeMessage | GetMessage): string {
  const headers = headersOf(message)
  const named = headers[TOPIC]
  if (typeof named === 'string') return named
  const key = unbucketed(message.fields.routingKey)
  return headers[TARGETED] === undefined ? key : key.slice(key.indexOf('.') + 1)
}

/**
 * CloudEvents binary mode read back, the other side of the writers. A message without our headers is taken as it is:
 * its attributes come from AMQP's own properties. Written out, where `fromCloudEventHeaders` is general: it runs for
 * each message.
 */
export function toEncodedMessage(
  message: ConsumeMessage | GetMessage,
  topic: string,
  id: string,
  now: number,
): EncodedMessage {
  const { properties } = message
  const headers = headersOf(message)
  return {
    id,
    topic,
    type: text(headers[TYPE]) ?? topic,
    source: text(headers[SOURCE]) ?? text(properties.appId) ?? `rabbitmq:${message.fields.exchange}`,
    time: instant(headers[TIME]) ?? (typeof properties.timestamp === 'number' ? properties.timestamp * 1000 : now),
    key: text(headers[PARTITION_KEY]),
    contentType: text(properties.contentType) ?? text(headers['content-type']) ?? '',
    subject: text(headers[SUBJECT]),
    dataSchema: text(headers[DATA_SCHEMA]),
    version: version(headers[DATA_VERSION]),
    correlationId: text(headers[CORRELATION_ID]) ?? text(properties.correlationId),
    causationId: text(headers[CAUSATION_ID]),
    traceparent: text(headers['traceparent']),
    tracestate: text(headers['tracestate']),
    expiresAt: instant(headers[EXPIRY_TIME]),
    headers: userHeaders(headers),
    body: message.content,
  }
}

function userHeaders(headers: AmqpHeaders): Headers {
  let found: Record<string, string> | undefined
  for (const name in headers) {
    // Ours, nearly all of them: c, t, C and b are told apart by one look at the first letter.
    if (name.startsWith(CLOUD_EVENTS) || name === 'traceparent' || name === 'tracestate' || isTransportHeader(name))
      continue
    if (name.toLowerCase() === 'content-type') continue
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
  const tagged = value as { readonly '!'?: unknown; readonly value?: unknown }
  if (tagged['!'] === 'timestamp' && typeof tagged.value === 'number')
    return new Date(tagged.value * 1000).toISOString()
  return JSON.stringify(value)
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** `2026-01-02T03:04:05.678Z` without the general parser; anything else with it. */
function instant(value: unknown): number | undefined {
  if (typeof value !== 'string') return undefined
  const ms = value.length === 24 && value.charCodeAt(23) === 90 ? fixedInstant(value) : Date.parse(value)
  return Number.isNaN(ms) ? undefined : ms
}

function fixedInstant(value: string): number {
  const digits = (from: number, to: number): number => {
    let number = 0
    for (let index = from; index < to; index++) {
      const digit = value.charCodeAt(index) - 48
      if (digit < 0 || digit > 9) return Number.NaN
      number = number * 10 + digit
    }
    return number
  }
  return Date.UTC(
    digits(0, 4),
    digits(5, 7) - 1,
    digits(8, 10),
    digits(11, 13),
    digits(14, 16),
    digits(17, 19),
    digits(20, 23),
  )
}

function version(value: unknown): number | undefined {
  return typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : undefined
}
