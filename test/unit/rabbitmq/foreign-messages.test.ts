import assert from 'node:assert/strict'
import type { ConsumeMessage } from 'amqplib'
import { describe, test } from 'vitest'
import { seededRandom } from 'busbar/testing'
import type { EncodedMessage, OutgoingMessage } from '../../../src/core/message.ts'
import { IncomingMessage } from '../../../src/transports/rabbitmq/wire/incoming-message.ts'
import { brokersDeadLetter } from '../../../src/transports/rabbitmq/admin/death-notes.ts'
import { ForeignIds } from '../../../src/transports/rabbitmq/consume/foreign-ids.ts'
import { readMessage } from '../../../src/transports/rabbitmq/wire/read-message.ts'
import { Names } from '../../../src/transports/rabbitmq/topology/names.ts'
import { readStructured } from '../../../src/transports/rabbitmq/wire/structured-event.ts'
import { TopicFilter } from '../../../src/transports/rabbitmq/consume/topic-filter.ts'
import { damaged } from '../random-message.ts'

// An error in here would end the connection, whose next one gets the same message again.

function message(properties: object, content: string | Buffer = '', fields: object = {}): ConsumeMessage {
  return {
    fields: { deliveryTag: 1, redelivered: false, exchange: 'busbar', routingKey: 'orders', ...fields },
    properties: { headers: {}, ...properties },
    content: Buffer.from(content),
  } as unknown as ConsumeMessage
}

function read(properties: object, content: string | Buffer = ''): EncodedMessage {
  return readMessage(new IncomingMessage(), message(properties, content)).toEncodedMessage('orders', 'x-1', 7)
}

describe('times that other programs write', () => {
  test('seconds', () => {
    const { time, headers } = read({
      timestamp: 1_700_000_000,
      headers: { when: { '!': 'timestamp', value: 1_700_000_000 } },
    })
    assert.equal(time, 1_700_000_000_000)
    assert.equal(headers['when'], '2023-11-14T22:13:20.000Z')
  })

  test('microseconds, or anything else beyond the calendar', () => {
    for (const value of [1_700_000_000_000_000, 2 ** 63, 2 ** 64]) {
      const { time, headers } = read({ timestamp: value, headers: { when: { '!': 'timestamp', value } } })
      assert.equal(time, 7)
      assert.equal(headers['when'], JSON.stringify({ '!': 'timestamp', value }))
    }
  })

  test('the first century', () => {
    const iso = '0050-01-02T03:04:05.678Z'
    assert.equal(new Date(read({ headers: { 'cloudEvents:time': iso } }).time).toISOString(), iso)
  })
})

describe('CloudEvents in structured mode', () => {
  const TYPE = 'application/cloudevents+json; charset=utf-8'
  const event = { specversion: '1.0', id: '1', type: 't', source: 's', partitionkey: 'k', time: '2026-01-02T03:04:05Z' }
  const structured = (parts: object): EncodedMessage =>
    read({ contentType: TYPE }, JSON.stringify({ ...event, ...parts }))

  test('all of the envelope is in the body', () => {
    const { type, source, key, time, contentType, body } = structured({ data: { a: [1] } })
    assert.deepEqual(
      [type, source, key, new Date(time).toISOString(), contentType, Buffer.from(body ?? []).toString()],
      ['t', 's', 'k', '2026-01-02T03:04:05.000Z', 'application/json', '{"a":[1]}'],
    )
  })

  test.each([
    [{ data: 'text', datacontenttype: 'text/plain' }, 'text/plain', 'text'],
    [{ data: 'text' }, 'application/json', '"text"'],
    [{ data: 5, datacontenttype: 'application/vnd.x+json' }, 'application/vnd.x+json', '5'],
    [{ data: null }, 'application/json', 'null'],
    [{ data_base64: 'aGk=', datacontenttype: 'image/png' }, 'image/png', 'hi'],
    [{}, 'application/json', ''],
  ])('%j', (parts, contentType, body) => {
    const found = structured(parts)
    assert.deepEqual([found.contentType, Buffer.from(found.body ?? []).toString()], [contentType, body])
  })

  test.each(['', '[]', 'null', '5', '{"id":1,"type":"t"}', '{"id":"1"}', '{', '\0', '{"id":"1","type":{}}'])(
    'a body that is no event is taken as it is: %j',
    (content) => {
      assert.equal(readStructured(TYPE, Buffer.from(content)), undefined)
      assert.equal(Buffer.from(read({ contentType: TYPE }, content).body ?? []).toString(), content)
    },
  )

  test('data that is nested too deeply to be written again', () => {
    const content = `{"id":"1","type":"t","data":${'['.repeat(50_000)}${']'.repeat(50_000)}}`
    assert.equal(read({ contentType: TYPE }, content).contentType, TYPE)
  })

  test('damaged bodies', () => {
    const random = seededRandom('structured')
    const bytes = Buffer.from(JSON.stringify({ ...event, data: { text: 'žluť' } }))
    for (let round = 0; round < 2_000; round++) {
      const { id, body } = read({ contentType: TYPE }, damaged(random, bytes))
      assert.ok(typeof id === 'string' && body instanceof Uint8Array)
    }
  })
})

