import { describe, expect, it } from 'vitest'
import type { Statement } from '../../../src/transports/sqlite/worker/database.ts'
import { KeyCounts } from '../../../src/transports/sqlite/key-counts.ts'
import { KeyRules } from '../../../src/transports/sqlite/worker/key-rules.ts'
import type { Parking } from '../../../src/transports/sqlite/worker/parking.ts'

/** Rules for what waits: by key, the seq of the first parked message and of the first retry; and keys of other owners. */
function rules(parked: Record<string, number>, retries: Record<string, number>, elsewhere: string[] = []): KeyRules {
  return new KeyRules({
    groupId: 1,
    parking: { first: (_group: number, key: string) => parked[key] ?? Infinity } as unknown as Parking,
    firstRetry: { row: (_group: number, key: string) => [retries[key] ?? null] } as unknown as Statement,
    anyParked: Object.keys(parked).length > 0,
    anyRetry: Object.keys(retries).length > 0,
    elsewhere: new Map(elsewhere.map((key) => [key, 0])),
  })
}

describe('which messages of a key may be handed out', () => {
  it('all, while nothing waits', () => {
    const free = rules({}, {})
    expect([free.blocksNew('a'), free.blocksReady('a', 5), free.isInPlay('a')]).toEqual([false, false, false])
    expect(free.holdsParked('a')).toBe(Infinity)
  })

  it('none, while another owner has some of them', () => {
    for (const held of [rules({}, {}, ['a']), rules({ b: 1 }, { b: 1 }, ['a'])]) {
      expect([held.blocksNew('a'), held.blocksReady('a', 1), held.isInPlay('a')]).toEqual([true, true, true])
      expect(held.holdsParked('a')).toBe(0)
      expect(held.blocksNew('c')).toBe(false)
    }
  })

  it('those before the first parked one, and before the first that waits for its retry', () => {
    for (const waiting of [
      rules({ a: 5 }, {}),
      rules({}, { a: 5 }),
      rules({ a: 9 }, { a: 5 }),
      rules({ a: 5 }, { a: 9 }),
    ]) {
      expect(waiting.blocksNew('a')).toBe(true)
      expect([3, 5, 6].map((seq) => waiting.blocksReady('a', seq))).toEqual([false, false, true])
      expect(waiting.blocksNew('b')).toBe(false)
    }
    expect([rules({ a: 5 }, {}).isInPlay('a'), rules({}, { a: 5 }).isInPlay('a')]).toEqual([false, true])
    expect(rules({ a: 5 }, { a: 9 }).holdsParked('a')).toBe(9)
  })

  it('what was parked or taken meanwhile counts too', () => {
    const some = rules({ a: 5 }, {})
    some.parked('b', 7)
    some.parked('b', 9)
    expect([7, 8].map((seq) => some.blocksReady('b', seq))).toEqual([false, true])
    expect(some.blocksNew('a')).toBe(true)
    some.tookParked('b')
    expect(some.blocksNew('b')).toBe(false)
    const none = rules({}, {})
    none.parked('a', 7)
    expect([none.blocksNew('a'), none.blocksReady('a', 7), none.blocksNew('b')]).toEqual([true, false, false])
  })
})

it('counts by key keep nothing of keys without any', () => {
  const counts = new KeyCounts()
  expect([counts.add('a'), counts.add('a'), counts.add('b')]).toEqual([1, 2, 1])
  counts.remove('a')
  counts.remove('b')
  counts.remove('unknown')
  expect([counts.get('a'), counts.get('b'), counts.has('b'), counts.size]).toEqual([1, 0, false, 1])
  expect([...counts.keys()]).toEqual(['a'])
})
