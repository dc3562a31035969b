import { describe, expect, it } from 'vitest'
import { ConfigurationError, defineEvent, RejectError } from 'busbar'
import type { BatchContext, Message, StandardSchema } from 'busbar'
import { OptionsReader } from '../../../src/core/util/options-reader.ts'
import { compileWhere } from '../../../src/core/where/compile-where.ts'
import type { EncodedMessage } from '../../../src/core/message.ts'
import { stage, turn } from './stage.ts'
import { delivery } from './stub-transport.ts'

const NOTHING = { type: 't', key: undefined, subject: undefined, headers: {} } as unknown as EncodedMessage

function matches(where: unknown, data: unknown, message: Partial<EncodedMessage> = {}): boolean {
  const reader = new OptionsReader('test', { where })
  const { ofAttributes, ofData } = compileWhere(reader, 'where', reader.raw('where'))
  reader.done()
  const whole = { ...NOTHING, ...message }
  return (ofAttributes?.(whole) ?? true) && (ofData?.(data, whole) ?? true)
}

function problemsOf(where: unknown): readonly string[] {
  try {
    matches(where, {})
  } catch (error) {
    if (!ConfigurationError.is(error)) throw error
    return error.problems.map(({ path, message }) => `${path} ${message}`)
  }
  return []
}

const STATUSES: Readonly<Record<string, object>> = {
  missing: {},
  undefined: { status: undefined },
  null: { status: null },
  open: { status: 'open' },
  done: { status: 'done' },
  5: { status: 5 },
  "'5'": { status: '5' },
}

