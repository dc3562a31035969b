import { keyHash } from '../core/util/key-hash.ts'
import { NO_HEADERS } from '../core/message.ts'
import type { EncodedMessage, Headers, OutgoingMessage } from '../core/message.ts'

/**
 * Number of shards: the units in which relays share the work. Part of the stored format, like the hash of the key: all writers and
 * relays of a table must agree on it.
 */
export const SHARDS = 64

/** A row of the table `busbar_outbox`, as it is written. */
export interface NewRow {
  readonly shard: number
  readonly id: string
  readonly topic: string
  readonly key: string | undefined
  /** Name of the transport; undefined for the default of the bus that relays. */
  readonly transport: string | undefined
  /** The envelope and the headers, as JSON. */
  readonly headers: string
  /** Undefined: a tombstone. */
  readonly body: Uint8Array | undefined
  /** In ms since 1970: not sent before. */
  readonly availableAt: number | undefined
}

/** A row as a relay reads it. */
export interface OutboxRow {
  /** Order of the rows. */
  readonly position: number
  readonly shard: number
  readonly id: string
  readonly topic: string
  readonly key: string | undefined
  readonly transport: string | undefined
  readonly headers: unknown
  readonly body: Uint8Array | undefined
  readonly attempts: number
}

/** What the column `headers` holds: absent is what a reader derives (the type from the topic, the correlation id from the id). */
interface StoredEnvelope {
  readonly source: string
  readonly time: number
  readonly contentType: string
  readonly type?: string | undefined
  readonly subject?: string | undefined
  readonly dataSchema?: string | undefined
  readonly version?: number | undefined
  /** Null: none. */
  readonly correlationId?: string | null | undefined
  readonly causationId?: string | undefined
  readonly traceparent?: string | undefined
  readonly tracestate?: string | undefined
  readonly expiresAt?: number | undefined
  readonly headers?: Headers | undefined
}

/** The shard of a key. Messages without a key have no order: any shard will do. */
export function shardOf(key: string | undefined): number {
  return key === undefined ? Math.floor(Math.random() * SHARDS) : keyHash(key) % SHARDS
}

export function toRow(message: OutgoingMessage, transport: string | undefined): NewRow {
  const { id, topic, key, body, type, correlationId, headers } = message
  const envelope: StoredEnvelope = {
    source: message.source,
    time: message.time,
    contentType: message.contentType,
    type: type === topic ? undefined : type,
    subject: message.subject,
    dataSchema: message.dataSchema,
    version: message.version,
    correlationId: correlationId === id ? undefined : (correlationId ?? null),
    causationId: message.causationId,
    traceparent: message.traceparent,
    tracestate: message.tracestate,
    expiresAt: message.expiresAt,
    headers: headers === NO_HEADERS ? undefined : headers,
  }
  return {
    shard: shardOf(key),
    id,
    topic,
    key,
    transport,
    headers: JSON.stringify(envelope),
    body: body ?? undefined,
    availableAt: message.deliverAt,
  }
}

/** The message of a row. A delay is over when a relay reads the row, so it has none. Throws for what no outbox has written. */
export function fromRow(row: OutboxRow): OutgoingMessage {
  const { id, topic } = row
  const envelope = (typeof row.headers === 'string' ? JSON.parse(row.headers) : row.headers) as StoredEnvelope
  const { correlationId } = envelope
  const attributes: Omit<EncodedMessage, 'headers' | 'body'> = {
    id,
    topic,
    type: envelope.type ?? topic,
    source: envelope.source,
    time: envelope.time,
    key: row.key,
    contentType: envelope.contentType,
    subject: envelope.subject,
    dataSchema: envelope.dataSchema,
    version: envelope.version,
    correlationId: correlationId === undefined ? id : (correlationId ?? undefined),
    causationId: envelope.causationId,
    traceparent: envelope.traceparent,
    tracestate: envelope.tracestate,
    expiresAt: envelope.expiresAt,
  }
  const headers = envelope.headers ?? NO_HEADERS
  return { ...attributes, headers, body: row.body ?? null, deliverAt: undefined, group: undefined }
}
