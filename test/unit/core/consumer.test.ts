import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { createBus, defineEvent, PublishError } from 'busbar'
import type { Capabilities, ConsumeOptions, ConsumerHandle, HandlerContext, Message } from 'busbar'
import { manualClock } from 'busbar/testing'
import * as z from 'zod'
import { byHand, stage, turn } from './stage.ts'
import { delivery, notSent, StubTransport } from './stub-transport.ts'
import type { StubSubscription } from './stub-transport.ts'

describe('credit', () => {
  it('is the prefetch at first, and comes back as deliveries are settled', async () => {
    const hand = byHand()
    const { broker } = await stage(hand.handler, { prefetch: 3, prefetchBytes: 10_000, concurrency: 2 })
    expect([broker.credit, broker.bytes]).toEqual([3, 10_000])
    broker.deliver(delivery('a'), delivery('b'), delivery('c'))
    expect(hand.started).toEqual(['a#1', 'b#1'])
    expect([broker.credit, broker.bytes]).toEqual([0, 9_700])
    hand.end('b')
    await turn()
    expect(hand.started).toEqual(['a#1', 'b#1', 'c#1'])
    expect([broker.credit, broker.bytes]).toEqual([1, 9_800])
    expect(broker.outcomes()).toEqual(['b ack'])
  })

  it('settles a turn of synchronous handlers in one call', async () => {
    const { broker } = await stage(() => {})
    broker.deliver(...Array.from({ length: 50 }, (_, n) => delivery(`m${n}`)))
    await turn()
    expect(broker.settleCalls).toEqual([50])
  })
})

