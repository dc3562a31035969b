import assert from 'node:assert/strict'
import type { Channel, ConsumeMessage } from 'amqplib'
import { describe, test } from 'vitest'
import { seededRandom } from 'busbar/testing'
import type { Random } from 'busbar/testing'
import { contentTypeToWrite } from '../../../src/core/cloud-events.ts'
import { compactMark } from '../../../src/core/compact-envelope.ts'
import { IncomingMessage } from '../../../src/transports/rabbitmq/wire/incoming-message.ts'
import { wireHeaders } from '../../../src/transports/rabbitmq/wire/client-writer.ts'
import { FrameReader } from '../../../src/transports/rabbitmq/wire/frame-reader.ts'
import { readMessage } from '../../../src/transports/rabbitmq/wire/read-message.ts'
import { OutgoingFrame } from '../../../src/transports/rabbitmq/publish/outgoing-frame.ts'
import { carried, damaged } from '../random-message.ts'
import { decodeFrames, encodeDelivery, FakeReading, messagesIn } from './amqplib-codec.ts'
import { foreignMessage, FRAME_MAX, passedOn, plainFrame, randomFrame, written } from './random-frames.ts'

// What we read and write of AMQP by ourselves, beside the client library.

/** A copy: the tap uses the same object for all deliveries. */
function copyOf(arrival: IncomingMessage): object {
  const { native: _native, carried: _carried, ...fields } = arrival
  return { ...fields, headers: { ...fields.headers }, body: Buffer.from(fields.body).toString('hex') }
}

/** Reads the chunks with a tap on the library, which gets what the tap leaves. */
function tapped(chunks: Buffer[], maxFrameSize = 0): { direct: object[]; left: ConsumeMessage[] } {
  const direct: object[] = []
  const reading = new FakeReading(chunks, maxFrameSize)
  assert.ok(FrameReader.on(reading as unknown as Channel, (arrival) => void direct.push(copyOf(arrival))))
  return { direct, left: messagesIn(reading.readAll()) }
}

function cut(random: Random, bytes: Buffer, most: number): Buffer[] {
  const chunks: Buffer[] = []
  for (let at = 0; at < bytes.length;) {
    const size = random.integer(1, most)
    chunks.push(bytes.subarray(at, at + size))
    at += size
  }
  return chunks
}

