import { afterEach, describe, expect, it } from 'vitest'
import { ConnectionError, createBus, defineEvent, PublishError } from 'busbar'
import type { Bus, BusObserver, BusOptions, ConsumeOptions, Handler, StandardSchema } from 'busbar'
import { manualClock } from 'busbar/testing'
import type { ManualClock } from 'busbar/testing'
import { turn } from './stage.ts'
import { delivery, notSent, StubTransport } from './stub-transport.ts'
import type { StubSubscription } from './stub-transport.ts'

interface Stage {
  readonly bus: Bus
  readonly transport: StubTransport
  readonly clock: ManualClock
  readonly log: Parameters<NonNullable<BusOptions['logger'] & object>['error']>[]
}

const open: Bus[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((bus) => bus.close({ timeoutMs: 0 })))
})

function stage(): Stage {
  const transport = new StubTransport()
  const clock = manualClock()
  const log: Stage['log'] = []
  const quiet = (): void => {}
  const logger = { debug: quiet, info: quiet, warn: quiet, error: (...line: Stage['log'][0]) => void log.push(line) }
  const bus = createBus({ service: 'billing', transport, clock, logger })
  open.push(bus)
  return { bus, transport, clock, log }
}

async function consuming(
  handler: Handler,
  options: ConsumeOptions,
  observer: BusObserver,
): Promise<Stage & { broker: StubSubscription }> {
  const staged = stage()
  staged.bus.observe(observer)
  staged.bus.consume('orders.placed', handler, { retry: { mode: 'inline', backoff: 'fixed', baseMs: 1 }, ...options })
  await staged.bus.start()
  return { ...staged, broker: staged.transport.subscriptions[0] as StubSubscription }
}