describe('a filter', () => {
  it.each<[unknown, readonly string[]]>([
    [{ not: 'done' }, ['5', 'null', 'open', "'5'"]],
    [{ not: ['done', null, 'open'] }, ['5', "'5'"]],
    [null, ['null']],
    [{ exists: false }, ['missing', 'undefined']],
    [{ exists: true }, ['5', 'null', 'open', 'done', "'5'"]],
    ['5', ["'5'"]],
    [5, ['5']],
    [
      ['open', null, { exists: false }],
      ['missing', 'undefined', 'null', 'open'],
    ],
    [{ gt: 4 }, ['5']],
    [{ gte: 5, lt: 6 }, ['5']],
    [{ gt: 5 }, []],
    [{ gt: 'a' }, ['open', 'done']],
    [{ prefix: 'do' }, ['done']],
    [{ suffix: 'en', not: 'done' }, ['open']],
  ])('P-15 of status %j matches what it says, without coercion', (status, expected) => {
    const matching = Object.keys(STATUSES).filter((name) => matches({ status }, STATUSES[name]))
    expect(matching).toEqual(expected)
  })

  it.each<[string, unknown, unknown, boolean]>([
    ['all fields must match', { a: 1, b: 2 }, { a: 1, b: 3 }, false],
    ['nested fields', { a: { b: { c: 1 } } }, { a: { b: { c: 1, d: 2 } } }, true],
    ['a missing parent', { a: { b: { exists: false } } }, {}, true],
    ['an element of an array', { tags: 'a' }, { tags: ['b', 'a'] }, true],
    ['no element of an array', { $not: { tags: 'a' } }, { tags: ['b', 'a'] }, false],
    ['some element is another', { tags: { not: 'a' } }, { tags: ['b', 'a'] }, true],
    ['operators hold for one element together', { n: { gt: 1, lt: 4 } }, { n: [0, 5] }, false],
    ['an array exists, even empty', { n: { exists: true } }, { n: [] }, true],
    ['an empty array has no element', { n: { not: 1 } }, { n: [] }, false],
    [
      'objects in an array',
      { items: { sku: 'x', n: { gt: 1 } } },
      {
        items: [
          { sku: 'x', n: 1 },
          { sku: 'y', n: 9 },
        ],
      },
      false,
    ],
    ['$or', { $or: [{ a: 1 }, { b: 1 }] }, { b: 1 }, true],
    ['$or beside a field', { $or: [{ a: 1 }, { b: 1 }], c: 1 }, { b: 1 }, false],
    ['$and', { $and: [{ a: { gt: 1 } }, { a: { lt: 3 } }] }, { a: 2 }, true],
    ['$not', { $not: { a: 1, b: 1 } }, { a: 1, b: 2 }, true],
    ['logic in a nested object', { a: { $or: [{ b: 1 }, { c: 1 }] } }, { a: { c: 1 } }, true],
    ['a field named like an operator', { range: { $and: [{ gt: 5 }] } }, { range: { gt: 5 } }, true],
    ['what every object inherits', { constructor: { exists: true } }, {}, false],
    ['a field __proto__', JSON.parse('{ "__proto__": { "exists": true } }'), {}, false],
    ['data that is not an object', { length: { exists: true } }, [1, 2], false],
    ['data null', { a: { exists: false } }, null, true],
    ['a scalar where fields are expected', { a: { b: 1 } }, { a: 'b' }, false],
    ['numbers that are equal', { a: 0 }, { a: -0 }, true],
  ])('takes %s', (_, where, data, expected) => {
    expect(matches(where, data)).toBe(expected)
  })

  it('takes attributes, with data and without', () => {
    const message = { type: 'order.paid', key: 'eu-7', headers: { tenant: 'a' } }
    expect(matches({ $type: { prefix: 'order.' }, $key: { prefix: 'eu-' } }, undefined, message)).toBe(true)
    expect(matches({ $headers: { tenant: ['a', 'b'], trace: { exists: false } } }, undefined, message)).toBe(true)
    expect(matches({ $subject: { exists: true } }, undefined, message)).toBe(false)
    expect(matches({ $or: [{ $key: 'us-1' }, { total: { gt: 5 } }] }, { total: 6 }, message)).toBe(true)
    expect(matches({ $not: { $headers: { tenant: 'a' } } }, undefined, message)).toBe(false)
    expect(matches({ $headers: { toString: { exists: true } } }, undefined, message)).toBe(false)
  })

  it('that asks for attributes alone needs no data', () => {
    const reader = new OptionsReader('test', {})
    const where = { $and: [{ $key: 'a' }, { $or: [{ $type: 't' }, { $not: { $subject: 's' } }] }] }
    expect(compileWhere(reader, 'where', where).ofData).toBeUndefined()
    const mixed = compileWhere(reader, 'where', { $and: [{ $key: 'a' }, { total: 1 }] })
    expect([mixed.ofAttributes, mixed.ofData]).not.toContain(undefined)
  })

  it.each<[unknown, readonly string[]]>([
    [{}, ['where has no conditions: it would match everything']],
    [{ status: undefined }, ['where has no conditions: it would match everything']],
    [{ status: {} }, ['where.status has no conditions: it would match everything']],
    [{ status: [] }, ['where.status must be a list with at least one element, got an array']],
    [{ a: { gtt: 1 } }, []],
    [{ a: { $gt: 1 } }, [expect.stringMatching(/^where\.a\.\$gt is not known: there are \$and/)]],
    [{ $key: { $type: 'a' } }, [expect.stringMatching(/^where\.\$key\.\$type is not known/)]],
    [{ a: { gt: 1, b: 2 } }, [expect.stringMatching(/^where\.a mixes operators \(gt\) with fields/)]],
    [{ a: { gt: true } }, ['where.a.gt must be a number or a string, got true']],
    [{ a: { prefix: 1 } }, ['where.a.prefix must be a string, got 1']],
    [{ a: { exists: 'yes' } }, ['where.a.exists must be true or false, got a string']],
    [{ a: { exists: false, gt: 1 } }, [expect.stringMatching(/^where\.a asks for a missing value/)]],
    [{ a: { not: { gt: 1 } } }, [expect.stringMatching(/^where\.a\.not must be a string, number/)]],
    [{ a: Number.NaN }, [expect.stringMatching(/^where\.a must be an object of conditions, got NaN/)]],
    [{ a: new Date(0) }, [expect.stringMatching(/^where\.a must be an object of conditions, got/)]],
    [{ a: /x/ }, [expect.stringMatching(/^where\.a must be an object of conditions, got/)]],
    [{ $or: { a: 1 } }, [expect.stringMatching(/^where\.\$or must be a list with at least one element/)]],
    [() => true, [expect.stringMatching(/^where must be an object of conditions, got a function/)]],
  ])('%j is refused with the place of each problem', (where, expected) => {
    expect(problemsOf(where)).toEqual(expected)
  })

  it('nested too deep is refused, and a deep one works', () => {
    const nested = (levels: number): object =>
      Array.from({ length: levels }).reduce<object>((inner) => ({ $not: inner }), { a: 1 })
    expect(matches(nested(30), { a: 1 })).toBe(true)
    expect(problemsOf(nested(10_000))).toEqual([expect.stringContaining('is nested more than 32 levels deep')])
  })

  it('does not follow later changes of the object', () => {
    const where = { a: { gt: 1 }, $or: [{ b: 1 }] }
    const reader = new OptionsReader('test', {})
    const filter = compileWhere(reader, 'where', where)
    where.a.gt = 100
    where.$or.length = 0
    expect(filter.ofData?.({ a: 2, b: 1 }, NOTHING)).toBe(true)
  })
})

