import type { CodecRegistry } from '../codec.ts'
import { unknownForm } from '../compact-envelope.ts'
import { CodecError } from '../errors.ts'
import type { EncodedMessage, Headers, Message } from '../message.ts'

/** A delivered message. Decodes its body when `data` is first read, and caches the result or the error. */
export class IncomingMessage implements Message {
  readonly encoded: EncodedMessage
  readonly #codecs: CodecRegistry
  #decoded = false
  #data: unknown = undefined
  /** Set when the body can't be decoded. A handler that fails with this error is not retried. */
  decodeError: unknown = undefined
  /** Set when the data does not match the consumer's schema. A handler that fails with this error is not retried. */
  invalidError: unknown = undefined

  constructor(encoded: EncodedMessage, codecs: CodecRegistry) {
    this.encoded = encoded
    this.#codecs = codecs
  }

  get data(): unknown {
    if (!this.#decoded) {
      const decoding = this.decode()
      if (decoding !== undefined) {
        decoding.catch(() => {})
        throw new CodecError(
          `The codec for "${this.encoded.contentType}" is asynchronous: only handlers can read data, others read the body`,
        )
      }
    }
    return this.#data
  }

  /** Decodes now, unless that is done. Throws, or rejects with, the error that `data` throws from then on. */
  decode(): Promise<void> | undefined {
    if (this.#decoded) return undefined
    if (this.decodeError !== undefined) throw this.decodeError
    try {
      const problem = unknownForm(this.encoded)
      if (problem !== undefined) throw new CodecError(problem)
      if (this.encoded.body === null) {
        this.replaceData(null)
        return undefined
      }
      const codec = this.#codecs.forContentType(this.encoded.contentType)
      const data: unknown = codec.decode(this.encoded.body)
      if (codec.async === true) return this.#decodeLater(data)
      this.replaceData(data)
      return undefined
    } catch (error) {
      this.decodeError = error
      throw error
    }
  }

  async #decodeLater(decoding: unknown): Promise<void> {
    try {
      this.replaceData(await decoding)
    } catch (error) {
      // Anything else may pass: its key store or registry was away.
      if (CodecError.is(error)) this.decodeError = error
      throw error
    }
  }

  /** Drops the decoded data: a handler may have changed it, and the next attempt must see the published data. */
  decodeAgain(): void {
    this.#decoded = false
    this.#data = undefined
  }

  /** Sets the data: what was decoded, or the output of the schema. */
  replaceData(data: unknown): void {
    this.#data = data
    this.#decoded = true
  }

  get id(): string {
    return this.encoded.id
  }
  get topic(): string {
    return this.encoded.topic
  }
  get type(): string {
    return this.encoded.type
  }
  get source(): string {
    return this.encoded.source
  }
  get time(): Date {
    return new Date(this.encoded.time)
  }
  get key(): string | undefined {
    return this.encoded.key
  }
  get contentType(): string {
    return this.encoded.contentType
  }
  get subject(): string | undefined {
    return this.encoded.subject
  }
  get dataSchema(): string | undefined {
    return this.encoded.dataSchema
  }
  get version(): number | undefined {
    return this.encoded.version
  }
  get correlationId(): string | undefined {
    return this.encoded.correlationId
  }
  get causationId(): string | undefined {
    return this.encoded.causationId
  }
  get traceparent(): string | undefined {
    return this.encoded.traceparent
  }
  get tracestate(): string | undefined {
    return this.encoded.tracestate
  }
  get expiresAt(): Date | undefined {
    return this.encoded.expiresAt === undefined ? undefined : new Date(this.encoded.expiresAt)
  }
  get headers(): Headers {
    return this.encoded.headers
  }
  get body(): Uint8Array | null {
    return this.encoded.body
  }
}
