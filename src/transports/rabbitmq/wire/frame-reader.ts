import type { Channel } from 'amqplib'
import { IncomingMessage } from './incoming-message.ts'
import { DeliveryDecoder, frameSize, isDelivery } from './delivery-decoder.ts'

type Sink = (arrival: IncomingMessage) => void

/** The reading part of amqplib's connection. */
interface Reading {
  rest: Buffer
  recvSinceLastCheck: boolean
  /** 0 or missing: no limit. */
  readonly maxFrameSize?: number
  readonly stream: { read(): Buffer | null }
  recvFrame: () => unknown
}

const METHOD = 1
const HEADER = 2
const BODY = 3
const HEAD = 7
const FRAME_END = 0xce

/** A delivery whose body is incomplete. */
interface Pending {
  readonly sink: Sink
  readonly arrival: IncomingMessage
  readonly parts: Buffer[]
  left: number
}

const taps = new WeakMap<object, FrameReader>()

/**
 * Sees the frames of a connection before the client library does, and takes out those of plain deliveries, which it
 * reads itself. Everything else, including every other delivery, goes to the library in the same order.
 */
export class FrameReader {
  readonly #connection: Reading
  readonly #library: () => unknown
  readonly #sinks = new Map<number, Sink>()
  readonly #pending = new Map<number, Pending>()
  readonly #arrival = new IncomingMessage()
  readonly #frames = new DeliveryDecoder(this.#arrival)

  private constructor(connection: Reading) {
    this.#connection = connection
    this.#library = connection.recvFrame.bind(connection)
    connection.recvFrame = () => this.#next()
  }

  /**
   * Passes the deliveries of a channel to `sink`; the arrival is valid only during the call. False when the library has
   * different internals.
   */
  static on(channel: Channel, sink: Sink): boolean {
    const { ch, connection } = channel as unknown as { ch?: unknown; connection?: Partial<Reading> }
    if (typeof ch !== 'number' || connection === undefined || !isReading(connection)) return false
    let tap = taps.get(connection)
    if (tap === undefined) {
      tap = new FrameReader(connection)
      taps.set(connection, tap)
    }
    tap.#sinks.set(ch, sink)
    channel.once('close', () => {
      tap.#sinks.delete(ch)
      tap.#pending.delete(ch)
    })
    return true
  }

  /** The next frame for the library, as `recvFrame` returns it; false when there is none yet. */
  #next(): unknown {
    const connection = this.#connection
    for (;;) {
      const bytes = connection.rest
      const at = this.#takeFrom(bytes)
      if (at > 0) connection.rest = bytes.subarray(at)
      const { rest } = connection
      // The library refuses what is larger than agreed: waiting for the rest of it would be pointless.
      if (this.#isTooLarge(rest, 0) || (frameSize(rest, 0) > 0 && !this.#isMine(rest))) return this.#library()
      const incoming = connection.stream.read()
      if (incoming === null) return false
      connection.recvSinceLastCheck = true
      connection.rest = rest.length === 0 ? incoming : Buffer.concat([rest, incoming])
    }
  }

  /** A delivery whose header is missing must wait: the library would take its first half. */
  #isMine(bytes: Buffer): boolean {
    const number = bytes.readUInt16BE(1)
    if (bytes[0] !== METHOD || !this.#sinks.has(number) || !isDelivery(bytes, 0)) return false
    const header = frameSize(bytes, 0)
    return frameSize(bytes, header) === 0 && !this.#isTooLarge(bytes, header)
  }

  #isTooLarge(bytes: Buffer, at: number): boolean {
    const { maxFrameSize = 0 } = this.#connection
    return maxFrameSize > 0 && bytes.length >= at + HEAD && bytes.readUInt32BE(at + 3) > maxFrameSize
  }

  /** Takes what it can; returns where the first frame begins that it did not take. */
  #takeFrom(bytes: Buffer): number {
    let at = 0
    for (let size = frameSize(bytes, at); size > 0; size = frameSize(bytes, at)) {
      const number = bytes.readUInt16BE(at + 1)
      const type = bytes[at]
      const pending = this.#pending.size === 0 ? undefined : this.#pending.get(number)
      if (pending !== undefined && type === BODY) this.#body(number, pending, bytes, at, size)
      else {
        const sink = type === METHOD ? this.#sinks.get(number) : undefined
        if (sink === undefined || !isDelivery(bytes, at)) return at
        const taken = this.#delivery(number, sink, bytes, at, size)
        if (taken === 0) return at
        at = taken
        continue
      }
      at += size
    }
    return at
  }

  /** Returns where the next frame begins; 0 when this delivery is left to the library. */
  #delivery(number: number, sink: Sink, bytes: Buffer, from: number, size: number): number {
    const header = from + size
    const headerSize = frameSize(bytes, header)
    if (headerSize === 0 || bytes[header] !== HEADER) return 0
    const end = header + headerSize
    if (bytes[header - 1] !== FRAME_END || bytes[end - 1] !== FRAME_END) return 0
    const bodySize = this.#frames.read(bytes, from, header, end)
    if (bodySize < 0) return 0
    const arrival = this.#arrival
    if (bodySize === 0) arrival.body = bytes.subarray(end, end)
    else {
      const length = frameSize(bytes, end) - HEAD - 1
      if (length !== bodySize || bytes[end] !== BODY) {
        const held = Object.assign(new IncomingMessage(), arrival)
        this.#pending.set(number, { sink, arrival: held, parts: [], left: bodySize })
        return end
      }
      arrival.body = bytes.subarray(end + HEAD, end + HEAD + length)
      sink(arrival)
      return end + length + HEAD + 1
    }
    sink(arrival)
    return end
  }

  #body(number: number, pending: Pending, bytes: Buffer, at: number, size: number): void {
    const part = bytes.subarray(at + HEAD, at + size - 1)
    pending.parts.push(part)
    pending.left -= part.length
    if (pending.left > 0) return
    this.#pending.delete(number)
    pending.arrival.body = pending.parts.length === 1 ? part : Buffer.concat(pending.parts)
    pending.sink(pending.arrival)
  }
}

function isReading(connection: Partial<Reading>): connection is Reading {
  return (
    Buffer.isBuffer(connection.rest) &&
    typeof connection.recvFrame === 'function' &&
    typeof connection.recvSinceLastCheck === 'boolean' &&
    typeof connection.stream?.read === 'function'
  )
}
