import { AsyncLocalStorage } from 'node:async_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { createBus, silentLogger } from 'busbar'
import type { Bus, BusOptions, OutgoingMessage } from 'busbar'
import { currentCause } from '../../../src/core/causality.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { delivery, StubTransport } from './stub-transport.ts'

async function started(options: Partial<BusOptions> = {}): Promise<{
  bus: Bus
  main: StubTransport
  other: StubTransport
}> {
  const [main, other] = [new StubTransport(), new StubTransport()]
  const bus = createBus({ service: 'test', transports: { main, other }, logger: silentLogger, ...options })
  return { bus, main, other }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

function links({ correlationId, causationId, traceparent, tracestate }: OutgoingMessage): object {
  return { correlationId, causationId, traceparent, tracestate }
}

const TRACE = { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', tracestate: 'a=1' }

describe('in a handler', () => {
  it('bus.publish and bus.publishMany make children of the message, as ctx.publish does', async () => {
    const { bus, main } = await started()
    bus.consume('orders.placed', async (_, ctx) => {
      await ctx.publish('child', 1)
      await turn()
      await bus.publish('child', 2)
      await bus.publishMany('child', [{ data: 3 }])
    })
    await bus.start()
    main.subscriptions[0]?.deliver(delivery('m1', { correlationId: 'conversation', ...TRACE }))
    await expect.poll(() => main.published.flat().length).toBe(3)
    const child = { correlationId: 'conversation', causationId: 'm1', ...TRACE }
    expect(main.published.flat().map(links)).toEqual([child, child, child])
    await bus.close()
  })

  it('children of a message without a conversation share one: it is named by that message', async () => {
    const { bus, main } = await started()
    bus.consume('orders.placed', async (_, ctx) => {
      await ctx.publish('child', 1)
      await bus.publish('child', 2)
    })
    await bus.start()
    main.subscriptions[0]?.deliver(delivery('foreign'))
    await expect.poll(() => main.published.flat().length).toBe(2)
    for (const message of main.published.flat())
      expect(links(message)).toMatchObject({ correlationId: 'foreign', causationId: 'foreign' })
    await bus.close()
  })

  it('does not mix up handlers that run at once, and is over with its handler for what the runtime does next', async () => {
    const { bus, main } = await started()
    bus.consume('orders.placed', async (message) => {
      await turn()
      await bus.publish('child', message.id)
    })
    let fromListener: Promise<unknown> | undefined
    bus.events.on('ack', ({ message }) => {
      if (message.id === 'a') fromListener = bus.publish('audit', 1)
    })
    await bus.start()
    main.subscriptions[0]?.deliver(delivery('a'), delivery('b'), delivery('c'))
    await expect.poll(() => main.published.flat().length).toBe(4)
    await fromListener
    const byCause = main.published
      .flat()
      .map(({ topic, causationId, body }) => `${topic} ${causationId} ${String(body)}`)
    expect(byCause.sort()).toEqual(['audit undefined 1', 'child a "a"', 'child b "b"', 'child c "c"'])
    await bus.close()
  })

  it('ctx.publish and ctx.publishMany go to where the message came from, unless told otherwise', async () => {
    const { bus, main, other } = await started()
    bus.consume(
      'orders.placed',
      async (_, ctx) => {
        await ctx.publish('here', 1)
        await ctx.publishMany('here', [{ data: 2 }])
        await ctx.publish('there', 3, { transport: 'main' })
        await ctx.publishMany('there', [{ data: 4 }], { transport: 'main' })
      },
      { transport: 'other' },
    )
    await bus.start()
    other.subscriptions[0]?.deliver(delivery('m'))
    await expect.poll(() => main.published.flat().length).toBe(2)
    expect(main.published.flat().map(({ topic }) => topic)).toEqual(['there', 'there'])
    expect(other.published.flat().map(({ topic }) => topic)).toEqual(['here', 'here'])
    await bus.close()
  })

  it('the async context is that of the consume call, whatever causes the handler to run', async () => {
    const { bus, main } = await started()
    const caller = new AsyncLocalStorage<string>()
    const seen: (string | undefined)[] = []
    const consumer = caller.run('consume', () =>
      bus.consume('orders.placed', async (message) => {
        seen.push(`${message.id} ${caller.getStore()}`)
        await turn()
        seen.push(`${message.id} ${caller.getStore()}`)
      }),
    )
    await caller.run('start', () => bus.start())
    caller.run('broker', () => main.subscriptions[0]?.deliver(delivery('a')))
    await expect.poll(() => main.subscriptions[0]?.outcomes()).toEqual(['a ack'])
    consumer.pause()
    main.subscriptions[0]?.deliver(delivery('b'))
    caller.run('resume', () => {
      consumer.resume()
      expect(caller.getStore()).toBe('resume')
    })
    await expect.poll(() => seen.length).toBe(4)
    expect(seen).toEqual(['a consume', 'a consume', 'b consume', 'b consume'])
    await bus.close()
  })

  it('nothing is inherited in a batch handler, or with causality: false', async () => {
    const { bus, main } = await started()
    bus.consume('orders.placed', async () => void (await bus.publish('child', 1)), {
      batch: { size: 2, timeoutMs: 10 },
    })
    await bus.start()
    main.subscriptions[0]?.deliver(delivery('a'), delivery('b'))
    await expect.poll(() => main.published.flat().length).toBe(1)
    expect(main.published.flat()[0]?.causationId).toBeUndefined()
    await bus.close()

    const off = await started({ causality: false })
    off.bus.consume('orders.placed', async () => void (await off.bus.publish('child', 1)))
    await off.bus.start()
    off.main.subscriptions[0]?.deliver(delivery('a'))
    await expect.poll(() => off.main.published.flat().length).toBe(1)
    expect(off.main.published.flat()[0]?.causationId).toBeUndefined()
    expect(off.bus.within({ causationId: 'x' }, () => 7)).toBe(7)
    await off.bus.close()
  })
})

describe('bus.within', () => {
  it('gives a conversation to what is published in it, also later, and returns what the call returns', async () => {
    const { bus, main } = await started()
    await bus.start()
    const context = { correlationId: 'request-1', causationId: 'post-1', ...TRACE }
    const result = await bus.within(context, async () => {
      await turn()
      await bus.publish('t', 1)
      return 'done'
    })
    await bus.within({ causationId: 'job-1' }, () => bus.publish('t', 2))
    await bus.publish('t', 3)
    expect(result).toBe('done')
    const [first, second, third] = main.published.flat()
    expect(links(first as OutgoingMessage)).toEqual(context)
    expect(links(second as OutgoingMessage)).toMatchObject({ correlationId: 'job-1', causationId: 'job-1' })
    expect(third?.causationId).toBeUndefined()
    await bus.close()
  })

  it('ignores a traceparent that is not one, which publish refuses', async () => {
    const { bus, main } = await started()
    await bus.start()
    const garbage = [
      'garbage',
      '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331',
      `00-${'0'.repeat(32)}-b7ad6b7169203331-01`,
      'ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    ]
    for (const traceparent of garbage) {
      await bus.within({ correlationId: 'c', traceparent, tracestate: 'a=1' }, () => bus.publish('t', 1))
      await expect(bus.publish('t', 1, { traceparent })).rejects.toThrow('W3C trace context')
    }
    expect(main.published.flat().map((message) => links(message))).toEqual(
      garbage.map(() => ({
        correlationId: 'c',
        causationId: undefined,
        traceparent: undefined,
        tracestate: undefined,
      })),
    )
    await bus.close()
  })
})

describe('a handler that ends its own bus or consumer', () => {
  it('is refused when it awaits that, and what it asked for happens', async () => {
    for (const end of ['bus.close', 'consumer.close', 'consumer.drain'] as const) {
      const { bus, main } = await started()
      const seen: unknown[] = []
      const consumer = bus.consume('orders.placed', async () => {
        try {
          await (end === 'bus.close' ? bus.close() : end === 'consumer.close' ? consumer.close() : consumer.drain())
        } catch (error) {
          seen.push(error)
        }
      })
      await bus.start()
      main.subscriptions[0]?.deliver(delivery('m'))
      await expect.poll(() => seen.length).toBe(1)
      expect(seen[0]).toMatchObject({ code: 'BUSBAR_STATE', message: expect.stringContaining('would wait for itself') })
      await expect.poll(() => main.subscriptions[0]?.closed).toBe(true)
      expect(main.subscriptions[0]?.outcomes()).toEqual(['m ack'])
      await bus.close()
    }
  })

  it('may do so without awaiting it, and so may what it has started and outlives it', async () => {
    const { bus, main } = await started()
    let later: Promise<void> | undefined
    bus.consume('orders.placed', () => {
      later = turn()
        .then(turn)
        .then(() => bus.close())
    })
    await bus.start()
    main.subscriptions[0]?.deliver(delivery('m'))
    await turn()
    await later
    expect(bus.state).toBe('closed')
  })
})

describe('a timer', () => {
  it('fires outside of the scope in which it was set', async () => {
    const { bus } = await started()
    await bus.start()
    const fired = bus.within({ causationId: 'request' }, () => {
      expect(currentCause()).toEqual({ id: 'request' })
      return new Promise((resolve) => systemClock.setTimer(1, () => resolve(currentCause())))
    })
    expect(await fired).toBeUndefined()
    await bus.close()
  })

  it('that is set again and again keeps no message alive', async () => {
    const { bus, main } = await started()
    let first: WeakRef<object> | undefined
    const [gate, end] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    bus.consume('orders.placed', (message) => {
      if (message.id === 'm2') return end.promise
      first = new WeakRef(message)
      return gate.promise
    })
    await bus.start()
    const [broker] = main.subscriptions
    // The other handler is noted again and again.
    if (broker !== undefined) broker.noting = () => Promise.reject(new Error('no leader'))
    broker?.deliver(delivery('m1'), delivery('m2'))
    gate.resolve()
    await expect.poll(() => broker?.outcomes()).toEqual(['m1 ack'])
    setFlagsFromString('--expose-gc')
    const gc = runInNewContext('gc') as () => void
    await expect
      .poll(() => {
        gc()
        // Not the message itself: the error of a try that comes too early would keep it for all others.
        return first !== undefined && first.deref() === undefined
      })
      .toBe(true)
    end.resolve()
    await bus.close()
  })
})

describe('what can not be carried', () => {
  const BAD = 'x\r\nEvil: y'

  it.each(['correlationId', 'causationId', 'traceparent', 'tracestate'])(
    'is refused by bus.within: %s',
    async (name) => {
      const { bus } = await started()
      await bus.start()
      expect(() => bus.within({ [name]: BAD }, () => 1)).toThrow(expect.objectContaining({ code: 'BUSBAR_VALIDATION' }))
      expect(() => bus.within({ [name]: 'y'.repeat(2_000) }, () => 1)).toThrow(
        expect.objectContaining({ code: 'BUSBAR_VALIDATION' }),
      )
      await bus.close()
    },
  )

  it('is refused by bus.within when it is misspelt', async () => {
    const { bus } = await started()
    await bus.start()
    expect(() => bus.within({ corelationId: 'c' } as never, () => 1)).toThrow('correlationId')
    await bus.close()
  })

  it('is not inherited from a message of another program', async () => {
    const { bus, main } = await started()
    bus.consume('orders.placed', (_, ctx) => ctx.publish('child', 1))
    await bus.start()
    main.subscriptions[0]?.deliver(delivery(BAD, { correlationId: BAD, traceparent: BAD, tracestate: BAD }))
    await expect.poll(() => main.published.flat().length).toBe(1)
    const [child] = main.published.flat()
    expect(links(child as OutgoingMessage)).toEqual({
      correlationId: child?.id,
      causationId: undefined,
      traceparent: undefined,
      tracestate: undefined,
    })
    await bus.close()
  })
})