describe('dead letters that the broker made', () => {
  const names = new Names('busbar')
  const letterOf = (deaths: unknown, routingKey = 'dead.v2.key4.billing') => {
    const source = message({ messageId: '1', headers: { 'x-death': deaths } }, '', { routingKey })
    return brokersDeadLetter(source, names, 5)
  }
  const letter = (deaths: unknown): OutgoingMessage => letterOf(deaths).message
  const death = {
    queue: 'busbar:orders:billing',
    'routing-keys': ['orders.~0.3'],
    count: 21,
    time: { value: 1_700_000_000 },
  }

  test.each([
    ['expired', 'expired', 'MessageExpired', '0'],
    ['rejected', 'rejected', 'MessageRejected', '0'],
    ['maxlen', 'rejected', 'QueueLengthExceeded', '0'],
    ['delivery_limit', 'exhausted', 'DeliveryLimitExceeded', '21'],
    ['constructor', 'exhausted', 'DeliveryLimitExceeded', '21'],
  ])('%s', (reason, expected, error, attempts) => {
    // Before it died, it waited on a rung of the delay ladder.
    const { headers } = letter([
      { queue: 'busbar.delay.3', reason: 'expired' },
      { ...death, reason },
    ])
    assert.deepEqual(
      { ...headers },
      {
        'busbar-dlq-reason': expected,
        'busbar-dlq-error': error,
        'busbar-dlq-message': `RabbitMQ dead-lettered it from the queue busbar:orders:billing: ${reason}`,
        'busbar-dlq-attempts': attempts,
        'busbar-dlq-first-at': '2023-11-14T22:13:20.000Z',
        'busbar-dlq-last-at': '2023-11-14T22:13:20.000Z',
        'busbar-dlq-topic': 'orders',
        'busbar-dlq-group': 'billing',
      },
    )
  })

  test.each([
    ['text'],
    [[]],
    [[null]],
    [[5, 'text', []]],
    [[{ queue: { toString: 'x' }, 'routing-keys': ['orders'] }]],
    [[{ ...death, 'routing-keys': [] }]],
    [[{ ...death, 'routing-keys': { 0: 'orders' } }]],
  ])('a header that any program can write: %j', (deaths) => {
    const { topic, headers } = letter(deaths)
    assert.deepEqual([topic, headers['busbar-dlq-topic']], ['unknown.billing.dlq', 'unknown'])
  })

  test.each([
    ['busbar:orders:billing', 'dead.v2.key4.billing', undefined],
    ['busbar:orders:billing:3', 'dead.v2.key4.billing', undefined],
    ['busbar:orders.*:billing:3', 'dead.v2.key4.billing', 'busbar:orders.*:billing'],
    ['busbar:orders.*:12', 'dead.v2.key4.12', 'busbar:orders.*:12'],
    ['busbar:orders.*:12', 'dead.v2.none.12', 'busbar:orders.*:12'],
  ])('the first queue of the group of %s', (queue, routingKey, expected) => {
    assert.equal(letterOf([{ ...death, queue }], routingKey).groupQueue, expected)
  })

  test('a time beyond the calendar', () => {
    assert.equal(
      letter([{ ...death, time: { value: 2 ** 60 } }]).headers['busbar-dlq-last-at'],
      '1970-01-01T00:00:00.005Z',
    )
  })
})

