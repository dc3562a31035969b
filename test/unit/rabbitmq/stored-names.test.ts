import assert from 'node:assert/strict'
import type { ConsumeMessage } from 'amqplib'
import { describe, test } from 'vitest'
import { seededRandom } from 'busbar/testing'
import { compilePattern } from '../../../src/core/topic.ts'
import { bucketOf } from '../../../src/transports/rabbitmq/partitions/key-bucket.ts'
import { digestOf } from '../../../src/transports/rabbitmq/consume/foreign-ids.ts'
import { deadKeyOf, findDeadKey } from '../../../src/transports/rabbitmq/topology/group-layout.ts'
import {
  bindingKeyOf,
  bindingKeysOf,
  bucketed,
  bucketKeysOf,
  lockOf,
  memberKeyOf,
  Names,
  partitionOf,
  partitionQueue,
  routingKeyOf,
  unbucketed,
} from '../../../src/transports/rabbitmq/topology/names.ts'
import {
  fromWireName,
  isEnvelopeHeader,
  isTransportHeader,
  rungHeader,
  toWireName,
} from '../../../src/transports/rabbitmq/wire/wire-headers.ts'

// Golden values: all of this is stored on brokers, or agreed between members of different versions. A change breaks
// systems that run: a key's messages would be in two queues at once, and queues with messages would have no reader.

const LONG = `orders.${'x'.repeat(150)}`
const LONG_GROUP = 'g'.repeat(64)
const LONG_DLQ = `${LONG}.${LONG_GROUP}.dlq`

describe('golden', () => {
  test.each([
    ['', 25],
    ['a', 0],
    ['b', 9],
    ['customer-1', 24],
    ['customer-2', 5],
    ['order:4711', 22],
    ['00000000-0000-7000-8000-000000000001', 26],
    ['žluť', 12],
    ['文字', 15],
    ['🌱', 13],
    ['x'.repeat(1_000), 20],
  ])('the bucket of the key %j is %i', (key, bucket) => {
    assert.equal(bucketOf(key), bucket)
  })

  test('names of exchanges and queues', () => {
    const names = new Names('busbar')
    assert.deepEqual(Object.fromEntries(Object.entries(names)), {
      main: 'busbar',
      system: 'busbar.system',
      deadLetters: 'busbar.dead-letters',
      groups: 'busbar.groups',
      queues: 'busbar.queues',
      due: 'busbar.due',
      unrouted: 'busbar.unrouted',
      delayed: 'busbar.delayed',
    })
    assert.equal(names.delay(3), 'busbar.delay.3')
    assert.equal(names.group('orders', 'billing'), 'busbar:orders:billing')
    assert.equal(partitionQueue('busbar:orders:billing', 0), 'busbar:orders:billing')
    assert.equal(partitionQueue('busbar:orders:billing', 3), 'busbar:orders:billing:3')
    assert.deepEqual(names.spread('orders.>', 'billing'), {
      byBucket: 'busbar:orders.>:billing:spread',
      rest: 'busbar:orders.>:billing:spread.rest',
    })
    assert.equal(names.broadcast('orders', 'billing', 2), 'busbar:orders:billing:2')
    assert.equal(lockOf('busbar.groups'), 'busbar.groups:lock')
    assert.equal(names.member('p1', 7), 'busbar.member.p1:7')
    assert.equal(memberKeyOf('busbar:orders:billing'), '~member.33ef4076f8989f78563b1326fd319626')
    assert.equal(names.notes('orders', 'billing', 0), 'busbar:orders:billing:notes')
    assert.equal(names.notes('orders', 'billing', 1), 'busbar:orders:billing:notes.1')
    assert.equal(names.stream('orders'), 'busbar:orders:stream')
    assert.equal(names.storage('orders.billing.dlq'), 'busbar:orders.billing.dlq')
    assert.equal(names.exchangeOf('orders'), 'busbar')
    assert.equal(names.exchangeOf('orders.billing.dlq'), 'busbar.system')
    assert.equal(names.group(LONG_DLQ, LONG_GROUP), `busbar:${LONG}.${'g'.repeat(57)}~69552357664c7608b9eda93bd4e7981d`)
  })

  test('routing keys, with a digest where a name is too long', () => {
    assert.equal(bucketed(routingKeyOf('orders.placed'), 7), 'orders.placed.~0.7')
    assert.equal(routingKeyOf(LONG_DLQ), '~a68ff806f1e0124ed29a84d7e656a46d')
    assert.equal(bucketed('orders', 31), 'orders.~3.7')
    assert.deepEqual(bucketKeysOf('orders', 4), [['orders.~0.*'], ['orders.~1.*'], ['orders.~2.*'], ['orders.~3.*']])
    assert.deepEqual(bucketKeysOf('orders', 2), [
      ['orders.~0.*', 'orders.~1.*'],
      ['orders.~2.*', 'orders.~3.*'],
    ])
  })

  test('names of headers', () => {
    assert.equal(rungHeader(7), 'busbar-delay-7')
    assert.equal(toWireName('CC'), 'busbar-user-CC')
    assert.equal(toWireName('x-first-death-queue'), 'busbar-user-x-first-death-queue')
    assert.equal(toWireName('tenant'), 'tenant')
  })

  test('the layout of a group', () => {
    assert.equal(deadKeyOf({ order: 'key', partitions: 8 }, 'billing'), 'dead.v2.key8.billing')
    assert.equal(deadKeyOf({ order: 'strict', partitions: 1 }, 'billing'), 'dead.v2.strict.billing')
    assert.equal(deadKeyOf({ order: 'key', partitions: 8, perGroup: true }, 'billing'), 'dead.v2.group8.billing')
    for (const layout of [
      { order: 'none', partitions: 1 },
      { order: 'strict', partitions: 1 },
      { order: 'key', partitions: 32 },
    ] as const)
      assert.deepEqual(findDeadKey(`current is '${deadKeyOf(layout, 'a-b_7')}'`), {
        version: 'v2',
        layout,
        group: 'a-b_7',
      })
    for (const text of [
      '',
      'dead.v2.key.g',
      'dead.v2.key123.g',
      'dead.v2.keyed.g',
      'dead.none.g',
      'orders.billing.dlq',
    ])
      assert.equal(findDeadKey(text), undefined)
  })

  test('the id of a message that has none, by which it is deduplicated', () => {
    const message = {
      properties: {
        contentType: 'text/plain',
        timestamp: 1_700_000_000,
        type: 't',
        appId: 'a',
        headers: { b: 1, a: 'x', 'x-death': [], when: { '!': 'timestamp', value: 1 } },
      },
      content: Buffer.from('body'),
    } as unknown as ConsumeMessage
    assert.equal(digestOf(message), 'amqp-7e8c3d63b7a5e31562b98518c6d8f929')
  })
})

