import type { Msg } from '@nats-io/transport-node'
import { NO_HEADERS } from '../../core/message.ts'
import type { EncodedMessage, OutgoingMessage } from '../../core/message.ts'
import type { Position } from '../../core/transport.ts'

// Ours, beside the attributes of CloudEvents. A user's header can't have such a name: the bus drops `busbar-…` on publish.
const GROUP = 'busbar-group'
const DELIVER_AT = 'busbar-deliver-at'
/** Before the name of a user's header that the server would take for an order to itself (`Nats-Rollup` empties a stream). */
const ESCAPE = 'busbar-escaped-'
const SERVERS_OWN = /^nats-/i
const MESSAGE_ID = 'Nats-Msg-Id'

/** A message and what concerns only the transport. */
export interface Decoded {
  readonly message: EncodedMessage
  /** For that group alone. */
  readonly group: string | undefined
  /** Not before that instant, in ms since 1970. */
  readonly deliverAt: number | undefined
}

/** Turns messages into header blocks and back: CloudEvents 1.0 binary mode with the prefix `ce-`. */
export class Mapping {
  // Most messages of a batch share these; an ISO date costs more than the rest of the block.
  #time = -1
  #timeText = ''
  #readTimeText = ''
  #readTime = 0

  /** `messageId`: what the server recognizes duplicates by; empty for none. */
  encode(message: OutgoingMessage, messageId: string): string {
    let block =
      messageId === ''
        ? 'NATS/1.0\r\nce-specversion: 1.0'
        : `NATS/1.0\r\n${MESSAGE_ID}: ${messageId}\r\nce-specversion: 1.0`
    block += `\r\nce-id: ${message.id}\r\nce-type: ${message.type}\r\nce-source: ${message.source}\r\nce-time: ${this.#isoTime(message.time)}`
    if (message.contentType !== '') block += `\r\ncontent-type: ${message.contentType}`
    if (message.key !== undefined) block += `\r\nce-partitionkey: ${message.key}`
    if (message.correlationId !== undefined) block += `\r\nce-correlationid: ${message.correlationId}`
    if (message.causationId !== undefined) block += `\r\nce-causationid: ${message.causationId}`
    if (message.subject !== undefined) block += `\r\nce-subject: ${message.subject}`
    if (message.dataSchema !== undefined) block += `\r\nce-dataschema: ${message.dataSchema}`
    if (message.version !== undefined) block += `\r\nce-dataversion: ${message.version}`
    if (message.expiresAt !== undefined) block += `\r\nce-expirytime: ${new Date(message.expiresAt).toISOString()}`
    if (message.traceparent !== undefined) block += `\r\ntraceparent: ${message.traceparent}`
    if (message.tracestate !== undefined) block += `\r\ntracestate: ${message.tracestate}`
    if (message.group !== undefined) block += `\r\n${GROUP}: ${message.group}`
    if (message.deliverAt !== undefined) block += `\r\n${DELIVER_AT}: ${message.deliverAt}`
    const { headers } = message
    if (headers !== NO_HEADERS) {
      for (const name in headers)
        block += `\r\n${SERVERS_OWN.test(name) ? ESCAPE : ''}${name}: ${headers[name] as string}`
    }
    return `${block}\r\n\r\n`
  }