const doubled: StandardSchema<{ n: number }, { twice: number }> = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate: (data) => {
      const { n } = data as { n: unknown }
      return typeof n === 'number' ? { value: { twice: 2 * n } } : { issues: [{ message: 'n is no number' }] }
    },
  },
}

const Doubled = defineEvent('orders.placed', doubled)

function numbered(id: string, n: unknown, attempt = 1): ReturnType<typeof delivery> {
  return delivery(id, { attempt, body: Buffer.from(JSON.stringify({ n })) })
}

describe('consume({ where })', () => {
  it('acks what does not match without the handler, and counts it', async () => {
    const handled: string[] = []
    const { broker, consumer } = await stage((message: Message) => void handled.push(message.id), {
      where: { n: { gte: 2 } },
    })
    broker.deliver(numbered('1', 1), numbered('2', 2), numbered('3', 3))
    await turn()
    expect(handled).toEqual(['2', '3'])
    expect(broker.outcomes()).toEqual(['1 ack', '2 ack', '3 ack'])
    expect(consumer.stats()).toMatchObject({ received: 3, handled: 2, skipped: 1, acked: 3, failed: 0 })
  })

  it('sees the output of the schema, and what does not fit the schema fails as always', async () => {
    const handled: string[] = []
    const { broker } = await stage(
      (message: Message) => void handled.push(message.id),
      { where: { twice: { gt: 3 } } },
      {},
      Doubled,
    )
    broker.deliver(numbered('1', 1), numbered('2', 2), numbered('3', 'three'))
    await turn()
    expect(handled).toEqual(['2'])
    expect(broker.outcomes().toSorted()).toEqual(['1 ack', '2 ack', '3 reject'])
  })

  it('decides by attributes before the body is decoded', async () => {
    const { broker, consumer } = await stage(() => {}, { where: { $key: { prefix: 'eu-' }, n: 1 } })
    broker.deliver(delivery('1', { key: 'us-1', body: Buffer.from('no JSON') }))
    await turn()
    expect(broker.outcomes()).toEqual(['1 ack'])
    expect(consumer.stats()).toMatchObject({ skipped: 1, failed: 0 })
  })

  it('gives a batch handler only what it wants, with the attempt of each message', async () => {
    const seen: unknown[] = []
    const { broker, consumer } = await stage(
      (messages: readonly Message[], ctx: BatchContext) => {
        messages.forEach(({ id }, index) => seen.push([id, ctx.attempt(index)]))
        expect(() => ctx.attempt(messages.length)).toThrow(RangeError)
        return [undefined, new RejectError('no')]
      },
      { where: { n: { gte: 2 } }, batch: { size: 4, timeoutMs: 10 } },
    )
    const broken = delivery('2', { body: Buffer.from('no JSON') })
    broker.deliver(numbered('1', 1), broken, numbered('3', 3), numbered('4', 4, 2))
    await turn()
    expect(seen).toEqual([
      ['3', 1],
      ['4', 2],
    ])
    expect(broker.outcomes().toSorted()).toEqual(['1 ack', '2 reject', '3 ack', '4 reject'])
    expect(consumer.stats()).toMatchObject({ handled: 1, skipped: 1 })
  })

  it('runs no handler for a batch of which nothing is wanted', async () => {
    let calls = 0
    const { broker } = await stage(() => void calls++, { where: { n: 9 }, batch: { size: 2, timeoutMs: 10 } })
    broker.deliver(numbered('1', 1), numbered('2', 2))
    await turn()
    expect([calls, broker.outcomes()]).toEqual([0, ['1 ack', '2 ack']])
  })

  it('refuses a wrong filter by name', async () => {
    await expect(stage(() => {}, { where: { n: { gt: null } } })).rejects.toThrow(
      /where\.n\.gt: must be a number or a string, got null/,
    )
  })
})
