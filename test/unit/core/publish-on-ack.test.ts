import { afterEach, describe, expect, it } from 'vitest'
import { createBus, PublishError, ValidationError } from 'busbar'
import type { Bus, ConsumeOptions, Handler, HandlerContext, Message, Middleware } from 'busbar'
import type { Settlement } from 'busbar/transport'
import { memory } from 'busbar/memory'
import { dedupe } from 'busbar/middleware'
import { memoryDedupeStore } from 'busbar/stores/memory'
import { manualClock } from 'busbar/testing'
import type { ManualClock } from 'busbar/testing'
import { turn } from './stage.ts'
import { delivery, notSent, StubTransport } from './stub-transport.ts'
import type { StubSubscription } from './stub-transport.ts'

const open: Bus[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((bus) => bus.close({ timeoutMs: 0 })))
})

interface Stage {
  readonly bus: Bus
  readonly transport: StubTransport
  readonly other: StubTransport
  readonly broker: StubSubscription
  readonly clock: ManualClock
  readonly errors: unknown[]
}

async function stage(handler: Handler, isAtomic = true, options: ConsumeOptions = {}): Promise<Stage> {
  const transport = new StubTransport({ publishOnAck: isAtomic })
  const other = new StubTransport()
  const clock = manualClock()
  const bus = createBus({ service: 'test', transports: { main: transport, other }, clock, logger: false })
  open.push(bus)
  const errors: unknown[] = []
  bus.events.on('error', ({ error }) => void errors.push(error))
  bus.consume('orders', handler, {
    publishOnAck: true,
    retry: { mode: 'inline', backoff: 'fixed', baseMs: 10 },
    ...options,
  })
  await bus.start()
  return { bus, transport, other, broker: transport.subscriptions[0] as StubSubscription, clock, errors }
}

/** What was settled, with the ids of what goes with an ack. */
function settled({ broker }: Stage): string[] {
  return broker.settled.map(({ id, outcome }) => {
    const published = outcome.type === 'ack' ? (outcome.publish ?? []) : []
    return [`${id} ${outcome.type}`, ...published.map((message) => message.id)].join(' ')
  })
}

function sent({ published }: StubTransport): string[] {
  return published.flat().map(({ id }) => id)
}

function publishing(ids: (message: Message, ctx: HandlerContext) => readonly string[]): Handler {
  return async (message, ctx) => {
    for (const id of ids(message, ctx)) await ctx.publish('outputs', 1, { id })
  }
}

