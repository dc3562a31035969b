import { describe, expect, it } from 'vitest'
import { CodecRegistry } from '../../../src/core/codec.ts'
import { makeDeadLetter, makeRedrive, parseDeadLetter } from '../../../src/core/dead-letters/dead-letter.ts'
import type { Failure } from '../../../src/core/dead-letters/dead-letter.ts'
import type { DeadLetter } from '../../../src/core/bus-types.ts'
import type { EncodedMessage, OutgoingMessage } from '../../../src/core/message.ts'
import { RetryRequest } from '../../../src/core/consume/retry.ts'
import { contentBytes, OWN_HEADER_BYTES } from '../../../src/core/publish/size-limit.ts'
import { delivery } from './stub-transport.ts'

const codecs = new CodecRegistry()

function failure(group: string, error: unknown, change: Partial<Failure> = {}): Failure {
  return { group, reason: 'exhausted', error, attempts: 3, firstAt: 1_000, lastAt: 2_000, ...change }
}

function parse(message: EncodedMessage): DeadLetter {
  return parseDeadLetter({ message, position: { offset: 7 } }, message.headers['busbar-dlq-topic'] ?? '', codecs)
}

function ownBytes(message: OutgoingMessage): number {
  return Object.entries(message.headers)
    .filter(([name]) => name.startsWith('busbar-'))
    .reduce((sum, [name, value]) => sum + name.length + Buffer.byteLength(value), 0)
}

/** As long, and with characters as expensive, as possible. */
function worstError(): Error {
  const error = Object.assign(new Error('ž'.repeat(100_000)), { code: 'č'.repeat(1_000) })
  error.name = 'ň'.repeat(1_000)
  error.stack = 'ř'.repeat(100_000)
  for (let depth = 0, at: Error = error; depth < 10; depth++) {
    const cause = Object.assign(new Error('š'.repeat(10_000)), { code: 'c'.repeat(1_000) })
    at.cause = cause
    at = cause
  }
  return error
}

describe('a dead letter', () => {
  it('carries code and causes there and back', () => {
    const refused = Object.assign(new Error('connect ECONNREFUSED · žluťoučký'), { code: 'ECONNREFUSED' })
    const error = Object.assign(new TypeError('fetch failed', { cause: refused }), { code: 23505 })
    const letter = parse(makeDeadLetter(delivery('1'), failure('billing', new RetryRequest({ cause: error }))))
    expect(letter).toMatchObject({
      errorName: 'TypeError',
      errorMessage: 'fetch failed',
      errorCode: '23505',
      errorStack: error.stack,
      errorCause: [{ name: 'Error', message: 'connect ECONNREFUSED · žluťoučký', code: 'ECONNREFUSED' }],
    })
  })

  it('reads one without code and causes, as it was written before there were any', () => {
    const { headers, ...rest } = makeDeadLetter(delivery('1'), failure('billing', 'text'))
    expect(Object.keys(headers)).not.toContain('busbar-dlq-code')
    expect(parse({ headers, ...rest })).toMatchObject({ errorCode: undefined, errorCause: [] })
    const spoilt = { ...headers, 'busbar-dlq-cause': '[1,{"name":2}', 'busbar-dlq-expires-at': 'never' }
    expect(parse({ ...rest, headers: spoilt })).toMatchObject({ errorCause: [], message: { expiresAt: undefined } })
  })

  it('decodes its body when asked, and says when that fails', () => {
    const letter = parse(makeDeadLetter(delivery('1', { body: Buffer.from('{"a":1}') }), failure('g', new Error('x'))))
    expect(letter.data()).toEqual({ a: 1 })
    expect(letter.data()).toBe(letter.data())
    const broken = parse(makeDeadLetter(delivery('2', { body: Buffer.from('{"a":') }), failure('g', new Error('x'))))
    expect(() => broken.data()).toThrow(expect.objectContaining({ code: 'BUSBAR_CODEC' }))
  })

  it('has room for its own headers, whatever was thrown', () => {
    const source = delivery('1', { topic: 't'.repeat(150), headers: { 'x-own': 'kept' } })
    const letter = makeDeadLetter(source, failure('g'.repeat(64), worstError()))
    expect(ownBytes(letter)).toBeLessThan(OWN_HEADER_BYTES)
    for (const value of Object.values(letter.headers)) expect(value).toMatch(/^[\x20-\x7e]*$/)
    expect(contentBytes(letter)).toBe(contentBytes(source.message))
    expect(parse(letter).errorCause.length).toBeGreaterThanOrEqual(3)
  })

  it('can do with little room', () => {
    const letter = makeDeadLetter(delivery('1'), failure('g', worstError(), { slim: true }))
    expect(ownBytes(letter)).toBeLessThan(1_500)
  })
})

