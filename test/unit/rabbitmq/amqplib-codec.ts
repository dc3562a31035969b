import { createRequire } from 'node:module'
import type { ConsumeMessage } from 'amqplib'

// The codec of the client library. It is none of its exports, but what we write it must read, and the reverse.

interface Frame {
  readonly channel: number
  readonly id?: number
  readonly fields?: unknown
  readonly size?: number
  readonly content?: Buffer
}

interface Defs {
  readonly BasicDeliver: number
  readonly BasicProperties: number
  encodeMethod(id: number, channel: number, fields: object): Buffer
  encodeProperties(id: number, channel: number, size: number, fields: object): Buffer
}

interface Parsed {
  readonly rest: Buffer
}

const within = createRequire(createRequire(import.meta.url).resolve('amqplib'))
const { parseFrame, decodeFrame, makeBodyFrame } = within('./lib/frame.js') as {
  parseFrame(this: void, bytes: Buffer, max: number): Parsed | false
  decodeFrame(this: void, frame: Parsed): Frame
  makeBodyFrame(this: void, channel: number, payload: Buffer): Buffer
}
const defs = within('./lib/defs.js') as Defs

const CHANNEL = 1

/** A delivery as a broker sends it. */
export function encodeDelivery({ fields, properties, content }: ConsumeMessage, mostBody = 131_064): Buffer {
  const parts = [
    defs.encodeMethod(defs.BasicDeliver, CHANNEL, fields),
    defs.encodeProperties(defs.BasicProperties, CHANNEL, content.length, properties),
  ]
  for (let at = 0; at < content.length; at += mostBody)
    parts.push(makeBodyFrame(CHANNEL, content.subarray(at, at + mostBody)))
  return Buffer.concat(parts)
}

/** What we published, as a broker passes it on: the frames of header and body stay as they are. */
export function encodePassedOn(published: Buffer, deliveryTag: number): Buffer {
  const method = parseFrame(published, 0) as Parsed
  const { exchange, routingKey } = decodeFrame(method).fields as { exchange: string; routingKey: string }
  const fields = { consumerTag: 'c', deliveryTag, redelivered: false, exchange, routingKey }
  return Buffer.concat([defs.encodeMethod(defs.BasicDeliver, CHANNEL, fields), method.rest])
}

/** Reads all frames; throws when they are no AMQP. */
export function decodeFrames(bytes: Buffer, max = 0): Frame[] {
  const frames: Frame[] = []
  for (let rest = bytes; rest.length > 0;) {
    const frame = parseFrame(rest, max)
    if (frame === false) throw new Error(`${rest.length} bytes are no whole frame`)
    frames.push(decodeFrame(frame))
    rest = frame.rest
  }
  return frames
}

/** The messages in what `decodeFrames` returned, whether published or delivered. */
export function messagesIn(frames: readonly Frame[]): ConsumeMessage[] {
  const found: ConsumeMessage[] = []
  for (let at = 0; at < frames.length;) {
    const method = frames[at++] as Frame
    const header = frames[at++] as Frame
    const parts: Buffer[] = []
    for (let left = header.size as number; left > 0;) {
      const { content } = frames[at++] as { content: Buffer }
      parts.push(content)
      left -= content.length
    }
    found.push({
      fields: method.fields,
      properties: header.fields,
      content: Buffer.concat(parts),
    } as ConsumeMessage)
  }
  return found
}

/** The reading part of the library's connection, on which a `FrameReader` can be put: chunks come from the list. */
export class FakeReading {
  readonly ch: number = CHANNEL
  readonly connection: {
    rest: Buffer
    recvSinceLastCheck: boolean
    maxFrameSize: number
    stream: { read(): Buffer | null }
    recvFrame: () => unknown
  }

  constructor(chunks: Buffer[], maxFrameSize: number) {
    const connection: FakeReading['connection'] = {
      rest: Buffer.alloc(0),
      recvSinceLastCheck: false,
      maxFrameSize,
      stream: { read: () => chunks.shift() ?? null },
      recvFrame(): unknown {
        const frame = parseFrame(connection.rest, connection.maxFrameSize)
        if (frame !== false) {
          connection.rest = frame.rest
          return decodeFrame(frame)
        }
        const incoming = connection.stream.read()
        if (incoming === null) return false
        connection.rest = Buffer.concat([connection.rest, incoming])
        return connection.recvFrame()
      },
    }
    this.connection = connection
  }

  once(): void {
    // The channel never closes.
  }

  /** All frames that the library gets. */
  readAll(): Frame[] {
    const frames: Frame[] = []
    for (let frame = this.connection.recvFrame(); frame !== false; frame = this.connection.recvFrame())
      frames.push(frame as Frame)
    return frames
  }
}
