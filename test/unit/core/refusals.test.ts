import { describe, expect, it } from 'vitest'
import { ConfigurationError, createBus, defineEvent } from 'busbar'
import type { Bus, Handler, Middleware, Transport } from 'busbar'
import { memory } from 'busbar/memory'

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

  it('lets one group consume a wildcard and its own dead letters', () => {
    const made = bus()
    made.consume('orders.>', handler)
    expect(problemsOf(() => made.consume('orders.placed.test.dlq', handler))).toEqual([])
    expect(problemsOf(() => made.consume('*.*.*.dlq', handler))).toHaveLength(1)
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
