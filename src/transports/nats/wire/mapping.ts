import { COMPACT_MARK, compactForm, compactMark, isTimeInId } from '../../../core/compact-envelope.ts'
import type { CompactForm, EnvelopeForm } from '../../../core/compact-envelope.ts'
import { contentTypeToWrite } from '../../../core/cloud-events.ts'
import { isExtensionHeader } from '../../../core/headers.ts'
import { NO_HEADERS } from '../../../core/message.ts'
import type { EncodedMessage, OutgoingMessage, Position } from '../../../core/message.ts'
import { uuidTime } from '../../../core/publish/uuid.ts'
import type { Incoming } from '../connection/incoming.ts'
import { UsualBlock } from './usual-block.ts'

// Our own headers, besides the attributes of CloudEvents. A user's header can't have such a name: the bus drops
// `busbar-…` on publish.
const GROUP = 'busbar-group'
const DELIVER_AT = 'busbar-deliver-at'
/** There is no body, which is not the same as an empty one. */
const NO_BODY = 'busbar-null'
/** Prefix for a user's header that the server would take for a command (`Nats-Rollup` empties a stream). */
const ESCAPE = 'busbar-escaped-'
const SERVERS_OWN = /^nats-/i
const MESSAGE_ID = 'Nats-Msg-Id'
/** How long the server keeps the message: of no interest to those who read it. */
const TTL = 'Nats-TTL'
/** The name of an attribute, in any case. A user's header can't have such a name. */
const ATTRIBUTE = /^(?:ce-.+|content-type|traceparent|tracestate)$/i
const CARRIAGE_RETURN = 13
/** How a header block of ours begins, in both forms. */
const COMPACT =
  /^NATS\/1\.0\r\nbusbar: (1c?t?)(?:\r\nce-type: ([^\r]*))?\r\nce-source: ([^\r]*)(?:\r\ncontent-type: ([^\r]*))?(?=\r)/
const COMMON =
  /^NATS\/1\.0\r\nce-specversion: 1\.0\r\nce-type: ([^\r]*)\r\nce-source: ([^\r]*)(?:\r\ncontent-type: ([^\r]*))?\r\nce-time: ([^\r]*)(?=\r)/

/** A message, plus what concerns only the transport. */
export interface Decoded {
  readonly message: EncodedMessage
  /** Set when the message is for that group alone. */
  readonly group: string | undefined
  /** Not before that time, in ms since 1970. */
  readonly deliverAt: number | undefined
}

/** Values for messages of other programs that lack them. */
export interface Unsaid {
  id(): string
  /** When it was stored, in ms since 1970. */
  time(): number
}

/** What messages of one program mostly have in common: written first, and parsed only once. */
interface Common {
  /** Undefined in the full form. */
  readonly form: CompactForm | undefined
  readonly type: string | undefined
  readonly source: string
  readonly contentType: string
  readonly time: number | undefined
  /** The start of the block. */
  readonly bytes: Buffer
}

/** The same, as it was written last. */
interface Written {
  readonly mark: string | undefined
  readonly type: string | undefined
  readonly source: string
  readonly contentType: string
  readonly time: number
  readonly bytes: Buffer
}

const NOTHING_READ: Common = {
  form: undefined,
  type: undefined,
  source: '',
  contentType: '',
  time: undefined,
  bytes: Buffer.from('nothing begins so'),
}
const NOTHING_WRITTEN: Written = {
  mark: undefined,
  type: undefined,
  source: '',
  contentType: '',
  time: Number.NaN,
  bytes: Buffer.alloc(0),
}

/**
 * Converts messages to header blocks and back: CloudEvents 1.0 binary mode with the prefix `ce-`, or the compact form,
 * which leaves out what readers derive.
 */
export class Mapping {
  readonly #isCompact: boolean
  #written = NOTHING_WRITTEN
  #read = NOTHING_READ
  readonly #usual = new UsualBlock()

  constructor(form: EnvelopeForm = 'compact') {
    this.#isCompact = form === 'compact'
  }

  /** The beginning of the header block: the same for most messages of a batch. */
  common(message: OutgoingMessage): Uint8Array {
    const mark = this.#isCompact ? compactMark(message) : undefined
    const { source, contentType } = message
    const type = mark !== undefined && message.type === message.topic ? undefined : message.type
    const last = this.#written
    if (
      last.mark === mark &&
      last.type === type &&
      last.source === source &&
      last.contentType === contentType &&
      (mark !== undefined || last.time === message.time)
    )
      return last.bytes
    const bytes = Buffer.from(mark === undefined ? fullStart(message) : compactStart(message, mark, type))
    this.#written = { mark, type, source, contentType, time: message.time, bytes }
    return bytes
  }

