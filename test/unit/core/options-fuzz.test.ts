import { expect, it } from 'vitest'
import { seededRandom } from 'busbar/testing'
import { ConfigurationError } from '../../../src/core/errors.ts'
import { closest, describe as described, OptionsReader } from '../../../src/core/util/options-reader.ts'

const SECRET = 'hunter2'
const PLAIN = [undefined, null, 0, -1, 1.5, 7, 1e300, Infinity, Number.NaN, 5n, true, false, '', SECRET, 'key']
const OBJECTS = [[], [SECRET], {}, { a: SECRET }, Promise.resolve(SECRET), new Date(0), Object.create(null)]
const VALUES: readonly unknown[] = [...PLAIN, ...OBJECTS, () => SECRET, Symbol(SECRET)]

it('any value is either taken or a problem with its path, and none is shown', () => {
  const random = seededRandom('options')
  for (let round = 0; round < 300; round++) {
    const input = Object.fromEntries(
      ['count', 'ratio', 'on', 'name', 'order', 'act', 'logger', 'list', 'steps', 'nested', 'typo'].flatMap((name) =>
        random.chance(0.5) ? [[name, random.pick(VALUES)]] : [],
      ),
    )
    const before = { ...input }
    const reader = new OptionsReader('thing', input)
    const count = reader.integer('count', 3, { min: 1, max: 10 })
    const ratio = reader.number('ratio', 0.5, { min: 0, max: 1e6 })
    const on = reader.boolean('on', false)
    const name = reader.string('name', 'none')
    const order = reader.oneOf('order', ['key', 'strict'], 'key')
    const act = reader.callable('act')
    const logger = reader.withMethods('logger', ['info'])
    expect(Number.isInteger(count) && count >= 1 && count <= 10).toBe(true)
    expect(Number.isFinite(ratio) && ratio >= 0 && ratio <= 1e6).toBe(true)
    expect([typeof on, typeof name, name === '', ['key', 'strict'].includes(order)]).toEqual([
      'boolean',
      'string',
      false,
      true,
    ])
    expect(['undefined', 'function']).toContain(typeof act)
    expect(logger).toBeUndefined()
    expect(Array.isArray(reader.list('list')) && Array.isArray(reader.functions('steps'))).toBe(true)
    expect(reader.nested('nested').integer('depth', 1)).toBe(1)
    const error = reader.error()
    expect(input).toEqual(before)
    if (error === undefined) continue
    expect(ConfigurationError.is(error)).toBe(true)
    for (const { path, message } of error.problems) {
      expect(Object.keys(input)).toContain(path.split('.')[0])
      // A word that should be one of a few is no secret.
      if (path !== 'order') expect(message).not.toContain(SECRET)
    }
  }
})

it('a value is described without being shown', () => {
  for (const value of VALUES) expect(described(value)).not.toContain(SECRET)
})

it('the closest word is close', () => {
  const known = ['partitions', 'exchange', 'url', 'maxLen']
  for (const [word, guess] of [
    ['partition', 'partitions'],
    ['MAXLEN', 'maxLen'],
    ['exhcange', 'exchange'],
    ['uri', 'url'],
    ['sql', undefined],
    ['prefetch', undefined],
    ['', undefined],
    ['__proto__', undefined],
  ] as const)
    expect(closest(word, known), word).toBe(guess)
  expect(closest('x'.repeat(10), [])).toBeUndefined()
})
