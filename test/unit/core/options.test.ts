import { describe, expect, it } from 'vitest'
import { createBus, ConfigurationError, defineConsumer, defineEvent } from 'busbar'
import { memory } from 'busbar/memory'
import { OptionsReader } from '../../../src/core/util/options-reader.ts'

function problemsOf(act: () => unknown): string[] {
  try {
    act()
  } catch (error) {
    if (!ConfigurationError.is(error)) throw error
    return error.problems.map(({ path, message }) => `${path}: ${message}`)
  }
  return []
}

describe('reading options', () => {
  it('reports every problem with its path, nested ones too, and unknown keys with a guess', () => {
    const problems = problemsOf(() => {
      const reader = new OptionsReader('thing', { size: 'big', retry: { atempts: 3, baseMs: -1 }, colour: 'red' })
      reader.integer('size', 1, { min: 1 })
      const retry = reader.nested('retry')
      retry.integer('attempts', 5)
      retry.integer('baseMs', 100)
      reader.done()
    })
    expect(problems).toEqual([
      'size: must be a whole number >= 1, got a string',
      'retry.baseMs: must be a whole number >= 0, got -1',
      'colour: is not a known option; there are: size, retry',
      'retry.atempts: is not a known option; did you mean "attempts"?',
    ])
  })

  it('never shows a value that may be a secret', () => {
    const [problem] = problemsOf(() => {
      const reader = new OptionsReader('thing', { port: 'hunter2' })
      reader.integer('port', 1)
      reader.done()
    })
    expect(problem).not.toContain('hunter2')
  })

  it('takes nothing for an empty object and refuses anything that is none', () => {
    expect(problemsOf(() => new OptionsReader('thing', undefined).done())).toEqual([])
    for (const input of [null, 5, 'x', []])
      expect(problemsOf(() => new OptionsReader('thing', input).done())).toHaveLength(1)
  })

  it('does not change what it was given', () => {
    const given = Object.freeze({ service: 'a', transport: memory() })
    expect(() => createBus(given)).not.toThrow()
  })
})

describe('createBus', () => {
  it('lists every problem in one error', () => {
    const problems = problemsOf(() =>
      createBus({
        service: 'no good',
        transport: {} as never,
        publish: { maxBatchSize: 0 },
        midleware: [],
        closeTimeoutMs: 1.5,
        codecs: [{}],
      } as never),
    )
    expect(problems.map((problem) => problem.split(':')[0] ?? '')).toEqual([
      'service',
      'codecs.0',
      'transport',
      'publish.maxBatchSize',
      'closeTimeoutMs',
      'midleware',
    ])
    expect(problems.at(-1)).toContain('did you mean "middleware"')
  })

  it('says what a transport is when there is none', () => {
    expect(problemsOf(() => createBus({ service: 'a' }))[0]).toContain('busbar/sqlite')
  })

  it('refuses one transport under two names, and both forms at once', () => {
    const transport = memory()
    expect(problemsOf(() => createBus({ service: 'a', transports: { x: transport, y: transport } }))[0]).toContain(
      'twice',
    )
    expect(problemsOf(() => createBus({ service: 'a', transport, transports: { x: memory() } }))[0]).toContain(
      'exclude each other',
    )
  })
})

describe('consume', () => {
  const bus = createBus({ service: 'a', transport: memory() })

  it('lists every problem in one error', () => {
    const problems = problemsOf(() =>
      bus.consume(
        'bad topic',
        undefined as never,
        {
          concurrency: 0,
          order: 'sometimes',
          retry: { attempts: 0, backoff: 'none', retryIf: 5 },
          batch: {},
          middleware: [{}],
          from: 'yesterday',
          group: 'has space',
          transport: 'nowhere',
          prefetchs: 1,
        } as never,
      ),
    )
    expect(problems.map((problem) => problem.split(':')[0] ?? '').toSorted()).toEqual(
      [
        'topic',
        'handler',
        'batch.size',
        'order',
        'concurrency',
        'group',
        'middleware.0',
        'retry.attempts',
        'retry.backoff',
        'retry.retryIf',
        'from',
        'transport',
        'prefetchs',
      ].toSorted(),
    )
  })

  it('refuses two consumers that would share their messages at random', () => {
    const other = createBus({ service: 'a', transport: memory() })
    other.consume('orders.placed', () => {})
    expect(problemsOf(() => other.consume('orders.*', () => {}))[0]).toContain('its own group')
    expect(problemsOf(() => other.consume('orders.*', () => {}, { group: 'audit' }))).toEqual([])
    expect(problemsOf(() => other.consume('orders.*', () => {}, { broadcast: true }))).toEqual([])
  })

  it('refuses definitions that do not add up', () => {
    expect(problemsOf(() => bus.consume(defineConsumer({ topic: 'x', handle: undefined } as never)))[0]).toContain(
      'either handle or handleBatch',
    )
    expect(problemsOf(() => bus.consume(defineConsumer({ topic: 'x', handleBatch: () => {} } as never)))[0]).toContain(
      'batch',
    )
    expect(
      problemsOf(() => bus.consume(defineConsumer({ topic: 'x', handle: () => {}, batch: { size: 2 } } as never)))[0],
    ).toContain('handleBatch')
  })
})

describe('defineEvent', () => {
  it('lists every problem in one error', () => {
    const problems = problemsOf(() => defineEvent('a.*', { key: 'id', version: 0, descripton: 'x' } as never))
    expect(problems.map((problem) => problem.split(':')[0] ?? '').toSorted()).toEqual([
      'descripton',
      'key',
      'topic',
      'version',
    ])
  })

  it('refuses a schema that is none', () => {
    expect(problemsOf(() => defineEvent('a.b', { parse: () => {} } as never, {}))[0]).toContain('Standard Schema')
  })
})
