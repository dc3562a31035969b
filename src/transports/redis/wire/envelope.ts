import { COMPACT_MARK, compactForm, compactMark, isTimeInId } from '../../../core/compact-envelope.ts'
import type { CompactForm } from '../../../core/compact-envelope.ts'
import { contentTypeToWrite } from '../../../core/cloud-events.ts'
import { NO_HEADERS } from '../../../core/message.ts'
import type { EncodedMessage, Headers } from '../../../core/message.ts'
import { uuidTime } from '../../../core/publish/uuid.ts'

/** Characters that need an escape in a JSON string. */
// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const ESCAPED = /["\\\u0000-\u001f\ud800-\udfff]/

function quoted(text: string): string {
  return isPlain(text) ? `"${text}"` : JSON.stringify(text)
}

/** Checking a short text is faster than starting a regular expression. */
function isPlain(text: string): boolean {
  if (text.length > 48) return !ESCAPED.test(text)
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code < 0x20 || code > 0x7e || code === 0x22 || code === 0x5c) return !ESCAPED.test(text)
  }
  return true
}

/** What most messages of a topic have in common. */
interface Constant {
  /** As it is written: all of the envelope before the id. */
  readonly text: string
  readonly mark: string
  readonly topic: string
  readonly type: string
  readonly source: string
  readonly contentType: string
  readonly version: number | undefined
}

/**
 * Writes the envelope of a message as one JSON object of CloudEvents attributes, without those that readers derive (see
 * `toCompactHeaders`). What rarely changes between messages comes first and is cached, and the JSON is assembled by hand,
 * because it is done for every message.
 */
export class EnvelopeWriter {
  #constant: Constant | undefined

  write(message: EncodedMessage): string {
    const { id, type, source, contentType, version, topic, key, correlationId, causationId } = message
    const mark = compactMark(message)
    if (mark === undefined) return fullEnvelope(message)
    let constant = this.#constant
    if (
      constant === undefined ||
      topic !== constant.topic ||
      type !== constant.type ||
      source !== constant.source ||
      contentType !== constant.contentType ||
      version !== constant.version ||
      mark !== constant.mark
    )
      this.#constant = constant = constantOf(mark, message)
    let text = `${constant.text}${quoted(id)}`
    if (!isTimeInId(message)) text += `,"time":"${toIso(message.time)}"`
    if (key !== undefined) text += `,"partitionkey":${quoted(key)}`
    if (correlationId !== undefined && correlationId !== id) text += `,"correlationid":${quoted(correlationId)}`
    if (causationId !== undefined) text += `,"causationid":${quoted(causationId)}`
    return `${text}${rarer(message)}}`
  }
}

function constantOf(mark: string, message: EncodedMessage): Constant {
  const { topic, type, source, contentType, version } = message
  let text = `{"${COMPACT_MARK}":"${mark}","source":${quoted(source)}`
  if (type !== topic) text += `,"type":${quoted(type)}`
  const written = contentTypeToWrite(message, 'compact')
  if (written !== '') text += `,"datacontenttype":${quoted(written)}`
  if (version !== undefined) text += `,"dataversion":${version}`
  return { text: `${text},"id":`, mark, topic, type, source, contentType, version }
}

/** A message that has no compact form: all attributes. */
function fullEnvelope(message: EncodedMessage): string {
  const { id, type, source, contentType, version, time, key, correlationId, causationId } = message
  const attributes = JSON.stringify({
    specversion: '1.0',
    id,
    type,
    source,
    datacontenttype: contentType,
    dataversion: version,
    time: toIso(time),
    partitionkey: key,
    correlationid: correlationId,
    causationid: causationId,
  })
  return `${attributes.slice(0, -1)}${rarer(message)}}`
}

function rarer(message: EncodedMessage): string {
  let text = ''
  if (message.subject !== undefined) text += `,"subject":${quoted(message.subject)}`
  if (message.dataSchema !== undefined) text += `,"dataschema":${quoted(message.dataSchema)}`
  if (message.traceparent !== undefined) text += `,"traceparent":${quoted(message.traceparent)}`
  if (message.tracestate !== undefined) text += `,"tracestate":${quoted(message.tracestate)}`
  if (message.expiresAt !== undefined) text += `,"expirytime":"${toIso(message.expiresAt)}"`
  return message.headers === NO_HEADERS ? text : text + headersOf(message.headers)
}

function toIso(time: number): string {
  const date = new Date(time)
  return Number.isNaN(date.getTime()) ? new Date(0).toISOString() : date.toISOString()
}

function headersOf(headers: Headers): string {
  const json = JSON.stringify(headers)
  return json === '{}' ? '' : `,"headers":${json}`
}

const TIME = ',"time":"'
const KEY = ',"partitionkey":"'
const CORRELATION = ',"correlationid":"'
const CAUSATION = ',"causationid":"'
const [COMMA, QUOTE, BRACE] = [44, 34, 125]

/**
 * Reads envelopes. Most messages of a topic differ only in id, time, key and conversation: those are cut out by hand,
 * and the rest is compared with the last one. Anything else goes through `JSON.parse`.
 */