describe('what a handler publishes with publishOnAck', () => {
  it('goes with the ack where the transport can, and is never published alone', async () => {
    const staged = await stage(publishing(({ id }) => [`${id}-1`, `${id}-2`]))
    staged.broker.deliver(delivery('a'))
    await turn()
    expect(settled(staged)).toEqual(['a ack a-1 a-2'])
    expect(sent(staged.transport)).toEqual([])
  })

  it('is confirmed before the ack elsewhere', async () => {
    const staged = await stage(
      publishing(({ id }) => [`${id}-1`]),
      false,
    )
    const confirmed = Promise.withResolvers<void>()
    staged.transport.answer = async (batch) => {
      await confirmed.promise
      return batch.map(() => ({ position: undefined }))
    }
    staged.broker.deliver(delivery('a'))
    await turn()
    expect(sent(staged.transport)).toEqual(['a-1'])
    expect(settled(staged)).toEqual([])
    confirmed.resolve()
    await turn()
    expect(settled(staged)).toEqual(['a ack'])
  })

  it('is dropped when the attempt fails, and when its rejection is swallowed', async () => {
    const staged = await stage(async (message, ctx) => {
      await ctx.publish('outputs', 1, { id: `${message.id}-${ctx.attempt}` })
      if (message.id === 'swallowed') {
        try {
          ctx.reject('no')
        } catch {
          return
        }
      }
      if (ctx.attempt === 1) throw new Error('again')
    })
    staged.broker.deliver(delivery('a'), delivery('swallowed'))
    await turn()
    await staged.clock.advance(10)
    await turn()
    expect(settled(staged)).toEqual(['swallowed reject', 'a ack a-2'])
    expect(sent(staged.transport)).toEqual([])
  })

  it('is dropped when its run fails and a middleware runs the handler again; what the middleware published stays', async () => {
    let runs = 0
    const again: Middleware = (next) => async (message, ctx) => {
      await ctx.publish('outputs', 1, { id: 'before' })
      try {
        await next(message, ctx)
      } catch {
        await next(message, ctx)
      }
    }
    const staged = await stage(
      async (_message, ctx) => {
        const run = ++runs
        await ctx.publish('outputs', 1, { id: `run-${run}` })
        if (run > 1) return
        // Still being made when the run ends.
        void ctx.publish('outputs', 1, { id: 'late' })
        throw new Error('again')
      },
      true,
      { middleware: [again] },
    )
    staged.broker.deliver(delivery('a'))
    await turn()
    expect(settled(staged)).toEqual(['a ack before run-2'])
  })

  it('fails the attempt when the broker does not confirm it, so that the handler runs again', async () => {
    const attempts: number[] = []
    const staged = await stage(async (_message, ctx) => {
      attempts.push(ctx.attempt)
      await ctx.publish('outputs', 1)
    }, false)
    let refused = 0
    staged.transport.answer = async (batch) =>
      batch.map(() => (refused++ === 0 ? { error: notSent() } : { position: undefined }))
    staged.broker.deliver(delivery('a'))
    await turn()
    await staged.clock.advance(10)
    await turn()
    expect(attempts).toEqual([1, 2])
    expect(settled(staged)).toEqual(['a ack'])
  })

  it('is tried again with the ack when it can not be stored; the key waits, and the handler does not run again', async () => {
    const handled: string[] = []
    const staged = await stage(async (message, ctx) => {
      handled.push(message.id)
      await ctx.publish('outputs', 1, { id: `${message.id}-1` })
    })
    let refusals = 2
    staged.broker.onSettle = ({ delivery: { message } }: Settlement) =>
      message.id === 'a' && refusals-- > 0 ? notSent() : undefined
    staged.broker.deliver(delivery('a', { key: 'k' }), delivery('b', { key: 'k' }), delivery('c', { key: 'other' }))
    const credit = staged.broker.credit
    await turn()
    expect(handled).toEqual(['a', 'c'])
    expect(settled(staged)).toEqual(['c ack c-1'])
    expect(staged.broker.credit).toBe(credit + 1)
    expect(staged.errors).toHaveLength(1)
    for (let step = 0; step < 20; step++) {
      await staged.clock.advance(100)
      await turn()
    }
    expect(handled).toEqual(['a', 'c', 'b'])
    expect(settled(staged)).toEqual(['c ack c-1', 'a ack a-1', 'b ack b-1'])
    expect(staged.broker.credit).toBe(credit + 3)
  })

  it('gives its credit back, once, when the broker refuses it for good; it is still tried again', async () => {
    const staged = await stage(publishing(({ id }) => [`${id}-1`]))
    let isRefused = true
    staged.broker.onSettle = ({ delivery: { message } }: Settlement) =>
      isRefused && message.id === 'a' ? new PublishError('no such topic', { outcome: 'not-sent' }) : undefined
    const { credit, bytes } = staged.broker
    staged.broker.deliver(delivery('a', { key: 'k' }))
    await turn()
    expect(staged.broker).toMatchObject({ credit, bytes })
    await staged.clock.advance(5_000)
    await turn()
    expect(staged.broker).toMatchObject({ credit, bytes })
    isRefused = false
    await staged.clock.advance(60_000)
    await turn()
    expect(settled(staged)).toEqual(['a ack a-1'])
    expect(staged.broker).toMatchObject({ credit, bytes })
  })

  it.each(['ack', 'reject'])('makes close wait for one last %s, not until the next is due', async (outcome) => {
    const staged = await stage(async (_message, ctx) => {
      await ctx.publish('outputs', 1, { id: 'a-1' })
      if (outcome === 'reject') ctx.reject('no')
    })
    let isAway = true
    staged.broker.onSettle = () => (isAway ? notSent() : undefined)
    staged.broker.deliver(delivery('a'))
    await turn()
    expect(staged.errors).toHaveLength(1)
    isAway = false
    await staged.bus.close()
    expect(staged.broker.outcomes()).toEqual([`a ${outcome}`])
  })

  it('becomes a dead letter, with the error, when the broker keeps refusing what goes with its ack', async () => {
    let runs = 0
    const staged = await stage(async (_message, ctx) => {
      runs++
      await ctx.publish('outputs', 1, { id: 'a-1' })
    })
    const refused = new PublishError('no such topic', { outcome: 'not-sent' })
    let acks = 0
    staged.broker.onSettle = ({ outcome }) => {
      if (outcome.type !== 'ack') return undefined
      acks++
      return refused
    }
    const dead: unknown[] = []
    staged.bus.events.on('deadLetter', (event) => dead.push(event))
    staged.broker.deliver(delivery('a', { key: 'k' }))
    for (let tries = 0; tries < 20; tries++) await staged.clock.advance(30_000)
    expect(dead).toMatchObject([{ reason: 'exhausted', error: refused, message: { id: 'a' } }])
    expect(runs).toBe(1)
    expect([acks, settled(staged)]).toEqual([16, ['a reject']])
  })

  it('needs the context itself, and says so to a middleware that passes a copy', async () => {
    for (const copy of [
      (ctx: HandlerContext) => ({ ...ctx, publish: ctx.publish.bind(ctx) }),
      (ctx: HandlerContext) => Object.create(ctx) as HandlerContext,
      (ctx: HandlerContext) => new Proxy(ctx, {}),
    ]) {
      const copies: Middleware = (next) => (message, ctx) => next(message, copy(ctx))
      const staged = await stage(
        publishing(() => ['a-1']),
        true,
        { middleware: [copies], retry: { attempts: 1 } },
      )
      const dead = staged.bus.events.once('deadLetter')
      staged.broker.deliver(delivery('a'))
      await turn()
      expect(String((await dead).error)).toContain(
        'must get the ctx that the middleware got, not a copy or a proxy of it: with publishOnAck',
      )
      expect(settled(staged)).toEqual(['a reject'])
    }
  })

  it('holds up its key no longer when the broker takes the delivery back', async () => {
    const handled: string[] = []
    const staged = await stage(async ({ id }, ctx) => {
      handled.push(id)
      await ctx.publish('outputs', 1, { id: `${id}-1` })
    })
    const first = delivery('a', { key: 'k' })
    staged.broker.onSettle = ({ delivery: { attempt } }: Settlement) => (attempt === 1 ? notSent() : undefined)
    staged.broker.deliver(first)
    await turn()
    staged.broker.lose([first])
    staged.broker.deliver(delivery('a', { key: 'k', attempt: 2 }))
    await turn()
    await turn()
    expect(handled).toEqual(['a', 'a'])
    expect(settled(staged)).toEqual(['a ack a-1'])
  })

  it('is reported as stuck while the ack is not taken, and not as a message without a handler', async () => {
    const staged = await stage(
      publishing(() => ['a-1']),
      true,
      { stalledAfterMs: 1_000 },
    )
    staged.broker.onSettle = () => notSent()
    const reports: unknown[] = []
    staged.bus.events.on('stuck', ({ message, state }) => reports.push([message.id, state]))
    staged.broker.deliver(delivery('a'))
    for (let step = 0; step < 30; step++) {
      await staged.clock.advance(100)
      staged.broker.sink.receive([])
    }
    expect(reports).toEqual([['a', 'settling']])
    expect((await staged.bus.health()).consumers[0]).toMatchObject({
      status: 'stuck',
      detail: expect.stringContaining('message a could not be settled') as unknown,
    })
  })

  it('is published by a second run when the delivery was lost before its ack', async () => {
    const ends: (() => void)[] = []
    const staged = await stage(async (message, ctx) => {
      await ctx.publish('outputs', 1, { id: `${message.id}-${ends.length}` })
      await new Promise<void>((resolve) => ends.push(resolve))
    })
    const first = delivery('a')
    staged.broker.deliver(first)
    await turn()
    staged.broker.lose([first])
    ends[0]?.()
    await turn()
    staged.broker.deliver(delivery('a', { history: 'returned' }))
    await turn()
    ends[1]?.()
    await turn()
    expect(settled(staged)).toEqual(['a ack a-1'])
  })

  it('goes to another transport before the ack', async () => {
    const staged = await stage(async ({ id }, ctx) => {
      await ctx.publish('outputs', 1, { id: `${id}-other`, transport: 'other' })
      const [own] = await ctx.publishMany('outputs', [{ data: 1, id: `${id}-own` }])
      expect(own).toEqual({ id: `${id}-own`, position: undefined })
    })
    staged.broker.deliver(delivery('a'))
    await turn()
    expect(sent(staged.other)).toEqual(['a-other'])
    expect(settled(staged)).toEqual(['a ack a-own'])
  })

  it('includes what the handler did not wait for, in the order of its calls', async () => {
    const staged = await stage((message, ctx) => {
      for (const part of [1, 2, 3]) void ctx.publish('outputs', 1, { id: `${message.id}-${part}` })
    })
    staged.broker.deliver(delivery('a'))
    await turn()
    expect(settled(staged)).toEqual(['a ack a-1 a-2 a-3'])
  })

  it.each([true, false])(
    'fails as an unhandled rejection when the handler did not wait, atomic: %s',
    async (isAtomic) => {
      const listeners = process.listeners('unhandledRejection')
      const unhandled: unknown[] = []
      process.removeAllListeners('unhandledRejection')
      process.on('unhandledRejection', (error) => unhandled.push(error))
      try {
        const staged = await stage((_message, ctx) => void ctx.publish('not a topic', 1), isAtomic)
        staged.broker.deliver(delivery('a'))
        await turn()
        expect(unhandled).toEqual([expect.any(ValidationError)])
      } finally {
        process.removeAllListeners('unhandledRejection')
        for (const listener of listeners) process.on('unhandledRejection', listener)
      }
    },
  )

  it('takes no longer for each message when there are many', async () => {
    let [startedAt, madeAt] = [0, 0]
    const items = Array.from({ length: 30_000 }, () => ({ data: 1 }))
    const staged = await stage(async (_message, ctx) => {
      startedAt = performance.now()
      await ctx.publishMany('outputs', items)
      madeAt = performance.now()
    }, false)
    const sending = new Promise<void>((resolve) => {
      staged.broker.onSettle = () => resolve() as undefined
    })
    staged.broker.deliver(delivery('a'))
    await sending
    // Copying the list for each message took more than ten times as long as making them; now it is a fraction.
    expect(performance.now() - madeAt).toBeLessThan(3 * (madeAt - startedAt))
  })

  it('is refused after the handler has ended', async () => {
    let late: HandlerContext | undefined
    const staged = await stage((_message, ctx) => {
      late = ctx
      void ctx.publish('outputs', 1, { id: 'in-time' })
    })
    staged.broker.deliver(delivery('a'))
    await turn()
    await expect(late?.publish('outputs', 2)).rejects.toThrow('after the handler had ended')
    expect(settled(staged)).toEqual(['a ack in-time'])
  })

  it.each([true, false])(
    'goes out for a handler that ends after its deadline, within the grace (atomic: %s)',
    async (isAtomic) => {
      const staged = await stage(
        async ({ id }, ctx) => {
          await ctx.publish('outputs', 1, { id: `${id}-1` })
          await new Promise<void>((resolve) => void ctx.clock.setTimer(50, resolve))
        },
        isAtomic,
        { timeoutMs: 20, abandonAfterMs: 1_000 },
      )
      staged.broker.deliver(delivery('a'))
      for (let step = 0; step < 12; step++) {
        await staged.clock.advance(10)
        await turn()
      }
      expect(settled(staged)).toEqual([isAtomic ? 'a ack a-1' : 'a ack'])
      expect(sent(staged.transport)).toEqual(isAtomic ? [] : ['a-1'])
    },
  )

  it('does not go out for a handler that ends after its delivery was lost', async () => {
    const gate = Promise.withResolvers<void>()
    const staged = await stage(async (_message, ctx) => {
      await ctx.publish('outputs', 1)
      await gate.promise
    }, false)
    const lost = delivery('a')
    staged.broker.deliver(lost)
    await turn()
    staged.broker.lose([lost])
    gate.resolve()
    await turn()
    expect(sent(staged.transport)).toEqual([])
  })

  it('is bounded in bytes', async () => {
    const transport = new StubTransport({ publishOnAck: true })
    const bus = createBus({ service: 'test', transport, logger: false, publish: { maxBufferedBytes: 2_000 } })
    open.push(bus)
    const errors: unknown[] = []
    bus.consume(
      'orders',
      async (_message, ctx) => {
        const results = await Promise.allSettled([1, 2, 3, 4].map((part) => ctx.publish('outputs', part)))
        errors.push(...results.filter((result) => result.status === 'rejected').map(({ reason }) => reason as unknown))
      },
      { publishOnAck: true },
    )
    await bus.start()
    transport.subscriptions[0]?.deliver(delivery('a'))
    await turn()
    expect(errors.map(String)).toEqual([expect.stringContaining('more than 2000 bytes')])
  })
})

