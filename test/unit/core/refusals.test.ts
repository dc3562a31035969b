import { describe, expect, it } from 'vitest'
import { ConfigurationError, createBus, defineConsumer, defineEvent } from 'busbar'
import type { Bus, Handler, Middleware, Transport } from 'busbar'
import { memory } from 'busbar/memory'
import { circuitBreaker, dedupe, logger, throttle, timeout } from 'busbar/middleware'
import { nats } from 'busbar/nats'
import { rabbitmq } from 'busbar/rabbitmq'
import { redis } from 'busbar/redis'
import { sqlite } from 'busbar/sqlite'

function problemsOf(act: () => unknown): string[] {
  try {
    act()
  } catch (error) {
    if (!ConfigurationError.is(error)) throw error
    return error.problems.map(({ path, message }) => `${path}: ${message}`)
  }
  return []
}

function bus(): Bus {
  return createBus({ service: 'test', transport: memory() })
}

const handler: Handler = () => {}

function raise(error: unknown): never {
  throw error
}

describe('what is refused, and in which words', () => {
  it('names an unknown transport once', () => {
    expect(problemsOf(() => bus().consume('a', handler, { transport: 'redis' }))).toEqual([
      'transport: there is no transport "redis" in this bus; there are: "main"',
    ])
  })

  it('shows a wrong choice', () => {
    expect(problemsOf(() => bus().consume('a', handler, { order: 'keys' as 'key' }))).toEqual([
      'order: must be one of "key", "strict", "none", got "keys"',
    ])
  })

  it('says that a promise of a transport must be awaited', () => {
    const transport = Promise.resolve(memory()) as unknown as Transport
    expect(problemsOf(() => createBus({ service: 'test', transport }))).toEqual([
      "transport: must be a transport, such as memory() of 'busbar/memory' returns, got a Promise: await it",
    ])
  })

  it('refuses options of one message where the transport has none', async () => {
    await using open = bus()
    await open.start()
    const error = await open.publish('a', 1, { native: { partition: 1 } }).catch((reason: unknown) => reason)
    expect(problemsOf(() => void raise(error))).toEqual([
      'native: must be left out: a message has no options of its own on memory',
    ])
    const [result] = await open.publishMany('a', [{ data: 1, native: {} }], { allowFailures: true })
    expect(ConfigurationError.is(result?.error)).toBe(true)
  })

  it('says where the number of retries goes', () => {
    expect(problemsOf(() => bus().consume('a', handler, { retries: 3 } as object))).toEqual([
      'retries: is not a known option; write retry: { attempts: 3 }',
    ])
  })

  it('says in which order handler and options come', () => {
    const options = { concurrency: 2 } as unknown as Handler
    expect(problemsOf(() => bus().consume('a', options, handler as object))).toContain(
      'handler: must be a function, got an object: it comes before the options',
    )
  })

  it.each<[string, object]>([
    ['a JSON Schema', { type: 'object', properties: {} }],
    ['an old schema', new Map()],
    ['a class', URL],
  ])('takes %s neither for a schema nor for options', (_, value) => {
    expect(problemsOf(() => defineEvent('a', value))).toEqual([
      'schema: is neither a Standard Schema (zod 3.24 or newer, valibot, arktype ...: it has no "~standard") nor options (key, type, version, dataSchema, description, owner, visibility, codec)',
    ])
  })

  it('still guesses a misspelt option of an event', () => {
    expect(problemsOf(() => defineEvent('a', { keys: () => '' } as object))).toEqual([
      'keys: is not a known option; did you mean "key"?',
    ])
  })

  it('takes no middleware that returns no handler, and says which', () => {
    const forgetful = ((): void => {}) as unknown as Middleware
    const fine: Middleware = (next) => next
    expect(problemsOf(() => bus().consume('a', handler, { middleware: [fine, forgetful] }))).toEqual([
      'middleware.1: "forgetful" must return a handler, (message, ctx) => ..., but returned undefined',
    ])
  })

  it('says how middleware is written when it is that of a web framework', () => {
    const express = ((_message: unknown, _ctx: unknown, next: () => unknown) => next()) as unknown as Middleware
    expect(problemsOf(() => bus().consume('a', handler, { middleware: [express] }))).toEqual([
      'middleware.0: "express" threw "next is not a function" when it was called with the next handler; it must return a handler, (message, ctx) => ...',
    ])
  })

  it('lets one group consume a wildcard and its own dead letters', async () => {
    await using made = bus()
    made.consume('orders.>', handler)
    expect(problemsOf(() => made.consume('orders.placed.test.dlq', handler))).toEqual([])
    expect(problemsOf(() => made.consume('*.*.*.dlq', handler))).toHaveLength(1)
  })
})