describe('the writer of frames', () => {
  test('what it writes, the library reads: the headers that the library would have been given, and every property', () => {
    const random = seededRandom('writer')
    for (let round = 0; round < 500; round++) {
      const frame = randomFrame(random)
      const [{ fields, properties, content } = assert.fail()] = messagesIn(
        decodeFrames(
          written((writer) => writer.publish(frame)),
          FRAME_MAX,
        ),
      )
      const { message } = frame
      assert.deepEqual([fields.exchange, fields.routingKey], [frame.exchange, frame.routingKey])
      assert.deepEqual(content, Buffer.from(message.body ?? []))
      assert.deepEqual({ ...properties.headers }, untagged(wireHeaders(frame)), `round ${round} of ${random.seed}`)
      assert.equal(properties.messageId, message.id)
      const isCompact = frame.isCompact && compactMark(message) !== undefined
      assert.equal(properties.contentType ?? '', contentTypeToWrite(message, isCompact ? 'compact' : 'cloudevents'))
      assert.equal(properties.appId, isCompact ? message.source : undefined)
      assert.equal(properties.timestamp === undefined, isCompact)
      assert.equal(properties.deliveryMode, frame.properties === undefined ? 2 : 1)
      assert.equal(properties.correlationId, frame.properties?.correlationId)
      assert.equal(properties.priority, frame.properties?.priority)
      assert.equal(properties.expiration, frame.properties?.expiration)
    }
  })

  test('headers of any type come out as the library would have written them', () => {
    const random = seededRandom('types')
    for (let round = 0; round < 500; round++) {
      const [original = assert.fail()] = messagesIn(decodeFrames(encodeDelivery(foreignMessage(random))))
      const typedHeaders = { ...original.properties.headers } as Record<string, unknown>
      delete typedHeaders['x-death']
      const frame = Object.assign(new OutgoingFrame(), {
        message: { ...new OutgoingFrame().message, headers: { '': '', tenant: '' } },
        typedHeaders: { tenant: typedHeaders['tenant'] ?? 'none', '': typedHeaders[''] ?? null },
      })
      const [{ properties } = assert.fail()] = messagesIn(decodeFrames(written((writer) => writer.publish(frame))))
      const { tenant, '': unnamed } = properties.headers ?? {}
      assert.deepEqual({ tenant, '': unnamed }, frame.typedHeaders, `round ${round} of ${random.seed}`)
    }
  })

  test('a decimal stays one, and a timestamp', () => {
    const headers = {
      price: { '!': 'decimal', value: { places: 2, digits: 4_000_000_000 } },
      when: { '!': 'timestamp', value: 1_700_000_000 },
    }
    const message = { ...new OutgoingFrame().message, headers: { price: '', when: '' } }
    const bytes = written((w) => w.publish(Object.assign(new OutgoingFrame(), { message, typedHeaders: headers })))
    assert.ok(bytes.includes(Buffer.from('\x05priceD\x02\xee\x6b\x28\x00', 'latin1')))
    assert.ok(bytes.includes(Buffer.from('\x04whenT\0\0\0\0', 'latin1')))
  })

  test('acks and nacks', () => {
    const frames = decodeFrames(
      written((writer) => {
        writer.ack(7, true)
        writer.ack(2 ** 40, false)
        writer.nack(9, true)
        writer.nack(10, false)
      }),
    )
    assert.deepEqual(
      frames.map(({ fields }) => ({ ...(fields as object) })),
      [
        { deliveryTag: 7, multiple: true },
        { deliveryTag: 2 ** 40, multiple: false },
        { deliveryTag: 9, multiple: false, requeue: true },
        { deliveryTag: 10, multiple: false, requeue: false },
      ],
    )
  })

  test('a message that does not fit leaves nothing behind, and those around it are whole', () => {
    const frame = (headers: Record<string, string>, id = 'x'): OutgoingFrame =>
      Object.assign(new OutgoingFrame(), {
        message: { ...new OutgoingFrame().message, id, headers, body: Buffer.from(id) },
      })
    const bytes = written((writer) => {
      writer.publish(frame({}, 'first'))
      assert.throws(() => writer.publish(frame({ [`é${'x'.repeat(254)}`]: '' })), RangeError)
      assert.throws(() => writer.publish(frame({ a: '文'.repeat(FRAME_MAX / 3) })), /bytes of headers/)
      writer.publish(frame({}, 'second'))
    })
    assert.deepEqual(
      messagesIn(decodeFrames(bytes)).map(({ content }) => content.toString()),
      ['first', 'second'],
    )
  })
})

/** Without the types that a writer needs and a reader does not see. */
function untagged(headers: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [
      name,
      typeof value === 'object' && value !== null ? (value as { value: unknown }).value : value,
    ]),
  )
}