describe('order by key', () => {
  it('holds back later messages of a key through an inline retry, and no others', async () => {
    const hand = byHand()
    const { broker, clock } = await stage(hand.handler)
    broker.deliver(
      delivery('a1', { key: 'a' }),
      delivery('a2', { key: 'a' }),
      delivery('b1', { key: 'b' }),
      delivery('x'),
    )
    expect(hand.started).toEqual(['a1#1', 'b1#1', 'x#1'])
    hand.end('a1', new Error('no'))
    hand.end('b1')
    await turn()
    broker.deliver(delivery('a3', { key: 'a' }), delivery('b2', { key: 'b' }))
    expect(hand.started.slice(3)).toEqual(['b2#1'])
    expect(broker.noted).toEqual([{ id: 'a1', attempt: 1 }])
    await clock.advance(100)
    expect(hand.started.slice(4)).toEqual(['a1#2'])
    hand.end('a1')
    await turn()
    expect(hand.started.slice(5)).toEqual(['a2#1'])
    hand.end('a2')
    await turn()
    expect(hand.started.slice(6)).toEqual(['a3#1'])
    expect(broker.outcomes()).toEqual(['b1 ack', 'a1 ack', 'a2 ack'])
  })

  it('sends back what waits behind a nacked one, and what still arrives of the key until the broker has it', async () => {
    const hand = byHand()
    const { broker } = await stage(hand.handler, {}, { orderedRedelivery: true })
    let taken = (): void => {}
    broker.onSettle = ({ outcome }) =>
      outcome.type === 'nack'
        ? new Promise((resolve) => {
            taken = () => resolve(undefined)
          })
        : undefined
    broker.deliver(delivery('a1', { key: 'a' }), delivery('a2', { key: 'a' }), delivery('b1', { key: 'b' }))
    hand.end('a1', new Error('no'))
    await turn()
    broker.deliver(delivery('a3', { key: 'a' }))
    taken()
    await turn()
    await turn()
    expect(broker.outcomes()).toEqual(['a1 nack', 'a2 release', 'a3 release'])
    expect(broker.settled[0]?.outcome).toEqual({ type: 'nack', delayMs: 100 })
    broker.deliver(delivery('a1', { key: 'a', attempt: 2 }), delivery('a2', { key: 'a' }))
    expect(hand.started).toEqual(['a1#1', 'b1#1', 'a1#2'])
  })

  it('waits for the broker to have everything that goes back, also what arrived too late for its batch', async () => {
    const hand = byHand()
    const { broker, clock } = await stage(hand.handler, {}, { orderedRedelivery: true })
    const taken = new Map<string, () => void>()
    broker.onSettle = ({ delivery: { message } }) =>
      new Promise((resolve) => taken.set(message.id, () => resolve(undefined)))
    broker.deliver(delivery('a1', { key: 'a' }))
    hand.end('a1', new Error('no'))
    await turn()
    broker.deliver(delivery('a2', { key: 'a' }))
    await turn()
    taken.get('a1')?.()
    await turn()
    // The broker still has to hear of a2; a1 and a3 must not slip in between.
    broker.deliver(delivery('a1', { key: 'a', attempt: 2 }), delivery('a3', { key: 'a' }))
    await turn()
    expect(hand.started).toEqual(['a1#1'])
    for (const id of ['a2', 'a1', 'a3']) {
      taken.get(id)?.()
      await turn()
    }
    expect(broker.outcomes()).toEqual(['a1 nack', 'a2 release', 'a1 release', 'a3 release'])
    broker.deliver(delivery('a1', { key: 'a', attempt: 2 }))
    expect(hand.started).toEqual(['a1#1', 'a1#2'])
    // What notes running handlers has nothing more to do after two ticks.
    await clock.advance(50)
    expect(clock.pending).toBe(1)
  })

  it('survives a pause that ends before the broker has what went back', async () => {
    const hand = byHand()
    const { broker, consumer } = await stage(hand.handler, {}, { orderedRedelivery: true })
    broker.deliver(delivery('a1', { key: 'a' }), delivery('a2', { key: 'a' }), delivery('b1', { key: 'b' }))
    hand.end('a1')
    consumer.pause()
    consumer.resume()
    broker.deliver(delivery('a3', { key: 'a' }), delivery('c1', { key: 'c' }))
    await turn()
    expect(hand.started).toEqual(['a1#1', 'b1#1', 'c1#1'])
    expect(broker.outcomes()).toEqual(['a2 release', 'a3 release', 'a1 ack'])
    broker.deliver(delivery('a2', { key: 'a' }))
    expect(hand.started).toEqual(['a1#1', 'b1#1', 'c1#1', 'a2#1'])
  })

  it.each(['what waits', 'a message that fails meanwhile'])(
    'returns messages of a pause to a broker that keeps no order before it takes more: %s',
    async (what) => {
      const hand = byHand()
      const { broker, consumer } = await stage(hand.handler)
      broker.deliver(delivery('a1', { key: 'a' }), delivery('a2', { key: 'a' }))
      if (what === 'what waits') {
        hand.end('a1', new Error('no'))
        await turn()
      }
      let told: string[] = []
      broker.resume = () => {
        told = [...broker.settling]
      }
      consumer.pause()
      if (what !== 'what waits') {
        await turn()
        hand.end('a1', new Error('no'))
        // Its failure is known, and the turn has not ended.
        for (let step = 0; step < 10; step++) await Promise.resolve()
      }
      consumer.resume()
      expect(told.toSorted()).toEqual(['a1', 'a2'])
    },
  )

  it('returns nothing when a listener resumes it while it pauses', async () => {
    const { broker, bus, consumer } = await stage(() => new Promise(() => {}), { concurrency: 1 })
    bus.events.on('pause', () => consumer.resume())
    broker.deliver(delivery('a1', { key: 'a' }), delivery('a2', { key: 'a' }))
    consumer.pause()
    await turn()
    expect(broker.settling).toEqual([])
  })

  it('is one at a time in all with order strict', async () => {
    const hand = byHand()
    const { broker } = await stage(hand.handler, { order: 'strict' })
    broker.deliver(delivery('a', { key: 'a' }), delivery('b', { key: 'b' }), delivery('c'))
    expect(hand.started).toEqual(['a#1'])
    hand.end('a')
    await turn()
    expect(hand.started).toEqual(['a#1', 'b#1'])
  })

  it('does not look at keys with order none', async () => {
    const hand = byHand()
    const { broker } = await stage(hand.handler, { order: 'none' })
    broker.deliver(delivery('a1', { key: 'a' }), delivery('a2', { key: 'a' }))
    expect(hand.started).toEqual(['a1#1', 'a2#1'])
    hand.end('a1', new Error('no'))
    await turn()
    expect(broker.outcomes()).toEqual(['a1 nack'])
  })
})