describe('a redriven copy', () => {
  it('is the original message, with one more redrive', () => {
    const source = delivery('1', {
      key: 'k',
      subject: 'about',
      dataSchema: 'https://schemas.example/1',
      expiresAt: 50_000,
      tracestate: 'a=b',
      headers: { 'x-own': 'kept', 'busbar-redrives': '2' },
    })
    const letter = parse(makeDeadLetter(source, failure('g', new Error('x'))))
    expect(letter.redrives).toBe(2)
    expect(letter.message).toEqual({ ...source.message, headers: { 'x-own': 'kept' } })
    const copy = makeRedrive(letter, 'g', 40_000)
    expect(copy).toEqual({
      ...source.message,
      headers: { 'x-own': 'kept', 'busbar-redrives': '3' },
      deliverAt: undefined,
      group: 'g',
      copyOf: JSON.stringify(letter.position),
    })
  })

  it('of an expired message does not expire again: the redrive decides', () => {
    const letter = makeDeadLetter(delivery('1', { expiresAt: 50_000 }), failure('g', new Error('x')))
    expect(letter.expiresAt).toBeUndefined()
    expect(parse(letter).message.expiresAt).toBe(50_000)
    expect(makeRedrive(parse(letter), 'g', 50_000).expiresAt).toBeUndefined()
  })

  it('counts for a letter that the broker made of a redriven copy', () => {
    const letter = makeDeadLetter(delivery('1'), failure('g', new Error('x')))
    expect(parse({ ...letter, headers: { ...letter.headers, 'busbar-redrives': '4' } }).redrives).toBe(4)
  })
})

describe('a dead letter of a dead letter', () => {
  it('keeps the first story, and a redrive restores it', () => {
    const source = delivery('1', { headers: { 'x-own': 'kept', 'busbar-redrives': '2' } })
    const first = makeDeadLetter(source, failure('billing', new Error('card refused')))
    const second = makeDeadLetter(
      delivery('1', { ...first }),
      failure('alerts', new Error('pager down'), { attempts: 1 }),
    )
    expect(second.topic).toBe('orders.placed.billing.dlq.alerts.dlq')
    const letter = parse(second)
    expect(letter).toMatchObject({
      errorMessage: 'pager down',
      attempts: 1,
      redrives: 0,
      message: { topic: 'orders.placed.billing.dlq' },
    })
    const copy = makeRedrive(letter, 'alerts', 0)
    expect(copy.headers).toEqual({ ...first.headers, 'busbar-redrives': '1' })
    expect(parse({ ...copy, topic: first.topic })).toMatchObject({
      errorMessage: 'card refused',
      attempts: 3,
      redrives: 2,
      message: { topic: 'orders.placed' },
    })
    // The copy fails as well: both counts go on, each by itself.
    const third = makeDeadLetter(delivery('1', { ...copy }), failure('alerts', new Error('pager down again')))
    expect(parse(third)).toMatchObject({ redrives: 1, errorMessage: 'pager down again' })
    expect(makeRedrive(parse(third), 'alerts', 0).headers).toEqual({ ...first.headers, 'busbar-redrives': '2' })
  })

  it('stays within its room over many levels, and drops what explains least first', () => {
    let letter = makeDeadLetter(delivery('1', { topic: 't' }), failure('g', worstError()))
    for (let level = 1; level < 6; level++) {
      letter = makeDeadLetter(delivery('1', { ...letter }), failure(`g${level}`, worstError()))
      expect(ownBytes(letter)).toBeLessThanOrEqual(OWN_HEADER_BYTES)
      expect(parse(letter).errorStack).toBeDefined()
      const inner = parse({ ...letter, headers: parse(letter).message.headers })
      expect(inner.errorMessage).toMatch(/^ž+$/)
      expect(inner.errorStack).toBeUndefined()
    }
  })

  it('drops inner stacks as well when there is little room', () => {
    const first = makeDeadLetter(delivery('1'), failure('a', new Error('first')))
    const letter = makeDeadLetter(delivery('1', { ...first }), failure('b', new Error('second'), { slim: true }))
    const names = Object.keys(letter.headers)
    expect(names.filter((name) => name.endsWith('-dlq-stack'))).toEqual([])
    expect(letter.headers['busbar-nested-busbar-dlq-message']).toBe('first')
  })
})
