import { describe, expect, it } from 'vitest'
import { plain } from '../../../src/core/util/plain.ts'

describe('plain', () => {
  it('keeps what JSON keeps', () => {
    const value = { a: [1, 'two', true, null], b: { c: new Date(0) }, d: undefined, e: () => 1, f: 10n, g: Number.NaN }
    expect(plain(value)).toStrictEqual({
      a: [1, 'two', true, null],
      b: { c: '1970-01-01T00:00:00.000Z' },
      f: '10',
      g: null,
    })
    expect(plain(undefined)).toBeUndefined()
    expect(plain(() => 1)).toBeUndefined()
  })

  it.each([
    ['amqp://guest:geheim@broker:5672/v', 'amqp://***@broker:5672/v'],
    ['redis://:geheim@h', 'redis://***@h'],
    ['nats://geheim@h', 'nats://***@h'],
    ['amqp://u:ge@heim@h', 'amqp://***@h'],
    ['can not reach amqps://u:geheim@h/v, nor redis://u:geheim@i', 'can not reach amqps://***@h/v, nor redis://***@i'],
    ['postgres://h/db?user=u&password=geheim&x=1', 'postgres://h/db?user=u&password=***&x=1'],
    ['https://h/?access_token=geheim', 'https://h/?access_token=***'],
    ['https://h/path@1?q=a@b', 'https://h/path@1?q=a@b'],
    ['mail a@b', 'mail a@b'],
  ])('masks secrets of %s', (text, masked) => {
    expect(plain(text)).toBe(masked)
    expect(plain([{ text }])).toEqual([{ text: masked }])
    expect(Object.keys(plain({ [text]: 1 }))).toEqual([masked])
  })

  it('masks text that has the name of a secret', () => {
    expect(plain({ password: 'x', apiKey: 'x', authToken: ['x'], credentials: { user: 'u', pass: 'x' } })).toEqual({
      password: '***',
      apiKey: '***',
      authToken: '***',
      credentials: { user: 'u', pass: '***' },
    })
    const counts = { tokens: 3, 'tokens.issued': { sent: 3 } }
    expect(plain(counts)).toEqual(counts)
  })

  it('cuts long strings, but not in the middle of a secret', () => {
    expect(plain('x'.repeat(1_001))).toBe(`${'x'.repeat(1_000)}...`)
    expect(plain(`${'x'.repeat(980)} amqp://user:geheim@host`)).not.toContain('geh')
  })

  it('throws when the copy would be too large, before it is made', () => {
    expect(plain(['x'.repeat(50)], 100)).toHaveLength(1)
    expect(() => plain(Array.from({ length: 30 }), 100)).toThrow('it has more than 100 characters as JSON')
    const endless = { toJSON: () => ({ next: endless }) }
    expect(() => plain(endless, 10_000)).toThrow('more than 10000 characters')
  })

  it('throws for what can not be JSON', () => {
    const circle: { self?: object } = {}
    circle.self = circle
    expect(() => plain(circle)).toThrow('circular')
  })

  it('takes no longer for text that is hard to search', () => {
    for (const text of ['a', '://', '?password', '?a', '://x@'].map((part) => part.repeat(1_000_000))) {
      const startedAt = performance.now()
      plain(text)
      expect(performance.now() - startedAt).toBeLessThan(1_000)
    }
  })
})