describe('ids of messages without one', () => {
  const twin = (redelivered = false): ConsumeMessage => message({}, 'same', { redelivered })

  test('equal messages get different ids, the same ones when they come again', () => {
    const ids = new ForeignIds('a1')
    const first = ids.idOf(twin())
    const second = ids.idOf(twin())
    assert.equal(second, first.replace(/-1$/, '-2'))
    ids.left(first)
    ids.left(second)
    assert.equal(ids.idOf(twin(true)), first)
    assert.equal(ids.idOf(twin(true)), second)
    assert.equal(ids.idOf(twin()), first.replace(/-1$/, '-3'))
  })

  test('headers of the broker change nothing, those of the publisher do, in any order', () => {
    const idOf = (headers: object): string => new ForeignIds('a1').idOf(message({ headers }, 'x'))
    assert.equal(idOf({ a: 1, b: 2, 'x-delivery-count': 1 }), idOf({ b: 2, a: 1 }))
    assert.notEqual(idOf({ a: 1 }), idOf({ a: 2 }))
  })

  test('an id of a publisher that looks like one does no harm', () => {
    const ids = new ForeignIds('a1')
    ids.idOf(twin())
    for (const id of ['amqp-', 'amqp-x-y', 'amqp--1', 'other']) ids.left(id)
    assert.match(ids.idOf(twin()), /-2$/)
  })
})

describe('topics of messages', () => {
  const topicOf = (wanted: string, hasOthers: boolean, routingKey: string, headers: object = {}): string | undefined =>
    new TopicFilter(wanted, hasOthers).topicOf(
      readMessage(new IncomingMessage(), message({ headers }, '', { routingKey })),
    )

  test.each([
    ['orders', false, 'orders', 'orders'],
    ['orders', false, 'orders.~0.7', 'orders'],
    ['orders', false, 'orders.eu', undefined],
    ['orders', true, 'anything at all', 'orders'],
    ['orders.*', false, 'orders.eu.~0.7', 'orders.eu'],
    ['orders.*', false, 'orders.eu', 'orders.eu'],
    ['orders.*', false, 'orders.eu.berlin', undefined],
    ['orders.>', false, 'orders.billing.dlq', undefined],
    ['orders.*', true, 'orders.a b..c.', 'orders.a_b_.c_'],
    ['orders.*', true, '', '_'],
  ])('%s, with bindings of the user: %s; %j is of %s', (wanted, hasOthers, routingKey, expected) => {
    assert.equal(topicOf(wanted, hasOthers, routingKey), expected)
  })

  test('a copy for one group, and a topic that is too long for AMQP', () => {
    const headers = { 'busbar-topic': 'orders.eu' }
    assert.equal(
      topicOf('orders.*', false, 'busbar:orders.*:billing', { ...headers, 'busbar-copy': true }),
      'orders.eu',
    )
    assert.equal(topicOf('orders.*', false, '~digest.~0.1', headers), 'orders.eu')
  })
})

test('a number of attempts, or a time of the first, that no copy can carry counts as none', () => {
  for (const [value, attempts, firstAt] of [
    [3, 3, 3],
    [-5, 0, -5],
    [2 ** 40, 2 ** 31 - 1, 2 ** 40],
    [0.5, 0, undefined],
    [1e300, 0, undefined],
    ['3', 0, undefined],
  ] as const) {
    const headers = { 'busbar-attempts': value, 'busbar-first-at': value }
    const arrival = readMessage(new IncomingMessage(), message({ headers }))
    assert.deepEqual([arrival.attempts, arrival.firstAt], [attempts, firstAt], String(value))
  }
})