  /** `fallbackId`: for a message that another program wrote. `time`: when it was stored. */
  decode(native: Msg, topic: string, fallbackId: string, time: number): Decoded {
    const body = native.data
    const block = headerBlock(native, body)
    let id: string | undefined
    let type: string | undefined
    let source: string | undefined
    let sentAt: number | undefined
    let contentType = ''
    let key: string | undefined
    let subject: string | undefined
    let dataSchema: string | undefined
    let version: number | undefined
    let correlationId: string | undefined
    let causationId: string | undefined
    let traceparent: string | undefined
    let tracestate: string | undefined
    let expiresAt: number | undefined
    let group: string | undefined
    let deliverAt: number | undefined
    let headers: Record<string, string> | undefined
    // The first line is the version of the protocol, the last one is empty.
    for (let at = block.indexOf('\r\n') + 2; at > 1 && at < block.length - 2;) {
      const lineEnd = block.indexOf('\r\n', at)
      const end = lineEnd < 0 ? block.length : lineEnd
      const colon = block.indexOf(':', at)
      if (colon < 0 || colon > end) {
        at = end + 2
        continue
      }
      const name = block.slice(at, colon)
      // One blank belongs to the protocol; further ones belong to the value.
      const value = block.slice(block.charCodeAt(colon + 1) === 32 ? colon + 2 : colon + 1, end)
      at = end + 2
      switch (name) {
        case 'ce-id':
          id = value
          break
        case 'ce-type':
          type = value
          break
        case 'ce-source':
          source = value
          break
        case 'ce-time':
          sentAt = this.#parseTime(value)
          break
        case 'ce-partitionkey':
          key = value
          break
        case 'ce-correlationid':
          correlationId = value
          break
        case 'ce-causationid':
          causationId = value
          break
        case 'content-type':
          contentType = value
          break
        case MESSAGE_ID:
        case 'ce-specversion':
          break
        case 'ce-subject':
          subject = value
          break
        case 'ce-dataschema':
          dataSchema = value
          break
        case 'ce-dataversion':
          version = /^\d{1,9}$/.test(value) ? Number(value) : undefined
          break
        case 'ce-expirytime':
          expiresAt = instant(value)
          break
        case 'traceparent':
          traceparent = value
          break
        case 'tracestate':
          tracestate = value
          break
        case GROUP:
          group = value
          break
        case DELIVER_AT:
          deliverAt = /^\d{1,15}$/.test(value) ? Number(value) : undefined
          break
        default:
          if (contentType === '' && name.toLowerCase() === 'content-type') contentType = value
          // An attribute that we have no field for is no header of the user's.
          else if (!name.startsWith('ce-'))
            (headers ??= Object.create(null) as Record<string, string>)[
              name.startsWith(ESCAPE) ? name.slice(ESCAPE.length) : name
            ] = value
      }
    }
    return {
      message: {
        id: id ?? fallbackId,
        topic,
        type: type ?? topic,
        source: source ?? 'nats',
        time: sentAt ?? time,
        key,
        contentType,
        subject,
        dataSchema,
        version,
        correlationId,
        causationId,
        traceparent,
        tracestate,
        expiresAt,
        headers: headers ?? NO_HEADERS,
        body,
      },
      group,
      deliverAt,
    }
  }

  #isoTime(time: number): string {
    if (time !== this.#time) {
      this.#time = time
      this.#timeText = new Date(time).toISOString()
    }
    return this.#timeText
  }

  #parseTime(text: string): number | undefined {
    if (text !== this.#readTimeText) {
      const ms = instant(text)
      if (ms === undefined) return undefined
      this.#readTimeText = text
      this.#readTime = ms
    }
    return this.#readTime
  }
}

/**
 * The header block as it came. The client's own `headers` cuts blanks off values and costs several times as much; but the
 * block lies right before the body, and everything that is needed to find it is public. Should that ever not hold, it is
 * put together from `headers` again.
 */
function headerBlock(native: Msg, body: Uint8Array): string {
  const size = (native as { size?: () => number }).size
  if (size !== undefined) {
    const length = size.call(native) - native.subject.length - (native.reply?.length ?? 0) - body.byteLength
    if (length === 0) return ''
    if (length > 0 && body.byteOffset >= length) {
      const block = Buffer.from(body.buffer, body.byteOffset - length, length)
      if (block[0] === 0x4e && block[4] === 0x2f && block[length - 1] === 0x0a) return block.toString('utf8')
    }
  }
  if (native.headers === undefined) return ''
  let block = 'NATS/1.0'
  for (const [name, values] of native.headers) for (const value of values) block += `\r\n${name}: ${value}`
  return `${block}\r\n\r\n`
}

function instant(text: string): number | undefined {
  const ms = Date.parse(text)
  return Number.isNaN(ms) ? undefined : ms
}

export function positionOf(stream: string, seq: number): Position {
  return { stream, seq }
}

/** The sequence of a position that somebody handed back; undefined when it is none of ours. */
export function sequenceOf(position: Position): number | undefined {
  const seq = Number(position['seq'])
  return Number.isInteger(seq) && seq >= 0 ? seq : undefined
}