  /**
   * What comes after `common` in the header block. `messageId`: the id by which the server recognizes duplicates; empty
   * for none. Undefined for that of the message itself. `ttl`: how long the server keeps it, as it reads that.
   */
  rest(message: OutgoingMessage, messageId: string | undefined, ttl?: string): string {
    const { id, correlationId, headers, group } = message
    const isCompact = this.#isCompact && compactMark(message) !== undefined
    let block = ''
    // Readers find the id in that of the server.
    if (!isCompact || messageId !== undefined || group !== undefined) block += `\r\nce-id: ${id}`
    if (messageId !== '') block += `\r\n${MESSAGE_ID}: ${messageId ?? messageIdOf(message)}`
    if (ttl !== undefined) block += `\r\n${TTL}: ${ttl}`
    if (isCompact && !isTimeInId(message)) block += `\r\nce-time: ${new Date(message.time).toISOString()}`
    if (correlationId !== undefined && !(isCompact && correlationId === id))
      block += `\r\nce-correlationid: ${correlationId}`
    if (message.key !== undefined) block += `\r\nce-partitionkey: ${message.key}`
    if (message.causationId !== undefined) block += `\r\nce-causationid: ${message.causationId}`
    if (message.subject !== undefined) block += `\r\nce-subject: ${message.subject}`
    if (message.dataSchema !== undefined) block += `\r\nce-dataschema: ${message.dataSchema}`
    if (message.version !== undefined) block += `\r\nce-dataversion: ${message.version}`
    if (message.expiresAt !== undefined) block += `\r\nce-expirytime: ${new Date(message.expiresAt).toISOString()}`
    if (message.traceparent !== undefined) block += `\r\ntraceparent: ${message.traceparent}`
    if (message.tracestate !== undefined) block += `\r\ntracestate: ${message.tracestate}`
    if (group !== undefined) block += `\r\n${GROUP}: ${group}`
    if (message.body === null) block += `\r\n${NO_BODY}: 1`
    if (message.deliverAt !== undefined) block += `\r\n${DELIVER_AT}: ${message.deliverAt}`
    if (headers !== NO_HEADERS) {
      for (const name in headers) {
        // A mark would give the full form another meaning.
        if (name === COMPACT_MARK && compactForm(headers[name]) !== undefined) continue
        block += `\r\n${SERVERS_OWN.test(name) ? ESCAPE : ''}${name}: ${headers[name] as string}`
      }
    }
    return `${block}\r\n\r\n`
  }

  decode(incoming: Incoming, topic: string, unsaid: Unsaid): Decoded {
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
    let isNull = false
    let headers: Record<string, string> | undefined
    let messageId: string | undefined
    let form: CompactForm | undefined
    const common = this.#commonIn(incoming)
    if (common !== undefined) ({ form, type, source, contentType, time: sentAt } = common)
    const isUsual =
      common?.form !== undefined &&
      this.#usual.read(incoming, incoming.headersAt + common.bytes.length, topic, common.source)
    if (isUsual) ({ id, key, time: sentAt } = this.#usual)
    const block = isUsual ? '' : incoming.block(common?.bytes.length)
    // First comes the version of the protocol, or nothing if the common part precedes; the last line is empty.
    let colon = -1
    /** The name of the line at hand as Busbar writes it, if another program wrote it in another case. */
    let own: string | undefined
    for (let at = block.indexOf('\n') + 1; at > 0 && at < block.length - 2;) {
      const lineEnd = block.indexOf('\n', at)
      const end = lineEnd < 0 ? block.length : lineEnd - 1
      if (colon < at) colon = block.indexOf(':', at)
      if (colon < 0) break
      if (colon > end) {
        at = end + 2
        continue
      }
      const name = own ?? block.slice(at, colon)
      own = undefined
      // One blank belongs to the protocol; further ones belong to the value.
      const value = block.slice(block.charCodeAt(colon + 1) === 32 ? colon + 2 : colon + 1, end)
      const lineAt = at
      at = end + 2
      switch (name) {
        case 'ce-id':
          id = value
          break
        case MESSAGE_ID:
          messageId = value
          break
        case 'ce-specversion':
        case TTL:
          break
        case 'ce-correlationid':
          correlationId = value
          break
        case 'ce-partitionkey':
          key = value
          break
        case 'ce-causationid':
          causationId = value
          break
        case 'ce-type':
          type = value
          break
        case 'ce-source':
          source = value
          break
        case 'ce-time':
          sentAt = instant(value)
          break
        case 'content-type':
          contentType = value
          break
        case 'ce-datacontenttype':
          if (contentType === '') contentType = value
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
          tracestate = joined(tracestate, value)
          break
        case GROUP:
          group = value
          break
        case NO_BODY:
          isNull = value === '1'
          break
        case DELIVER_AT:
          deliverAt = /^\d{1,15}$/.test(value) ? Number(value) : undefined
          break
        default: {
          const lower = name.toLowerCase()
          if (name === COMPACT_MARK) form = compactForm(value)
          if (name === COMPACT_MARK && form !== undefined) break
          if (lower !== name && ATTRIBUTE.test(name)) {
            // The line is read again.
            own = lower
            at = lineAt
          } else if (!name.startsWith('ce-') || isExtensionHeader(name)) {
            // An attribute without a field is an extension, which the headers carry.
            headers ??= Object.create(null) as Record<string, string>
            const plain = name.startsWith(ESCAPE) ? name.slice(ESCAPE.length) : name
            headers[plain] = joined(headers[plain], value)
          }
        }
      }
    }
    source ??= 'nats'
    if (form !== undefined) {
      if (id === undefined && messageId !== undefined) id = idIn(messageId, topic, source)
      if (id !== undefined) {
        sentAt ??= uuidTime(id)
        if (form.correlates) correlationId ??= id
      }
      if (contentType === '') ({ contentType } = form)
    }
    return {
      message: {
        id: id ?? unsaid.id(),
        topic,
        type: type ?? topic,
        source,
        time: sentAt ?? unsaid.time(),
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
        body: isNull ? null : incoming.body,
      },
      group,
      deliverAt,
    }
  }

  /** The common part that the block begins with, if `encode` wrote it; mostly the same as the last one. */
  #commonIn({ bytes, headersAt, bodyAt }: Incoming): Common | undefined {
    const last = this.#read
    const end = headersAt + last.bytes.length
    if (end < bodyAt && bytes[end] === CARRIAGE_RETURN && last.bytes.compare(bytes, headersAt, end) === 0) return last
    const common = parseCommon(bytes.toString('utf8', headersAt, bodyAt))
    // Bytes of another program that are not valid UTF-8 change their length when they are decoded.
    if (common === undefined || common.bytes.compare(bytes, headersAt, headersAt + common.bytes.length) !== 0)
      return undefined
    this.#read = common
    return common
  }
}

