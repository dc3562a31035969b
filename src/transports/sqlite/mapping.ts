import { Buffer } from 'node:buffer'
import { bodyBytes, NO_HEADERS } from '../../core/message.ts'
import type { EncodedMessage, Headers, OutgoingMessage, Position } from '../../core/message.ts'
import { ValidationError } from '../../core/errors.ts'
import { IN, OUT } from './protocol.ts'
import type { OutgoingColumns, StoredColumns } from './protocol.ts'

/**
 * The parts of a message that have no column, as JSON in `messages.meta`, with CloudEvents names. Undefined values are
 * left out, and so is a type equal to the topic. `correlationid: true` stands for the message's own id: that saves most
 * messages 50 bytes and makes their `meta` equal, so that it is parsed once for all of them.
 */
interface Meta {
  readonly source: string
  readonly type?: string | undefined
  readonly datacontenttype: string
  readonly subject?: string | undefined
  readonly dataschema?: string | undefined
  readonly dataversion?: number | undefined
  readonly correlationid?: string | true | undefined
  readonly causationid?: string | undefined
  readonly traceparent?: string | undefined
  readonly tracestate?: string | undefined
  readonly expirytime?: number | undefined
  readonly headers?: Headers | undefined
  /** There is no body: the column holds an empty one. */
  readonly tombstone?: true | undefined
}

/**
 * True when `last` (the message before) has exactly the same meta. Headers are compared by identity: mostly there are
 * none.
 */
function sameMeta(message: EncodedMessage, last: EncodedMessage): boolean {
  return (
    message.topic === last.topic &&
    message.type === last.type &&
    message.source === last.source &&
    message.contentType === last.contentType &&
    message.headers === last.headers &&
    (message.correlationId === last.correlationId
      ? message.correlationId !== message.id && last.correlationId !== last.id
      : message.correlationId === message.id && last.correlationId === last.id) &&
    message.causationId === last.causationId &&
    message.traceparent === last.traceparent &&
    message.tracestate === last.tracestate &&
    message.version === last.version &&
    message.subject === last.subject &&
    message.dataSchema === last.dataSchema &&
    message.expiresAt === last.expiresAt &&
    (message.body === null) === (last.body === null)
  )
}

function toMeta(message: EncodedMessage): string {
  const meta: Meta = {
    source: message.source,
    type: message.type === message.topic ? undefined : message.type,
    datacontenttype: message.contentType,
    subject: message.subject,
    dataschema: message.dataSchema,
    dataversion: message.version,
    correlationid: message.correlationId === message.id ? true : message.correlationId,
    causationid: message.causationId,
    traceparent: message.traceparent,
    tracestate: message.tracestate,
    expirytime: message.expiresAt,
    headers: message.headers === NO_HEADERS ? undefined : message.headers,
    tombstone: message.body === null ? true : undefined,
  }
  return JSON.stringify(meta)
}

/** Converts messages to columns for the database thread. Copies the bodies, which stay the caller's. */
export function toColumns(messages: readonly OutgoingMessage[]): { columns: OutgoingColumns; transfer: ArrayBuffer[] } {
  const count = messages.length
  const ids: string[] = []
  const keys: (string | null)[] = []
  const metas: string[] = []
  const topics: string[] = []
  const targets: string[] = []
  const numbers = new Float64Array(count * OUT.stride)
  let totalBytes = 0
  for (const message of messages) totalBytes += bodyBytes(message)
  const bodies = new Uint8Array(totalBytes)
  let bodyAt = 0
  let last: OutgoingMessage | undefined
  let topic = -1
  for (let index = 0; index < count; index++) {
    const message = messages[index] as OutgoingMessage
    if (last === undefined || message.topic !== last.topic) topic = indexOf(topics, message.topic)
    if (last === undefined || !sameMeta(message, last)) metas.push(toMeta(message))
    last = message
    ids.push(message.id)
    keys.push(message.key ?? null)
    const at = index * OUT.stride
    numbers[at + OUT.topic] = topic
    numbers[at + OUT.time] = message.time
    numbers[at + OUT.deliverAt] = message.deliverAt ?? Number.NaN
    numbers[at + OUT.target] = message.group === undefined ? -1 : indexOf(targets, message.group)
    numbers[at + OUT.meta] = metas.length - 1
    numbers[at + OUT.bodyBytes] = bodyBytes(message)
    if (message.body === null) continue
    bodies.set(message.body, bodyAt)
    bodyAt += message.body.byteLength
  }
  return { columns: { ids, keys, metas, topics, targets, numbers, bodies }, transfer: [numbers.buffer, bodies.buffer] }
}

function indexOf(names: string[], name: string): number {
  const at = names.lastIndexOf(name)
  return at >= 0 ? at : names.push(name) - 1
}

/** Reads the columns from the database thread, row by row. */
export class StoredReader {
  readonly #columns: StoredColumns
  #meta: Meta | undefined
  #metaIndex = -1
  #headers: Headers = NO_HEADERS
  #bodyAt = 0

  constructor(columns: StoredColumns) {
    this.#columns = columns
  }

  get count(): number {
    return this.#columns.ids.length
  }

  number(row: number, column: keyof typeof IN): number {
    return this.#columns.numbers[row * IN.stride + IN[column]] as number
  }

  /** Must be called once for each row, in order. */
  message(row: number): EncodedMessage {
    const { topic, ids, keys, bodies } = this.#columns
    const meta = this.#metaOf(this.number(row, 'meta'))
    const length = this.number(row, 'bodyBytes')
    const body = meta.tombstone === true ? null : Buffer.from(bodies.buffer, bodies.byteOffset + this.#bodyAt, length)
    this.#bodyAt += length
    const id = ids[row] as string
    return {
      id,
      topic,
      type: meta.type ?? topic,
      source: meta.source,
      time: this.number(row, 'time'),
      key: keys[row] ?? undefined,
      contentType: meta.datacontenttype,
      subject: meta.subject,
      dataSchema: meta.dataschema,
      version: meta.dataversion,
      correlationId: meta.correlationid === true ? id : meta.correlationid,
      causationId: meta.causationid,
      traceparent: meta.traceparent,
      tracestate: meta.tracestate,
      expiresAt: meta.expirytime,
      headers: this.#headers,
      body,
    }
  }

  #metaOf(index: number): Meta {
    if (this.#metaIndex === index) return this.#meta as Meta
    const meta = JSON.parse(this.#columns.metas[index] as string) as Meta
    this.#meta = meta
    this.#metaIndex = index
    // No prototype: a header may be named `constructor`.
    this.#headers =
      meta.headers === undefined
        ? NO_HEADERS
        : Object.freeze(Object.assign(Object.create(null) as Record<string, string>, meta.headers))
    return meta
  }
}

export function toPosition(seq: number): Position {
  return { seq }
}

/** Throws `ValidationError` for a position of another transport. */
export function toSeq(position: Position): number {
  const seq = Number(position['seq'])
  if (Number.isSafeInteger(seq) && seq >= 0) return seq
  throw new ValidationError('A position of the SQLite transport looks like { seq: 42 }')
}
