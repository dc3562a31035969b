import assert from 'node:assert/strict'
import { test } from 'vitest'
import { seededRandom } from 'busbar/testing'
import type { Random } from 'busbar/testing'
import { NO_HEADERS } from '../../../src/core/message.ts'
import type { OutgoingMessage } from '../../../src/core/message.ts'
import { Incoming } from '../../../src/transports/nats/connection/incoming.ts'
import { Mapping, sequenceOf } from '../../../src/transports/nats/wire/mapping.ts'
import type { Decoded } from '../../../src/transports/nats/wire/mapping.ts'
import { carried, damaged, randomMessage, randomText } from '../random-message.ts'

const UNSAID = { id: () => 'said-1', time: () => 7 }

function decode(mapping: Mapping, block: Buffer, body: Uint8Array = new Uint8Array(0), topic = 'orders'): Decoded {
  const incoming = new Incoming()
  // Other bytes around it, as in a chunk of the socket.
  incoming.bytes = Buffer.concat([Buffer.from('before'), block, body, Buffer.from('\r\nafter: 1\r\n')])
  incoming.headersAt = 6
  incoming.bodyAt = 6 + block.length
  incoming.end = incoming.bodyAt + body.length
  return mapping.decode(incoming, topic, UNSAID)
}

function written(mapping: Mapping, message: OutgoingMessage, messageId?: string): Buffer {
  return Buffer.concat([mapping.common(message), Buffer.from(mapping.rest(message, messageId))])
}

function random(seed: Random): OutgoingMessage {
  const group = seed.chance(0.2) ? 'billing' : undefined
  const deliverAt = seed.chance(0.2) ? seed.integer(0, 2 ** 41) : undefined
  return { ...randomMessage(seed), group, deliverAt }
}

test.each([
  ['compact', undefined],
  ['compact', 'dedupe-1'],
  // Core NATS has no id of the server.
  ['compact', ''],
  ['cloudevents', undefined],
  ['cloudevents', ''],
] as const)('what is written in the form %s with the id %s is read, whatever came before', (form, messageId) => {
  const seed = seededRandom(`mapping ${form} ${messageId}`)
  const [writer, reader] = [new Mapping(form), new Mapping()]
  let last = random(seed)
  for (let round = 0; round < 1_500; round++) {
    const other = random(seed)
    // Half of them have in common with the last one what is written only once.
    const { type, source, contentType, time } = seed.chance(0.5) ? last : other
    last = { ...other, type, source, contentType, time, body: seed.chance(0.1) ? null : other.body }
    const { message, group, deliverAt } = decode(
      reader,
      written(writer, last, messageId),
      last.body ?? undefined,
      last.topic,
    )
    assert.deepEqual(carried(message), carried(last), `round ${round} of ${seed.seed}`)
    assert.deepEqual([group, deliverAt], [last.group, last.deliverAt])
  }
})

test.each([undefined, ''])(
  'the usual block is read as any other, also when it is damaged; the id of the server is %j',
  (messageId) => {
    const seed = seededRandom(`usual ${messageId}`)
    const [writer, reader, other] = [new Mapping(), new Mapping(), new Mapping()]
    let usual = 0
    for (let round = 0; round < 3_000; round++) {
      const message = {
        ...random(seed),
        contentType: '',
        subject: undefined,
        dataSchema: undefined,
        version: undefined,
      }
      const plain = seed.chance(0.5)
      const id = plain ? `0198c0de-1234-7${seed.integer(100, 999)}-8000-0123456789ab` : message.id
      const sent: OutgoingMessage = plain
        ? {
            ...message,
            id,
            time: 0x0198c0de1234,
            correlationId: undefined,
            causationId: undefined,
            group: undefined,
            deliverAt: undefined,
            traceparent: undefined,
            tracestate: undefined,
            expiresAt: undefined,
            headers: NO_HEADERS,
          }
        : message
      const common = Buffer.from(writer.common(sent))
      const whole = Buffer.from(writer.rest(sent, messageId))
      // What is common ends where a line does.
      const rest = seed.chance(0.5) ? Buffer.concat([whole.subarray(0, 2), damaged(seed, whole.subarray(2))]) : whole
      const read = decode(reader, Buffer.concat([common, rest]), undefined, sent.topic)
      // A line that says nothing makes it an unusual one.
      const lines = decode(
        other,
        Buffer.concat([common, Buffer.from('\r\nce-specversion: 1.0'), rest]),
        undefined,
        sent.topic,
      )
      assert.deepEqual(
        carried(read.message),
        carried(lines.message),
        `round ${round} of ${seed.seed}: ${rest.toString()}`,
      )
      assert.deepEqual([read.group, read.deliverAt], [lines.group, lines.deliverAt])
      if (plain && read.message.id === id) usual++
    }
    assert.ok(usual > 700, `${usual} of them were usual`)
  },
)