describe('dead letters', () => {
  const reasonOf = (broker: StubSubscription, at = 0): string | undefined => {
    const outcome = broker.settled[at]?.outcome
    return outcome?.type === 'reject' ? outcome.deadLetter?.headers['busbar-dlq-reason'] : undefined
  }

  it('are sent again until they are stored, and hold their key and their credit meanwhile', async () => {
    const hand = byHand()
    const { broker, clock, consumer, events } = await stage(hand.handler, { retry: false, prefetch: 5 })
    let refusals = 2
    broker.onSettle = ({ outcome }) => (outcome.type === 'reject' && refusals-- > 0 ? notSent() : undefined)
    broker.deliver(delivery('a1', { key: 'a' }), delivery('a2', { key: 'a' }))
    hand.end('a1', new Error('no'))
    await turn()
    expect(broker.credit).toBe(3)
    await clock.advance(200)
    await turn()
    expect(hand.started).toEqual(['a1#1'])
    expect(consumer.stats()).toMatchObject({ deadLettered: 0, settleFailed: 0 })
    await clock.advance(400)
    await turn()
    expect(broker.outcomes()).toEqual(['a1 reject'])
    expect(hand.started).toEqual(['a1#1', 'a2#1'])
    expect(broker.credit).toBe(4)
    expect(consumer.stats()).toMatchObject({ deadLettered: 1 })
    expect(events.filter((name) => name === 'error')).toHaveLength(2)
  })

  it('leave out the stack for a broker that refuses them for their size', async () => {
    const { broker, clock } = await stage(() => Promise.reject(new Error('x'.repeat(500))), { retry: false })
    broker.onSettle = ({ outcome }) =>
      outcome.type === 'reject' && outcome.deadLetter?.headers['busbar-dlq-stack'] !== undefined
        ? new PublishError('too large', { outcome: 'not-sent' })
        : undefined
    broker.deliver(delivery('a'))
    await turn()
    expect(broker.outcomes()).toEqual([])
    await clock.advance(200)
    await turn()
    expect(broker.outcomes()).toEqual(['a reject'])
    const outcome = broker.settled[0]?.outcome
    expect(outcome?.type === 'reject' && outcome.deadLetter?.headers['busbar-dlq-message']).toHaveLength(100)
  })

  it('that are refused in their shortest form too give back their credit, up to the prefetch', async () => {
    const { broker, clock } = await stage(() => Promise.reject(new Error('no')), {
      retry: false,
      prefetch: 3,
      prefetchBytes: 2_000,
    })
    let refuses = true
    broker.onSettle = ({ outcome }) =>
      refuses && outcome.type === 'reject' ? new PublishError('too large', { outcome: 'not-sent' }) : undefined
    broker.deliver(delivery('a', { bytes: 1_500 }), delivery('b', { bytes: 600 }))
    await turn()
    expect(broker).toMatchObject({ credit: 1, bytes: -100 })
    await clock.advance(200)
    await turn()
    expect(broker).toMatchObject({ credit: 3, bytes: 2_000 })
    broker.deliver(delivery('c', { bytes: 600 }))
    await clock.advance(60_000)
    await turn()
    expect(broker).toMatchObject({ credit: 2, bytes: 1_400 })
    refuses = false
    await clock.advance(60_000)
    await turn()
    expect(broker.outcomes().sort()).toEqual(['a reject', 'b reject', 'c reject'])
    expect(broker).toMatchObject({ credit: 3, bytes: 2_000 })
  })

  it('stay unsettled when the bus is closed before they are through', async () => {
    const { broker, bus } = await stage(() => Promise.reject(new Error('no')), { retry: false })
    broker.onSettle = ({ outcome }) => (outcome.type === 'reject' ? notSent() : undefined)
    broker.deliver(delivery('a'))
    await turn()
    await bus.close({ timeoutMs: 0 })
    expect(broker.outcomes()).toEqual([])
    expect(broker.closed).toBe(true)
  })

  it('carry the original and what is needed to understand it', async () => {
    const { broker } = await stage(() => Promise.reject(new TypeError('line one\nzwei: grün')), { retry: false })
    broker.deliver(delivery('a', { key: 'k', headers: { tenant: 'eu' }, body: Buffer.from('{"n":1}') }))
    await turn()
    const outcome = broker.settled[0]?.outcome
    if (outcome?.type !== 'reject' || outcome.deadLetter === undefined) throw new Error('no dead letter')
    const { topic, id, key, body, headers } = outcome.deadLetter
    expect({ topic, id, key, body: Buffer.from(body ?? []).toString() }).toEqual({
      topic: 'orders.placed.billing.dlq',
      id: 'a',
      key: 'k',
      body: '{"n":1}',
    })
    expect(headers).toMatchObject({
      tenant: 'eu',
      'busbar-dlq-error': 'TypeError',
      'busbar-dlq-message': String.raw`line one\nzwei: gr\u00fcn`,
      'busbar-dlq-attempts': '1',
      'busbar-dlq-topic': 'orders.placed',
      'busbar-dlq-group': 'billing',
      'busbar-dlq-position': '{"id":"a"}',
    })
    for (const value of Object.values(headers)) expect(value).toMatch(/^[\x20-\x7e]*$/)
  })

  it.each([
    ['undecodable', delivery('a', { body: Buffer.from('{') }), 'undecodable'],
    ['of an unknown content type', delivery('a', { contentType: 'application/avro' }), 'undecodable'],
    ['expired', delivery('a', { expiresAt: 1 }), 'expired'],
    ['handed out too often', delivery('a', { attempt: 6 }), 'exhausted'],
  ])('get what is %s', async (_what, message, reason) => {
    let handled = 0
    const { broker } = await stage((received: Message) => {
      void received.data
      handled++
    })
    broker.deliver(message)
    await turn()
    expect(reasonOf(broker)).toBe(reason)
    expect(handled).toBe(0)
  })

  it.each([
    ['zod', z.object({ n: z.number() })],
    ['an asynchronous schema', z.object({ n: z.number() }).refine(async () => true)],
  ])('get what does not fit the schema: %s', async (_name, schema) => {
    const seen: unknown[] = []
    const { broker } = await stage(
      (message: Message) => seen.push(message.data),
      {},
      {},
      defineEvent('orders.placed', schema),
    )
    broker.deliver(
      delivery('bad', { body: Buffer.from('{"n":"x"}') }),
      delivery('good', { body: Buffer.from('{"n":1,"extra":2}') }),
    )
    await turn()
    await turn()
    expect(broker.outcomes().toSorted()).toEqual(['bad reject', 'good ack'])
    expect(
      reasonOf(
        broker,
        broker.settled.findIndex(({ id }) => id === 'bad'),
      ),
    ).toBe('invalid')
    expect(seen).toEqual([{ n: 1 }])
  })

  it.each([
    [undefined],
    [null],
    ['text'],
    [42],
    [Object.create(null)],
    [
      {
        toString: () => {
          throw new Error('hostile')
        },
      },
    ],
    [10n],
    [Object.assign(new Error('x'), { message: { status: 500 } })],
    [Object.assign(new Error('x'), { name: undefined, stack: 42 })],
    [
      Object.defineProperty(new Error('x'), 'message', {
        get: () => {
          throw new Error('hostile')
        },
      }),
    ],
  ])('survive a handler that throws no error, or an odd one (%#)', async (thrown) => {
    const { broker } = await stage(
      () => {
        throw thrown
      },
      { retry: false },
    )
    broker.deliver(delivery('a'))
    await turn()
    expect(broker.outcomes()).toEqual(['a reject'])
  })

  it('describe an error of another realm like one of ours', async () => {
    const { broker } = await stage(
      () => {
        throw runInNewContext('new RangeError("from afar")')
      },
      { retry: false },
    )
    broker.deliver(delivery('a'))
    await turn()
    const outcome = broker.settled[0]?.outcome
    expect(outcome?.type === 'reject' && outcome.deadLetter?.headers).toMatchObject({
      'busbar-dlq-error': 'RangeError',
      'busbar-dlq-message': 'from afar',
    })
  })

  it('are not made with drop, but counted and reported', async () => {
    const { broker, consumer, events } = await stage((_message: Message, ctx: HandlerContext) => ctx.reject('no'), {
      deadLetter: 'drop',
    })
    broker.deliver(delivery('a'))
    await turn()
    expect(broker.settled).toEqual([{ id: 'a', outcome: { type: 'reject', deadLetter: undefined } }])
    expect(consumer.stats()).toMatchObject({ dropped: 1, deadLettered: 0 })
    expect(events).toContain('drop')
  })

  it('say how often it was tried, first and last time', async () => {
    const { broker, clock } = await stage(() => Promise.reject(new Error('no')), {
      retry: { attempts: 3, backoff: 'fixed', baseMs: 1_000, mode: 'inline' },
    })
    const start = clock.now()
    broker.deliver(delivery('a'))
    await turn()
    for (let retry = 0; retry < 2; retry++) {
      await clock.advance(1_000)
      await turn()
    }
    const outcome = broker.settled[0]?.outcome
    expect(outcome?.type === 'reject' && outcome.deadLetter?.headers).toMatchObject({
      'busbar-dlq-attempts': '3',
      'busbar-dlq-first-at': new Date(start).toISOString(),
      'busbar-dlq-last-at': new Date(start + 2_000).toISOString(),
    })
  })
})

