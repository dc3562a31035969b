import { COMPACT_CONTENT_TYPE, COMPACT_MARK, compactForm, compactMark, isTimeInId } from './compact-envelope.ts'
import type { CompactForm, EnvelopeForm } from './compact-envelope.ts'
import { EXTENSION_PREFIX, isExtensionHeader } from './headers.ts'
import { NO_HEADERS } from './message.ts'
import type { EncodedMessage } from './message.ts'
import { uuidTime } from './publish/uuid.ts'

/** What a transport knows about a message besides its headers. */
export interface NativeMessage {
  readonly topic: string
  readonly body: Uint8Array | null
  /** The broker's native key, if any. */
  readonly key?: string | undefined
  /** The broker's native content type, if any. */
  readonly contentType?: string | undefined
  /** The broker's native timestamp, in ms. */
  readonly time?: number | undefined
  /**
   * The broker's own fields for id and source, as `toCompactHeaders` was told that they would be. Read from a compact envelope
   * alone: what another program puts there is for the transport to judge.
   */
  readonly id?: string | undefined
  readonly source?: string | undefined
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
  // Not of this message: a program that is not Busbar put it there, and readers would take the envelope for a compact one.
  if (COMPACT_MARK in headers && compactForm(headers[COMPACT_MARK]) !== undefined) delete headers[COMPACT_MARK]
  headers[`${prefix}specversion`] = '1.0'
  headers[`${prefix}id`] = message.id
  headers[`${prefix}type`] = message.type
  headers[`${prefix}source`] = message.source
  headers[`${prefix}time`] = new Date(message.time).toISOString()
  if (message.key !== undefined) headers[`${prefix}partitionkey`] = message.key
  if (message.correlationId !== undefined) headers[`${prefix}correlationid`] = message.correlationId
  addRarer(headers, message, prefix)
  return headers
}

/** What the broker's own fields carry besides the headers of a compact envelope. A value that differs is written as a header. */
export interface NativeFields {
  readonly id?: string | undefined
  readonly source?: string | undefined
  readonly key?: string | undefined
}

/**
 * The compact form: the headers of `toCloudEventHeaders` without those that readers derive. These are the version of the
 * specification, a type that is the topic, a correlation id that is the id, a time that is the time in a UUIDv7 id, and what is
 * the same in `native`, the fields of the broker that reach the reader anyway. The header `busbar` marks it.
 *
 * Write `contentTypeToWrite` beside them. A message that has no compact form gets the full one.
 */
export function toCompactHeaders(
  message: EncodedMessage,
  prefix: string,
  native: NativeFields = {},
): Record<string, string> {
  const mark = compactMark(message)
  if (mark === undefined) return toCloudEventHeaders(message, prefix)
  const { id } = message
  const headers: Record<string, string> = { ...message.headers }
  headers[COMPACT_MARK] = mark
  if (id !== native.id) headers[`${prefix}id`] = id
  if (message.type !== message.topic) headers[`${prefix}type`] = message.type
  if (message.source !== native.source) headers[`${prefix}source`] = message.source
  if (!isTimeInId(message)) headers[`${prefix}time`] = new Date(message.time).toISOString()
  if (message.key !== undefined && message.key !== native.key) headers[`${prefix}partitionkey`] = message.key
  if (message.correlationId !== undefined && message.correlationId !== id)
    headers[`${prefix}correlationid`] = message.correlationId
  addRarer(headers, message, prefix)
  return headers
}

/** The content type to write for a message in this form, in the broker's field or a header; empty for none. */
export function contentTypeToWrite(message: EncodedMessage, form: EnvelopeForm): string {
  const { contentType } = message
  const isDerived = form === 'compact' && contentType === COMPACT_CONTENT_TYPE && compactMark(message) !== undefined
  return isDerived ? '' : contentType
}

function addRarer(headers: Record<string, string>, message: EncodedMessage, prefix: string): void {
  if (message.subject !== undefined) headers[`${prefix}subject`] = message.subject
  if (message.dataSchema !== undefined) headers[`${prefix}dataschema`] = message.dataSchema
  if (message.version !== undefined) headers[`${prefix}dataversion`] = String(message.version)
  if (message.causationId !== undefined) headers[`${prefix}causationid`] = message.causationId
  if (message.expiresAt !== undefined) headers[`${prefix}expirytime`] = new Date(message.expiresAt).toISOString()
  if (message.traceparent !== undefined) headers['traceparent'] = message.traceparent
  if (message.tracestate !== undefined) headers['tracestate'] = message.tracestate
}

/**
 * The inverse of `toCloudEventHeaders` and of `toCompactHeaders`. Also reads foreign messages: missing attributes fall back to
 * what the transport knows. Of several prefixes (`cloudEvents:` and `cloudEvents_` on AMQP), the first that has an attribute wins.
 */
export function fromCloudEventHeaders(
  all: Iterable<readonly [string, string]>,
  prefix: string | readonly string[],
  native: NativeMessage,
): EncodedMessage {
  const attributes = new Map<string, string>()
  const prefixes = typeof prefix === 'string' ? [prefix] : prefix
  /** With which of several prefixes an attribute was found. */
  let ranks: Map<string, number> | undefined
  let headers: Record<string, string> | undefined
  let contentType = native.contentType
  let form: CompactForm | undefined
  for (const [name, value] of all) {
    const at = prefixes.findIndex((each) => name.startsWith(each))
    if (at >= 0) {
      const attribute = name.slice((prefixes[at] as string).length)
      if (prefixes.length > 1) {
        ranks ??= new Map()
        if ((ranks.get(attribute) ?? at) < at) continue
        ranks.set(attribute, at)
      }
      const header = `${EXTENSION_PREFIX}${attribute}`
      if (isExtensionHeader(header)) (headers ??= Object.create(null) as Record<string, string>)[header] = value
      else attributes.set(attribute, value)
    } else if (name === 'traceparent' || name === 'tracestate') attributes.set(name, value)
    else if (name.toLowerCase() === 'content-type') contentType ??= value
    else if (name === COMPACT_MARK && compactForm(value) !== undefined) form = compactForm(value)
    else (headers ??= Object.create(null) as Record<string, string>)[name] = value
  }
  const id = attributes.get('id') ?? (form === undefined ? undefined : native.id) ?? native.fallbackId
  return {
    id,
    topic: native.topic,
    type: attributes.get('type') ?? native.topic,
    source: attributes.get('source') ?? (form === undefined ? undefined : native.source) ?? native.fallbackSource,
    time: instant(attributes.get('time')) ?? (form === undefined ? undefined : uuidTime(id)) ?? native.time ?? 0,
    key: attributes.get('partitionkey') ?? native.key,
    contentType: contentType ?? attributes.get('datacontenttype') ?? form?.contentType ?? '',
    subject: attributes.get('subject'),
    dataSchema: attributes.get('dataschema'),
    version: integer(attributes.get('dataversion')),
    correlationId: attributes.get('correlationid') ?? (form?.correlates === true ? id : undefined),
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
