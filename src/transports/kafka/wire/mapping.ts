import { COMPACT_MARK, compactForm, compactMark, isTimeInId } from '../../../core/compact-envelope.ts'
import type { CompactForm, EnvelopeForm } from '../../../core/compact-envelope.ts'
import { contentTypeToWrite } from '../../../core/cloud-events.ts'
import { EXTENSION_PREFIX, isExtensionHeader } from '../../../core/headers.ts'
import { NO_HEADERS } from '../../../core/message.ts'
import type { EncodedMessage, OutgoingMessage, Position } from '../../../core/message.ts'
import { uuidTime } from '../../../core/publish/uuid.ts'
import type { KafkaRecord, RecordContent, RecordHeader } from '../../../kafka/index.ts'
import { readRetry, RETRY } from '../retry/retry-copy.ts'
import type { Retried } from '../retry/retry-copy.ts'

/** Prefix of attributes, in the CloudEvents binding for Kafka. */
const PREFIX = 'ce_'
// Our own headers, besides the attributes of CloudEvents. A user's header can't have such a name: the bus drops `busbar-…` on publish.
const GROUP = 'busbar-group'
const DELIVER_AT = 'busbar-deliver-at'
/** Of a copy that a member of a share group has stored for its group: attempts that were used before. */
export const USED = 'busbar-used'
/** Of a record in the log of removals of a dead-letter topic: it is not a message. */
export const REMOVED = 'busbar-removed'

/** A message, and what concerns the transport alone. */
export interface Decoded {
  readonly message: EncodedMessage
  /** Set when the message is for that group alone. */
  readonly group: string | undefined
  /** Not before that time, in ms since 1970. */
  readonly deliverAt: number | undefined
  /** Attempts of its group that were used before it was stored. */
  readonly used: number
  /** It is no message, but says which dead letters were removed. */
  readonly isRemoval: boolean
  /** Of a copy in a retry topic. */
  readonly retried?: Retried | undefined
}

/**
 * Records and messages: binary mode of the CloudEvents binding for Kafka, or the compact form, which leaves out what readers
 * derive. The key of the record is the key of the message, and a record without a value is a message without a body.
 */
export class Mapping {
  readonly #isCompact: boolean

  constructor(form: EnvelopeForm = 'compact') {
    this.#isCompact = form === 'compact'
  }

  encode(message: OutgoingMessage): RecordContent {
    const { id, key, headers: given, deliverAt, group } = message
    const mark = this.#isCompact ? compactMark(message) : undefined
    const headers: RecordHeader[] = []
    const add = (name: string, value: string): void => void headers.push({ key: name, value })
    if (mark === undefined) add(`${PREFIX}specversion`, '1.0')
    else add(COMPACT_MARK, mark)
    add(`${PREFIX}id`, id)
    if (mark === undefined || message.type !== message.topic) add(`${PREFIX}type`, message.type)
    add(`${PREFIX}source`, message.source)
    if (mark === undefined || !isTimeInId(message)) add(`${PREFIX}time`, new Date(message.time).toISOString())
    if (mark === undefined && key !== undefined) add(`${PREFIX}partitionkey`, key)
    const contentType = contentTypeToWrite(message, this.#isCompact ? 'compact' : 'cloudevents')
    if (contentType !== '') add('content-type', contentType)
    const { correlationId } = message
    if (correlationId !== undefined && !(mark !== undefined && correlationId === id))
      add(`${PREFIX}correlationid`, correlationId)
    if (message.causationId !== undefined) add(`${PREFIX}causationid`, message.causationId)
    if (message.subject !== undefined) add(`${PREFIX}subject`, message.subject)
    if (message.dataSchema !== undefined) add(`${PREFIX}dataschema`, message.dataSchema)
    if (message.version !== undefined) add(`${PREFIX}dataversion`, String(message.version))
    if (message.expiresAt !== undefined) add(`${PREFIX}expirytime`, new Date(message.expiresAt).toISOString())
    if (message.traceparent !== undefined) add('traceparent', message.traceparent)
    if (message.tracestate !== undefined) add('tracestate', message.tracestate)
    if (group !== undefined) add(GROUP, group)
    if (deliverAt !== undefined) add(DELIVER_AT, String(deliverAt))
    if (given !== NO_HEADERS) {
      for (const name in given) {
        const value = given[name] as string
        // A mark would give the full form another meaning.
        if (name === COMPACT_MARK && compactForm(value) !== undefined) continue
        add(isExtensionHeader(name) ? PREFIX + name.slice(EXTENSION_PREFIX.length) : name, value)
      }
    }
    return { key: key ?? null, value: message.body, headers }
  }

  /**
   * `topic`, `partition`: where the record was; of a copy in a retry topic, where its message was. Keeps none of the memory that the record
   * came in.
   */
  decode(record: KafkaRecord, topic: string, partition: number): Decoded {
    const { value } = record
    const read = new Attributes(record)
    const { form } = read
    const id = read.id ?? `${topic}/${partition}/${record.offset}`
    const timeOfRecord = record.timestamp < 0 ? 0 : record.timestamp
    return {
      message: {
        id,
        topic,
        type: read.type ?? topic,
        source: read.source ?? 'kafka',
        time: instant(read.time) ?? (form === undefined ? undefined : uuidTime(id)) ?? timeOfRecord,
        key: record.keyText ?? read.key,
        contentType: read.contentType ?? form?.contentType ?? '',
        subject: read.subject,
        dataSchema: read.dataSchema,
        version: read.version !== undefined && /^\d{1,9}$/.test(read.version) ? Number(read.version) : undefined,
        correlationId: read.correlationId ?? (form?.correlates === true ? id : undefined),
        causationId: read.causationId,
        traceparent: read.traceparent,
        tracestate: read.tracestate,
        expiresAt: instant(read.expiryTime),
        headers: read.headers ?? NO_HEADERS,
        body: value === null ? null : Buffer.from(value),
      },
      group: read.group,
      deliverAt: read.deliverAt !== undefined && /^\d{1,15}$/.test(read.deliverAt) ? Number(read.deliverAt) : undefined,
      used: read.used !== undefined && /^\d{1,9}$/.test(read.used) ? Number(read.used) : 0,
      isRemoval: read.isRemoval,
      retried: read.retry === undefined ? undefined : readRetry(read.retry),
    }
  }
}

/** What the headers of one record say. */
class Attributes {
  form: CompactForm | undefined
  id: string | undefined
  type: string | undefined
  source: string | undefined
  time: string | undefined
  key: string | undefined
  contentType: string | undefined
  subject: string | undefined
  dataSchema: string | undefined
  version: string | undefined
  correlationId: string | undefined
  causationId: string | undefined
  traceparent: string | undefined
  tracestate: string | undefined
  expiryTime: string | undefined
  group: string | undefined
  deliverAt: string | undefined
  used: string | undefined
  isRemoval = false
  retry: string | undefined
  headers: Record<string, string> | undefined

