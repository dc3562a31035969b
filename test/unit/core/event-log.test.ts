import { afterEach, describe, expect, it, vi } from 'vitest'
import * as z from 'zod'
import { createBus, defineEvent } from 'busbar'
import type { Bus, BusEventName, Handler, Logger } from 'busbar'
import { memory } from 'busbar/memory'
import { manualClock } from 'busbar/testing'
import { StderrLogger } from '../../../src/core/stderr-logger.ts'
import { delivery, StubTransport } from './stub-transport.ts'

interface Line {
  readonly level: keyof Logger
  readonly fields: Record<string, unknown>
  readonly message: string
}

function collect(): { readonly lines: Line[]; readonly logger: Logger } {
  const lines: Line[] = []
  const at =
    (level: keyof Logger) =>
    (fields: object, message: string): void => {
      lines.push({ level, fields: fields as Record<string, unknown>, message })
    }
  return { lines, logger: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') } }
}

async function running(
  logger: Logger | false | undefined,
  handler: () => void = () => {
    throw Object.assign(new Error('no stock'), { config: { token: 'hunter2' } })
  },
): Promise<{ bus: Bus; transport: StubTransport; clock: ReturnType<typeof manualClock> }> {
  const transport = new StubTransport()
  const clock = manualClock()
  const bus = createBus({ service: 'test', transport, logger, clock })
  bus.consume('orders.placed', handler, { retry: false })
  await bus.start()
  return { bus, transport, clock }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

async function deadLetter(transport: StubTransport, ...ids: string[]): Promise<void> {
  transport.subscriptions[0]?.deliver(...ids.map((id) => delivery(id, { body: Buffer.from('{"card":"number 4111"}') })))
  await turn()
  await turn()
}

const HOT: readonly BusEventName[] = ['delivery', 'ack', 'published']

afterEach(() => {
  vi.restoreAllMocks()
})

describe('with a logger', () => {
  it('logs a dead letter as an error, with what names the message and explains the failure, and no body', async () => {
    const { lines, logger } = collect()
    const { bus, transport } = await running(logger)
    await deadLetter(transport, 'm1')
    const line = lines.find(({ fields }) => fields['event'] === 'deadLetter')
    expect(line).toMatchObject({
      level: 'error',
      fields: {
        transport: 'main',
        group: 'test',
        messageId: 'm1',
        messageTopic: 'orders.placed',
        attempt: 1,
        reason: 'exhausted',
        deadLetterTopic: 'orders.placed.test.dlq',
        err: { name: 'Error', message: 'no stock' },
      },
    })
    expect(line?.message).toContain('no stock')
    expect(JSON.stringify(lines)).not.toMatch(/number 4111|hunter2/)
    await bus.close()
  })

  it('logs each kind at the level that it deserves', async () => {
    const { lines, logger } = collect()
    const { bus } = await running(logger)
    const of = { transport: 'main', topic: 't', group: 'g', consumerId: 'c' }
    const at = { ...of, message: delivery('m').message, attempt: 2 }
    const error = new Error('away')
    bus.events.emit('retry', { ...at, error, delayMs: 100, mode: 'inline', handlerMs: 3 })
    bus.events.emit('disconnect', { transport: 'main', planned: false, reason: 'reset' })
    bus.events.emit('disconnect', { transport: 'main', planned: true, reason: 'closed' })
    bus.events.emit('reconnect', { transport: 'main', downMs: 5, attempts: 1 })
    bus.events.emit('stalled', { ...of, idleMs: 1, outstanding: 1, lag: 1, reason: 'nothing moves' })
    bus.events.emit('stuck', { ...at, ageMs: 1, state: 'running', queuedBehind: 3 })
    bus.events.emit('loss', { transport: 'main', topic: 't', group: 'g', count: 2, position: undefined, reason: 'x' })
    bus.events.emit('settleFailed', { ...at, error })
    bus.events.emit('warning', { transport: 'main', code: 'c', detail: 'd' })
    expect(lines.map(({ level, fields }) => `${level} ${String(fields['event'])}`)).toEqual([
      'warn retry',
      'warn disconnect',
      'debug disconnect',
      'info reconnect',
      'warn stalled',
      'error stuck',
      'error loss',
      'error settleFailed',
      'warn warning',
    ])
    await bus.close()
  })

  it('counts what comes in masses instead of logging each', async () => {
    const { lines, logger } = collect()
    const { bus, clock } = await running(logger)
    const message = delivery('m').message
    for (let n = 0; n < 500; n++)
      bus.events.emit('publishFailed', { transport: 'main', message, error: new Error('away') })
    const failed = (): Line[] => lines.filter(({ fields }) => fields['event'] === 'publishFailed')
    expect(failed()).toHaveLength(20)
    await clock.advance(10_000)
    bus.events.emit('publishFailed', { transport: 'main', message, error: new Error('away') })
    expect(failed()[20]).toMatchObject({ level: 'warn', fields: { leftOut: 480 } })
    expect(failed()).toHaveLength(22)
    await bus.close()
  })

  it('logs an error that can not be read, and the causes of one that can', async () => {
    const { lines, logger } = collect()
    const { bus } = await running(logger)
    const hostile = {
      get message(): string {
        throw new Error('hostile')
      },
    }
    bus.events.emit('error', { transport: 'main', error: hostile, doing: 'testing' })
    const cause = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
    const failed = Object.assign(new Error('fetch failed', { cause }), { code: 7 })
    bus.events.emit('error', { transport: 'main', error: failed, doing: 'testing' })
    expect(lines.map(({ message }) => message)).toEqual([
      'testing failed (transport "main"): an error that can not be read',
      'testing failed (transport "main"): fetch failed',
    ])
    expect(lines[1]?.fields['err']).toMatchObject({
      code: 7,
      stack: expect.stringContaining('Caused by: Error: connect ECONNREFUSED') as string,
    })
    await bus.close()
  })

  it('does not fail because its logger does', async () => {
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const broken = (): never => {
      throw new Error('log disk full')
    }
    const { bus, transport } = await running({ debug: broken, info: broken, warn: broken, error: broken })
    await deadLetter(transport, 'm1')
    expect(transport.subscriptions[0]?.outcomes()).toEqual(['m1 reject'])
    expect(String(warned.mock.calls[0]?.[0])).toContain('log disk full')
    await bus.close()
  })

  it('listens to nothing that happens for every message', async () => {
    const { logger } = collect()
    const { bus } = await running(logger)
    expect(HOT.filter((name) => bus.events.wants(name))).toEqual([])
    await bus.close()
  })
})

describe('without a logger', () => {
  it('prints what costs messages, each kind once a minute, and says how to change that', async () => {
    const write = vi.spyOn(process.stderr, 'write').mockImplementation(() => true)
    const { bus, transport, clock } = await running(undefined)
    const printed = (): string[] => write.mock.calls.map(([text]) => String(text))
    await deadLetter(transport, 'm1', 'm2', 'm3')
    expect(printed()).toHaveLength(1)
    expect(printed()[0]).toMatch(
      /m1 of "orders.placed" was dead-lettered by group "test".*Error: no stock \(at .*event-log\.test/,
    )
    expect(printed()[0]).toContain('Pass createBus a logger to get everything, or logger: false to get nothing')
    await clock.advance(60_000)
    await deadLetter(transport, 'm4', 'm5')
    expect(printed()).toHaveLength(2)
    expect(printed()[1]).toContain('2 more "deadLetter" were not printed')
    await bus.close()
    expect(printed()[2]).toContain('1 more "deadLetter" was not printed')
  })

  it.each<[string, Handler, RegExp]>([
    ['ctx.reject', (_, ctx) => ctx.reject('no card'), /RejectError: no card \(at .*event-log\.test\.ts:\d+/],
    ['ctx.retry', (_, ctx) => ctx.retry(), /RetryRequest: .* \(at .*event-log\.test\.ts:\d+/],
    ['a wrong delay', (_, ctx) => ctx.extend(Number.NaN), /ValidationError: .* \(at .*event-log\.test\.ts:\d+/],
    [
      'nothing',
      () => Promise.reject(),
      /: Error: undefined was thrown, or a promise was rejected with it, instead of an error\n/,
    ],
  ])('names the line of the handler, not one of this package: %s', async (_, handler, line) => {
    const write = vi.spyOn(process.stderr, 'write').mockImplementation(() => true)
    const { bus, transport } = await running(undefined, handler as () => void)
    await deadLetter(transport, 'm1')
    expect(String(write.mock.calls[0]?.[0])).toMatch(line)
    await bus.close()
  })

  it('names no line when only this package was on the stack', async () => {
    const write = vi.spyOn(process.stderr, 'write').mockImplementation(() => true)
    const bus = createBus({ service: 'test', transport: memory() })
    bus.consume(defineEvent('orders.placed', z.object({ total: z.number() })), () => {})
    await bus.start()
    const dead = bus.events.once('deadLetter')
    await bus.publish('orders.placed', {})
    await dead
    expect(String(write.mock.calls[0]?.[0])).toMatch(/ValidationError: .*does not fit its schema: total: .*$/m)
    expect(String(write.mock.calls[0]?.[0])).not.toContain('(at ')
    await bus.close()
  })

  it('costs a retry nothing, and prints neither a planned end nor what a drop was asked for', async () => {
    const write = vi.spyOn(process.stderr, 'write').mockImplementation(() => true)
    const { bus } = await running(undefined)
    expect([...HOT, 'retry', 'drop', 'publishFailed'].filter((name) => bus.events.wants(name as BusEventName))).toEqual(
      [],
    )
    bus.events.emit('disconnect', { transport: 'main', planned: true, reason: 'closed' })
    expect(write).not.toHaveBeenCalled()
    await bus.close()
  })

  it('says when a connection that it printed as lost is back', async () => {
    const write = vi.spyOn(process.stderr, 'write').mockImplementation(() => true)
    const { bus } = await running(undefined)
    bus.events.emit('disconnect', { transport: 'main', planned: false, reason: 'ECONNRESET' })
    bus.events.emit('reconnect', { transport: 'main', downMs: 1_200.4, attempts: 3 })
    expect(write.mock.calls.map(([text]) => String(text).split('\n')[0])).toEqual([
      'busbar: transport "main" lost its connection: ECONNRESET',
      'busbar: transport "main" is connected again after 1200 ms',
    ])
    await bus.close()
  })

  it('prints a listener that throws', async () => {
    const write = vi.spyOn(process.stderr, 'write').mockImplementation(() => true)
    const { bus } = await running(undefined)
    bus.events.on('warning', () => {
      throw new Error('mine')
    })
    bus.events.emit('warning', { transport: 'main', code: 'c', detail: 'd' })
    expect(String(write.mock.calls[0]?.[0])).toContain('a listener of bus.events threw: mine')
    await bus.close()
  })

  it('is silent with logger: false', async () => {
    const write = vi.spyOn(process.stderr, 'write').mockImplementation(() => true)
    const { bus, transport } = await running(false)
    await deadLetter(transport, 'm1')
    await bus.close()
    expect(write).not.toHaveBeenCalled()
  })

  it('bounds a line', () => {
    const lines: string[] = []
    new StderrLogger(manualClock(), (text) => lines.push(text)).print('error', 'x'.repeat(100_000))
    expect(lines[0]?.length).toBeLessThan(1_300)
  })

  it('keeps text that others chose in one line', () => {
    const lines: string[] = []
    const text = 'message a\r\nbusbar: all is well\u001b[2J'
    new StderrLogger(manualClock(), (line) => lines.push(line)).print('error', text)
    expect(lines[0]?.split('\n')[0]).toBe('busbar: message a busbar: all is well [2J')
  })
})
