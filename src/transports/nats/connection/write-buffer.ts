import { headers as makeHeaders } from '@nats-io/transport-node'
import type { MsgHdrs, NatsConnection } from '@nats-io/transport-node'

/** Fewer, larger writes to the socket cost less. */
const CHUNK_BYTES = 262_144
/** What is written during one turn is sent before it ends, when it is this much: handlers may not yield for long. */
const SEND_AT_BYTES = 32_768
/** Maximum number of chunks that are kept to be used again. */
const MAX_CHUNKS = 4
/** Digits of a size, padded with blanks: so the line can be completed after what follows it was written. */
const SIZE_DIGITS = 8
const ZERO = 48
const SPACE = 32
const CARRIAGE_RETURN = 13
const LINE_FEED = 10
const PUB = Buffer.from('PUB ')

/**
 * The client's internals that accept encoded protocol bytes. They are not in its types, so they are used only if they
 * exist.
 */
interface ByteSink {
  sendCommand(bytes: Uint8Array): void
  flushPending?(): void
  /** What the socket has not got yet. */
  readonly outbound?: { length?(): number }
  readonly transport?: { readonly socket?: { readonly writableLength: number } }
}

/** Where the confirmation of a publish goes: a subject that ends in a number. */
export interface NumberedReply {
  /** With the dot before the number. */
  readonly start: Uint8Array
  number: number
}

/**
 * Writes publishes as protocol text into one buffer, which is sent to the socket once per turn of the event loop, or every
 * 32 KiB. That saves the small buffers and the header object that the client's own `publish` would cost per message.
 */
export class WriteBuffer {
  readonly #connection: NatsConnection
  readonly #bytes: ByteSink | undefined
  #buffer: Buffer = Buffer.alloc(0)
  /** Full chunks that the socket may still be reading; and those that it has read. */
  #sent: Buffer[] = []
  #free: Buffer[] = []
  #socket: object | undefined
  /** Bytes between the two are written but not sent yet. */
  #start = 0
  #end = 0
  #scheduled = false

  constructor(connection: NatsConnection) {
    this.#connection = connection
    const { protocol } = connection as { protocol?: Partial<ByteSink> }
    this.#bytes = typeof protocol?.sendCommand === 'function' ? (protocol as ByteSink) : undefined
  }

  /** A publish without headers; `reply` may be empty. */
  publish(subject: string, reply: string, body: Uint8Array): void {
    if (this.#bytes === undefined) {
      this.#connection.publish(subject, body, reply === '' ? {} : { reply })
      return
    }
    const target = reply === '' ? subject : `${subject} ${reply}`
    // Subjects are ASCII; 40 is room for the verb, a number and line ends.
    const buffer = this.#room(target.length + body.byteLength + 40)
    const at = this.#end + buffer.write(`PUB ${target} ${body.byteLength}\r\n`, this.#end, 'latin1')
    this.#finish(buffer, at, body)
  }

  /** The same, to the subject that is in those bytes. */
  publishTo(subject: Uint8Array, start: number, end: number, reply: string, body: Uint8Array): void {
    if (this.#bytes === undefined) {
      this.publish(Buffer.from(subject.subarray(start, end)).toString('latin1'), reply, body)
      return
    }
    const buffer = this.#room(end - start + reply.length + body.byteLength + 40)
    let at = this.#end
    for (let index = 0; index < PUB.length; index++) buffer[at++] = PUB[index] as number
    for (let index = start; index < end; index++) buffer[at++] = subject[index] as number
    buffer[at++] = SPACE
    if (reply !== '') at += buffer.write(`${reply} `, at, 'latin1')
    at = writeNumber(buffer, at, body.byteLength)
    buffer[at++] = CARRIAGE_RETURN
    buffer[at++] = LINE_FEED
    this.#finish(buffer, at, body)
  }

