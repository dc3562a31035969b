import type { ConsumeMessage, GetMessage } from 'amqplib'
import type { EncodedMessage, Headers, OutgoingMessage } from '../../../core/message.ts'
import type { MessageProperties } from '../options.ts'
import { isEnvelopeHeader, isTransportHeader } from './wire-headers.ts'

/**
 * AMQP properties of a message that have no place in the envelope. Copies keep them: delayed retries, dead letters,
 * redrives.
 */
export interface CarriedProperties {
  readonly priority?: number | undefined
  readonly replyTo?: string | undefined
  readonly correlationId?: string | undefined
  readonly contentEncoding?: string | undefined
  readonly type?: string | undefined
  readonly appId?: string | undefined
  /** Not set on a copy: only that user may set it, and we would be the sender. Kept as a header. */
  readonly userId?: string | undefined
  /** Not set on a copy: it would expire on its way, or as a dead letter. Kept as a header. */
  readonly expiration?: string | undefined
  /** The first queue of the group that gave it up, where topic and group don't say it. */
  readonly groupQueue?: string | undefined
  /** The user's headers that are not text, by their name on the wire. */
  readonly headers?: Readonly<Record<string, unknown>> | undefined
}

/** Carries the properties of a stored dead letter to its redrive, which another process may make. */
export const CARRIED = 'amqp-carried'

const PROPERTIES = [
  'priority',
  'replyTo',
  'correlationId',
  'contentEncoding',
  'type',
  'appId',
  'userId',
  'expiration',
] as const

/**
 * Without texts that are too long to be sent again: bytes that are not UTF-8 become three times as many when the client
 * library reads them.
 *
 * @param hasSource The property `app_id` is the source of the message.
 */
export function carriedFrom(
  { properties }: ConsumeMessage | GetMessage,
  hasSource: boolean,
): CarriedProperties | undefined {
  let carried: Record<string, unknown> | undefined
  const all = properties as unknown as Readonly<Record<string, unknown>>
  for (const name of PROPERTIES) {
    if (hasSource && name === 'appId') continue
    const value = all[name]
    if (value !== '' && isCarriable(name, value)) (carried ??= {})[name] = value
  }
  const headers = typedHeaders((all['headers'] ?? {}) as Readonly<Record<string, unknown>>)
  if (headers !== undefined) (carried ??= {})['headers'] = headers
  return carried
}

function typedHeaders(headers: Readonly<Record<string, unknown>>): Record<string, unknown> | undefined {
  let typed: Record<string, unknown> | undefined
  for (const name in headers) {
    if (typeof headers[name] === 'string' || isTransportHeader(name) || isEnvelopeHeader(name)) continue
    ;(typed ??= Object.create(null) as Record<string, unknown>)[name] = headers[name]
  }
  return typed
}

/** A copy of the message with the properties that it can't keep as headers: `amqp-userId`, `amqp-expiration`. */
export function withLeftovers(message: OutgoingMessage, { userId, expiration }: CarriedProperties): OutgoingMessage {
  if (userId === undefined && expiration === undefined) return message
  return {
    ...message,
    headers: extended(message.headers, {
      ...(userId === undefined ? {} : { 'amqp-userId': userId }),
      ...(expiration === undefined ? {} : { 'amqp-expiration': expiration }),
    }),
  }
}

/** A stored message with its properties among its headers. */
export function withCarried(message: EncodedMessage, carried: CarriedProperties | undefined): EncodedMessage {
  if (carried === undefined) return message
  return { ...message, headers: extended(message.headers, { [CARRIED]: JSON.stringify(withTaggedBytes(carried)) }) }
}

/** The properties that `withCarried` stored. Another program may have set a header with that name to anything. */
export function carriedBy({ headers }: OutgoingMessage): CarriedProperties | undefined {
  const given = parsed(headers[CARRIED])
  if (given === undefined) return undefined
  const carried: Record<string, unknown> = {}
  for (const name of [...PROPERTIES, 'groupQueue']) {
    const value = given[name]
    if (isCarriable(name, value)) carried[name] = value
  }
  const typed = given['headers']
  if (isRecord(typed))
    carried['headers'] = Object.fromEntries(Object.entries(typed).filter(([name]) => isShortText(name)))
  return carried
}

function isCarriable(name: string, value: unknown): boolean {
  return name === 'priority' ? isOctet(value) : isShortText(value)
}

function parsed(text: string | undefined): Readonly<Record<string, unknown>> | undefined {
  if (text === undefined) return undefined
  try {
    const value = JSON.parse(text, (_, each: unknown) => untagged(each)) as unknown
    return isRecord(value) ? value : undefined
  } catch {
    return undefined
  }
}

const BYTES = 'bytes'

/** JSON can't hold bytes: they are marked like the types that the client library marks. */
function withTaggedBytes(value: unknown): unknown {
  if (value instanceof Uint8Array) return { '!': BYTES, value: Buffer.from(value).toString('base64') }
  if (Array.isArray(value)) return value.map(withTaggedBytes)
  if (!isRecord(value)) return value
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, withTaggedBytes(each)]))
}

function untagged(value: unknown): unknown {
  if (!isRecord(value) || value['!'] !== BYTES || typeof value['value'] !== 'string') return value
  return Buffer.from(value['value'], 'base64')
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
}

const TEXTS = ['contentEncoding', 'correlationId', 'replyTo', 'type', 'userId', 'appId'] as const
/** The broker's maximum, in ms. */
const MAX_EXPIRATION = 2 ** 32 - 1

interface PropertyProblem {
  readonly name: keyof MessageProperties
  readonly text: string
}

/** One that AMQP or the broker would not take, and would end the channel with all other messages on it. */
export function propertyProblem(properties: MessageProperties): PropertyProblem | undefined {
  const { priority, expiration } = properties
  if (priority !== undefined && !isOctet(priority))
    return { name: 'priority', text: `priority ${String(priority)}: it must be an integer from 0 to 255` }
  if (expiration !== undefined && !(Number.isInteger(expiration) && expiration >= 0 && expiration <= MAX_EXPIRATION))
    return {
      name: 'expiration',
      text: `expiration ${String(expiration)}: it must be an integer from 0 to ${MAX_EXPIRATION}`,
    }
  const name = TEXTS.find((each) => properties[each] !== undefined && !isShortText(properties[each]))
  return name && { name, text: `a value for ${name} that is not text of at most 255 bytes` }
}

/** The properties without those that have a problem. */
export function withoutProblems(properties: MessageProperties): MessageProperties {
  const problem = propertyProblem(properties)
  return problem === undefined ? properties : withoutProblems({ ...properties, [problem.name]: undefined })
}

function isOctet(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 255
}

/** AMQP's properties and names of headers have at most 255 bytes. */
function isShortText(value: unknown): boolean {
  return typeof value === 'string' && Buffer.byteLength(value) <= 255
}

function extended(headers: Headers, more: Readonly<Record<string, string>>): Headers {
  return Object.assign(Object.create(null) as Record<string, string>, headers, more)
}
