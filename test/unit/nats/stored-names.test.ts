import { describe, expect, it } from 'vitest'
import { seededRandom } from 'busbar/testing'
import { compilePattern } from '../../../src/core/topic.ts'
import {
  consumerName,
  groupId,
  groupOfConsumer,
  partitionOf,
  Subjects,
} from '../../../src/transports/nats/wire/subjects.ts'

// Golden values: all of this is stored in streams and consumers of servers, or agreed between members of different
// versions. A change breaks systems that run: a key's messages would have two readers at once, and consumers with
// messages none. `partitionOf` is also what the server computes in a subject mapping.

describe('golden', () => {
  it.each([
    ['', [1, 2, 5, 197]],
    ['a', [0, 5, 12, 44]],
    ['b', [1, 6, 5, 229]],
    ['customer-1', [1, 1, 7, 23]],
    ['customer-2', [0, 6, 10, 170]],
    ['order:4711', [0, 6, 0, 144]],
    ['00000000-0000-7000-8000-000000000001', [1, 1, 1, 49]],
    ['žluť', [1, 3, 15, 79]],
    ['文字', [1, 3, 9, 153]],
    ['🌱', [1, 6, 15, 255]],
    ['x'.repeat(1_000), [1, 6, 5, 101]],
  ])('the partitions of the key %j', (key, expected) => {
    expect([2, 7, 16, 256].map((partitions) => partitionOf(key, partitions))).toEqual(expected)
  })

  it('subjects', () => {
    const subjects = new Subjects('busbar', 3)
    const target = (topic: string, key?: string): string => Buffer.from(subjects.target(topic, key)).toString()
    expect(subjects.stored).toEqual(['busbar.any.>', 'busbar.0.>', 'busbar.1.>', 'busbar.2.>'])
    expect(subjects.deadLetters).toBe('busbar-dlq.>')
    expect(subjects.state).toBe('busbar-state')
    expect(subjects.leases).toBe('busbar-lease')
    expect(target('orders')).toBe('HPUB busbar.any.orders ')
    expect(target('orders', 'a')).toBe('HPUB busbar.1.orders ')
    expect(target('orders.billing.dlq', 'a')).toBe('HPUB busbar-dlq.orders.billing.dlq ')
    expect(subjects.allOf('orders')).toBe('busbar.*.orders')
    expect(subjects.allOf('orders.billing.dlq')).toBe('busbar-dlq.orders.billing.dlq')
    expect(subjects.rpc('orders')).toBe('busbar-rpc.orders')
    expect(subjects.coreFilters('orders.>')).toEqual(['busbar.*.orders.>', 'busbar.*.orders'])
  })

  it('names of groups and consumers', () => {
    expect(groupId('orders', 'billing')).toBe('billing--1c168adb00')
    expect(groupId('orders.>', 'billing')).toBe('billing--7d48e2d719')
    expect(consumerName(groupId('orders', 'billing'), 'any')).toBe('billing--1c168adb00--any')
    expect(new Subjects('busbar', 3).members(groupId('orders', 'billing'))).toBe('busbar-members.billing--1c168adb00')
  })

  it('what a subscription reads', () => {
    const plan = (topic: string, order: 'key' | 'strict' | 'none', hasFilters = true): string[] => {
      const { layout, shared, units } = new Subjects('busbar', 2).plan(topic, order, false, hasFilters)
      return [
        layout,
        ...shared.map(({ label, filter }) => `${label} ${filter}`),
        ...units.map(({ name, token, filters }) => `${name} ${token} ${filters.join()}`),
      ]
    }
    expect(plan('orders', 'none')).toEqual(['none', 'none busbar.*.orders'])
    expect(plan('orders', 'strict')).toEqual(['strict', 'all undefined busbar.*.orders'])
    expect(plan('orders', 'key')).toEqual([
      'key',
      'any busbar.any.orders',
      '0 0 busbar.0.orders',
      '1 1 busbar.1.orders',
    ])
    expect(plan('orders.>', 'key')).toEqual([
      'key',
      'any busbar.any.orders.>',
      'any-base busbar.any.orders',
      '0 0 busbar.0.orders.>,busbar.0.orders',
      '1 1 busbar.1.orders.>,busbar.1.orders',
    ])
    // Before 2.10 a consumer has one filter: it reads more than the topic.
    expect(plan('orders.>', 'key', false).slice(-2)).toEqual(['0 0 busbar.0.>', '1 1 busbar.1.>'])
    expect(plan('orders.>', 'strict', false)).toEqual(['strict', 'all undefined busbar.>'])
    expect(plan('orders.billing.dlq', 'key')).toEqual(['strict', 'all undefined busbar-dlq.orders.billing.dlq'])
    expect(plan('orders.billing.dlq', 'none')).toEqual(['none', 'none busbar-dlq.orders.billing.dlq'])
  })
})

describe('names on the server', () => {
  it('are read back, also of groups that look like parts of them', () => {
    for (const group of ['billing', 'a--b', 'g--0123456789--any', '--', '-', 'x--all'])
      for (const label of ['any', 'none', 'any-base', 'none-base']) {
        expect(groupOfConsumer(consumerName(groupId('orders.>', group), label))).toBe(group)
      }
    for (const foreign of [
      '',
      'billing',
      'billing--1c168adb00',
      'billing--1C168ADB00--any',
      '--0123456789--any',
      'x--0123456789--some',
    ])
      expect(groupOfConsumer(foreign)).toBeUndefined()
  })

  it('lead back to the topic', () => {
    const subjects = new Subjects('my.prefix', 4)
    for (const topic of ['orders', 'orders.eu', 'orders.billing.dlq'])
      for (const key of [undefined, 'a', 'b'])
        expect(subjects.topicOf(Buffer.from(subjects.target(topic, key)).toString().slice(5, -1))).toBe(topic)
  })

  it('filters match the subjects of the topics of their pattern, and no others', () => {
    const random = seededRandom('filters')
    const subjects = new Subjects('busbar', 3)
    const words = ['a', 'b', 'c']
    const some = (all: string[]): string[] => Array.from({ length: random.integer(1, 4) }, () => random.pick(all))
    for (let round = 0; round < 2_000; round++) {
      const pattern = [...some([...words, '*']), ...(random.chance(0.4) ? ['>'] : [])].join('.')
      const topic = some(words).join('.')
      const subject = Buffer.from(subjects.target(topic, random.pick([undefined, 'k1', 'k2'])))
        .toString()
        .slice(5, -1)
      for (const order of ['key', 'strict', 'none'] as const) {
        const { shared, units } = subjects.plan(pattern, order, false, true)
        const filters = [...shared.map(({ filter }) => filter), ...units.flatMap((unit) => unit.filters)]
        const found = filters.filter((filter) => matches(filter, subject))
        expect(found.length, `${pattern} on ${subject}`).toBe(compilePattern(pattern)(topic) ? 1 : 0)
      }
    }
  })
})

/** As a server matches: `*` is one token, a trailing `>` one or more. */
function matches(filter: string, subject: string): boolean {
  const [wanted, given] = [filter.split('.'), subject.split('.')]
  for (const [index, token] of wanted.entries()) {
    if (token === '>') return given.length > index
    if (given[index] === undefined || (token !== '*' && token !== given[index])) return false
  }
  return wanted.length === given.length
}
