import { runInNewContext } from 'node:vm'
import { afterEach, describe, expect, it } from 'vitest'
import { createBus, defineEvent } from 'busbar'
import type { BatchContext, BatchHandler, BatchItemResult, Bus, BatchConsumeOptions, ConsumerHandle } from 'busbar'
import { manualClock } from 'busbar/testing'
import type { ManualClock } from 'busbar/testing'
import type { ConsumerControl } from '../../../src/core/handler.ts'
import type { Capabilities } from '../../../src/core/transport.ts'
import { delivery, StubTransport } from './stub-transport.ts'
import type { StubSubscription } from './stub-transport.ts'

const open: Bus[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((bus) => bus.close({ timeoutMs: 0 })))
})

interface Stage {
  readonly broker: StubSubscription
  readonly clock: ManualClock
  readonly bus: Bus
  readonly consumer: ConsumerHandle
  /** Ids of each batch, as it was handed over. */
  readonly batches: string[][]
}

async function stage(
  handle: (ids: string[], ctx: BatchContext) => ReturnType<BatchHandler>,
  options: Partial<BatchConsumeOptions> = {},
  capabilities: Partial<Capabilities> = {},
): Promise<Stage> {
  const transport = new StubTransport(capabilities)
  const clock = manualClock()
  const bus = createBus({ logger: false, service: 'billing', transport, clock })
  open.push(bus)
  const batches: string[][] = []
  const consumer = bus.consume(
    'orders.placed',
    (messages, ctx) => {
      const ids = messages.map(({ id }) => id)
      batches.push(ids)
      return handle(ids, ctx)
    },
    {
      retry: { backoff: 'fixed', baseMs: 1_000 },
      concurrency: 1,
      ...options,
      batch: options.batch ?? { size: 3, timeoutMs: 100 },
    },
  )
  await bus.start()
  return { broker: transport.subscriptions[0] as StubSubscription, clock, bus, consumer, batches }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
}

