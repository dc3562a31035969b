import { expect, it } from 'vitest'
import { seededRandom } from 'busbar/testing'
import type { Random } from 'busbar/testing'
import { describeError } from '../../../src/core/util/describe-error.ts'
import { summarizeFailure } from '../../../src/core/dead-letters/failure-summary.ts'
import { fromHeaderText, toAsciiJson, toHeaderText } from '../../../src/core/dead-letters/header-text.ts'
import { RetryRequest } from '../../../src/core/consume/retry.ts'

const HUGE = 'x'.repeat(20_000)

/** Something that a handler may throw, from its own carelessness or out of spite. */
function thrown(random: Random, made: unknown[] = []): unknown {
  const again = (): unknown =>
    made.length > 12 || random.chance(0.3) ? random.pick([null, ...made]) : thrown(random, made)
  const keep = <Value>(value: Value): Value => {
    made.push(value)
    return value
  }
  const failing = (): never => {
    throw new Error('no')
  }
  return random.pick<() => unknown>([
    () => random.pick([undefined, null, 0, Number.NaN, 5n, true, '', HUGE, '\ud800', Symbol('s'), () => HUGE]),
    () => Object.assign(keep(new Error(random.pick(['', 'm', HUGE, '\0\n\ud800']))), { cause: again(), code: again() }),
    () => Object.assign(keep(new AggregateError([], 'm')), { errors: [again(), again()], name: again() }),
    () => Object.assign(keep({ message: 'm' }), { stack: again(), cause: again(), errors: again() }),
    () => keep(new RetryRequest({ cause: again() })),
    () => Object.create(null) as unknown,
    () => Object.fromEntries(Array.from({ length: 200 }, (_, index) => [`k${index}`, HUGE])),
    () => ({ message: { toString: failing, [Symbol.toPrimitive]: failing, toJSON: failing }, name: failing }),
    () =>
      Object.defineProperty(keep(new Error('m')), random.pick(['message', 'name', 'cause', 'stack', 'code']), {
        get: failing,
      }),
    () => new Proxy(new Error('m'), { get: failing, has: failing, getPrototypeOf: failing, ownKeys: failing }),
    () => new Proxy([], { get: (target, key) => (key === 'length' ? 2 ** 32 : Reflect.get(target, key)) }),
    () => Object.assign(new Error('m'), { cause: new Proxy({}, { get: () => again() }) }),
    () => new Map([[again(), again()]]),
    () => Buffer.alloc(10_000),
    () => [again(), [again(), [again()]]],
  ])()
}

it('whatever is thrown, its summary is text of bounded length', () => {
  const random = seededRandom('failures')
  for (let round = 0; round < 400; round++) {
    const failure = thrown(random)
    const { name, message, code, stack, causes } = summarizeFailure(failure)
    const texts = [name, message, code ?? '', stack ?? '', ...causes.flatMap((cause) => [cause.name, cause.message])]
    for (const text of texts) expect(typeof text === 'string' && text.length <= 8_192).toBe(true)
    expect(name).not.toBe('')
    expect(causes.length).toBeLessThanOrEqual(8)
    const header = toHeaderText(message, 500)
    expect(header.length <= 500 && /^[\x20-\x7e]*$/.test(header)).toBe(true)
    expect(fromHeaderText(toAsciiJson(causes).replaceAll('"', ''))).toBeTypeOf('string')
  }
})

it('and its description for a log line too', () => {
  const random = seededRandom('descriptions')
  for (let round = 0; round < 400; round++) {
    const { name, message, stack = '' } = describeError(thrown(random))
    expect([typeof name, typeof message, stack.length <= 8_000]).toEqual(['string', 'string', true])
  }
})

it.each([
  ['a Buffer', Buffer.alloc(20_000)],
  ['an array', Array.from({ length: 20_000 }, () => 0)],
])('the fields of %s are not counted: there may be millions', (_name, failure) => {
  expect(summarizeFailure(failure).message.replace(/\s+/g, ' ')).toContain(
    '[ 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ... 19990 more items ]',
  )
})
