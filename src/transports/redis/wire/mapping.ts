import { fromCloudEventHeaders, toCloudEventHeaders } from '../../../core/cloud-events.ts'
import type { NativeMessage } from '../../../core/cloud-events.ts'
import type { EnvelopeForm } from '../../../core/compact-envelope.ts'
import { bodyOf, NO_HEADERS } from '../../../core/message.ts'
import type { EncodedMessage, Headers } from '../../../core/message.ts'
import { EnvelopeReader, EnvelopeWriter } from './envelope.ts'
import { BODY_NAME, ENVELOPE_NAME } from './reply-parser.ts'

/** Prefix of CloudEvents attributes in separate fields. */
const PREFIX = 'ce-'
const VERSION_FIELD = `${PREFIX}specversion`
const ENVELOPE_FIELD = 'ce'
const BODY_FIELD = 'data'
/** A header named like the field of the body. */
const DATA_HEADER = 'busbar-escaped-data'
const CONTENT_TYPE_FIELD = 'content-type'
const BRACE = 0x7b

export type Field = string | Buffer

/** One stream entry as the client returns it: alternating names and values. */
export type EntryFields = readonly Buffer[]

/** Converts messages to the fields of a stream entry. */
export interface Mapping {
  /** True when the envelope is one field, so that an entry is always `ce` and `data`. */
  readonly packed: boolean
  /** Value of the field `ce`; only when packed. */
  envelope(message: EncodedMessage): string
  /** All fields of the entry, alternating names and values. */
  fields(message: EncodedMessage): Field[]
}

/**
 * `compact`: one field `ce` with the envelope as a JSON object, one field `data` with the body. `cloudevents`: each CloudEvents
 * attribute in its own field, as in CloudEvents binary mode elsewhere.
 */
export function createMapping(envelope: EnvelopeForm): Mapping {
  if (envelope === 'cloudevents') {
    return {
      packed: false,
      envelope: () => '',
      fields(message) {
        const fields: Field[] = []
        for (const [name, value] of Object.entries(toCloudEventHeaders(message, PREFIX)))
          fields.push(name === BODY_FIELD ? DATA_HEADER : name, value)
        fields.push(CONTENT_TYPE_FIELD, message.contentType, BODY_FIELD, asBuffer(bodyOf(message)))
        return fields
      },
    }
  }
  const writer = new EnvelopeWriter()
  return {
    packed: true,
    envelope: (message) => writer.write(message),
    fields: (message) => [ENVELOPE_FIELD, writer.write(message), BODY_FIELD, asBuffer(bodyOf(message))],
  }
}

/** The client only accepts a Buffer; this copies nothing. */
function asBuffer(bytes: Uint8Array): Buffer {
  return bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** The position of an entry, from which a foreign message gets its id. */
export interface EntryPlace {
  readonly topic: string
  readonly partition: number
  readonly id: string
}

/**
 * Reads entries: ours in either form, or foreign ones. Never throws: even an entry that makes no sense becomes a
 * message.
 */
export class EntryReader {
  readonly #envelopes = new EnvelopeReader()

  read(fields: EntryFields, place: EntryPlace): EncodedMessage {
    return this.#packed(fields, place) ?? this.#fromFields(fields, place)
  }

  /** By far the most frequent form: `ce`, its envelope, `data`, the body. */
  #packed(fields: EntryFields, place: EntryPlace): EncodedMessage | undefined {
    if (fields.length !== 4) return undefined
    const [first, envelope, second, body] = fields as readonly [Buffer, Buffer, Buffer, Buffer]
    if (envelope[0] !== BRACE) return undefined
    // A given client makes a buffer of each name.
    if (first !== ENVELOPE_NAME && !ENVELOPE_NAME.equals(first)) return undefined
    if (second !== BODY_NAME && !BODY_NAME.equals(second)) return undefined
    return this.#envelopes.read(envelope.toString(), place.topic, ownBody(body))
  }

  #fromFields(fields: EntryFields, place: EntryPlace): EncodedMessage {
    const named: [string, string][] = []
    let body: Buffer | undefined
    for (let at = 0; at + 1 < fields.length; at += 2) {
      const name = (fields[at] as Buffer).toString()
      const value = fields[at + 1] as Buffer
      if (name === BODY_FIELD && body === undefined) body = ownBody(value)
      else named.push([name === DATA_HEADER ? BODY_FIELD : name, value.toString()])
    }
    const ms = Number(place.id.split('-', 1)[0])
    const native = {
      topic: place.topic,
      // Other programs may choose ids that are not times.
      time: Number.isNaN(new Date(ms).getTime()) ? undefined : ms,
      fallbackId: `${place.topic}/${place.partition}/${place.id}`,
      fallbackSource: 'redis',
    }
    if (body !== undefined)
      return this.#enveloped(named, native, body) ?? fromCloudEventHeaders(named, PREFIX, { ...native, body })
    // A plain entry of names and values, as most programs write them: all of it together is the data.
    const attributes = named.filter(([name]) => name.startsWith(PREFIX))
    const data = named.filter(([name]) => !name.startsWith(PREFIX))
    return fromCloudEventHeaders(attributes, PREFIX, {
      ...native,
      contentType: 'application/json',
      body: Buffer.from(JSON.stringify(Object.fromEntries(data))),
    })
  }

  /** An envelope in one field, as other programs may write it: in any order, and with more fields beside it. */
  #enveloped(
    named: readonly (readonly [string, string])[],
    native: Omit<NativeMessage, 'body'>,
    body: Buffer,
  ): EncodedMessage | undefined {
    // With its attributes in separate fields, the entry has no envelope: that field is a header.
    if (named.some(([name]) => name === VERSION_FIELD)) return undefined
    const at = named.findIndex(([name]) => name === ENVELOPE_FIELD)
    const envelope = at < 0 ? undefined : this.#envelopes.read((named[at] as [string, string])[1], native.topic, body)
    if (envelope === undefined) return undefined
    const beside = fromCloudEventHeaders(named.toSpliced(at, 1), PREFIX, { ...native, body })
    return {
      ...envelope,
      contentType: envelope.contentType === '' ? beside.contentType : envelope.contentType,
      traceparent: envelope.traceparent ?? beside.traceparent,
      tracestate: envelope.tracestate ?? beside.tracestate,
      headers: merged(beside.headers, envelope.headers),
    }
  }
}

function merged(fields: Headers, headers: Headers): Headers {
  if (fields === NO_HEADERS) return headers
  return Object.assign(Object.create(null) as Record<string, string>, fields, headers)
}

/** A body that reads like the name of a field is the buffer of all such names, which no handler may have. */
function ownBody(value: Buffer): Buffer {
  return value === BODY_NAME || value === ENVELOPE_NAME ? Buffer.from(value) : value
}