describe('batches', () => {
  it('go out when they are full, and when their first message has waited long enough', async () => {
    const { broker, clock, batches } = await stage(() => {})
    broker.deliver(...['1', '2', '3', '4'].map((id) => delivery(id)))
    await turn()
    expect(batches).toEqual([['1', '2', '3']])
    broker.deliver(delivery('5'))
    await clock.advance(99)
    expect(batches).toHaveLength(1)
    await clock.advance(2)
    await turn()
    expect(batches).toEqual([
      ['1', '2', '3'],
      ['4', '5'],
    ])
    expect(broker.outcomes()).toEqual(['1 ack', '2 ack', '3 ack', '4 ack', '5 ack'])
  })

  it('never hold one key twice at a time, and keep its order', async () => {
    const ends: (() => void)[] = []
    const { broker, clock, batches } = await stage(() => new Promise<void>((resolve) => ends.push(resolve)), {
      concurrency: 2,
    })
    broker.deliver(...['a1', 'b1', 'a2', 'a3', 'b2', 'c1'].map((id) => delivery(id, { key: id[0] as string })))
    await clock.advance(101)
    await turn()
    expect(batches[0]).toEqual(['a1', 'a2', 'a3'])
    expect(batches[1]).toEqual(['b1', 'b2', 'c1'])
    broker.deliver(delivery('a4', { key: 'a' }))
    await clock.advance(101)
    expect(batches).toHaveLength(2)
    ends[0]?.()
    await turn()
    await clock.advance(101)
    await turn()
    expect(batches[2]).toEqual(['a4'])
  })

  it('take the result of each item', async () => {
    const results: BatchItemResult[] = [undefined, new Error('no'), true]
    const { broker, clock, batches } = await stage((ids) => (ids.length === 3 ? results : undefined), {
      retry: { mode: 'inline', backoff: 'fixed', baseMs: 1_000 },
    })
    broker.deliver(delivery('1'), delivery('2'), delivery('3'))
    await turn()
    expect(broker.outcomes()).toEqual(['1 ack', '3 ack'])
    await clock.advance(1_101)
    await turn()
    expect(batches[1]).toEqual(['2'])
    expect(broker.outcomes()).toEqual(['1 ack', '3 ack', '2 ack'])
  })

  it('take nothing for success that does not say so', async () => {
    const odd = [false, 'failed', { status: 'rejected', reason: new Error('no') }, runInNewContext('new Error("far")')]
    const { broker } = await stage(() => [...odd, null] as never, { retry: false, batch: { size: 5 } })
    broker.deliver(...['1', '2', '3', '4', '5'].map((id) => delivery(id)))
    await turn()
    expect(broker.outcomes()).toEqual(['1 reject', '2 reject', '3 reject', '4 reject', '5 ack'])
    const messages = broker.settled.map(({ outcome }) =>
      outcome.type === 'reject' ? outcome.deadLetter?.headers['busbar-dlq-message'] : undefined,
    )
    expect(messages[1]).toContain('got a string')
    expect(messages[3]).toBe('far')
  })

  it.each([
    ['nothing', undefined, 'ack'],
    ['null', null, 'ack'],
    ['a list of all', [true, undefined, null], 'ack'],
    ['a list of the failures only', [new Error('no')], 'nack'],
    ['an empty list', [], 'nack'],
    ['a list that is too long', [true, true, true, true], 'nack'],
    ['a list with holes', Array.from({ length: 2 }), 'nack'],
    ['a text', 'done', 'nack'],
    ['false', false, 'nack'],
    ['a Map', new Map(), 'nack'],
    ['an error', new Error('no'), 'nack'],
    ['what AWS expects', { batchItemFailures: [] }, 'nack'],
  ])('of 3 are settled by what the handler returns: %s', async (_what, result, outcome) => {
    const { broker } = await stage(() => result as never, { batch: { size: 3 }, order: 'none' })
    broker.deliver(delivery('1'), delivery('2'), delivery('3'))
    await turn()
    expect(broker.outcomes()).toEqual(['1', '2', '3'].map((id) => `${id} ${outcome}`))
  })

  it('handle what came after a failed one of its key again, after it', async () => {
    let first = true
    const { broker, clock, batches } = await stage((ids) => {
      if (!first) return undefined
      first = false
      return ids.map((id) => (id === 'a1' ? new Error('no') : undefined))
    })
    broker.deliver(delivery('a1', { key: 'a' }), delivery('a2', { key: 'a' }), delivery('b1', { key: 'b' }))
    await turn()
    expect(broker.outcomes()).toEqual(['b1 ack'])
    broker.deliver(delivery('a3', { key: 'a' }))
    await clock.advance(1_200)
    await turn()
    expect(batches[1]).toEqual(['a1', 'a2', 'a3'])
    expect(broker.outcomes()).toEqual(['b1 ack', 'a1 ack', 'a2 ack', 'a3 ack'])
  })

  it('hand them back to a broker that keeps the order', async () => {
    const { broker } = await stage(
      (ids) => ids.map((id) => (id === 'a1' ? new Error('no') : undefined)),
      {},
      { orderedRedelivery: true },
    )
    broker.deliver(delivery('a1', { key: 'a' }), delivery('a2', { key: 'a' }), delivery('b1', { key: 'b' }))
    await turn()
    expect(broker.outcomes().toSorted()).toEqual(['a1 nack', 'a2 release', 'b1 ack'])
  })

  it('let later ones stand when an earlier one of the key is dead-lettered', async () => {
    const { broker } = await stage((ids) => ids.map((id) => (id === 'a1' ? new Error('no') : undefined)), {
      retry: false,
    })
    broker.deliver(delivery('a1', { key: 'a' }), delivery('a2', { key: 'a' }), delivery('b1', { key: 'b' }))
    await turn()
    expect(broker.outcomes().toSorted()).toEqual(['a1 reject', 'a2 ack', 'b1 ack'])
  })

  it('are not spoiled by one that can not be decoded', async () => {
    const { broker, batches } = await stage(() => {})
    broker.deliver(delivery('1'), delivery('2', { body: Buffer.from('{') }), delivery('3'))
    await turn()
    await turn()
    expect(batches).toEqual([['1', '3']])
    expect(broker.outcomes().toSorted()).toEqual(['1 ack', '2 reject', '3 ack'])
  })

  it('fail as a whole when the handler throws or rejects', async () => {
    const { broker } = await stage(() => Promise.reject(new Error('no')), { retry: false })
    broker.deliver(delivery('1'), delivery('2'), delivery('3'))
    await turn()
    expect(broker.outcomes()).toEqual(['1 reject', '2 reject', '3 reject'])
  })

  it('report the attempts of the messages that the handler gets, not of those that could not be decoded', async () => {
    const seen: [string, number][] = []
    const { broker } = await stage((ids, ctx) => {
      ids.forEach((id, index) => seen.push([id, ctx.attempt(index)]))
      expect(() => ctx.attempt(ids.length)).toThrow(RangeError)
    })
    const broken = delivery('1', { body: Buffer.from('no JSON') })
    broker.deliver(broken, delivery('2', { attempt: 2 }), delivery('3'))
    await turn()
    expect(seen).toEqual([
      ['2', 2],
      ['3', 1],
    ])
  })

  it('report the attempt of each message, and have a deadline', async () => {
    const seen: number[] = []
    let signal: AbortSignal | undefined
    const { broker, clock } = await stage(
      (ids, ctx) => {
        ids.forEach((_id, index) => seen.push(ctx.attempt(index)))
        signal = ctx.signal
        expect(() => ctx.attempt(9)).toThrow(RangeError)
        return new Promise<void>((_resolve, reject) =>
          ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason as Error)),
        )
      },
      { timeoutMs: 500, retry: false },
    )
    broker.deliver(delivery('1', { attempt: 1 }), delivery('2', { attempt: 1 }), delivery('3'))
    await clock.advance(600)
    await turn()
    expect(seen).toEqual([1, 1, 1])
    expect(signal?.aborted).toBe(true)
    expect(broker.outcomes()).toEqual(['1 reject', '2 reject', '3 reject'])
  })

  it('leave nothing behind on close: what was gathered goes back', async () => {
    const { broker, bus } = await stage(() => {})
    broker.deliver(delivery('1'), delivery('2', { key: 'k' }), delivery('4', { key: 'k' }))
    await turn()
    broker.deliver(delivery('5'), delivery('6', { key: 'k' }))
    await bus.close()
    expect(broker.outcomes().toSorted()).toEqual(['1 ack', '2 ack', '4 ack', '5 release', '6 release'])
  })

  it('pass over what was lost while it was gathered', async () => {
    const { broker, clock, batches } = await stage(() => {})
    const [one, two] = [delivery('1'), delivery('2')]
    broker.deliver(one, two)
    broker.lose([one])
    await clock.advance(101)
    await turn()
    expect(batches).toEqual([['2']])
  })

  it('let later ones stand when an earlier one of the key comes back in no order anyway', async () => {
    const { broker, clock, batches } = await stage(
      (ids) => ids.map((id) => (id === 'a1' ? new Error('no') : undefined)),
      { retry: { mode: 'delayed' } },
    )
    broker.deliver(delivery('a1', { key: 'a' }), delivery('a2', { key: 'a' }), delivery('b1', { key: 'b' }))
    await turn()
    expect(broker.outcomes().toSorted()).toEqual(['a1 nack', 'a2 ack', 'b1 ack'])
    broker.deliver(delivery('a3', { key: 'a' }))
    await clock.advance(101)
    await turn()
    expect(batches[1]).toEqual(['a3'])
  })

  it('do not handle again what was lost behind a failed one of its key', async () => {
    let end = (): void => {}
    const { broker, clock, batches, bus } = await stage(
      (ids) =>
        new Promise((resolve) => {
          end = () => resolve(ids.map((id) => (id === 'a1' ? new Error('no') : undefined)))
        }),
      { prefetch: 10 },
    )
    const [a2, a3] = [delivery('a2', { key: 'a' }), delivery('a3', { key: 'a' })]
    broker.deliver(delivery('a1', { key: 'a' }), a2, a3)
    broker.lose([a2])
    end()
    await turn()
    expect(broker.credit).toBe(8)
    await clock.advance(1_101)
    expect(batches).toEqual([
      ['a1', 'a2', 'a3'],
      ['a1', 'a3'],
    ])
    end()
    await bus.close({ timeoutMs: 0 })
  })

  it('are handed over once when a listener pauses the consumer while they begin', async () => {
    const { broker, bus, batches, consumer } = await stage(() => {})
    bus.events.on('delivery', () => consumer.pause())
    broker.deliver(delivery('1'), delivery('2'), delivery('3'))
    await turn()
    expect(batches).toEqual([['1']])
    expect(broker.outcomes().toSorted()).toEqual(['1 ack', '2 release', '3 release'])
  })

  it('do not run beside each other when a listener limits the consumer while they begin', async () => {
    let running = 0
    let most = 0
    const { broker, bus, consumer } = await stage(
      async () => {
        most = Math.max(most, ++running)
        await turn()
        running--
      },
      { batch: { size: 1 } },
    )
    const control = consumer as unknown as ConsumerControl
    let limit = 5
    bus.events.on('delivery', () => control.limit('listener', limit++))
    broker.deliver(delivery('1'), delivery('2'), delivery('3'))
    while (broker.settled.length < 3) await turn()
    expect(most).toBe(1)
  })

  it('continue with the key when a listener pauses between its failure and those behind it', async () => {
    const { broker, bus, batches, consumer } = await stage(
      (ids) => ids.map((id) => (id.endsWith('1') ? new Error('no') : undefined)),
      { retry: { mode: 'inline', backoff: 'fixed', baseMs: 1_000 } },
    )
    const off = bus.events.on('retry', ({ message }) => {
      if (message.id !== 'b1') return
      off()
      consumer.pause()
      consumer.resume()
    })
    broker.deliver(delivery('a1', { key: 'a' }), delivery('a2', { key: 'a' }), delivery('b1', { key: 'b' }))
    await turn()
    await turn()
    expect(batches.flat()).toEqual(['a1', 'a2', 'b1'])
    expect(broker.outcomes()).toEqual(['a1 release'])
    broker.deliver(delivery('x'), delivery('y'))
    await turn()
    expect(batches[1]).toEqual(['a2', 'x', 'y'])
  })
})