describe('an observer', () => {
  it('sees each attempt to open a transport, and why it failed', async () => {
    const { bus, transport, clock } = stage()
    const seen: unknown[] = []
    const refused = new ConnectionError('not up yet')
    let opened = 0
    transport.open = async () => {
      if (++opened > 1) return
      await clock.advance(3)
      throw refused
    }
    bus.observe({
      connectStart: ({ transport: to, attempt }) => {
        seen.push(['start', to.system, attempt])
        return attempt * 10
      },
      connectEnd: ({ transport: to }, { durationMs, error }, state) =>
        void seen.push(['end', to.name, durationMs, error, state]),
    })
    const started = bus.start()
    await turn()
    await clock.advance(1_000)
    await started
    expect(seen).toEqual([
      ['start', 'stub', 1],
      ['end', 'main', 3, refused, 10],
      ['start', 'stub', 2],
      ['end', 'main', 0, undefined, 20],
    ])
  })

  it('sees each call to the transport with its messages, and which of them failed', async () => {
    const { bus, transport, clock } = stage()
    const seen: unknown[] = []
    bus.observe({
      publishStart: ({ transport: by, messages }) => {
        seen.push(['start', by, messages.map(({ id }) => id)])
        return 'state'
      },
      publishEnd: ({ messages }, { durationMs, failures }, state) => {
        seen.push([
          'end',
          messages.length,
          durationMs,
          [...failures].map(([{ id }, error]) => [id, error.outcome]),
          state,
        ])
      },
    })
    await bus.start()
    transport.answer = async (batch) => {
      await clock.advance(5)
      return batch.map(({ id }) => (id === 'b' ? { error: notSent() } : { position: undefined }))
    }
    await bus
      .publishMany('orders', [
        { data: 1, id: 'a' },
        { data: 2, id: 'b' },
      ])
      .catch(() => {})
    expect(seen).toEqual([
      ['start', { name: 'main', system: 'stub' }, ['a', 'b']],
      ['end', 2, 5, [['b', 'not-sent']], 'state'],
    ])
  })

  it('sees a publish that was given up fail, although the transport answers later', async () => {
    const { bus, transport, clock } = stage()
    const ends: string[][] = []
    bus.observe({ publishEnd: (_, { failures }) => void ends.push([...failures.keys()].map(({ id }) => id)) })
    await bus.start()
    const answer = Promise.withResolvers<void>()
    transport.answer = async (batch) => {
      await answer.promise
      return batch.map(() => ({ position: undefined }))
    }
    const publishing = bus.publish('orders', 1, { id: 'late' }).catch((error: unknown) => error)
    await turn()
    await clock.advance(31_000)
    expect(PublishError.is(await publishing)).toBe(true)
    answer.resolve()
    await turn()
    expect(ends).toEqual([['late']])
  })

  it('sees each attempt with how long its handler ran, without the ack', async () => {
    const seen: unknown[] = []
    const staged = await consuming(
      async (_message, ctx) => {
        await new Promise<void>((resolve) => void ctx.clock.setTimer(7, resolve))
        if (ctx.attempt === 1) throw new Error('again')
      },
      {},
      {
        handleStart: (message, ctx) => {
          seen.push(`start ${message.id}#${ctx.attempt} ${ctx.transport.system} ${ctx.consumer.id}`)
          return message.id
        },
        handleEnd: (_message, { attempt }, { ok, durationMs, error }, state) =>
          void seen.push([attempt, ok, durationMs, error instanceof Error ? error.message : error, state]),
        retry: ({ handlerMs, delayMs }) => void seen.push({ handlerMs, delayMs }),
      },
    )
    staged.broker.deliver(delivery('a'))
    for (const ms of [7, 1, 7]) {
      await staged.clock.advance(ms)
      await turn()
    }
    const member = staged.broker.spec.consumerId
    expect(seen).toEqual([
      `start a#1 stub ${member}`,
      [1, false, 7, 'again', 'a'],
      { handlerMs: 7, delayMs: 1 },
      `start a#2 stub ${member}`,
      [2, true, 7, undefined, 'a'],
    ])
  })

  it('sees the server of the current connection, as handlers do, and where a message came from', async () => {
    const { bus, transport } = stage()
    let server: { host: string; port: number } | undefined = { host: 'broker-1', port: 5672 }
    Object.assign(transport, { serverAddress: () => server })
    const seen: unknown[] = []
    bus.observe({
      publishStart: ({ transport: by }) => void seen.push(['publish', by.server?.host]),
      settleStart: ({ transport: by }) => void seen.push(['settle', by.server?.host]),
    })
    bus.consume('orders.placed', (_message, { destination, partition, transport: by }) => {
      seen.push([destination, partition, by.server])
    })
    await bus.start()
    await bus.publish('orders.placed', 1)
    const [broker] = transport.subscriptions
    broker?.deliver({ ...delivery('a'), destination: 'stream:orders/3', partition: 'orders/3' })
    await turn()
    server = undefined
    broker?.deliver(delivery('b'))
    await turn()
    expect(seen).toEqual([
      ['publish', 'broker-1'],
      ['stream:orders/3', 'orders/3', { host: 'broker-1', port: 5672 }],
      ['settle', 'broker-1'],
      ['orders.placed', undefined, undefined],
      ['settle', undefined],
    ])
  })

  it('sees a message that does not fit its schema, a rejected one, and one that is abandoned', async () => {
    const { bus, transport, clock } = stage()
    const odd: StandardSchema<number> = {
      '~standard': { version: 1, vendor: 'test', validate: () => ({ issues: [{ message: 'no' }] }) },
    }
    const seen: string[] = []
    bus.observe({
      handleEnd: ({ id }, _ctx, { ok, error }) => void seen.push(`${id} ${ok} ${(error as Error).name}`),
      deadLetter: ({ message, reason }) => void seen.push(`dead letter ${message.id} ${reason}`),
    })
    bus.consume(defineEvent('invalid', odd), () => {})
    bus.consume('rejected', (_message, ctx) => ctx.reject('no'))
    bus.consume('hanging', () => new Promise(() => {}), { timeoutMs: 10, abandonAfterMs: 10, retry: false })
    await bus.start()
    for (const [index, id] of ['invalid', 'rejected', 'hanging'].entries())
      transport.subscriptions[index]?.deliver(delivery(id))
    for (const ms of Array.from({ length: 50 }, () => 10)) {
      await clock.advance(ms)
      await turn()
    }
    expect(seen.sort()).toEqual([
      'dead letter hanging exhausted',
      'dead letter invalid invalid',
      'dead letter rejected rejected',
      'hanging false TimeoutError',
      'invalid false ValidationError',
      'rejected false RejectError',
    ])
  })

  it('sees batches with the result of each message, also of those that can not be decoded', async () => {
    const { bus, transport, clock } = stage()
    const seen: unknown[] = []
    bus.observe({
      handleStart: () => void seen.push('a handler for single messages'),
      batchStart: (messages, ctx) => `${messages.length} ${ctx.transport.name}`,
      batchEnd: (messages, _ctx, { results }, state) =>
        void seen.push([state, messages.map(({ id }, at) => `${id} ${results[at]?.toString() ?? 'ok'}`)]),
    })
    bus.consume('orders.placed', (messages) => messages.map(({ id }) => (id === 'b' ? new Error('no') : true)), {
      batch: { size: 3, timeoutMs: 5 },
    })
    await bus.start()
    const broken = { ...delivery('c'), message: { ...delivery('c').message, body: Buffer.from('{') } }
    transport.subscriptions[0]?.deliver(delivery('a'), delivery('b'), broken)
    await clock.advance(1)
    expect(seen).toEqual([['3 main', ['a true', 'b Error: no', expect.stringContaining('c CodecError')]]])
  })

  it('sees what is settled in one call, and what the broker does not accept', async () => {
    const seen: unknown[] = []
    const staged = await consuming(
      () => {},
      {},
      {
        settleStart: ({ topic, group, consumerId, settlements, transport }) =>
          [topic, group, consumerId, transport.system, settlements.map(({ outcome }) => outcome.type)].join(' '),
        settleEnd: (_settle, { failures }, state) => void seen.push([state, failures.map(({ index }) => index)]),
      },
    )
    const lost = delivery('lost')
    staged.broker.onSettle = ({ delivery: { message } }) => (message.id === 'lost' ? notSent() : undefined)
    staged.broker.deliver(delivery('a'), lost)
    await turn()
    expect(seen).toEqual([[`orders.placed billing ${staged.broker.spec.consumerId} stub ack,ack`, [1]]])
  })

  it('that throws, or rejects, is logged and changes nothing; the others continue', async () => {
    const handled: string[] = []
    const seen: unknown[] = []
    const staged = await consuming(
      ({ id }) => void handled.push(id),
      {},
      {
        handleStart: () => {
          throw new Error('start')
        },
        handleEnd: () => Promise.reject(new Error('end')) as never,
      },
    )
    staged.bus.observe({ handleStart: () => 'fine', handleEnd: (_message, _ctx, _end, state) => void seen.push(state) })
    staged.broker.deliver(delivery('a'))
    await turn()
    expect(handled).toEqual(['a'])
    expect(seen).toEqual(['fine'])
    expect(staged.broker.outcomes()).toEqual(['a ack'])
    expect(staged.log.map(([fields, text]) => [(fields as { method: string }).method, text])).toEqual([
      ['handleStart', 'an observer of the bus threw'],
      ['handleEnd', 'an observer of the bus threw'],
    ])
  })

  it('may come and go while handlers run', async () => {
    const seen: string[] = []
    const ends: (() => void)[] = []
    const { bus, transport } = stage()
    bus.consume('orders.placed', () => new Promise<void>((resolve) => ends.push(resolve)))
    await bus.start()
    const off = bus.observe({
      handleStart: ({ id }) => void seen.push(`start ${id}`),
      handleEnd: ({ id }) => void seen.push(`end ${id}`),
    })
    transport.subscriptions[0]?.deliver(delivery('a'))
    off()
    transport.subscriptions[0]?.deliver(delivery('b'))
    for (const end of ends) end()
    await turn()
    expect(seen).toEqual(['start a', 'end a'])
  })

  it.each([
    ['nothing', undefined, 'must be an object'],
    ['a misspelt method', { onHandle: () => {} }, 'has none of these methods: connectStart'],
    ['something that is not a method', { handleEnd: 5 }, 'has a handleEnd that is not a function'],
  ])('is refused when it is %s', (_, observer, message) => {
    expect(() => stage().bus.observe(observer as never)).toThrow(message)
  })
})
