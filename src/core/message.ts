/** Header names are HTTP-like tokens, compared as they are; values are strings without line breaks or NUL. */
export type Headers = Readonly<Record<string, string>>

/** Shared by all messages without headers, so that none of them allocates. */
export const NO_HEADERS: Headers = Object.freeze(Object.create(null) as Record<string, string>)

/**
 * A message as it travels: CloudEvents 1.0 attributes as plain fields, the user's headers, and the body as bytes.
 * A transport maps it to and from the native message of its broker and never looks into the body.
 */
export interface EncodedMessage {
  /** CloudEvents `id`: UUIDv7 when we made it. Stable over retries, dead letters and redrives. */
  readonly id: string
  readonly topic: string
  /** CloudEvents `type`; the topic unless the publisher says otherwise. */
  readonly type: string
  /** CloudEvents `source`: the service that published. */
  readonly source: string
  /** CloudEvents `time`, in milliseconds since 1970. */
  readonly time: number
  /** CloudEvents `partitionkey`: what must stay in order. */
  readonly key: string | undefined
  /** CloudEvents `datacontenttype`. */
  readonly contentType: string
  /** CloudEvents `subject`. */
  readonly subject: string | undefined
  /** CloudEvents `dataschema`. */
  readonly dataSchema: string | undefined
  /** Version of the event definition (extension `dataversion`). */
  readonly version: number | undefined
  /** The conversation that the message belongs to (extension `correlationid`). */
  readonly correlationId: string | undefined
  /** Id of the message that caused it (extension `causationid`). */
  readonly causationId: string | undefined
  /** W3C trace context (extensions `traceparent`, `tracestate`). */
  readonly traceparent: string | undefined
  readonly tracestate: string | undefined
  /** After this instant (ms since 1970) it is dead-lettered instead of handled (extension `expirytime`). */
  readonly expiresAt: number | undefined
  readonly headers: Headers
  readonly body: Uint8Array
}

/** What a transport is asked to publish. */
export interface OutgoingMessage extends EncodedMessage {
  /** Not to be seen by any consumer before this instant, in ms since 1970. */
  readonly deliverAt: number | undefined
  /** When set, the copy is for that group alone: a redrive. No other group may see it. */
  readonly group: string | undefined
}

/** What a handler sees. `data` is decoded when it is first asked for, and once. */
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
  /** Decoded by the message's content type, and the output of the schema when the consumer has one. */
  readonly data: Data
  /** The bytes as published. */
  readonly body: Uint8Array
  /** The whole message as the transport carried it. */
  readonly encoded: EncodedMessage
}

/** What the attributes take on a wire that spells them out as headers, roughly. */
const ENVELOPE_BYTES = 512

/** Size of a message in buffers, in bytes: body, headers, and a flat rate for the envelope. */
export function messageBytes(message: EncodedMessage): number {
  let bytes = ENVELOPE_BYTES + message.body.byteLength
  if (message.headers === NO_HEADERS) return bytes
  for (const name in message.headers) bytes += name.length + (message.headers[name] as string).length
  return bytes
}
