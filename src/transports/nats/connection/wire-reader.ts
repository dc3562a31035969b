import type { NatsConnection, Subscription } from '@nats-io/transport-node'
import { Incoming } from './incoming.ts'

const LINE_FEED = 10
const UPPER_H = 72
const UPPER_M = 77
const SPACE = 32
const ZERO = 48
/** State of the client's parser between two operations. */
const BETWEEN = 0
/**
 * A message cut by the end of a chunk is kept until its rest comes, up to this size; larger ones are left to the
 * client.
 */
const MAX_KEPT_BYTES = 16_384

/** Receives each message of a subscription. Must not keep the object. */
export type Receive = (message: Incoming) => void

/** The client's internals that are not in its types: used only if they exist. */
interface Parser {
  readonly state: number
  parse(bytes: Uint8Array): void
}

interface Reader {
  readonly subscription: Subscription
  readonly receive: Receive
}

/**
 * Reads the messages of our own subscriptions directly from the socket's bytes. Everything else goes to the client's
 * parser, which works byte by byte and creates a dozen objects per message: more than half of what consuming costs.
 */
export class WireReader {
  readonly #readers = new Map<number, Reader>()
  readonly #incoming = new Incoming()
  readonly #failed: (error: unknown) => void
  #parser: Parser
  /** The start of an operation whose rest has not come. */
  #kept: Buffer | undefined
  /** Number of bytes that its rest has; 0: unknown. */
  #missing = 0
  /** Number of following bytes that belong to a message that the client's parser has begun. */
  #owed = 0

  private constructor(parser: Parser, failed: (error: unknown) => void) {
    this.#parser = parser
    this.#failed = failed
  }

  /** Undefined when the client has different internals; its own way is used then. `failed`: a receiver threw. */
  static attach(connection: NatsConnection, failed: (error: unknown) => void): WireReader | undefined {
    const { protocol } = connection as { protocol?: { parser?: Partial<Parser> } }
    const parser = protocol?.parser
    if (protocol === undefined || typeof parser?.parse !== 'function' || parser.state !== BETWEEN) return undefined
    const reader = new WireReader(parser as Parser, failed)
    // The client creates a new one for each connection.
    Object.defineProperty(protocol, 'parser', {
      configurable: true,
      get: () => reader,
      set(next: Parser) {
        reader.#renew(next)
      },
    })
    return reader
  }

  /** From now on messages of the subscription come here instead of its callback. */
  add(subscription: Subscription, receive: Receive): void {
    const id = (subscription as { getID?: () => unknown }).getID?.()
    if (typeof id !== 'number') return
    this.#readers.set(id, { subscription, receive })
    void subscription.closed.then(() => this.#readers.delete(id))
  }

  #renew(parser: Parser): void {
    this.#parser = parser
    this.#kept = undefined
    this.#owed = 0
  }