describe('names', () => {
  const random = seededRandom('names')
  const token = (): string =>
    Array.from({ length: random.integer(1, 64) }, () => random.pick(['a', 'B', '7', '_', '-'])).join('')

  test('all fit into 255 bytes, and those of different groups and topics differ', () => {
    const names = new Names('x'.repeat(60))
    const made = new Map<string, string>()
    for (let round = 0; round < 500; round++) {
      const group = token()
      const topic = `${token()}.${token()}`.slice(0, 160).replace(/\.$/, '')
      for (const each of [topic, `${topic}.${group}.dlq`])
        for (const name of [
          names.group(each, group),
          partitionQueue(names.group(each, group), 31),
          ...Object.values(names.spread(each, group)),
          names.broadcast(each, group, 40),
          lockOf(names.notes(each, group, 0)),
          names.notes(each, group, 1),
          names.stream(each),
          names.storage(each),
        ]) {
          assert.ok(Buffer.byteLength(name) <= 255, name)
          const owner = `${each} ${group}`
          assert.equal(made.get(name) ?? owner, owner)
          made.set(name, owner)
        }
    }
  })

  test('the bucket comes off again, and a key without one stays', () => {
    for (let bucket = 0; bucket < 32; bucket++) assert.equal(unbucketed(bucketed('a.b', bucket)), 'a.b')
    assert.equal(unbucketed('a.b'), 'a.b')
    assert.equal(unbucketed(''), '')
    assert.equal(unbucketed('~digest'), '~digest')
    assert.equal(unbucketed('~digest.~0.5'), '~digest')
  })

  test('the bindings of all partitions take every bucket, each for the partition that has it', () => {
    for (let partitions = 1; partitions <= 32; partitions++) {
      const bindings = bucketKeysOf('a.*', partitions)
      for (let bucket = 0; bucket < 32; bucket++) {
        const key = bucketed('a.b', bucket).split('.')
        const takers = [...bindings.keys()].filter((each) =>
          bindings[each]?.some((binding) => matches(binding.split('.'), key)),
        )
        assert.deepEqual(takers, [partitionOf(bucket, partitions)], `${bucket} of ${partitions}`)
      }
    }
  })

  test('bindings match the topics of their pattern, with any bucket and with none', () => {
    const words = ['a', 'b', 'c']
    const some = (all: string[]): string[] => Array.from({ length: random.integer(1, 4) }, () => random.pick(all))
    for (let round = 0; round < 2_000; round++) {
      const pattern = [...some([...words, '*']), ...(random.chance(0.4) ? ['>'] : [])].join('.')
      const topic = some(words).join('.')
      const keys = [bucketed(routingKeyOf(topic), random.integer(0, 31)), routingKeyOf(topic)]
      const bindings = bindingKeysOf(bindingKeyOf(pattern))
      if (!compilePattern(pattern)(topic)) continue
      for (const key of keys)
        assert.ok(
          bindings.some((binding) => matches(binding.split('.'), key.split('.'))),
          `${bindings.join(' ')} on ${key}`,
        )
    }
  })
})

/** A topic exchange, by its definition: `*` is one word, `#` any number. */
function matches(binding: readonly string[], key: readonly string[]): boolean {
  const [first, ...rest] = binding
  if (first === undefined) return key.length === 0
  if (first === '#') return matches(rest, key) || (key.length > 0 && matches(binding, key.slice(1)))
  return key.length > 0 && (first === '*' || first === key[0]) && matches(rest, key.slice(1))
}

describe('headers on the wire', () => {
  test('a header of the user never has a name of the transport, and gets its own name back', () => {
    const names = [
      'CC',
      'BCC',
      'x-delay',
      'x-death',
      'x-delivery-count',
      'busbar-copy',
      'busbar-queue',
      'busbar-delay-3',
      'busbar-user-CC',
    ]
    for (const name of [...names, 'x-last-death-reason', 'tenant', 'cc', 'x', '', 'X-Trace']) {
      assert.equal(isTransportHeader(toWireName(name)), false, name)
      assert.equal(fromWireName(toWireName(name)), name)
    }
  })

  test('the envelope is known in both spellings', () => {
    for (const name of ['cloudEvents:id', 'cloudEvents_id', 'traceparent', 'tracestate', 'Content-Type'])
      assert.ok(isEnvelopeHeader(name))
    for (const name of ['cloudevents:id', 'Traceparent', 'id', '']) assert.equal(isEnvelopeHeader(name), false)
  })
})
