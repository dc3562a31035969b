import { describe, expect, it } from 'vitest'
import { BusEvents } from '../../../src/core/events.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { ledger } from '../../../src/testing/ledger.ts'
import { recorder } from '../../../src/testing/recorder.ts'

describe('ledger', () => {
  it('passes when everything confirmed was handled once and in order', () => {
    const book = ledger()
    for (const id of ['a', 'b', 'c']) book.published(id, 'confirmed', 'k')
    expect(book.complete()).toBe(false)
    for (const id of ['a', 'b', 'c']) book.handled(id)
    expect(book.complete()).toBe(true)
    expect(book.check()).toMatchObject({ confirmed: 3, handled: 3, missing: [], duplicates: [], outOfOrder: [] })
  })

  it('finds a lost message', () => {
    const book = ledger()
    book.published('a', 'confirmed')
    book.published('b', 'confirmed')
    book.handled('a')
    expect(() => book.check()).toThrow(/1 confirmed and never handled: b/)
  })

  it('finds a second handling unless a fault explains it', () => {
    const book = ledger()
    book.published('a', 'confirmed')
    book.published('b', 'confirmed')
    for (const id of ['a', 'b', 'b']) book.handled(id)
    expect(() => book.check()).toThrow(/handled more than once: b \(2 times\)/)
    expect(() => book.check({ duplicates: (id) => id === 'a' })).toThrow(/more than once/)
    book.check({ duplicates: (id) => id === 'b' })
    book.check({ duplicates: 'any' })
  })

  it('finds what was handled though it certainly was not sent, but not what may have been', () => {
    const book = ledger()
    book.published('maybe', 'unknown')
    book.published('no', 'not-sent')
    book.handled('maybe')
    book.check()
    book.handled('no')
    book.handled('ghost')
    expect(() => book.check()).toThrow(/2 handled and never sent: no, ghost/)
  })

  it('finds a broken order within a key, by first handling alone', () => {
    const book = ledger()
    for (const id of ['a1', 'a2', 'a3']) book.published(id, 'confirmed', 'a')
    book.published('b1', 'confirmed', 'b')
    for (const id of ['a1', 'a2', 'b1', 'a1', 'a3']) book.handled(id)
    book.check({ duplicates: 'any' })
    const broken = ledger()
    for (const id of ['a1', 'a2']) broken.published(id, 'confirmed', 'a')
    for (const id of ['a2', 'a1']) broken.handled(id)
    expect(() => broken.check()).toThrow(/out of order: a1 after a2 \(key a\)/)
    broken.check({ order: false })
  })

  it('refuses an id that is published twice: the account would be wrong', () => {
    const book = ledger()
    book.published('a', 'confirmed')
    expect(() => book.published('a', 'confirmed')).toThrow(RangeError)
  })
})

describe('recorder', () => {
  const make = () => {
    const events = new BusEvents(silentLogger)
    return { events, record: recorder({ events }) }
  }

  it('records, counts and filters', () => {
    const { events, record } = make()
    events.emit('connect', { transport: 'main' })
    events.emit('warning', { transport: 'main', code: 'a', detail: '' })
    events.emit('warning', { transport: 'main', code: 'b', detail: '' })
    expect(record.counts()).toEqual({ connect: 1, warning: 2 })
    expect(record.count('warning', ({ code }) => code === 'b')).toBe(1)
    expect(record.of('warning').map(({ code }) => code)).toEqual(['a', 'b'])
    expect(record.all.map(({ name }) => name)).toEqual(['connect', 'warning', 'warning'])
    record.clear()
    expect(record.all).toEqual([])
    record.stop()
    events.emit('connect', { transport: 'main' })
    expect(record.count('connect')).toBe(0)
  })

  it('waits for what comes, finds what came, and says what it saw instead', async () => {
    const { events, record } = make()
    const waiting = record.waitFor('warning', ({ code }) => code === 'b')
    events.emit('warning', { transport: 'main', code: 'a', detail: '' })
    events.emit('warning', { transport: 'main', code: 'b', detail: 'x' })
    expect((await waiting).detail).toBe('x')
    expect((await record.waitFor('warning')).code).toBe('a')
    await expect(record.waitFor('connect', undefined, { timeoutMs: 10 })).rejects.toThrow(
      /no "connect" event that fits; events so far: \{"warning":2\}/,
    )
  })
})