describe('deliveries that are taken back', () => {
  it('vanish when they wait, abort when they run, and are never settled', async () => {
    const hand = byHand()
    const { broker, consumer } = await stage(hand.handler, { concurrency: 1, prefetch: 10 })
    const [a1, a2, b1] = [delivery('a1', { key: 'a' }), delivery('a2', { key: 'a' }), delivery('b1', { key: 'b' })]
    broker.deliver(a1, a2, b1)
    broker.lose([a1, a2])
    expect(hand.signals.get('a1')?.aborted).toBe(true)
    expect(hand.started).toEqual(['a1#1'])
    hand.end('a1', new Error('aborted'))
    await turn()
    expect(hand.started).toEqual(['a1#1', 'b1#1'])
    hand.end('b1')
    await turn()
    expect(broker.outcomes()).toEqual(['b1 ack'])
    expect(consumer.stats()).toMatchObject({ lost: 2, buffered: 0, bufferedBytes: 0 })
    expect(broker.credit).toBe(10)
  })

  it('are released when the transport recalls them, unless they have started or wait for a retry', async () => {
    const hand = byHand()
    const { broker, consumer } = await stage(hand.handler, { concurrency: 2, prefetch: 10, retry: { mode: 'inline' } })
    const deliveries = ['a1', 'a2', 'b1', 'b2', 'c1'].map((id) => delivery(id, { key: id.slice(0, 1) }))
    broker.deliver(...deliveries)
    hand.end('b1', new Error('no'))
    await turn()
    expect(hand.started).toEqual(['a1#1', 'b1#1', 'c1#1'])
    broker.sink.recall(deliveries)
    await turn()
    expect(broker.outcomes()).toEqual(['a2 release', 'b2 release'])
    expect(broker.credit).toBe(7)
    expect(consumer.stats()).toMatchObject({ released: 2, lost: 0 })
  })

  it('free the key for what comes next', async () => {
    const hand = byHand()
    const { broker, clock } = await stage(hand.handler)
    const a1 = delivery('a1', { key: 'a' })
    broker.deliver(a1)
    hand.end('a1', new Error('no'))
    await turn()
    broker.lose([a1])
    broker.deliver(delivery('a1', { key: 'a', attempt: 2 }))
    expect(hand.started).toEqual(['a1#1', 'a1#2'])
    await clock.advance(1_000)
    expect(hand.started).toHaveLength(2)
  })

  it('count as failed settlements when they were on the way', async () => {
    const { broker, consumer, events } = await stage(() => {}, { prefetch: 10, prefetchBytes: 10_000 })
    const a = delivery('a')
    broker.deliver(a)
    broker.lose([a])
    await turn()
    expect(consumer.stats()).toMatchObject({ settleFailed: 1, acked: 0 })
    expect(events).toContain('settleFailed')
    expect([broker.credit, broker.bytes]).toEqual([10, 10_000])
  })
})

