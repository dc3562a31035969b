import type { ConsumeMessage } from 'amqplib'
import type { Random } from 'busbar/testing'
import { NO_HEADERS } from '../../../src/core/message.ts'
import type { RawChannel } from '../../../src/transports/rabbitmq/connection/amqp.ts'
import { FrameWriter } from '../../../src/transports/rabbitmq/wire/frame-writer.ts'
import { OutgoingFrame } from '../../../src/transports/rabbitmq/publish/outgoing-frame.ts'
import { randomMessage, randomText } from '../random-message.ts'
import { encodePassedOn } from './amqplib-codec.ts'

export const FRAME_MAX: number = 4_096

export function written(write: (writer: FrameWriter) => void, frameMax: number = FRAME_MAX): Buffer {
  const sent: Buffer[] = []
  const channel: RawChannel = {
    number: 1,
    frameMax,
    socket: { writableLength: 0 } as RawChannel['socket'],
    send: (bytes) => void sent.push(Buffer.from(bytes)),
  }
  const writer = new FrameWriter(channel)
  write(writer)
  writer.flush()
  return Buffer.concat(sent)
}

export function passedOn(frame: OutgoingFrame, deliveryTag: number): Buffer {
  return encodePassedOn(
    written((writer) => writer.publish(frame)),
    deliveryTag,
  )
}

export function randomFrame(random: Random): OutgoingFrame {
  const message = randomMessage(random)
  return Object.assign(new OutgoingFrame(), {
    exchange: 'busbar',
    routingKey: `${message.topic}.~${random.integer(0, 3)}.${random.integer(0, 7)}`,
    message: random.chance(0.1) ? { ...message, body: random.pick([null, random.bytes(3 * FRAME_MAX)]) } : message,
    mandatory: random.chance(0.5),
    isCompact: random.chance(0.5),
    rungs: random.chance(0.3) ? random.integer(1, 2 ** 28 - 1) : 0,
    delayMs: random.chance(0.3) ? random.integer(1, 2 ** 32) : 0,
    isCopy: random.chance(0.3),
    groupQueue: random.chance(0.1) ? 'busbar:orders.>:mail' : undefined,
    topic: random.chance(0.3) ? message.topic : undefined,
    attempts: random.integer(0, 3),
    // Any program may have set it.
    firstAt: random.chance(0.3) ? random.integer(-(2 ** 41), 2 ** 41) : undefined,
    properties: random.chance(0.3)
      ? { priority: random.integer(0, 9), correlationId: randomText(random), expiration: '60000', persistent: false }
      : undefined,
  })
}

/** A message in the form that is read without the library: all text is ASCII. */
export function plainFrame(random: Random): OutgoingFrame {
  const { time, version, traceparent, expiresAt, ...message } = randomMessage(random)
  const body = random.chance(0.1) ? null : message.body
  const ids = { id: `${random.next()}`, type: 'orders', source: 'shop', topic: 'orders', correlationId: 'c' }
  const headers = random.chance(0.5) ? { tenant: 'a', CC: 'b' } : NO_HEADERS
  return Object.assign(new OutgoingFrame(), {
    exchange: 'busbar',
    routingKey: 'orders.~0.3',
    isCompact: random.chance(0.5),
    message: { ...new OutgoingFrame().message, ...ids, time, key: 'k', version, traceparent, expiresAt, headers, body },
  })
}

/** A message of another program: any properties, headers of any type. */
export function foreignMessage(random: Random): ConsumeMessage {
  const maybe = <Value>(make: () => Value): Value | undefined => (random.chance(0.3) ? make() : undefined)
  const text = (): string => randomText(random)
  const value = (depth: number): unknown =>
    random.pick<() => unknown>([
      text,
      () => random.integer(-(2 ** 40), 2 ** 40),
      () => random.next(),
      () => random.chance(0.5),
      () => null,
      () => Buffer.from(random.bytes(5)),
      () => ({ '!': 'timestamp', value: random.pick([0, 1_700_000_000, 1_700_000_000_000_000, 2 ** 63]) }),
      () => ({ '!': 'float', value: 0.5 }),
      () => ({ '!': 'decimal', value: { places: 2, digits: 995 } }),
      () => (depth > 3 ? 0 : [value(depth + 1), value(depth + 1)]),
      () => (depth > 3 ? 0 : { [text()]: value(depth + 1) }),
    ])()
  const names = [
    'tenant',
    'cloudEvents:id',
    'cloudEvents:time',
    'cloudEvents:nothing',
    'cloudEvents_type',
    'traceparent',
  ]
  names.push(
    'x-delivery-count',
    'x-death',
    'busbar-attempts',
    'busbar-first-at',
    'busbar-topic',
    'content-type',
    'CC',
    '',
  )
  const headers: Record<string, unknown> = {}
  for (let left = random.integer(0, 5); left > 0; left--) headers[random.pick(names)] = value(0)
  return {
    fields: {
      consumerTag: 'c',
      deliveryTag: random.integer(1, 1_000),
      redelivered: random.chance(0.5),
      exchange: 'busbar',
      routingKey: text(),
    },
    properties: {
      contentType: maybe(text),
      contentEncoding: maybe(text),
      headers: maybe(() => headers) ?? headers,
      deliveryMode: 2,
      priority: maybe(() => 5),
      correlationId: maybe(text),
      messageId: maybe(text),
      timestamp: maybe(() => random.pick([0, 1_700_000_000, 2 ** 52])),
      type: maybe(text),
      appId: maybe(text),
    },
    content: Buffer.from(random.bytes(random.integer(0, 30))),
  } as unknown as ConsumeMessage
}