describe('what is not an event, a topic or a consumer', () => {
  const CIRCULAR =
    'is undefined; with a circular import, what you import is undefined until its module has run: move events to a module of their own'
  const Placed = defineEvent('orders.placed')
  const consumer = (definition: unknown): (() => unknown) => {
    return () => bus().consume(defineConsumer(definition as never))
  }

  it.each<[string, () => unknown, string]>([
    ['consume(undefined)', () => bus().consume(undefined as never, handler), `topic: ${CIRCULAR}`],
    [
      'consume(5)',
      () => bus().consume(5 as never, handler),
      'topic: must be a topic or an event of defineEvent(), got 5',
    ],
    [
      'consume(event) without a handler',
      () => bus().consume(Placed, undefined as never),
      'handler: must be a function, got undefined',
    ],
    ['deadLetters(undefined)', () => bus().deadLetters(undefined as never), `topic: ${CIRCULAR}`],
    ['a definition without a topic', consumer({ handle: handler }), `topic: ${CIRCULAR}`],
    [
      'a definition with event',
      consumer({ event: Placed, handle: handler }),
      'event: is not a known option; write topic: the event',
    ],
    [
      'a definition with handler',
      consumer({ topic: Placed, handler }),
      'handler: is not a known option; write handle: (message, ctx) => ...',
    ],
    [
      'undefined among the consumers',
      () => createBus({ service: 'test', transport: memory(), consumers: [undefined as never] }),
      `consumers.0: ${CIRCULAR}`,
    ],
    [
      'a factory among the consumers',
      () => createBus({ service: 'test', transport: memory(), consumers: [(() => {}) as never] }),
      'consumers.0: must be the result of defineConsumer(), got a function; if it returns the definition, call it',
    ],
    [
      'a topic among the consumers',
      () => createBus({ service: 'test', transport: memory(), consumers: ['orders' as never] }),
      'consumers.0: must be the result of defineConsumer(), got a string',
    ],
    [
      'a factory of a consumer',
      () => bus().consume((() => {}) as never),
      'topic: must be a topic or an event of defineEvent(), got a function; if it returns the definition, call it',
    ],
  ])('%s', (_, act, problem) => {
    expect(problemsOf(act)).toEqual([problem])
  })

  it.each([
    [undefined, CIRCULAR],
    [5, 'must be a topic or an event of defineEvent(), got 5'],
  ])('publish(%o)', async (target, problem) => {
    const on = bus()
    await on.start()
    const refused = { code: 'BUSBAR_VALIDATION', message: `The event to publish ${problem}` }
    await expect(on.publish(target as never, 1)).rejects.toMatchObject(refused)
    await expect(on.publishMany(target as never, [{ data: 1 }])).rejects.toMatchObject(refused)
    await on.close()
  })

  it('publish({ topic, data }) says that the data is missing', async () => {
    const on = bus()
    await on.start()
    await expect(on.publish({ topic: 'a', data: 1 } as never, undefined as never)).rejects.toThrow(
      'it is undefined: is the data argument missing?',
    )
    await on.close()
  })

  it('publishMany says how an item is written when it is the data itself', async () => {
    const on = bus()
    await on.start()
    const results = await on.publishMany('a', [{ orderId: 1 }, 'text', { data: 1 }] as never, { allowFailures: true })
    expect(results.map(({ error }) => error?.message.split('\n')[1])).toEqual([
      '  - data: is missing: an item is { data, key, ... }, not the data itself',
      '  - item: must be an object, got a string: an item is { data, key, ... }, not the data itself',
      undefined,
    ])
    await on.close()
  })

  it('names a consumer once', () => {
    expect(() => bus().consume(defineConsumer({ topic: 'e', handle: handler, concurrency: 0 }))).toThrow(
      /^The consumer of "e" /,
    )
  })
})

