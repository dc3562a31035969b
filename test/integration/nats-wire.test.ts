import assert from 'node:assert/strict'
import { connect } from '@nats-io/transport-node'
import type { NatsConnection, Subscription } from '@nats-io/transport-node'
import { describe, test } from 'vitest'
import { seededRandom } from 'busbar/testing'
import type { OutgoingMessage } from 'busbar'
import { AckReply } from '../../src/transports/nats/jetstream/consume/ack-reply.ts'
import { Incoming } from '../../src/transports/nats/connection/incoming.ts'
import { Mapping } from '../../src/transports/nats/wire/mapping.ts'
import { WriteBuffer } from '../../src/transports/nats/connection/write-buffer.ts'
import { WireReader } from '../../src/transports/nats/connection/wire-reader.ts'
import { startPrivate } from '../../tools/brokers/index.ts'

// What we read and write of the protocol by ourselves, beside the client's own parser.

interface Operation {
  readonly kind: number
  readonly msg?: { readonly subject: Uint8Array; readonly sid: number; readonly reply?: Uint8Array }
  readonly data?: Uint8Array
}

interface ClientParser {
  readonly state: number
  parse(bytes: Uint8Array): void
}

/** The parser of the client that is installed, as a class: it is none of its exports. */
async function clientParser(): Promise<new (dispatcher: { push(operation: Operation): void }) => ClientParser> {
  await using server = await startPrivate('nats', { jetStream: false })
  const connection = await connect({ servers: `${server.host}:${server.port}` })
  const { parser } = (connection as unknown as { protocol: { parser: ClientParser } }).protocol
  await connection.close()
  return parser.constructor as never
}

const MINE = 7

describe('the reader of our own messages', () => {
  test('sees every message once and whole, whatever the socket cuts it into; the rest goes to the client, in order', async () => {
    const Parser = await clientParser()
    const random = seededRandom('wire')
    for (let round = 0; round < 40; round++) {
      const seen: string[] = []
      let fast = 0
      const protocol = {
        parser: new Parser({
          push({ msg, data }) {
            if (msg === undefined) return
            // A large one of ours that was cut is the client's, which calls the same receiver.
            const owner = msg.sid === MINE ? 'ours' : 'theirs'
            const [subject, reply] = [msg.subject, msg.reply ?? ''].map((part) => Buffer.from(part).toString())
            seen.push(`${owner} ${subject} ${reply} ${data?.length}`)
          },
        }),
      }
      const reader = WireReader.attach({ protocol } as unknown as NatsConnection, (error) => assert.fail(String(error)))
      const subscription = { getID: () => MINE, isClosed: () => false, closed: new Promise(() => {}) }
      reader?.add(subscription as unknown as Subscription, (message) => {
        const { subject, reply, body, size } = message
        // A body in the middle of a chunk must be its own: every byte is the same.
        assert.ok(body.every((byte) => byte === body[0]))
        fast++
        seen.push(`ours ${subject} ${reply} ${size}`)
      })
      const { bytes, expected } = traffic(random)
      for (let at = 0; at < bytes.length;) {
        const size = random.integer(1, round % 4 === 0 ? 7 : 65_536)
        protocol.parser.parse(bytes.subarray(at, at + size))
        at += size
      }
      assert.deepEqual(seen, expected)
      assert.ok(fast > 5)
    }
  })

  test('a receiver that throws does not end the reading', async () => {
    const Parser = await clientParser()
    const failures: unknown[] = []
    const protocol = { parser: new Parser({ push: () => {} }) }
    const reader = WireReader.attach({ protocol } as unknown as NatsConnection, (error) => void failures.push(error))
    const subscription = { getID: () => MINE, isClosed: () => false, closed: new Promise(() => {}) }
    let count = 0
    reader?.add(subscription as unknown as Subscription, () => {
      count++
      throw new Error('broken')
    })
    protocol.parser.parse(Buffer.from(`MSG a ${MINE} 1\r\nx\r\nMSG a ${MINE} 1\r\ny\r\n`))
    assert.equal(count, 2)
    assert.equal(failures.length, 2)
  })

  test('a client that is built in another way is left alone', () => {
    assert.equal(
      WireReader.attach({} as NatsConnection, () => {}),
      undefined,
    )
    assert.equal(
      WireReader.attach({ protocol: { parser: {} } } as unknown as NatsConnection, () => {}),
      undefined,
    )
  })
})

