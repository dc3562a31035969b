/** Header names are HTTP-like tokens, case-sensitive; values are strings without line breaks or NUL. */
export type Headers = Readonly<Record<string, string>>

/** Shared by all messages without headers, to save allocations. */
export const NO_HEADERS: Headers = Object.freeze(Object.create(null) as Record<string, string>)

/**
 * A message in transit: CloudEvents 1.0 attributes as plain fields, the user's headers, and the body as bytes. A transport maps
 * it to and from its broker's native message and never reads the body.
 */
export interface EncodedMessage {
  /** CloudEvents `id`: a UUIDv7 unless the publisher set one. Stable across retries, dead letters and redrives. */
  readonly id: string
  readonly topic: string
  /** CloudEvents `type`: the topic unless the publisher set one. */
  readonly type: string
  /** CloudEvents `source`: the service that published the message, unless the publisher set one. */
  readonly source: string
  /** CloudEvents `time`, in milliseconds since 1970. */
  readonly time: number
  /** CloudEvents `partitionkey`: messages with the same key stay in order. */
  readonly key: string | undefined
  /** CloudEvents `datacontenttype`. */
  readonly contentType: string
  /** CloudEvents `subject`. */
  readonly subject: string | undefined
  /** CloudEvents `dataschema`. */
  readonly dataSchema: string | undefined
  /** Version of the event definition (extension `dataversion`). */
  readonly version: number | undefined
  /** Conversation that the message belongs to (extension `correlationid`). */
  readonly correlationId: string | undefined
  /** Id of the message that caused it (extension `causationid`). */
  readonly causationId: string | undefined
  /** W3C trace context (extensions `traceparent`, `tracestate`). */
  readonly traceparent: string | undefined
  readonly tracestate: string | undefined
  /** After this time (ms since 1970), the message is dead-lettered instead of handled (extension `expirytime`). */
  readonly expiresAt: number | undefined
  readonly headers: Headers
  /**
   * Null when the message has no body, which is not the same as an empty one: a tombstone, which says that what its key stands
   * for was deleted. Only transports with the capability `tombstones` get and deliver such messages.
   */
  readonly body: Uint8Array | null
}

/** A message for a transport to publish. */
export interface OutgoingMessage extends EncodedMessage {
  /** No consumer may see it before this time, in ms since 1970. */
  readonly deliverAt: number | undefined
  /** Set for a redrive: only this group may see the message. */
  readonly group: string | undefined
  /**
   * Set for a redrive: names the dead letter that this is a copy of. Where an id is stored once (`publishDedup`), copies of two
   * dead letters are two messages, whatever their ids.
   */
  readonly copyOf?: string | undefined
  /** The transport's options for this message, which it has checked. They are not stored with it. */
  readonly native?: unknown
}

/** A message as handlers see it. `data` is decoded on first access, and only once. */
export interface Message<Data = unknown> {
  readonly id: string
  readonly topic: string
  readonly type: string
  readonly source: string
  readonly time: Date
  readonly key: string | undefined
  readonly contentType: string
  readonly subject: string | undefined
  readonly dataSchema: string | undefined
  readonly version: number | undefined
  readonly correlationId: string | undefined
  readonly causationId: string | undefined
  readonly traceparent: string | undefined
  readonly tracestate: string | undefined
  readonly expiresAt: Date | undefined
  readonly headers: Headers
  /** The decoded body, or the output of the schema if the consumer has one. Of a message without a body: null, or its output. */
  readonly data: Data
  /** The bytes as published; null for a message without a body (a tombstone). */
  readonly body: Uint8Array | null
  /** The whole message as the transport carried it. */
  readonly encoded: EncodedMessage
}

/** Rough size of the attributes where they travel as headers. */
const ENVELOPE_BYTES = 512

/** Size of a message in memory, in bytes: body, headers, and a flat rate for the envelope. */
export function messageBytes(message: EncodedMessage): number {
  let bytes = ENVELOPE_BYTES + bodyBytes(message)
  if (message.headers === NO_HEADERS) return bytes
  for (const name in message.headers) bytes += name.length + (message.headers[name] as string).length
  return bytes
}

const NOTHING = new Uint8Array(0)

/** The body; no bytes when there is none. For a transport without the capability `tombstones`, which never gets such a message. */
export function bodyOf(message: EncodedMessage): Uint8Array {
  return message.body ?? NOTHING
}

/** Size of the body in bytes; 0 when there is none. */
export function bodyBytes(message: EncodedMessage): number {
  return message.body === null ? 0 : message.body.byteLength
}

/** The transport's coordinates of a message: `{ partition: 3, offset: '42' }`. Plain data that can be logged. */
export type Position = Readonly<Record<string, string | number>>