test('bytes that are no UTF-8 in the common part shift nothing', () => {
  const mapping = new Mapping()
  const message = { ...randomMessage(seededRandom('latin')), id: 'the-id', type: 'caf_', headers: { a: 'b' } }
  const block = written(new Mapping('cloudevents'), message)
  block[block.indexOf('caf_') + 3] = 0xe9
  for (let round = 0; round < 2; round++) {
    const { id, type, headers } = decode(mapping, block).message
    assert.deepEqual([id, type, { ...headers }], ['the-id', 'caf\ufffd', { a: 'b' }])
  }
})

test('damaged blocks are read as something, by a reader that read others before', () => {
  const seed = seededRandom('damage')
  const [writer, reader] = [new Mapping(), new Mapping()]
  for (let round = 0; round < 1_500; round++) {
    const message = random(seed)
    const block = damaged(seed, written(writer, message))
    const read = decode(reader, block, message.body ?? undefined)
    for (const field of ['id', 'type', 'source', 'contentType'] as const)
      assert.equal(typeof read.message[field], 'string')
    assert.equal(new Date(read.message.time).getTime(), read.message.time)
    assert.deepEqual(Buffer.from(read.message.body ?? []), Buffer.from(message.body ?? []))
    for (const value of Object.values(read.message.headers)) assert.equal(typeof value, 'string')
    // It may have changed what the next one is compared with, but not what is read of it.
    assert.deepEqual(
      carried(decode(reader, written(writer, message), message.body ?? undefined, message.topic).message),
      carried(message),
    )
  }
})

test.each([
  '',
  '\r\n',
  'NATS/1.0',
  'NATS/1.0\r\n\r\n',
  'NATS/1.0 503\r\n\r\n',
  '\n\n\n',
  ':',
  'a:b',
  '\r\n:\r\n:\r\n',
  '\0\xff',
])('a block that is nearly nothing: %j', (block) => {
  const { message } = decode(new Mapping(), Buffer.from(block, 'latin1'))
  assert.deepEqual([message.id, message.type, message.source, message.time], ['said-1', 'orders', 'nats', 7])
})

test('status lines', () => {
  const incoming = new Incoming()
  const seed = seededRandom('status')
  const read = (block: Buffer): [number, string, string] => {
    incoming.bytes = block
    incoming.bodyAt = block.length
    incoming.end = block.length
    return [incoming.status, incoming.description, incoming.header('Nats-Pending-Messages')]
  }
  const status = Buffer.from(
    'NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 3\r\nNats-Pending-Bytes: 0\r\n\r\n',
  )
  assert.deepEqual(read(status), [408, 'Request Timeout', '3'])
  assert.deepEqual(read(Buffer.from('NATS/1.0 503\r\n\r\n')), [503, '', ''])
  assert.equal(read(Buffer.from('NATS/1.0\r\na: 1\r\n\r\n'))[0], 0)
  assert.equal(read(Buffer.alloc(0))[0], 0)
  for (let round = 0; round < 2_000; round++) {
    const [code, description, header] = read(damaged(seed, status))
    assert.ok(Number.isInteger(code))
    assert.equal(typeof description + typeof header, 'stringstring')
  }
})

test('the sequence of a position', () => {
  assert.equal(sequenceOf({ stream: 's', seq: 5 }), 5)
  for (const seq of [-1, 1.5, 'x', {}, undefined, Number.NaN]) assert.equal(sequenceOf({ seq } as never), undefined)
  assert.equal(sequenceOf({ id: randomText(seededRandom(1)) }), undefined)
})
