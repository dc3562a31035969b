// Not the global, which is a getter: it would be called three times for each message.
import { Buffer } from 'node:buffer'
import { CodecError } from './errors.ts'
import { describe } from './util/options-reader.ts'
import type { OptionsReader } from './util/options-reader.ts'

/** Encodes data to bytes and decodes it. Stateless. Throws `CodecError`. */
export interface Codec {
  /** The message's `datacontenttype`. */
  readonly contentType: string
  /** Returns the bytes of the data. */
  encode(data: unknown): Uint8Array
  /** Returns the data of the bytes. */
  decode(body: Uint8Array): unknown
  readonly async?: undefined
}

/**
 * A codec that has to wait: for a key of its key store, or for a schema of its registry. Otherwise like `Codec`: the promises
 * reject with a `CodecError` for data or bytes that are wrong. Any other error of `decode` may pass, such as a registry that does
 * not answer: the attempt has failed, and the message is retried like after an error of its handler. Messages of one topic are published in the order of the calls although their codec takes its time,
 * and data is decoded before the handler starts, up to 32 messages of a batch at once.
 *
 * `data()` of a dead letter throws a `CodecError` for it: read `message.body` there.
 */
export interface AsyncCodec {
  readonly async: true
  readonly contentType: string
  /** Resolves with the bytes of the data. */
  encode(data: unknown): Promise<Uint8Array>
  /** Resolves with the data of the bytes. */
  decode(body: Uint8Array): Promise<unknown>
}

/** The same memory as a Buffer, which has Node's fastest UTF-8 decoder. */
function view(body: Uint8Array): Buffer {
  return Buffer.isBuffer(body) ? body : Buffer.from(body.buffer, body.byteOffset, body.byteLength)
}

// TextDecoder with `fatal` refuses bytes that are not UTF-8; Buffer would silently insert replacement characters.
const strictUtf8 = new TextDecoder('utf-8', { fatal: true })

function decodeText(body: Uint8Array): string {
  // No encoding means UTF-8. Its name would be looked up for each message.
  const text = view(body).toString()
  if (!text.includes('\ufffd')) return text
  try {
    return strictUtf8.decode(body)
  } catch (error) {
    throw new CodecError('The body is not valid UTF-8', { cause: error })
  }
}

/** Where JSON would meet the first BigInt, if there is one. */
function pathOfBigInt(data: unknown): string | undefined {
  const paths = new Map<unknown, string>()
  let found: string | undefined
  try {
    JSON.stringify(data, function (this: unknown, name: string, value: unknown): unknown {
      const parent = paths.get(this) ?? ''
      const path = parent === '' ? name : `${parent}.${name}`
      if (typeof value === 'bigint') found ??= path === '' ? 'it' : path
      paths.set(value, path)
      return value
    })
  } catch {
    // As before: the caller reports it.
  }
  return found
}

/** `application/json`, UTF-8. The default for everything but `Uint8Array`. */
export const jsonCodec: Codec = Object.freeze({
  contentType: 'application/json',
  encode(data: unknown): Uint8Array {
    let text: string | undefined
    try {
      text = JSON.stringify(data)
    } catch (error) {
      const path = pathOfBigInt(data)
      const reason = error instanceof Error ? error.message : String(error)
      const problem = path === undefined ? reason : `${path} is a BigInt: publish it as a string`
      throw new CodecError(`The data can't be written as JSON: ${problem}`, { cause: error })
    }
    if (text === undefined) {
      const problem =
        data === undefined
          ? 'it is undefined: is the data argument missing? Publish null if there is no data'
          : `a ${typeof data} has no JSON form; publish null or an object instead`
      throw new CodecError(`The data can't be written as JSON: ${problem}`)
    }
    return Buffer.from(text, 'utf8')
  },
  decode(body: Uint8Array): unknown {
    try {
      return JSON.parse(decodeText(body))
    } catch (error) {
      if (CodecError.is(error)) throw error
      throw new CodecError(
        `The body is not valid JSON (${body.byteLength} bytes): ${error instanceof Error ? error.message : String(error)}`,
        { cause: error },
      )
    }
  },
})

/** `text/plain`, UTF-8: strings in, strings out. */
export const textCodec: Codec = Object.freeze({
  contentType: 'text/plain; charset=utf-8',
  encode(data: unknown): Uint8Array {
    if (typeof data !== 'string') throw new CodecError(`The text codec takes a string, got ${typeof data}`)
    return Buffer.from(data, 'utf8')
  },
  decode: decodeText,
})

/** `application/octet-stream`: bytes in, the same bytes out, without copying. */
export const bytesCodec: Codec = Object.freeze({
  contentType: 'application/octet-stream',
  encode(data: unknown): Uint8Array {
    if (!(data instanceof Uint8Array)) throw new CodecError(`The bytes codec takes a Uint8Array, got ${typeof data}`)
    return data
  },
  decode(body: Uint8Array): unknown {
    return body
  },
})

/** The option `codecs`. */
export function readCodecs(reader: OptionsReader): readonly (Codec | AsyncCodec)[] {
  const codecs = reader.list('codecs') as readonly (Codec | AsyncCodec)[]
  for (const [index, codec] of codecs.entries()) {
    const { contentType, encode, decode } = (codec ?? {}) as Partial<Codec | AsyncCodec>
    if (typeof contentType !== 'string' || typeof encode !== 'function' || typeof decode !== 'function')
      reader.problem(
        `codecs.${index}`,
        `must be an object with contentType, encode() and decode(), got ${describe(codec)}`,
      )
  }
  return codecs
}

/** Picks a codec by content type. The given codecs take precedence over the built-in ones. */
export class CodecRegistry {
  readonly #byType = new Map<string, Codec | AsyncCodec>()
  /** True when a body may have to be decoded by an asynchronous codec. */
  readonly hasAsync: boolean

  constructor(codecs: readonly (Codec | AsyncCodec)[] = []) {
    for (const codec of [bytesCodec, textCodec, jsonCodec, ...codecs])
      this.#byType.set(essence(codec.contentType), codec)
    this.hasAsync = codecs.some((codec) => codec.async === true)
  }

  /** The codec for data without an explicit codec. */
  forData(data: unknown): Codec {
    return data instanceof Uint8Array ? bytesCodec : jsonCodec
  }

  /** The codec that decodes a content type. An empty content type (a foreign message) is read as JSON. */
  forContentType(contentType: string): Codec | AsyncCodec {
    // Common content types match here without parsing.
    const exact = this.#byType.get(contentType)
    if (exact !== undefined) return exact
    const type = essence(contentType)
    const known = this.#byType.get(type)
    if (known !== undefined) return known
    if (type === '' || type.endsWith('+json')) return jsonCodec
    if (type.startsWith('text/')) return textCodec
    throw new CodecError(
      `No codec for content type "${contentType}": pass one in createBus({ codecs: [...] }), or read message.body`,
    )
  }
}

/** `Text/Plain; charset=x` -> `text/plain`. */
function essence(contentType: string): string {
  const end = contentType.indexOf(';')
  return (end < 0 ? contentType : contentType.slice(0, end)).trim().toLowerCase()
}