describe('a batch that runs', () => {
  it('is one handler, and none of its messages counts as buffered', async () => {
    const running = Promise.withResolvers<void>()
    const { broker, consumer } = await stage(() => running.promise)
    broker.deliver(...['1', '2', '3', '4'].map((id) => delivery(id)))
    await turn()
    expect(consumer.stats()).toMatchObject({ running: 1, buffered: 1, unsettled: 4 })
    running.resolve()
    await turn()
    expect(consumer.stats()).toMatchObject({ running: 0, buffered: 1, unsettled: 1 })
  })
})

describe('data of a batch', () => {
  it('is what was published in each attempt, whatever the one before did to it', async () => {
    const transport = new StubTransport()
    const clock = manualClock()
    const bus = createBus({ logger: false, service: 'billing', transport, clock })
    open.push(bus)
    const seen: unknown[] = []
    bus.consume(
      'orders.placed',
      (messages) => {
        const data = messages[0]?.data as { id: string; changed?: boolean }
        seen.push({ ...data })
        data.changed = true
        throw new Error('no')
      },
      { batch: { size: 1, timeoutMs: 10 }, retry: { backoff: 'fixed', baseMs: 100, attempts: 2 } },
    )
    await bus.start()
    transport.subscriptions[0]?.deliver(delivery('a', { key: 'k' }))
    await turn()
    await clock.advance(100)
    await turn()
    expect(seen).toEqual([{ id: 'a' }, { id: 'a' }])
  })

  it('is validated side by side when the schema is asynchronous', async () => {
    const asked: ((result: { value: unknown }) => void)[] = []
    const schema = {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: () => new Promise<{ value: unknown }>((resolve) => void asked.push(resolve)),
      },
    } as const
    const transport = new StubTransport()
    const bus = createBus({ logger: false, service: 'billing', transport, clock: manualClock() })
    open.push(bus)
    const batches: unknown[][] = []
    bus.consume(
      defineEvent('orders.placed', schema),
      (messages) => void batches.push(messages.map(({ data }) => data)),
      { batch: { size: 3, timeoutMs: 10 } },
    )
    await bus.start()
    transport.subscriptions[0]?.deliver(...['1', '2', '3'].map((id) => delivery(id)))
    await turn()
    expect(asked).toHaveLength(3)
    for (const [index, answer] of [...asked.entries()].toReversed()) answer({ value: index })
    await turn()
    expect(batches).toEqual([[0, 1, 2]])
  })
})