describe('the reader of frames', () => {
  test('reads what the writer wrote, whatever the socket cuts it into', () => {
    const random = seededRandom('reader')
    let direct = 0
    for (let round = 0; round < 60; round++) {
      const frames = Array.from({ length: 8 }, () => (random.chance(0.5) ? plainFrame : randomFrame)(random))
      const bytes = Buffer.concat(frames.map((frame, index) => passedOn(frame, index + 1)))
      const deliveries = messagesIn(decodeFrames(bytes))
      const read = tapped(cut(random, bytes, round % 3 === 0 ? 40 : 5_000))
      direct += read.direct.length
      const all = [...read.direct, ...read.left.map((message) => copyOf(readMessage(new IncomingMessage(), message)))]
      const byTag = (a: object, b: object): number =>
        (a as IncomingMessage).deliveryTag - (b as IncomingMessage).deliveryTag
      assert.deepEqual(
        all.toSorted(byTag),
        deliveries.map((delivery) => copyOf(readMessage(new IncomingMessage(), delivery))),
      )
      for (const [index, { message }] of frames.entries()) {
        const back = readMessage(new IncomingMessage(), deliveries[index] as ConsumeMessage)
        const { isCompact, properties } = frames[index] as OutgoingFrame
        const given = isCompact && compactMark(message) !== undefined ? undefined : properties?.correlationId
        const { correlationId = given } = message
        assert.deepEqual(carried(back.toEncodedMessage(message.topic, back.id as string, 0)), {
          ...carried(message),
          correlationId,
        })
      }
    }
    assert.ok(direct > 100, `${direct} were read without the library`)
  })

  test('a message of another program is read as the library reads it', () => {
    const random = seededRandom('foreign')
    for (let round = 0; round < 1_000; round++) {
      const bytes = encodeDelivery(foreignMessage(random), 10)
      const [whole = assert.fail()] = messagesIn(decodeFrames(bytes))
      const { direct, left } = tapped(cut(random, bytes, 200))
      const [one = copyOf(readMessage(new IncomingMessage(), left[0] as ConsumeMessage))] = direct
      assert.deepEqual(one, copyOf(readMessage(new IncomingMessage(), whole)), `round ${round} of ${random.seed}`)
    }
  })

  test('split at every byte', () => {
    const random = seededRandom('split')
    const bytes = passedOn(plainFrame(random), 1)
    const { direct: expected } = tapped([bytes])
    assert.equal(expected.length, 1)
    for (let at = 1; at < bytes.length; at++) {
      const { direct, left } = tapped([bytes.subarray(0, at), bytes.subarray(at)])
      assert.deepEqual([direct, left], [expected, []], `at ${at}`)
    }
  })

  test('damaged frames are an error, which ends the connection, or are read; they never hang', () => {
    const random = seededRandom('damage')
    let failed = 0
    for (let round = 0; round < 800; round++) {
      const frame = random.chance(0.7) ? plainFrame(random) : randomFrame(random)
      const one = random.chance(0.7) ? passedOn(frame, round) : encodeDelivery(foreignMessage(random))
      const bytes = damaged(random, Buffer.concat([one, passedOn(frame, round + 1)]))
      const reading = new FakeReading(cut(random, bytes, 3_000), FRAME_MAX)
      let count = 0
      FrameReader.on(reading as unknown as Channel, () => void count++)
      try {
        reading.readAll()
      } catch (error) {
        assert.ok(error instanceof Error)
        failed++
      }
      assert.ok(count <= bytes.length / 8)
    }
    assert.ok(failed > 150, `${failed} failed`)
  })

  test('random bytes too', () => {
    const random = seededRandom('noise')
    for (let round = 0; round < 1_000; round++) {
      const noise = Buffer.from(random.bytes(random.integer(1, 100)))
      // The beginning of a delivery, so that more than the first byte is looked at.
      if (round % 2 === 0) noise.set([1, 0, 1, 0, 0, 0, random.integer(0, 60), 0, 60, 0, 60].slice(0, noise.length))
      const reading = new FakeReading([noise], FRAME_MAX)
      FrameReader.on(reading as unknown as Channel, () => {})
      try {
        reading.readAll()
      } catch (error) {
        assert.ok(error instanceof Error)
      }
    }
  })

  test('a frame that says it is larger than agreed is refused at once, not gathered', () => {
    const start = Buffer.from([3, 0, 1, 0x7f, 0xff, 0xff, 0xff])
    const chunks = Array.from({ length: 100 }, () => Buffer.alloc(1_000))
    const reading = new FakeReading([start, ...chunks], FRAME_MAX)
    FrameReader.on(reading as unknown as Channel, () => {})
    assert.throws(() => reading.readAll(), /exceeds maxFrameSize/)
    assert.ok(reading.connection.rest.length < 2_000)
  })
})