  constructor(record: KafkaRecord) {
    record.eachHeader((name, value) => this.#read(name, value ?? ''))
  }

  #read(name: string, value: string): void {
    switch (name) {
      case 'ce_specversion':
        break
      case 'ce_id':
        this.id = value
        break
      case 'ce_type':
        this.type = value
        break
      case 'ce_source':
        this.source = value
        break
      case 'ce_time':
        this.time = value
        break
      case 'ce_partitionkey':
        this.key = value
        break
      case 'ce_correlationid':
        this.correlationId = value
        break
      case 'ce_causationid':
        this.causationId = value
        break
      case 'ce_subject':
        this.subject = value
        break
      case 'ce_dataschema':
        this.dataSchema = value
        break
      case 'ce_dataversion':
        this.version = value
        break
      case 'ce_expirytime':
        this.expiryTime = value
        break
      case 'ce_datacontenttype':
        this.contentType ??= value
        break
      case 'traceparent':
        this.traceparent = value
        break
      case 'tracestate':
        this.tracestate = value
        break
      case GROUP:
        this.group = value
        break
      case DELIVER_AT:
        this.deliverAt = value
        break
      case USED:
        this.used = value
        break
      case REMOVED:
        this.isRemoval = true
        break
      case RETRY:
        this.retry = value
        break
      default:
        this.#readOther(name, value)
    }
  }

  #readOther(name: string, value: string): void {
    if (name.toLowerCase() === 'content-type') {
      this.contentType = value
      return
    }
    if (name === COMPACT_MARK) {
      const form = compactForm(value)
      if (form !== undefined) {
        this.form = form
        return
      }
    }
    const extension = name.startsWith(PREFIX) ? EXTENSION_PREFIX + name.slice(PREFIX.length) : name
    // An attribute without a field is an extension, which the headers carry.
    if (extension !== name && !isExtensionHeader(extension)) return
    this.headers ??= Object.create(null) as Record<string, string>
    const before = this.headers[extension]
    // Other programs may send a header several times: its values become one list, as in HTTP.
    this.headers[extension] = before === undefined ? value : `${before}, ${value}`
  }
}

/** Where a record is. */
export function positionOf(partition: number, offset: number): Position {
  return { partition, offset }
}

/** The place that a position names; undefined for a position of another transport. */
export function placeOf(position: Position): { readonly partition: number; readonly offset: number } | undefined {
  const [partition, offset] = [Number(position['partition']), Number(position['offset'])]
  return Number.isSafeInteger(partition) && partition >= 0 && Number.isSafeInteger(offset) && offset >= 0
    ? { partition, offset }
    : undefined
}

function instant(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const ms = Date.parse(text)
  return Number.isNaN(ms) ? undefined : ms
}
