import { afterEach, describe, expect, it, vi } from 'vitest'
import { ConfigurationError } from '../../../src/core/errors.ts'
import type { Logger } from '../../../src/core/logger.ts'
import { logger, timeout } from '../../../src/middleware/index.ts'
import type { LoggerOptions, TimeoutOptions } from '../../../src/middleware/index.ts'
import { manualClock } from '../../../src/testing/manual-clock.ts'
import { deferred, errorOf, fakeContext, fakeMessage } from './fake-context.ts'

type Line = readonly [level: string, fields: Record<string, unknown>, text: string]

function memoryLogger(): { readonly lines: Line[]; readonly log: Logger } {
  const lines: Line[] = []
  const at =
    (level: string) =>
    (fields: object, text: string): void => {
      lines.push([level, fields as Record<string, unknown>, text])
    }
  return { lines, log: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') } }
}

const message = fakeMessage({
  id: 'm-1',
  correlationId: 'c-1',
  key: 'secret-key',
  headers: { authorization: 'secret-header' },
  data: { card: 'secret-data' },
  body: new TextEncoder().encode('secret-body'),
})
const common = { topic: 'orders.placed', group: 'billing', id: 'm-1', correlationId: 'c-1', attempt: 3 }

afterEach(() => vi.restoreAllMocks())

describe('logger', () => {
  it('logs receipt and success of a synchronous handler, and stays synchronous', () => {
    const clock = manualClock()
    const { lines, log } = memoryLogger()
    const handler = logger({ logger: log })(() => 'result')
    expect(handler(message, fakeContext({ clock, attempt: 3 }))).toBe('result')
    expect(lines).toEqual([
      ['debug', common, 'message received'],
      ['debug', { ...common, durationMs: 0 }, 'message handled'],
    ])
  })

  it('measures an asynchronous handler and passes its result on', async () => {
    const clock = manualClock()
    const { lines, log } = memoryLogger()
    const gate = deferred<string>()
    const result = logger({ logger: log, level: 'info' })(() => gate.promise)(
      message,
      fakeContext({ clock, attempt: 3 }),
    )
    await clock.advance(12.3456)
    gate.resolve('result')
    expect(await result).toBe('result')
    expect(lines.map(([level]) => level)).toEqual(['info', 'info'])
    expect(lines[1]?.[1]).toEqual({ ...common, durationMs: 12.346 })
  })

  it.each([
    [
      'throws',
      () => {
        throw new Error('broken')
      },
    ],
    ['rejects', () => Promise.reject(new Error('broken'))],
  ])('logs a failure at warn when the handler %s, with the error itself', async (_, failing) => {
    const { lines, log } = memoryLogger()
    const error = await errorOf(() =>
      logger({ logger: log, level: 'info' })(failing)(message, fakeContext({ attempt: 3 })),
    )
    expect(error).toEqual(new Error('broken'))
    const [level, fields, text] = lines[1] as Line
    expect([level, text]).toEqual(['warn', 'message failed'])
    expect(fields['err']).toBe(error)
    expect(fields).toMatchObject(common)
    expect(fields['durationMs']).toBeTypeOf('number')
  })

  it('does not call "not now" a failure, but does call a counted retry one', async () => {
    const { lines, log } = memoryLogger()
    const handler = logger({ logger: log })((_message, ctx) => ctx.retry({ countAttempt: ctx.attempt > 1 }))
    await errorOf(() => handler(message, fakeContext({ attempt: 1 })))
    await errorOf(() => handler(message, fakeContext({ attempt: 2 })))
    expect(lines.map(([level, , text]) => `${level} ${text}`)).toEqual([
      'debug message received',
      'debug message delayed',
      'debug message received',
      'warn message failed',
    ])
  })

  it('never logs body, data, key or header values', async () => {
    const { lines, log } = memoryLogger()
    const write = logger({ logger: log, level: 'info' })
    await write(() => undefined)(message, fakeContext())
    await errorOf(() => write(() => Promise.reject(new Error('broken')))(message, fakeContext()))
    expect(lines).toHaveLength(4)
    expect(JSON.stringify(lines)).not.toContain('secret')
  })

  it('never changes the fate of a message when the logger itself throws', async () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const broken = (): never => {
      throw new Error('disk full')
    }
    const log = { debug: broken, info: broken, warn: broken, error: broken }
    expect(logger({ logger: log })(() => 1)(message, fakeContext())).toBe(1)
    const cause = new Error('broken')
    expect(await errorOf(() => logger({ logger: log })(() => Promise.reject(cause))(message, fakeContext()))).toBe(
      cause,
    )
    expect(warn).toHaveBeenCalledTimes(4)
    expect(warn.mock.calls[0]?.[1]).toMatchObject({
      code: 'BUSBAR_CALLBACK',
      detail: expect.stringContaining('disk full'),
    })
  })

  it('reports a logger that rejects, rather than ending the process', async () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const later = (async () => {
      throw 'no'
    }) as unknown as () => void
    await logger({ logger: { debug: later, info: later, warn: later, error: later } })(() => undefined)(
      message,
      fakeContext(),
    )
    await Promise.resolve()
    expect(warn).toHaveBeenCalledTimes(2)
    expect(warn.mock.calls[0]?.[1]).toMatchObject({ detail: 'no' })
  })

  it('lists every problem of its options', () => {
    const make = (options: unknown) => () => logger(options as LoggerOptions)
    expect(make({})).toThrow(/logger: is required/)
    expect(make(undefined)).toThrow(ConfigurationError)
    const problems = catchProblems(make({ logger: { debug() {} }, level: 'warn', lvel: 1 }))
    expect(problems).toEqual([
      'logger: must be an object with info(), warn(), error(), got an object',
      'level: must be one of "debug", "info", got "warn"',
      'lvel: is not a known option; did you mean "level"?',
    ])
  })
})

describe('timeout', () => {
  it('sets the deadline of the attempt before the handler starts', () => {
    const ctx = fakeContext()
    const seen: number[][] = []
    const handler = timeout({ ms: 250 })((_message, inner) => {
      seen.push([...(inner as typeof ctx).extended])
      return 'result'
    })
    expect(handler(message, ctx)).toBe('result')
    expect(seen).toEqual([[250]])
  })

  it.each([[{}], [{ ms: 0 }], [{ ms: 1.5 }], [{ ms: '5' }], [{ ms: 5, s: 1 }], [undefined], [7]])(
    'refuses %j',
    (options) => {
      expect(() => timeout(options as TimeoutOptions)).toThrow(ConfigurationError)
    },
  )
})

function catchProblems(call: () => unknown): string[] {
  try {
    call()
  } catch (error) {
    if (error instanceof ConfigurationError) return error.problems.map(({ path, message: text }) => `${path}: ${text}`)
    throw error
  }
  throw new Error('nothing was thrown')
}
