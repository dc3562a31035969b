import type { Msg } from '@nats-io/transport-node'

const NO_BYTES: Uint8Array = new Uint8Array(0)
/** `NATS/1.0 ` comes before a status. */
const STATUS_AT = 9

/** One message as it came. The same object is used for the next one: whoever receives it takes what is needed and lets go. */
export class Incoming {
  subject = ''
  reply = ''
  /** The header block from `NATS/1.0` to the empty line; empty without headers. */
  block = ''
  /** Size of the header block. */
  headerBytes = 0
  /** The body lies between `start` and `end` of these. */
  bytes: Buffer = Buffer.alloc(0)
  start = 0
  end = 0

  get body(): Uint8Array {
    return this.start === this.end ? NO_BYTES : this.bytes.subarray(this.start, this.end)
  }

  /** The body as text, of something that is ASCII: what the server says. */
  get text(): string {
    return this.bytes.toString('latin1', this.start, this.end)
  }

  /** 404 of `NATS/1.0 404 No Messages`; 0 for a message. */
  get status(): number {
    const { block } = this
    if (block.charCodeAt(STATUS_AT - 1) !== 32) return 0
    const code = Number(block.slice(STATUS_AT, STATUS_AT + 3))
    return Number.isInteger(code) ? code : 0
  }

  /** `No Messages` of the same. */
  get description(): string {
    return this.block.slice(STATUS_AT + 3, this.block.indexOf('\r\n')).trim()
  }

  /** The value of a header; empty when there is none. */
  header(name: string): string {
    const start = this.block.indexOf(`\r\n${name}:`)
    if (start < 0) return ''
    const valueAt = start + name.length + 3
    return this.block.slice(valueAt, this.block.indexOf('\r\n', valueAt)).trim()
  }

  /** What the client library has read already. */
  take(native: Msg): void {
    const { data, headers, reply } = native
    this.subject = native.subject
    this.reply = reply ?? ''
    this.bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
    this.start = 0
    this.end = data.byteLength
    this.block = headers === undefined ? '' : headerBlock(native, data)
    this.headerBytes = this.block === '' ? 0 : Buffer.byteLength(this.block)
  }
}

/**
 * The header block as it came. The client's own `headers` cuts blanks off values; but the block lies right before the body,
 * and everything that is needed to find it is public. Should that ever not hold, it is put together from `headers` again.
 */
function headerBlock(native: Msg, body: Uint8Array): string {
  const size = (native as { size?: () => number }).size?.call(native) ?? 0
  const length = size - native.subject.length - (native.reply?.length ?? 0) - body.byteLength
  if (length > 0 && body.byteOffset >= length) {
    const block = Buffer.from(body.buffer, body.byteOffset - length, length)
    if (block[0] === 0x4e && block[4] === 0x2f && block[length - 1] === 0x0a) return block.toString('utf8')
  }
  const { headers } = native
  if (headers === undefined) return ''
  let block = headers.code > 0 ? `NATS/1.0 ${headers.code} ${headers.description}` : 'NATS/1.0'
  for (const [name, values] of headers) for (const value of values) block += `\r\n${name}: ${value}`
  return `${block}\r\n\r\n`
}
