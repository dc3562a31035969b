import { headers as makeHeaders } from '@nats-io/transport-node'
import type { MsgHdrs, NatsConnection } from '@nats-io/transport-node'

const CHUNK_BYTES = 65_536

/** The way into the client that takes ready protocol bytes. It is not in its types, so it is looked for and not relied on. */
interface ByteSink {
  sendCommand(bytes: Uint8Array): void
}

/**
 * Writes publishes as protocol text into one buffer, which goes to the socket once per turn. That saves the several small
 * buffers and the header object that each message would cost through the client's own `publish`.
 */
export class Outbox {
  readonly #connection: NatsConnection
  readonly #bytes: ByteSink | undefined
  #buffer: Buffer = Buffer.alloc(0)
  /** What lies between the two is written and not yet sent. */
  #start = 0
  #end = 0
  #scheduled = false

  constructor(connection: NatsConnection) {
    this.#connection = connection
    const { protocol } = connection as { protocol?: Partial<ByteSink> }
    this.#bytes = typeof protocol?.sendCommand === 'function' ? (protocol as ByteSink) : undefined
  }

  /** `headers`: the whole block from `NATS/1.0` to the empty line, or empty for none. */
  publish(subject: string, reply: string, headers: string, body: Uint8Array): void {
    const headerBytes = headers === '' ? 0 : Buffer.byteLength(headers)
    this.publishSized(subject, reply, headers, headerBytes, body)
  }

  /** Same, for a caller that has measured the headers already. */
  publishSized(subject: string, reply: string, headers: string, headerBytes: number, body: Uint8Array): void {
    if (this.#bytes === undefined) return this.#publishThroughApi(subject, reply, headers, body)
    const target = reply === '' ? subject : `${subject} ${reply}`
    const total = headerBytes + body.byteLength
    // Subjects are ASCII; 40 is room for the verb, two numbers and line ends.
    const buffer = this.#room(target.length + total + 40)
    let at = this.#end
    if (headerBytes === 0) at += buffer.write(`PUB ${target} ${total}\r\n`, at, 'latin1')
    else if (headerBytes === headers.length)
      at += buffer.write(`HPUB ${target} ${headerBytes} ${total}\r\n${headers}`, at, 'latin1')
    else at += buffer.write(`HPUB ${target} ${headerBytes} ${total}\r\n${headers}`, at, 'utf8')
    buffer.set(body, at)
    at += body.byteLength
    buffer[at] = 13
    buffer[at + 1] = 10
    this.#end = at + 2
    this.#schedule()
  }

  /** Everything so far goes to the client now. */
  flush(): void {
    if (this.#end === this.#start) return
    const part = this.#buffer.subarray(this.#start, this.#end)
    this.#start = this.#end
    this.#bytes?.sendCommand(part)
  }

  /** Forgets what was not sent: the session is gone, and what must arrive is written again in the next one. */
  discard(): void {
    this.#start = this.#end
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      this.flush()
    })
  }

  #room(bytes: number): Buffer {
    if (this.#end + bytes <= this.#buffer.length) return this.#buffer
    this.flush()
    // A new one each time: the socket may still be reading the old one.
    this.#buffer = Buffer.allocUnsafeSlow(Math.max(CHUNK_BYTES, bytes))
    this.#start = 0
    this.#end = 0
    return this.#buffer
  }

  #publishThroughApi(subject: string, reply: string, headers: string, body: Uint8Array): void {
    this.#connection.publish(subject, body, {
      ...(reply === '' ? {} : { reply }),
      ...(headers === '' ? {} : { headers: parse(headers) }),
    })
  }
}

function parse(block: string): MsgHdrs {
  const parsed = makeHeaders()
  for (const line of block.split('\r\n').slice(1)) {
    const colon = line.indexOf(':')
    if (colon > 0) parsed.append(line.slice(0, colon), line.slice(colon + 2))
  }
  return parsed
}