describe('the deadline of an attempt', () => {
  it('aborts, and fails the attempt when the handler gives up', async () => {
    const hand = byHand()
    const { broker, clock } = await stage(hand.handler, { timeoutMs: 1_000, retry: false })
    broker.deliver(delivery('a'))
    await clock.advance(990)
    expect(hand.signals.get('a')?.aborted).toBe(false)
    await clock.advance(40)
    const signal = hand.signals.get('a')
    expect(signal?.reason).toMatchObject({ code: 'BUSBAR_TIMEOUT' })
    hand.end('a', signal?.reason)
    await turn()
    expect(broker.outcomes()).toEqual(['a reject'])
  })

  it('lets a late success stand within the grace', async () => {
    const hand = byHand()
    const { broker, clock } = await stage(hand.handler, { timeoutMs: 1_000, abandonAfterMs: 1_000 })
    broker.deliver(delivery('a'))
    await clock.advance(1_500)
    hand.end('a')
    await turn()
    expect(broker.outcomes()).toEqual(['a ack'])
  })

  it('gives the slot away after the grace, and refuses the second outcome', async () => {
    const hand = byHand()
    const { broker, clock, consumer, events } = await stage(hand.handler, {
      timeoutMs: 1_000,
      abandonAfterMs: 500,
      concurrency: 1,
      retry: false,
    })
    broker.deliver(delivery('a'), delivery('b'))
    await clock.advance(1_600)
    await turn()
    expect(hand.started).toEqual(['a#1', 'b#1'])
    expect(broker.outcomes()).toEqual(['a reject'])
    hand.end('a')
    hand.end('b')
    await turn()
    expect(broker.outcomes()).toEqual(['a reject', 'b ack'])
    expect(consumer.stats()).toMatchObject({ abandoned: 1, doubleSettled: 1 })
    expect(events).toEqual(expect.arrayContaining(['abandoned', 'doubleSettle']))
  })

  it('moves with ctx.extend, also where there was none', async () => {
    const signals: AbortSignal[] = []
    const { broker, clock } = await stage((_message: Message, ctx: HandlerContext) => {
      ctx.extend(5_000)
      signals.push(ctx.signal)
      return new Promise(() => {})
    })
    broker.deliver(delivery('a'))
    await clock.advance(4_900)
    expect(signals[0]?.aborted).toBe(false)
    await clock.advance(200)
    expect(signals[0]?.aborted).toBe(true)
  })
})

