import type { ConsumeMessage, GetMessage } from 'amqplib'
import { NO_HEADERS } from '../../core/message.ts'
import type { Headers } from '../../core/message.ts'
import type { Arrival } from './arrival.ts'
import { fixedInstant } from './instant.ts'
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

/**
 * The topic of a message. A routing key is the topic and a bucket, but for copies for one group (which begin with the group)
 * and names too long for AMQP (which travel as a header).
 */
export function topicOf({ topicHeader, routingKey, targeted }: Arrival): string {
  if (topicHeader !== undefined) return topicHeader
  const key = unbucketed(routingKey)
  return targeted ? key.slice(key.indexOf('.') + 1) : key
}

/**
 * CloudEvents binary mode read back, the other side of the writers. A message without our headers is taken as it is: its
 * attributes come from AMQP's own properties.
 */
export function fillArrival(arrival: Arrival, message: ConsumeMessage | GetMessage): Arrival {
  const { fields, properties } = message
  const headers = headersOf(message)
  arrival.reset()
  arrival.native = message
  arrival.deliveryTag = fields.deliveryTag
  arrival.redelivered = fields.redelivered
  arrival.exchange = fields.exchange
  arrival.routingKey = fields.routingKey
  arrival.id = text(headers[ID]) ?? text(properties.messageId)
  arrival.type = text(headers[TYPE])
  arrival.source = text(headers[SOURCE]) ?? text(properties.appId)
  const { timestamp } = properties as { readonly timestamp?: unknown }
  arrival.time = instant(headers[TIME]) ?? (typeof timestamp === 'number' ? timestamp * 1000 : undefined)
  arrival.key = text(headers[PARTITION_KEY])
  arrival.contentType = text(properties.contentType) ?? text(headers['content-type']) ?? ''
  arrival.subject = text(headers[SUBJECT])
  arrival.dataSchema = text(headers[DATA_SCHEMA])
  arrival.version = version(headers[DATA_VERSION])
  arrival.correlationId = text(headers[CORRELATION_ID]) ?? text(properties.correlationId)
  arrival.causationId = text(headers[CAUSATION_ID])
  arrival.traceparent = text(headers['traceparent'])
  arrival.tracestate = text(headers['tracestate'])
  arrival.expiresAt = instant(headers[EXPIRY_TIME])
  arrival.headers = userHeaders(headers)
  arrival.targeted = headers[TARGETED] !== undefined
  arrival.topicHeader = typeof headers[TOPIC] === 'string' ? headers[TOPIC] : undefined
  arrival.returns = number(headers[DELIVERY_COUNT])
  arrival.attempts = Math.max(0, number(headers[ATTEMPTS]) ?? 0)
  arrival.firstAt = number(headers[FIRST_AT])
  arrival.offset = number(headers[STREAM_OFFSET])
  arrival.body = message.content
  return arrival
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

/** As we write them, without the general parser; anything else with it. */
function instant(value: unknown): number | undefined {
  if (typeof value !== 'string') return undefined
  const ms = value.length === 24 ? fixedInstant(value, 0) : Number.NaN
  const found = Number.isNaN(ms) ? Date.parse(value) : ms
  return Number.isNaN(found) ? undefined : found
}

function number(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined
}

function version(value: unknown): number | undefined {
  return typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : undefined
}