  /** Called by the client with each chunk of the socket. */
  parse(chunk: Uint8Array): void {
    let bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    if (this.#owed > 0) {
      const part = Math.min(this.#owed, bytes.length)
      this.#owed -= part
      this.#parser.parse(bytes.subarray(0, part))
      if (part === bytes.length) return
      bytes = bytes.subarray(part)
    } else if (this.#parser.state !== BETWEEN) {
      // The client was in the middle of an operation when we were attached; it ends with some chunk sooner or later.
      this.#parser.parse(bytes)
      return
    }
    let at = 0
    if (this.#kept !== undefined) {
      // The rest of the chunk need not be copied.
      const missing = this.#missing > 0 && this.#missing <= bytes.length ? this.#missing : bytes.length
      const joined = Buffer.concat([this.#kept, bytes.subarray(0, missing)])
      this.#kept = undefined
      this.#readAll(joined, 0)
      at = missing
    }
    this.#readAll(bytes, at)
  }

  #readAll(bytes: Buffer, start: number): void {
    let at = start
    while (at < bytes.length) {
      const next = this.#operation(bytes, at)
      if (next < 0) return this.#keep(bytes, at, -next)
      at = next
    }
  }

  /**
   * Reads one operation; returns where the next begins, or minus where this one would end (1: unknown) when it is
   * incomplete.
   */
  #operation(bytes: Buffer, at: number): number {
    const lineEnd = bytes.indexOf(LINE_FEED, at)
    if (lineEnd < 0) return -1
    const verb = bytes[at]
    if (verb !== UPPER_M && verb !== UPPER_H) {
      this.#parser.parse(bytes.subarray(at, lineEnd + 1))
      return lineEnd + 1
    }
    // `MSG <subject> <id> [reply] <size>` or `HMSG <subject> <id> [reply] <header size> <size>`
    const hasHeaders = verb === UPPER_H
    const subjectAt = at + (hasHeaders ? 5 : 4)
    const lineStop = lineEnd - 1
    const subjectEnd = spaceFrom(bytes, subjectAt, lineStop)
    const idEnd = spaceFrom(bytes, subjectEnd + 1, lineStop)
    const sizeAt = spaceBefore(bytes, idEnd, lineStop)
    const bodyEnd = lineEnd + 1 + digits(bytes, sizeAt + 1, lineStop)
    const end = bodyEnd + 2
    if (Number.isNaN(end)) return this.#refuse(bytes, at)
    if (end > bytes.length) return -end
    const reader = this.#readers.get(digits(bytes, subjectEnd + 1, idEnd))
    if (reader === undefined) this.#parser.parse(bytes.subarray(at, end))
    else if (!reader.subscription.isClosed()) {
      const incoming = this.#incoming
      let replyEnd = sizeAt
      incoming.bytes = bytes
      incoming.headersAt = lineEnd + 1
      incoming.bodyAt = lineEnd + 1
      incoming.end = bodyEnd
      if (hasHeaders) {
        replyEnd = spaceBefore(bytes, subjectEnd, sizeAt)
        incoming.bodyAt += digits(bytes, replyEnd + 1, sizeAt)
        if (!(incoming.bodyAt <= bodyEnd)) return this.#refuse(bytes, at)
      }
      incoming.subjectAt = subjectAt
      incoming.subjectEnd = subjectEnd
      if (replyEnd > idEnd) {
        incoming.replyAt = idEnd + 1
        incoming.replyEnd = replyEnd
      } else incoming.reply = ''
      try {
        reader.receive(incoming)
      } catch (error) {
        // The client would stop reading permanently.
        this.#failed(error)
      }
    }
    return end
  }

  /** A field of the line is not a number: the client reports that and closes the connection. */
  #refuse(bytes: Buffer, at: number): number {
    this.#parser.parse(bytes.subarray(at))
    return bytes.length
  }

  #keep(bytes: Buffer, at: number, end: number): void {
    const rest = bytes.subarray(at)
    if (Math.max(end - at, rest.length) <= MAX_KEPT_BYTES) {
      this.#kept = rest
      this.#missing = Math.max(0, end - bytes.length)
      return
    }
    // Nothing is owed for a line whose end has not arrived: the client continues in the middle of it.
    this.#owed = Math.max(0, end - bytes.length)
    this.#parser.parse(rest)
  }
}

/** Where the next blank is; `end` if there is none. */
function spaceFrom(bytes: Buffer, start: number, end: number): number {
  let at = start
  while (at < end && bytes[at] !== SPACE) at++
  return at
}

/** Where the last blank before `end` is, from `start` on; `start` if there is none. */
function spaceBefore(bytes: Buffer, start: number, end: number): number {
  let at = end - 1
  while (at > start && bytes[at] !== SPACE) at--
  return at
}

/** NaN if any character is not a digit. */
function digits(bytes: Buffer, start: number, end: number): number {
  let value = 0
  for (let index = start; index < end; index++) {
    const digit = (bytes[index] as number) - ZERO
    if (digit < 0 || digit > 9) return Number.NaN
    value = value * 10 + digit
  }
  return value
}