describe('times that a handler gives', () => {
  it.each([Number.NaN, Infinity, '5' as never])('are refused when they are none: %s', async (ms) => {
    const errors: unknown[] = []
    const { broker, clock } = await stage(
      (_message: Message, ctx: HandlerContext) => {
        try {
          ctx.extend(ms)
        } catch (error) {
          errors.push(error)
        }
        try {
          ctx.retry({ delayMs: ms })
        } catch (error) {
          errors.push(error)
          throw error
        }
      },
      { retry: { mode: 'delayed', backoff: 'fixed', baseMs: 100 } },
    )
    broker.deliver(delivery('a'))
    await turn()
    expect(errors).toEqual([
      expect.objectContaining({ code: 'BUSBAR_VALIDATION' }),
      expect.objectContaining({ code: 'BUSBAR_VALIDATION' }),
    ])
    expect(broker.settled).toEqual([{ id: 'a', outcome: { type: 'nack', delayMs: 100 } }])
    await clock.advance(50)
    expect(clock.pending).toBe(1)
  })

  it('mean at once when they lie in the past', async () => {
    const signals: AbortSignal[] = []
    const { broker, clock } = await stage(
      (_message: Message, ctx: HandlerContext) => {
        if (ctx.attempt === 2) ctx.retry({ delayMs: -5 })
        ctx.extend(-5)
        signals.push(ctx.signal)
        return new Promise(() => {})
      },
      { retry: { mode: 'delayed' } },
    )
    broker.deliver(delivery('a'), delivery('b', { attempt: 2 }))
    await clock.advance(30)
    expect(broker.settled).toEqual([{ id: 'b', outcome: { type: 'nack', delayMs: 0 } }])
    expect(signals[0]?.aborted).toBe(true)
  })
})

describe('pausing', () => {
  it('starts nothing, hands back what waits, and continues afterwards', async () => {
    const hand = byHand()
    const { broker, consumer, bus } = await stage(hand.handler, { concurrency: 1 })
    broker.deliver(delivery('a'), delivery('b'))
    consumer.pause()
    expect(broker.paused).toBe(true)
    expect((await bus.health()).consumers[0]?.status).toBe('paused')
    hand.end('a')
    await turn()
    expect(broker.outcomes()).toEqual(['b release', 'a ack'])
    consumer.resume()
    expect(broker.paused).toBe(false)
    broker.deliver(delivery('c'))
    expect(hand.started).toEqual(['a#1', 'c#1'])
  })

  it.each([
    ['pauses again', (consumer: ConsumerHandle) => consumer.pause()],
    ['closes the consumer', (consumer: ConsumerHandle) => void consumer.close()],
  ])('stands when a listener %s as it ends', async (_what, react) => {
    const hand = byHand()
    const { broker, consumer, bus } = await stage(hand.handler)
    broker.deliver(delivery('a'))
    consumer.pause()
    bus.events.on('resume', () => react(consumer))
    consumer.resume()
    expect(broker.paused).toBe(true)
    hand.end('a')
  })

  it('counts the lowest of several limits', async () => {
    const hand = byHand()
    const { broker, consumer } = await stage(hand.handler, { concurrency: 5 })
    const control = consumer as unknown as { limit(reason: string, most: number | undefined): void }
    control.limit('x', 2)
    control.limit('y', 0)
    broker.deliver(delivery('a'), delivery('b'), delivery('c'))
    expect(hand.started).toEqual([])
    control.limit('y', undefined)
    expect(hand.started).toEqual(['a#1', 'b#1'])
    control.limit('x', undefined)
    expect(hand.started).toEqual(['a#1', 'b#1', 'c#1'])
    expect(() => control.limit('x', -1)).toThrow('whole number')
  })
})