/** Messages of ours and of others, with and without headers and replies, between other operations. */
function traffic(random: ReturnType<typeof seededRandom>): { bytes: Buffer; expected: string[] } {
  const parts: Buffer[] = []
  const expected: string[] = []
  for (let index = 0; index < 60; index++) {
    const size = random.integer(0, 3) === 0 ? random.integer(0, 200_000) : random.integer(0, 300)
    const body = Buffer.alloc(size, 97 + (index % 26))
    const [mine, withHeaders, withReply] = [0, 0, 0].map(() => random.integer(0, 1) === 1)
    const subject = `s.${index % 3}`
    const reply = withReply === true ? `r.${index}` : ''
    const headers = withHeaders === true ? 'NATS/1.0\r\na: ü\r\n\r\n' : ''
    const headerBytes = Buffer.byteLength(headers)
    const target = `${subject} ${mine === true ? MINE : 8}${reply === '' ? '' : ` ${reply}`}`
    const line = headers === '' ? `MSG ${target} ${size}` : `HMSG ${target} ${headerBytes} ${headerBytes + size}`
    parts.push(Buffer.from(`${line}\r\n${headers}`), body, Buffer.from('\r\n'))
    if (random.integer(0, 4) === 0) parts.push(Buffer.from(['PING\r\n', '+OK\r\n', 'PONG\r\n'][index % 3] ?? ''))
    expected.push(`${mine === true ? 'ours' : 'theirs'} ${subject} ${reply} ${headerBytes + size}`)
  }
  return { bytes: Buffer.concat(parts), expected }
}

describe('the writer of publishes', () => {
  const message: OutgoingMessage = {
    id: 'id-ü',
    topic: 'a.b',
    type: 'a.b',
    source: 'test',
    time: 1_700_000_000_123,
    key: 'schlüssel',
    contentType: 'application/json',
    subject: undefined,
    dataSchema: undefined,
    version: 3,
    correlationId: 'c',
    causationId: undefined,
    traceparent: undefined,
    tracestate: undefined,
    expiresAt: undefined,
    headers: { ' spaced ': '  x  ', 'Nats-Rollup': 'all', plain: '1' },
    body: Buffer.from('{"a":1}'),
    deliverAt: undefined,
    group: undefined,
  }

  test('what it writes, the mapping reads back, and sizes are right', () => {
    const written: Buffer[] = []
    const connection = { protocol: { sendCommand: (bytes: Uint8Array) => void written.push(Buffer.from(bytes)) } }
    const buffer = new WriteBuffer(connection as unknown as NatsConnection)
    const [write, read] = [new Mapping(), new Mapping()]
    for (let number = 0; number < 12; number++) {
      // Some share what they have in common with the one before, some don't.
      const one = {
        ...message,
        time: message.time + Math.floor(number / 3),
        key: number % 2 === 0 ? undefined : message.key,
      }
      const reply = { start: Buffer.from('inbox.'), number: 10 ** (number % 8) - 1 }
      const total = buffer.publishBlock(
        Buffer.from('HPUB s.a '),
        reply,
        write.common(one),
        write.rest(one, 'mid'),
        one.body ?? Buffer.alloc(0),
        1_000_000,
      )
      buffer.flush()
      const bytes = written.at(-1) ?? assert.fail()
      const lineEnd = bytes.indexOf('\r\n')
      const [verb, subject, to, headerSize, size] = bytes.toString('utf8', 0, lineEnd).split(/ +/)
      assert.deepEqual([verb, subject, to, Number(size)], ['HPUB', 's.a', `inbox.${reply.number}`, total])
      assert.equal(bytes.length, lineEnd + 2 + total + 2)
      const incoming = new Incoming()
      incoming.bytes = bytes
      incoming.headersAt = lineEnd + 2
      incoming.bodyAt = incoming.headersAt + Number(headerSize)
      incoming.end = incoming.headersAt + total
      const decoded = read.decode(incoming, 'a.b', { id: () => assert.fail(), time: () => assert.fail() })
      const { deliverAt: _deliverAt, group: _group, ...expected } = one
      assert.deepEqual({ ...decoded.message, headers: { ...decoded.message.headers } }, expected)
    }
    const none = buffer.publishBlock(
      Buffer.from('HPUB s '),
      undefined,
      write.common(message),
      write.rest(message, ''),
      message.body ?? Buffer.alloc(0),
      10,
    )
    buffer.flush()
    assert.ok(none > 10)
    assert.equal(written.length, 12, 'nothing is written of what is too large')
  })

  test('the subject of an ack, in both of its forms', () => {
    const reply = new AckReply()
    assert.equal(reply.read('_INBOX.x'), false)
    assert.ok(reply.read('$JS.ACK.busbar.g--0123456789--any.2.17.40.1700000000123456789.5'))
    const { delivered, seq, consumerSeq, pending, time } = reply
    assert.deepEqual([delivered, seq, consumerSeq, pending, time], [2, 17, 40, 5, 1_700_000_000_123])
    assert.equal(reply.read(''), false)
    const longer = new AckReply()
    assert.ok(longer.read('$JS.ACK.hub.acchash.busbar.g--0123456789--any.1.3.4.1700000000123456789.0.rnd'))
    assert.deepEqual([longer.delivered, longer.seq, longer.consumerSeq, longer.pending], [1, 3, 4, 0])
  })
})
