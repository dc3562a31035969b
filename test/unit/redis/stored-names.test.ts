import assert from 'node:assert/strict'
import { describe, expect, it } from 'vitest'
import { seededRandom } from 'busbar/testing'
import { baseTopic, Keys } from '../../../src/transports/redis/topology/keys.ts'
import { partitionOf } from '../../../src/transports/redis/topology/partitioner.ts'

// Golden values: all of this is stored on servers, and other programs compute it too. A change breaks systems that run:
// a key's messages would be in two partitions at once, and streams with messages would have no reader.

describe('golden', () => {
  it.each([
    ['', [0, 1, 2, 5, 197]],
    ['a', [0, 0, 5, 12, 44]],
    ['b', [0, 1, 6, 5, 229]],
    ['customer-1', [0, 1, 1, 7, 23]],
    ['customer-2', [0, 0, 6, 10, 170]],
    ['order:4711', [0, 0, 6, 0, 144]],
    ['00000000-0000-7000-8000-000000000001', [0, 1, 1, 1, 49]],
    ['žluť', [0, 1, 3, 15, 79]],
    ['文字', [0, 1, 3, 9, 153]],
    ['🌱', [0, 1, 6, 15, 255]],
    ['x'.repeat(1_000), [0, 1, 6, 5, 101]],
  ])('the partitions of the key %j', (key, expected) => {
    expect([1, 2, 7, 16, 256].map((partitions) => partitionOf(key, partitions))).toEqual(expected)
  })

  it('names of keys', () => {
    const keys = new Keys('busbar:', false)
    expect([keys.layout, keys.topics, keys.ephemeral, keys.leases, keys.notices]).toEqual([
      'busbar:layout',
      'busbar:topics',
      'busbar:ephemeral',
      'busbar:leases',
      'busbar:notices',
    ])
    const partition = keys.partition('orders', 3)
    expect(partition).toMatchObject({
      topic: 'orders',
      partition: 3,
      stream: 'busbar:{orders/3}',
      delayed: 'busbar:{orders/3}:delayed',
      sequence: 'busbar:{orders/3}:sequence',
    })
    expect(keys.partition('orders', 0).stream).toBe('busbar:{orders}')
    expect(keys.partition('orders.billing.dlq', 0).stream).toBe('busbar:{orders}.billing.dlq')
    expect(keys.partition('orders.billing.dlq.audit.dlq', 0).stream).toBe('busbar:{orders}.billing.dlq.audit.dlq')
    expect(keys.group(partition, 'billing')).toMatchObject({
      group: 'billing',
      meta: 'busbar:{orders}:group:billing',
      later: 'busbar:{orders/3}:later:billing',
      notes: 'busbar:{orders/3}:notes:billing',
      side: 'busbar:{orders/3}:side:billing',
      sideLater: 'busbar:{orders/3}:side:billing:later',
      sideNotes: 'busbar:{orders/3}:side:billing:notes',
      delayed: 'busbar:{orders/3}:delayed:billing',
    })
    expect(new Keys('busbar:', true).group(partition, 'billing').meta).toBe('busbar:{orders/3}:group:billing')
    expect(keys.assignment('orders', 'billing')).toBe('busbar:{orders}:assignment:billing')
  })
})

const NAMES_OF_GROUP = ['meta', 'later', 'notes', 'side', 'sideLater', 'sideNotes', 'delayed'] as const

describe('keys', () => {
  it('of different topics, partitions and groups differ, and those of one partition and its dead letters share a slot', () => {
    const random = seededRandom('keys')
    const keys = new Keys('', true)
    const token = (): string => random.pick(['a', 'b', 'orders', 'later', 'dlq', 'group', 'x-1'])
    const owners = new Map<string, string>([
      [keys.topics, ''],
      [keys.ephemeral, ''],
    ])
    for (let round = 0; round < 500; round++) {
      const source = Array.from({ length: random.integer(1, 3) }, token).join('.')
      const group = token()
      for (const topic of [source, `${source}.${group}.dlq`]) {
        const number = random.integer(0, 3)
        const partition = keys.partition(topic, number)
        const ofGroup = keys.group(partition, group)
        const all: [string, string][] = [
          ...['stream', 'delayed', 'sequence'].map((name): [string, string] => [
            partition[name as 'stream'],
            `${topic} ${number} ${name}`,
          ]),
          ...NAMES_OF_GROUP.map((name): [string, string] => [ofGroup[name], `${topic} ${number} ${group} ${name}`]),
        ]
        for (const [key, owner] of all) {
          assert.equal(owners.get(key) ?? owner, owner)
          owners.set(key, owner)
          const base = baseTopic(source)
          assert.equal(/\{(.+?)\}/.exec(key)?.[1], number === 0 ? base : `${base}/${number}`)
        }
      }
    }
  })

  it('knows the source of dead letters', () => {
    for (const [topic, base] of [
      ['orders', 'orders'],
      ['orders.eu', 'orders.eu'],
      ['orders.billing.dlq', 'orders'],
      ['a.b.c.dlq', 'a.b'],
      ['orders.g.dlq.h.dlq', 'orders'],
      ['orders.dlq', 'orders.dlq'],
      ['dlq', 'dlq'],
    ] as const)
      expect(baseTopic(topic)).toBe(base)
  })
})