describe('closing', () => {
  it('finishes what runs, hands back what waits, and then ends', async () => {
    const hand = byHand()
    const { broker, bus } = await stage(hand.handler, { concurrency: 1 })
    broker.deliver(delivery('a', { key: 'k' }), delivery('b', { key: 'k' }))
    const closed = bus.close()
    await turn()
    expect(broker.outcomes()).toEqual(['b release'])
    expect(broker.closed).toBe(false)
    broker.deliver(delivery('late'))
    hand.end('a')
    await closed
    expect(broker.outcomes().toSorted()).toEqual(['a ack', 'b release', 'late release'])
    expect(broker.closed).toBe(true)
  })

  it('aborts what still runs at its deadline and returns its message without an attempt', async () => {
    const hand = byHand()
    const { broker, bus, clock } = await stage(hand.handler)
    broker.deliver(delivery('a'))
    const closed = bus.close({ timeoutMs: 1_000 })
    await turn()
    await clock.advance(1_000)
    await closed
    expect(hand.signals.get('a')?.aborted).toBe(true)
    expect(broker.closed).toBe(true)
    expect(broker.outcomes()).toEqual(['a release'])
    hand.end('a', new Error('late'))
    await turn()
    expect(broker.outcomes()).toEqual(['a release'])
    expect(clock.pending).toBe(0)
  })

  it('returns a failure at once, with the delay of its retry, instead of waiting for it', async () => {
    const hand = byHand()
    const { broker, bus } = await stage(hand.handler, { retry: { backoff: 'fixed', baseMs: 60_000, maxMs: 60_000 } })
    broker.deliver(delivery('a', { key: 'k' }))
    const closed = bus.close()
    hand.end('a', new Error('no'))
    await closed
    expect(broker.settled).toEqual([{ id: 'a', outcome: { type: 'nack', delayMs: 60_000, inOrder: true } }])
  })

  it('ends as soon as the last handler has failed', async () => {
    const hand = byHand()
    const { broker, bus, clock } = await stage(hand.handler)
    broker.deliver(delivery('a', { key: 'k' }))
    const closed = bus.close()
    await turn()
    hand.end('a', new Error('no'))
    await closed
    expect(broker.outcomes()).toEqual(['a nack'])
    expect(clock.pending).toBe(0)
  })

  it('settles what has been handled before it closes the subscription', async () => {
    const { broker, bus } = await stage(() => {})
    const order: string[] = []
    broker.onSettle = ({ outcome }) => {
      order.push(outcome.type)
      return undefined
    }
    const close = broker.close.bind(broker)
    broker.close = () => {
      order.push('close')
      return close()
    }
    broker.deliver(delivery('a'))
    await bus.close({ timeoutMs: 0 })
    expect(order).toEqual(['ack', 'close'])
  })

  it('leaves no subscription and no timer behind when it comes while one is being made', async () => {
    const transport = new StubTransport()
    transport.leaseMs = 1_000
    const clock = manualClock()
    const bus = createBus({ logger: false, service: 'billing', transport, clock })
    await bus.start()
    const subscribe = transport.subscribe.bind(transport)
    let go = (): void => {}
    transport.subscribe = async (spec, sink) => {
      await new Promise<void>((resolve) => {
        go = resolve
      })
      return subscribe(spec, sink)
    }
    const consumer = bus.consume('orders.placed', () => {})
    await turn()
    await bus.close({ timeoutMs: 0 })
    go()
    await consumer.ready
    expect(transport.subscriptions.map(({ closed, credit }) => [closed, credit])).toEqual([[true, 0]])
    expect(clock.pending).toBe(0)
  })

  it('does not hang on a settlement that is never answered', async () => {
    const { broker, bus, clock } = await stage(() => {})
    broker.onSettle = () => new Promise(() => {})
    broker.deliver(delivery('a'))
    const closed = bus.close({ timeoutMs: 1_000 })
    await turn()
    await clock.advance(1_000)
    await closed
    expect(broker.closed).toBe(true)
  })
})