export class EnvelopeReader {
  #constant: Constant | undefined
  #form: CompactForm | undefined

  /** Undefined for a foreign envelope. */
  read(text: string, topic: string, body: Uint8Array): EncodedMessage | undefined {
    return this.#quick(text, topic, body) ?? this.#slow(text, topic, body)
  }

  #quick(text: string, topic: string, body: Uint8Array): EncodedMessage | undefined {
    const constant = this.#constant
    if (constant === undefined || !text.startsWith(constant.text)) return undefined
    // Without a backslash a quote certainly ends a value.
    if (text.charCodeAt(constant.text.length) !== QUOTE || text.includes('\\')) return undefined
    const from = constant.text.length + 1
    let at = text.indexOf('"', from) + 1
    const id = text.slice(from, at - 1)
    let time: number | undefined
    let key: string | undefined
    let correlationId: string | undefined
    let causationId: string | undefined
    while (text.charCodeAt(at) === COMMA) {
      const name = nameAt(text, at)
      if (name === undefined) return undefined
      const end = text.indexOf('"', at + name.length)
      if (end < 0) return undefined
      const value = text.slice(at + name.length, end)
      if (name === KEY) key = value
      else if (name === CORRELATION) correlationId = value
      else if (name === CAUSATION) causationId = value
      else if (Number.isNaN((time = Date.parse(value)))) return undefined
      at = end + 1
    }
    if (at === 0 || text.charCodeAt(at) !== BRACE || at !== text.length - 1) return undefined
    return {
      id,
      topic,
      type: constant.type === constant.topic ? topic : constant.type,
      source: constant.source,
      time: time ?? uuidTime(id) ?? 0,
      key,
      contentType: constant.contentType,
      subject: undefined,
      dataSchema: undefined,
      version: constant.version,
      correlationId: correlationId ?? (this.#form?.correlates === true ? id : undefined),
      causationId,
      traceparent: undefined,
      tracestate: undefined,
      expiresAt: undefined,
      headers: NO_HEADERS,
      body,
    }
  }

  #slow(text: string, topic: string, body: Uint8Array): EncodedMessage | undefined {
    const parsed = parse(text)
    if (parsed === undefined) return undefined
    const mark = stringOf(parsed[COMPACT_MARK])
    const form = compactForm(mark)
    const id = stringOf(parsed['id'])
    const type = stringOf(parsed['type']) ?? (form === undefined ? undefined : topic)
    const source = stringOf(parsed['source'])
    if (id === undefined || type === undefined || source === undefined) return undefined
    const headers = toHeaders(parsed['headers'])
    const message: EncodedMessage = {
      id,
      topic,
      type,
      source,
      time: instant(parsed['time']) ?? (form === undefined ? undefined : uuidTime(id)) ?? 0,
      key: stringOf(parsed['partitionkey']),
      contentType: stringOf(parsed['datacontenttype']) ?? form?.contentType ?? '',
      subject: stringOf(parsed['subject']),
      dataSchema: stringOf(parsed['dataschema']),
      version: typeof parsed['dataversion'] === 'number' ? parsed['dataversion'] : undefined,
      correlationId: stringOf(parsed['correlationid']) ?? (form?.correlates === true ? id : undefined),
      causationId: stringOf(parsed['causationid']),
      traceparent: stringOf(parsed['traceparent']),
      tracestate: stringOf(parsed['tracestate']),
      expiresAt: instant(parsed['expirytime']),
      // Of a later version, which the core refuses by this name.
      headers: mark !== undefined && form === undefined ? { ...headers, [COMPACT_MARK]: mark } : headers,
      body,
    }
    if (mark !== undefined && form !== undefined) this.#learn(text, mark, form, message)
    return message
  }

  #learn(text: string, mark: string, form: CompactForm, message: EncodedMessage): void {
    const constant = constantOf(mark, message)
    if (constant.text.includes('\\') || !text.startsWith(constant.text)) return
    this.#constant = constant
    this.#form = form
  }
}

/** Which of the attributes that nearly every message has begins there. */
function nameAt(text: string, at: number): string | undefined {
  if (text.startsWith(KEY, at)) return KEY
  if (text.startsWith(CORRELATION, at)) return CORRELATION
  if (text.startsWith(CAUSATION, at)) return CAUSATION
  return text.startsWith(TIME, at) ? TIME : undefined
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    const value = JSON.parse(text) as unknown
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    // Not ours: the entry is read as any other.
    return undefined
  }
}

function stringOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function instant(value: unknown): number | undefined {
  if (typeof value !== 'string') return undefined
  const ms = Date.parse(value)
  return Number.isNaN(ms) ? undefined : ms
}

function toHeaders(value: unknown): Headers {
  if (typeof value !== 'object' || value === null) return NO_HEADERS
  const headers = Object.create(null) as Record<string, string>
  for (const [name, text] of Object.entries(value)) if (typeof text === 'string') headers[name] = text
  return headers
}
