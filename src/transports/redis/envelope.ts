import { NO_HEADERS } from '../../core/message.ts'
import type { EncodedMessage, Headers } from '../../core/message.ts'

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

const START = '{"specversion":"1.0","id":'
const START_QUOTE = `${START}"`
const TIME = ',"time":"'
const ISO_LENGTH = 24

/**
 * Writes the envelope of a message as one JSON object of CloudEvents attributes. The parts that rarely change between
 * messages are cached, and the JSON is assembled by hand, because it is done for every message.
 */
export class EnvelopeWriter {
  #type = ''
  #source = ''
  #contentType = ''
  #version: number | undefined
  #constant = ''
  #time = Number.NaN
  #iso = ''

  write(message: EncodedMessage): string {
    const { id, type, source, contentType, version, time } = message
    if (
      type !== this.#type ||
      source !== this.#source ||
      contentType !== this.#contentType ||
      version !== this.#version ||
      this.#constant === ''
    ) {
      this.#type = type
      this.#source = source
      this.#contentType = contentType
      this.#version = version
      this.#constant = constantOf(type, source, contentType, version)
    }
    if (time !== this.#time) {
      this.#time = time
      this.#iso = toIso(time)
    }
    const identity = quoted(id)
    let text = `${START}${identity}${this.#constant}${this.#iso}"`
    const { key, correlationId, causationId } = message
    if (key !== undefined) text += `,"partitionkey":${quoted(key)}`
    if (correlationId !== undefined)
      text += `,"correlationid":${correlationId === id ? identity : quoted(correlationId)}`
    if (causationId !== undefined) text += `,"causationid":${quoted(causationId)}`
    if (message.subject !== undefined) text += `,"subject":${quoted(message.subject)}`
    if (message.dataSchema !== undefined) text += `,"dataschema":${quoted(message.dataSchema)}`
    if (message.traceparent !== undefined) text += `,"traceparent":${quoted(message.traceparent)}`
    if (message.tracestate !== undefined) text += `,"tracestate":${quoted(message.tracestate)}`
    if (message.expiresAt !== undefined) text += `,"expirytime":"${toIso(message.expiresAt)}"`
    if (message.headers !== NO_HEADERS) text += headersOf(message.headers)
    return `${text}}`
  }
}

/** What most messages of a topic have in common, as written between id and time. */
function constantOf(type: string, source: string, contentType: string, version: number | undefined): string {
  const dataVersion = version === undefined ? '' : `,"dataversion":${version}`
  return `,"type":${quoted(type)},"source":${quoted(source)},"datacontenttype":${quoted(contentType)}${dataVersion}${TIME}`
}

function toIso(time: number): string {
  const date = new Date(time)
  return Number.isNaN(date.getTime()) ? new Date(0).toISOString() : date.toISOString()
}

function headersOf(headers: Headers): string {
  const json = JSON.stringify(headers)
  return json === '{}' ? '' : `,"headers":${json}`
}

interface Constant {
  readonly text: string
  readonly type: string
  readonly source: string
  readonly contentType: string
  readonly version: number | undefined
}

const KEY = ',"partitionkey":"'
const CORRELATION = ',"correlationid":"'
const CAUSATION = ',"causationid":"'
const COMMA = 44
const QUOTE = 34
const BRACE = 125

/**
 * Reads envelopes. Most messages of a topic differ only in id, time, key and conversation: those are cut out by hand,
 * and the rest is compared with the last one. Anything else goes through `JSON.parse`.
 */
export class EnvelopeReader {
  #constant: Constant = { text: '\0', type: '', source: '', contentType: '', version: undefined }
  #iso = ''
  #time = 0

  /** Undefined for a foreign envelope. */
  read(text: string, topic: string, body: Uint8Array): EncodedMessage | undefined {
    return this.#quick(text, topic, body) ?? this.#slow(text, topic, body)
  }

  #quick(text: string, topic: string, body: Uint8Array): EncodedMessage | undefined {
    const constant = this.#constant
    if (!text.startsWith(START_QUOTE)) return undefined
    let at = text.indexOf('"', START_QUOTE.length) + 1
    if (!text.startsWith(constant.text, at) || text.includes('\\')) return undefined
    const id = text.slice(START_QUOTE.length, at - 1)
    at += constant.text.length
    const iso = text.slice(at, at + ISO_LENGTH)
    if (text.charCodeAt(at + ISO_LENGTH) !== QUOTE) return undefined
    at += ISO_LENGTH + 1
    let key: string | undefined
    let correlationId: string | undefined
    let causationId: string | undefined
    while (text.charCodeAt(at) === COMMA) {
      // The three that nearly every message has, in the order in which they are written.
      const name = text.startsWith(CORRELATION, at) ? CORRELATION : text.startsWith(KEY, at) ? KEY : CAUSATION
      if (name === CAUSATION && !text.startsWith(CAUSATION, at)) return undefined
      const end = text.indexOf('"', at + name.length)
      if (end < 0) return undefined
      const value = text.slice(at + name.length, end)
      if (name === CORRELATION) correlationId = value
      else if (name === KEY) key = value
      else causationId = value
      at = end + 1
    }
    if (text.charCodeAt(at) !== BRACE || at !== text.length - 1) return undefined
    if (iso !== this.#iso) {
      const time = Date.parse(iso)
      if (Number.isNaN(time)) return undefined
      this.#iso = iso
      this.#time = time
    }
    return {
      id,
      topic,
      type: constant.type,
      source: constant.source,
      time: this.#time,
      key,
      contentType: constant.contentType,
      subject: undefined,
      dataSchema: undefined,
      version: constant.version,
      correlationId,
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
    const id = stringOf(parsed['id'])
    const type = stringOf(parsed['type'])
    const source = stringOf(parsed['source'])
    if (id === undefined || type === undefined || source === undefined) return undefined
    const contentType = stringOf(parsed['datacontenttype']) ?? ''
    const version = typeof parsed['dataversion'] === 'number' ? parsed['dataversion'] : undefined
    this.#learn(text, type, source, contentType, version)
    return {
      id,
      topic,
      type,
      source,
      time: instant(parsed['time']) ?? 0,
      key: stringOf(parsed['partitionkey']),
      contentType,
      subject: stringOf(parsed['subject']),
      dataSchema: stringOf(parsed['dataschema']),
      version,
      correlationId: stringOf(parsed['correlationid']),
      causationId: stringOf(parsed['causationid']),
      traceparent: stringOf(parsed['traceparent']),
      tracestate: stringOf(parsed['tracestate']),
      expiresAt: instant(parsed['expirytime']),
      headers: toHeaders(parsed['headers']),
      body,
    }
  }

  /** Without a backslash in the text a quote certainly ends a value, so the part between can be compared as it is. */
  #learn(text: string, type: string, source: string, contentType: string, version: number | undefined): void {
    if (!text.startsWith(START_QUOTE) || text.includes('\\')) return
    const from = text.indexOf('"', START_QUOTE.length) + 1
    const constant = constantOf(type, source, contentType, version)
    if (text.startsWith(constant, from)) this.#constant = { text: constant, type, source, contentType, version }
  }
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
