import type { Msg } from '@nats-io/transport-node'

const NO_BYTES: Uint8Array = new Uint8Array(0)
/** `NATS/1.0 ` comes before a status. */
const STATUS_AT = 9
const SPACE = 32
/** Number of subjects that are remembered: those of the partitions of some topics. A power of two. */
const KNOWN = 64

/**
 * One incoming message. The same object is reused for the next one: receivers copy what they need and keep no
 * reference.
 */
export class Incoming {
  /** Where the subject and the reply are in `bytes`; -1: nowhere, they are known as text. */
  subjectAt = -1
  subjectEnd = -1
  replyAt = -1
  replyEnd = -1
  /** The header block (from `NATS/1.0` to the empty line; empty without headers), then the body. */
  bytes: Buffer = Buffer.alloc(0)
  headersAt = 0
  bodyAt = 0
  end = 0
  #subject = ''
  #reply = ''
  /** Subjects of earlier messages, by a hash of their bytes. */
  readonly #known: string[] = Array.from({ length: KNOWN }, () => '')

  /** Most messages have the subject of the last one, or of one not long ago: it is the same string then. */
  get subject(): string {
    const { subjectAt, subjectEnd } = this
    if (subjectAt >= 0 && !isAt(this.bytes, subjectAt, subjectEnd, this.#subject))
      this.#subject = this.#recall(subjectAt, subjectEnd)
    return this.#subject
  }

  #recall(start: number, end: number): string {
    const { bytes } = this
    let hash = 0
    for (let index = start; index < end; index++) hash = (Math.imul(hash, 31) + (bytes[index] as number)) | 0
    const slot = (hash ^ (hash >>> 16)) & (KNOWN - 1)
    const known = this.#known[slot] as string
    return isAt(bytes, start, end, known) ? known : (this.#known[slot] = toText(bytes.toString('latin1', start, end)))
  }

  set subject(text: string) {
    this.subjectAt = -1
    this.#subject = text
  }

  get reply(): string {
    return this.replyAt < 0 ? this.#reply : this.bytes.toString('latin1', this.replyAt, this.replyEnd)
  }

  set reply(text: string) {
    this.replyAt = -1
    this.#reply = text
  }

  get body(): Uint8Array {
    return this.bodyAt === this.end ? NO_BYTES : this.bytes.subarray(this.bodyAt, this.end)
  }

  /** The body as text, for ASCII such as the server's own messages. */
  get text(): string {
    return this.bytes.toString('latin1', this.bodyAt, this.end)
  }

  /** Size of headers and body. */
  get size(): number {
    return this.end - this.headersAt
  }

  /** The header block, without its first `from` bytes. */
  block(from = 0): string {
    return this.bytes.toString('utf8', this.headersAt + from, this.bodyAt)
  }

  /** 404 for `NATS/1.0 404 No Messages`; 0 for a message. */
  get status(): number {
    const at = this.headersAt + STATUS_AT
    if (at > this.bodyAt || this.bytes[at - 1] !== SPACE) return 0
    const code = Number(this.bytes.toString('latin1', at, at + 3))
    return Number.isInteger(code) ? code : 0
  }

  /** `No Messages` in the example above. */
  get description(): string {
    const block = this.block()
    return block.slice(STATUS_AT + 3, block.indexOf('\r\n')).trim()
  }

  /** The value of a header; empty when there is none. */
  header(name: string): string {
    const block = this.block()
    const start = block.indexOf(`\r\n${name}:`)
    if (start < 0) return ''
    const valueAt = start + name.length + 3
    return block.slice(valueAt, block.indexOf('\r\n', valueAt)).trim()
  }

  /** Takes a message that the client library has already parsed. */
  take(native: Msg): void {
    const { data, reply } = native
    this.subject = native.subject
    this.reply = reply ?? ''
    const whole = wholeOf(native)
    this.bytes = whole
    this.headersAt = 0
    this.bodyAt = whole.length - data.byteLength
    this.end = whole.length
  }
}

/**
 * Headers and body as received. The client's own `headers` trims values; but the block is right before the body, and
 * everything needed to find it is public. If that ever does not hold, the block is assembled again.
 */
function wholeOf(native: Msg): Buffer {
  const { data, headers } = native
  if (headers === undefined) return Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  const size = (native as { size?: () => number }).size?.call(native) ?? 0
  const length = size - native.subject.length - (native.reply?.length ?? 0) - data.byteLength
  if (length > 0 && data.byteOffset >= length) {
    const whole = Buffer.from(data.buffer, data.byteOffset - length, length + data.byteLength)
    if (whole[0] === 0x4e && whole[4] === 0x2f && whole[length - 1] === 0x0a) return whole
  }
  let block = headers.code > 0 ? `NATS/1.0 ${headers.code} ${headers.description}` : 'NATS/1.0'
  for (const [name, values] of headers) for (const value of values) block += `\r\n${name}: ${value}`
  return Buffer.concat([Buffer.from(`${block}\r\n\r\n`), data])
}

function isAt(bytes: Buffer, start: number, end: number, text: string): boolean {
  if (end - start !== text.length) return false
  // The end differs first.
  for (let index = text.length - 1; index >= 0; index--)
    if (bytes[start + index] !== text.charCodeAt(index)) return false
  return true
}

/** Subjects of other programs may contain more than ASCII. */
function toText(latin1: string): string {
  return /^[\x20-\x7e]*$/.test(latin1) ? latin1 : Buffer.from(latin1, 'latin1').toString('utf8')
}