describe('publishOnAck', () => {
  it('lets no handler start while too much of it waits for acks, and continues when the broker takes it', async () => {
    const transport = new StubTransport({ publishOnAck: true })
    const clock = manualClock()
    const bus = createBus({
      service: 'test',
      transport,
      clock,
      logger: false,
      publish: { maxBufferedBytes: 2_048 },
    })
    open.push(bus)
    const started: string[] = []
    const handler: Handler = async ({ id }, ctx) => {
      started.push(id)
      await ctx.publish('outputs', Buffer.alloc(1_000))
      if (id === 'fails' && ctx.attempt === 1) throw new Error('once')
    }
    bus.consume('orders', handler, {
      publishOnAck: true,
      concurrency: 1,
      retry: { mode: 'inline', backoff: 'fixed', baseMs: 10 },
    })
    await bus.start()
    const broker = transport.subscriptions[0] as StubSubscription
    let isFull = true
    broker.onSettle = async () => (isFull ? notSent() : undefined)
    broker.deliver(delivery('fails'))
    await turn()
    // What failed holds nothing.
    broker.deliver(...['a', 'b', 'c', 'd'].map((id) => delivery(id)))
    await turn()
    expect(started).toEqual(['fails', 'a', 'b'])
    await clock.advance(20)
    expect(started).toEqual(['fails', 'a', 'b'])
    isFull = false
    await clock.advance(1_000)
    await expect.poll(() => broker.settled.map(({ id }) => id).sort()).toEqual(['a', 'b', 'c', 'd', 'fails'])
    expect(started).toEqual(['fails', 'a', 'b', 'c', 'd', 'fails'])
  })

  it('is refused beside dedupe where the messages go with the ack, and with a batch handler', () => {
    const bus = createBus({ service: 'test', transport: memory(), logger: false })
    open.push(bus)
    const options = { publishOnAck: true, middleware: [dedupe({ store: memoryDedupeStore() })] }
    expect(() => bus.consume('orders', () => {}, options)).toThrow("can't be combined with dedupe() on memory")
    expect(() => bus.consume('orders', () => {}, { publishOnAck: true, batch: { size: 2 } } as never)).toThrow(
      'publishOnAck: has no meaning for a batch handler',
    )
  })
})