describe('what was meant', () => {
  it.each<[string, () => unknown, string]>([
    [
      'a URL for a transport',
      () => createBus({ service: 'test', transport: 'redis://x' as never }),
      "transport: must be a transport, such as memory() of 'busbar/memory' returns, got a string; for a URL, write await transportFromUrl(url) of 'busbar/url'",
    ],
    [
      'a transport that was not called',
      () => createBus({ service: 'test', transport: memory as never }),
      "transport: must be a transport, such as memory() of 'busbar/memory' returns, got a function; call it",
    ],
    [
      'options of a consumer',
      () => createBus({ service: 'test', transport: memory(), retry: false, group: 'a' } as never),
      'group: belongs to bus.consume or defineConsumer',
    ],
    ['redis(url)', () => redis('redis://x' as never), 'options: must be an object, got a string; write redis({ url })'],
    ['nats(url)', () => nats('nats://x' as never), 'options: must be an object, got a string; write nats({ url })'],
    ['nats(null)', () => nats(null as never), 'options: must be an object, got null; write nats({ url })'],
    [
      'rabbitmq(url)',
      () => rabbitmq('amqp://x' as never),
      'options: must be an object, got a string; write rabbitmq({ url })',
    ],
    [
      'sqlite(path)',
      () => sqlite('./a.db' as never),
      "options: must be an object, got a string; write sqlite({ path: './busbar.db' })",
    ],
    ['memory(x)', () => memory('x' as never), 'options: must be an object, got a string; write memory()'],
  ])('%s', (_, act, problem) => {
    expect(problemsOf(act)).toContain(problem)
  })

  it.each<[Middleware, string]>([
    [timeout as never, 'timeout({ ms: 5_000 })'],
    [throttle as never, 'throttle({ perSecond: 10 })'],
    [dedupe as never, 'dedupe({ store })'],
    [circuitBreaker as never, 'circuitBreaker()'],
    [logger as never, 'logger({ logger })'],
  ])('the middleware %o that was not called', (middleware, call) => {
    expect(problemsOf(() => bus().consume('a', handler, { middleware: [middleware] }))).toContain(
      `options: must be an object, got a function; call it: ${call}`,
    )
  })
})

async function problemsOfAsync(act: () => Promise<unknown>): Promise<string[]> {
  const error: unknown = await act().catch((reason: unknown) => reason)
  return problemsOf(() => {
    throw error
  })
}

describe('options of calls', () => {
  const AN_OBJECT = 'options: must be an object, got 5000; write { timeoutMs: 5000 }'

  it.each<[string, (on: Bus) => Promise<unknown>, string]>([
    [
      'start({ timeout })',
      (on) => on.start({ timeout: 5 } as object),
      'timeout: is not a known option; did you mean "timeoutMs"?',
    ],
    ['start(5000)', (on) => on.start(5000 as never), AN_OBJECT],
    [
      'close({ timeout })',
      (on) => on.close({ timeout: 5 } as object),
      'timeout: is not a known option; did you mean "timeoutMs"?',
    ],
    ['close(5000)', (on) => on.close(5000 as never), AN_OBJECT],
    ['close of a consumer', (on) => on.consume('a', handler).close(5000 as never), AN_OBJECT],
    [
      'once with a timeout',
      (on) => on.events.once('ack', { timeoutMs: 200 } as object),
      'timeoutMs: is not a known option; write signal: AbortSignal.timeout(5_000)',
    ],
    [
      'once without an event of that name',
      (on) => on.events.once('acked' as 'ack'),
      'name: there is no event "acked"; did you mean "ack"?',
    ],
  ])('%s is refused', async (_, act, problem) => {
    const on = bus()
    expect(await problemsOfAsync(() => act(on))).toEqual([problem])
    await on.close()
  })

  it('on refuses names that no event has, and what is not a function', () => {
    const { events } = bus()
    expect(problemsOf(() => events.on('acked' as 'ack', () => {}))).toEqual([
      'name: there is no event "acked"; did you mean "ack"?',
    ])
    expect(problemsOf(() => events.on('ack', undefined as never))).toEqual([
      'listener: must be a function, got undefined',
    ])
    expect(problemsOf(() => events.onAny('ack' as never))).toEqual(['listener: must be a function, got a string'])
  })

  it.each<[unknown, string]>([
    [5000, 'ctx.retry has invalid options:\n  - options: must be an object, got 5000; write { delayMs: 5_000 }'],
    [{ delay: 5000 }, 'delay: is not a known option; did you mean "delayMs"?'],
  ])('ctx.retry(%o) is a failed attempt that says why', async (options, text) => {
    const on = bus()
    on.consume('a', (_message, ctx) => ctx.retry(options as object), { retry: false })
    await on.start()
    const dead = on.events.once('deadLetter')
    await on.publish('a', 1)
    expect(((await dead).error as Error).message).toContain(text)
    await on.close()
  })
})

describe('publishMany', () => {
  it.each([[{ data: 1 }], [new Set([{ data: 1 }])], [undefined], ['text']])(
    'takes a list and nothing else: %o',
    async (items) => {
      const on = bus()
      await on.start()
      await expect(on.publishMany('a', items as never)).rejects.toThrow('items: must be a list')
      await on.close()
    },
  )
})