  /**
   * A publish with headers: the first part of their block as bytes, the rest as text; `target` is `HPUB <subject> `,
   * see `Subjects.target`. Returns the size of headers and body; nothing is written when that is more than `most`.
   */
  publishBlock(
    target: Uint8Array,
    reply: NumberedReply | undefined,
    common: Uint8Array,
    rest: string,
    body: Uint8Array,
    most: number,
  ): number {
    if (this.#bytes === undefined) return this.#publishThroughApi(target, reply, common, rest, body, most)
    // A UTF-16 unit takes three bytes at most; 60 is room for three numbers, blanks and line ends.
    const replyBytes = reply?.start.length ?? 0
    const room = target.length + replyBytes + common.length + 3 * rest.length + body.byteLength + 60
    const buffer = this.#room(room)
    let at = this.#end
    buffer.set(target, at)
    at += target.length
    if (reply !== undefined) {
      buffer.set(reply.start, at)
      at = writeNumber(buffer, at + replyBytes, reply.number)
      buffer[at++] = SPACE
    }
    const sizesAt = at
    at += 2 * SIZE_DIGITS + 3
    buffer.set(common, at)
    at += common.length
    at += buffer.write(rest, at, 'utf8')
    const headerBytes = at - sizesAt - 2 * SIZE_DIGITS - 3
    const total = headerBytes + body.byteLength
    if (total > most) return total
    writeSize(buffer, sizesAt, headerBytes)
    buffer[sizesAt + SIZE_DIGITS] = SPACE
    writeSize(buffer, sizesAt + SIZE_DIGITS + 1, total)
    buffer[sizesAt + 2 * SIZE_DIGITS + 1] = CARRIAGE_RETURN
    buffer[sizesAt + 2 * SIZE_DIGITS + 2] = LINE_FEED
    this.#finish(buffer, at, body)
    return total
  }

  #finish(buffer: Buffer, bodyAt: number, body: Uint8Array): void {
    if (body.byteLength > 0) buffer.set(body, bodyAt)
    const end = bodyAt + body.byteLength
    buffer[end] = CARRIAGE_RETURN
    buffer[end + 1] = LINE_FEED
    this.#end = end + 2
    if (this.#end - this.#start >= SEND_AT_BYTES) return this.#send()
    if (this.#scheduled) return
    this.#scheduled = true
    // Not in a microtask: what one read brings in is settled over several, and each would cost a write.
    setImmediate(() => {
      this.#scheduled = false
      this.flush()
    })
  }

  /** Passes everything so far to the client. */
  flush(): void {
    if (this.#end === this.#start) return
    const part = this.#buffer.subarray(this.#start, this.#end)
    this.#start = this.#end
    this.#bytes?.sendCommand(part)
  }

  #send(): void {
    this.flush()
    // Otherwise the client would collect several parts and copy them into one.
    this.#bytes?.flushPending?.()
  }

  /** Drops what was not sent: the session has ended, and what must arrive is written again in the next one. */
  discard(): void {
    this.#start = this.#end
  }

  #room(bytes: number): Buffer {
    if (this.#end + bytes <= this.#buffer.length) return this.#buffer
    this.#send()
    this.#buffer = this.#nextChunk(bytes)
    this.#start = 0
    this.#end = 0
    return this.#buffer
  }

  /** A chunk is used again when the socket has read it: allocating them would cost more than all else done here. */
  #nextChunk(bytes: number): Buffer {
    const { transport, outbound } = this.#bytes ?? {}
    const socket = transport?.socket
    if (socket === undefined || socket !== this.#socket) {
      // The socket before may still be reading what it had.
      this.#socket = socket
      this.#sent = []
      this.#free = []
    } else if (this.#buffer.length === CHUNK_BYTES && this.#sent.length + this.#free.length < MAX_CHUNKS)
      this.#sent.push(this.#buffer)
    if (socket?.writableLength === 0 && outbound?.length?.() === 0) this.#free.push(...this.#sent.splice(0))
    if (bytes > CHUNK_BYTES) return Buffer.allocUnsafeSlow(bytes)
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(CHUNK_BYTES)
  }

  #publishThroughApi(
    target: Uint8Array,
    reply: NumberedReply | undefined,
    common: Uint8Array,
    rest: string,
    body: Uint8Array,
    most: number,
  ): number {
    const block = Buffer.from(common).toString() + rest
    const total = Buffer.byteLength(block) + body.byteLength
    if (total > most) return total
    const subject = Buffer.from(target).toString().split(' ')[1] as string
    this.#connection.publish(subject, body, {
      headers: parse(block),
      ...(reply === undefined ? {} : { reply: `${Buffer.from(reply.start).toString()}${reply.number}` }),
    })
    return total
  }
}

function writeNumber(buffer: Buffer, at: number, value: number): number {
  let digits = 1
  for (let rest = value; rest >= 10; rest = Math.floor(rest / 10)) digits++
  for (let index = at + digits - 1, rest = value; index >= at; index--, rest = Math.floor(rest / 10))
    buffer[index] = ZERO + (rest % 10)
  return at + digits
}

function writeSize(buffer: Buffer, at: number, value: number): void {
  let rest = value
  let index = at + SIZE_DIGITS - 1
  for (; rest > 0; index--, rest = Math.floor(rest / 10)) buffer[index] = ZERO + (rest % 10)
  for (; index >= at; index--) buffer[index] = SPACE
}

function parse(block: string): MsgHdrs {
  const parsed = makeHeaders()
  for (const line of block.split('\r\n').slice(1)) {
    const colon = line.indexOf(':')
    if (colon > 0) parsed.append(line.slice(0, colon), line.slice(colon + 2))
  }
  return parsed
}
