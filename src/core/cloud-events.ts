import { EXTENSION_PREFIX, isExtensionHeader } from './headers.ts'
import { NO_HEADERS } from './message.ts'
import type { EncodedMessage } from './message.ts'

/** What a transport knows about a message besides its headers. */
export interface NativeMessage {
  readonly topic: string
  readonly body: Uint8Array
  /** The broker's native key, if any. */
  readonly key?: string | undefined
  /** The broker's native content type, if any. */
  readonly contentType?: string | undefined
  /** The broker's native timestamp, in ms. */
  readonly time?: number | undefined
  /** Id of a message without our headers. Derived from its position, so that deduplication works for it too. */
  readonly fallbackId: string
  readonly fallbackSource: string
}

/**
 * CloudEvents 1.0 binary content mode: attributes as prefixed string headers (`ce_` on Kafka, `ce-` on NATS and HTTP,
 * `cloudEvents:` on AMQP); the trace context and the user's headers unchanged. Leaves out `datacontenttype`: each binding maps
 * it to a native field or to the header `content-type`, which the transport writes.
 */
export function toCloudEventHeaders(message: EncodedMessage, prefix: string): Record<string, string> {
  const headers: Record<string, string> = { ...message.headers }
  headers[`${prefix}specversion`] = '1.0'
  headers[`${prefix}id`] = message.id
  headers[`${prefix}type`] = message.type
  headers[`${prefix}source`] = message.source
  headers[`${prefix}time`] = new Date(message.time).toISOString()
  if (message.key !== undefined) headers[`${prefix}partitionkey`] = message.key
  if (message.subject !== undefined) headers[`${prefix}subject`] = message.subject
  if (message.dataSchema !== undefined) headers[`${prefix}dataschema`] = message.dataSchema
  if (message.version !== undefined) headers[`${prefix}dataversion`] = String(message.version)
  if (message.correlationId !== undefined) headers[`${prefix}correlationid`] = message.correlationId
  if (message.causationId !== undefined) headers[`${prefix}causationid`] = message.causationId
  if (message.expiresAt !== undefined) headers[`${prefix}expirytime`] = new Date(message.expiresAt).toISOString()
  if (message.traceparent !== undefined) headers['traceparent'] = message.traceparent
  if (message.tracestate !== undefined) headers['tracestate'] = message.tracestate
  return headers
}

/**
 * The inverse of `toCloudEventHeaders`. Also reads foreign messages: missing attributes fall back to what the transport knows.
 */
export function fromCloudEventHeaders(
  all: Iterable<readonly [string, string]>,
  prefix: string,
  native: NativeMessage,
): EncodedMessage {
  const attributes = new Map<string, string>()
  let headers: Record<string, string> | undefined
  let contentType = native.contentType
  for (const [name, value] of all) {
    if (name.startsWith(prefix)) {
      const attribute = name.slice(prefix.length)
      const header = `${EXTENSION_PREFIX}${attribute}`
      if (isExtensionHeader(header)) (headers ??= Object.create(null) as Record<string, string>)[header] = value
      else attributes.set(attribute, value)
    } else if (name === 'traceparent' || name === 'tracestate') attributes.set(name, value)
    else if (name.toLowerCase() === 'content-type') contentType ??= value
    else (headers ??= Object.create(null) as Record<string, string>)[name] = value
  }
  return {
    id: attributes.get('id') ?? native.fallbackId,
    topic: native.topic,
    type: attributes.get('type') ?? native.topic,
    source: attributes.get('source') ?? native.fallbackSource,
    time: instant(attributes.get('time')) ?? native.time ?? 0,
    key: attributes.get('partitionkey') ?? native.key,
    contentType: contentType ?? attributes.get('datacontenttype') ?? '',
    subject: attributes.get('subject'),
    dataSchema: attributes.get('dataschema'),
    version: integer(attributes.get('dataversion')),
    correlationId: attributes.get('correlationid'),
    causationId: attributes.get('causationid'),
    traceparent: attributes.get('traceparent'),
    tracestate: attributes.get('tracestate'),
    expiresAt: instant(attributes.get('expirytime')),
    headers: headers ?? NO_HEADERS,
    body: native.body,
  }
}

function instant(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const ms = Date.parse(text)
  return Number.isNaN(ms) ? undefined : ms
}

function integer(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : undefined
}