function fullStart({ type, source, contentType, time }: OutgoingMessage): string {
  const content = contentType === '' ? '' : `\r\ncontent-type: ${contentType}`
  return `NATS/1.0\r\nce-specversion: 1.0\r\nce-type: ${type}\r\nce-source: ${source}${content}\r\nce-time: ${new Date(time).toISOString()}`
}

function compactStart(message: OutgoingMessage, mark: string, type: string | undefined): string {
  const contentType = contentTypeToWrite(message, 'compact')
  const content = contentType === '' ? '' : `\r\ncontent-type: ${contentType}`
  return `NATS/1.0\r\nbusbar: ${mark}${type === undefined ? '' : `\r\nce-type: ${type}`}\r\nce-source: ${message.source}${content}`
}

function parseCommon(block: string): Common | undefined {
  const compact = COMPACT.exec(block)
  if (compact !== null) {
    const [whole, mark, type, source = '', contentType = ''] = compact
    const form = compactForm(mark)
    return { form, type, source, contentType, time: undefined, bytes: Buffer.from(whole) }
  }
  const full = COMMON.exec(block)
  if (full === null) return undefined
  const [whole, type = '', source = '', contentType = '', iso = ''] = full
  const time = instant(iso)
  return time === undefined
    ? undefined
    : { form: undefined, type, source, contentType, time, bytes: Buffer.from(whole) }
}

/**
 * The id by which the server recognizes a message that comes twice. The message's id alone would not do: it is unique
 * within its source only, and redriven copies keep it although each is a separate message.
 */
function messageIdOf({ id, topic, source, group, copyOf }: OutgoingMessage): string {
  if (group === undefined) return `${id}@${topic} ${source}`
  return `${id}@${topic} ${source}>${group} ${copyOf ?? ''}`
}

/** The id of the message in that of the server; all of that if a mapping has changed the topic. */
function idIn(messageId: string, topic: string, source: string): string {
  const end = messageId.length - topic.length - source.length - 2
  return end > 0 && messageId.endsWith(source) && messageId.startsWith(`@${topic} `, end)
    ? messageId.slice(0, end)
    : messageId
}

/** Other programs may send a header several times: its values become one list, as in HTTP. */
function joined(before: string | undefined, value: string): string {
  return before === undefined ? value : `${before}, ${value}`
}

function instant(text: string): number | undefined {
  const ms = Date.parse(text)
  return Number.isNaN(ms) ? undefined : ms
}

export function positionOf(stream: string, seq: number): Position {
  return { stream, seq }
}

/** The sequence of a position that the user passed; undefined for one of another transport. */
export function sequenceOf(position: Position): number | undefined {
  const seq = Number(position['seq'])
  return Number.isInteger(seq) && seq >= 0 ? seq : undefined
}