describe('starting', () => {
  it('rejects with the error of a subscription, and closes everything again', async () => {
    const transport = new StubTransport()
    transport.subscribeError = new Error('no such queue')
    const bus = createBus({ logger: false, service: 'billing', transport })
    const consumer = bus.consume('orders.placed', () => {})
    await expect(bus.start()).rejects.toThrow('no such queue')
    await expect(consumer.ready).rejects.toThrow('no such queue')
    expect(bus.state).toBe('closed')
  })

  it('reports a failure of a consumer that was added later by event and health', async () => {
    const { bus, transport, events } = await stage(() => {})
    transport.subscribeError = new Error('no such queue')
    const late = bus.consume('other', () => {})
    await expect(late.ready).rejects.toThrow('no such queue')
    await turn()
    expect(events).toContain('error')
    expect(await bus.health()).toMatchObject({
      status: 'down',
      consumers: [{ status: 'ok' }, { status: 'failed', detail: 'no such queue' }],
    })
  })

  it.each([
    ['groups', { groups: false }, {}, 'broadcast'],
    ['order', { ordering: 'none' }, {}, "order: 'none'"],
    ['wildcards', { patterns: false }, {}, 'wildcards'],
    ['delay', { delay: 'none' }, { retry: { mode: 'delayed' } }, 'inline'],
    ['replay', {}, { from: 'earliest' }, 'latest'],
    ['replay by time', {}, { from: { timeMs: 1 } }, 'by time'],
  ])('refuses by name what the transport can not do: %s', (_what, capabilities, options, remedy) => {
    const bus = createBus({
      logger: false,
      service: 'billing',
      transport: new StubTransport(capabilities as Partial<Capabilities>),
    })
    expect(() => bus.consume('orders.*', () => {}, options as ConsumeOptions)).toThrow(
      expect.objectContaining({ code: 'BUSBAR_UNSUPPORTED', message: expect.stringContaining(remedy) as string }),
    )
  })
})

describe('leases', () => {
  it('are renewed for what runs and what waits, in one call, and not for what just came', async () => {
    const hand = byHand()
    const { broker, clock } = await stage(hand.handler, { concurrency: 1 }, {}, 'orders.placed', 4_000)
    broker.deliver(delivery('a'), delivery('b'))
    await clock.advance(900)
    broker.deliver(delivery('c'))
    await clock.advance(200)
    expect(broker.extended).toEqual([['a', 'b']])
    await clock.advance(1_000)
    expect(broker.extended[1]).toEqual(['a', 'b', 'c'])
    hand.end('a')
    await turn()
    await clock.advance(1_000)
    expect(broker.extended[2]).toEqual(['b', 'c'])
  })

  it.each([0, 501, 999])('are tried three times before they end, whenever the delivery came: %i ms', async (at) => {
    const { broker, clock } = await stage(() => new Promise(() => {}), {}, {}, 'orders.placed', 4_000)
    broker.extend = async (deliveries) => {
      broker.extended.push(deliveries.map(({ message }) => message.id))
      throw new Error('the broker is away')
    }
    await clock.advance(at)
    broker.deliver(delivery('a'))
    await clock.advance(3_999)
    expect(broker.extended.length).toBeGreaterThanOrEqual(3)
  })
})

describe('the watchdog', () => {
  it('reports a handler that never ends, fails health, and recovers', async () => {
    const hand = byHand()
    const { broker, clock, bus, events } = await stage(hand.handler, { stalledAfterMs: 1_000 })
    broker.deliver(delivery('a'))
    await clock.advance(1_600)
    expect(events.filter((name) => name === 'stalled')).toHaveLength(1)
    expect(await bus.health()).toMatchObject({ status: 'down', consumers: [{ status: 'stalled' }] })
    await clock.advance(5_000)
    expect(events.filter((name) => name === 'stalled')).toHaveLength(1)
    hand.end('a')
    await turn()
    await clock.advance(600)
    expect(events).toContain('recovered')
    expect(await bus.health()).toMatchObject({ status: 'ok' })
  })

  it('does not mistake an idle consumer, a pause or a waiting retry for a stall', async () => {
    const hand = byHand()
    const { broker, clock, consumer, events } = await stage(hand.handler, {
      stalledAfterMs: 1_000,
      retry: { backoff: 'fixed', baseMs: 20_000, mode: 'inline' },
    })
    await clock.advance(5_000)
    broker.deliver(delivery('a'))
    hand.end('a', new Error('no'))
    await turn()
    await clock.advance(5_000)
    consumer.pause()
    await clock.advance(5_000)
    expect(events).not.toContain('stalled')
  })
})
