import { describe, expect, it } from 'vitest'
import type { HandlerContext, Message } from 'busbar'
import { LetterStore } from './letter-store.ts'
import type { PartitionInfo, TransportAdmin } from '../../../src/core/transport.ts'
import { byHand, stage, turn } from './stage.ts'
import type { Stage } from './stage.ts'
import { delivery, notSent, StubTransport } from './stub-transport.ts'

const WINDOW_MS = 1_000

describe('a delivery that does not move', () => {
  it('is reported once, by name, while others flow', async () => {
    const hand = byHand()
    const { broker, bus, clock } = await stage(hand.handler, { stalledAfterMs: WINDOW_MS })
    const reports: unknown[] = []
    bus.events.on('stuck', ({ message, state, queuedBehind, ageMs }) =>
      reports.push([message.id, state, queuedBehind, ageMs >= WINDOW_MS]),
    )
    broker.deliver(delivery('hung', { key: 'k' }), delivery('b', { key: 'k' }), delivery('c', { key: 'k' }))
    for (let round = 0; round < 30; round++) {
      broker.deliver(delivery(`other-${round}`))
      hand.end(`other-${round}`)
      await clock.advance(100)
    }
    expect(reports).toEqual([['hung', 'running', 2, true]])
    const health = await bus.health()
    expect(health.status).toBe('down')
    expect(health.consumers[0]).toMatchObject({ status: 'stuck' })
    expect(health.consumers[0]?.detail).toContain('hung (key "k", 2 behind it)')
    const recovered: unknown[] = []
    bus.events.on('recovered', () => recovered.push(1))
    hand.end('hung')
    await turn()
    expect((await bus.health()).status).toBe('ok')
    hand.end('b')
    await clock.advance(WINDOW_MS)
    expect(recovered).toEqual([1])
  })

  it('is reported when its dead letter can not be stored', async () => {
    const { broker, bus, clock } = await stage(
      (message: Message, ctx: HandlerContext) => {
        if (message.id === 'bad') ctx.reject('no')
      },
      { stalledAfterMs: WINDOW_MS },
    )
    broker.onSettle = ({ outcome }) => (outcome.type === 'reject' ? notSent() : undefined)
    const reports: unknown[] = []
    bus.events.on('stuck', ({ message, state }) => reports.push([message.id, state]))
    broker.deliver(delivery('bad'))
    for (let round = 0; round < 30; round++) {
      broker.deliver(delivery(`other-${round}`))
      await clock.advance(100)
    }
    expect(reports).toEqual([['bad', 'dead-lettering']])
    expect((await bus.health()).consumers[0]?.detail).toContain('could not be dead-lettered')
  })

  it('is reported when the broker does not answer its ack', async () => {
    const { broker, bus, clock } = await stage(() => {}, { stalledAfterMs: WINDOW_MS })
    broker.onSettle = ({ delivery: { message } }) => (message.id === 'a' ? new Promise(() => {}) : undefined)
    const reports: unknown[] = []
    bus.events.on('stuck', ({ message, state }) => reports.push([message.id, state]))
    broker.deliver(delivery('a'))
    await turn()
    for (let round = 0; round < 30; round++) {
      broker.deliver(delivery(`other-${round}`))
      await clock.advance(100)
    }
    expect(reports).toEqual([['a', 'settling']])
  })

  it.each([
    ['fails', () => Promise.reject(new Error('no answer'))],
    ['is not answered', () => new Promise<void>(() => {})],
  ])('is reported when it can not start because the look at the dead letters %s', async (_what, onRead) => {
    const store = new LetterStore()
    store.onRead = onRead
    const options = { stalledAfterMs: WINDOW_MS, onDeadLetter: 'park-key' as const }
    const { broker, bus, clock } = await stage(() => {}, options, store)
    const reports: unknown[] = []
    bus.events.on('stuck', ({ message, state, queuedBehind }) => reports.push([message.id, state, queuedBehind]))
    const blocked = delivery('a', { key: 'k' })
    broker.deliver(blocked, delivery('b', { key: 'k' }))
    for (let round = 0; round < 100; round++) {
      broker.deliver(delivery(`other-${round}`))
      await clock.advance(WINDOW_MS / 10)
    }
    expect(reports).toEqual([['a', 'preparing', 1]])
    const health = await bus.health()
    expect([health.status, health.consumers[0]?.status]).toEqual(['down', 'stuck'])
    broker.lose([blocked])
    expect((await bus.health()).consumers[0]?.status).toBe('ok')
  })

  it('is nothing to report while it waits for a retry, though a look at the dead letters had failed', async () => {
    const store = new LetterStore()
    store.onRead = () => Promise.reject(new Error('no answer'))
    const { broker, bus, clock } = await stage(
      (message: Message) => {
        if (message.id === 'a') throw new Error('no')
      },
      {
        stalledAfterMs: WINDOW_MS,
        onDeadLetter: 'park-key',
        retry: { mode: 'inline', backoff: 'fixed', baseMs: 60_000, maxMs: 60_000 },
      },
      store,
    )
    const reports: unknown[] = []
    bus.events.on('stuck', ({ message, state }) => reports.push([message.id, state]))
    broker.deliver(delivery('a', { key: 'k' }))
    await clock.advance(500)
    // The look for this one answers for both.
    store.onRead = () => {}
    broker.deliver(delivery('b', { key: 'other' }))
    await clock.advance(10 * WINDOW_MS)
    expect(broker.outcomes()).toEqual(['b ack'])
    expect(reports).toEqual([])
    expect((await bus.health()).status).toBe('ok')
  })

  it('is nothing to report while it waits to run alone', async () => {
    const { broker, bus, clock } = await stage(() => new Promise(() => {}), {
      stalledAfterMs: WINDOW_MS,
      timeoutMs: 60_000,
    })
    const reports: unknown[] = []
    bus.events.on('stuck', ({ message }) => reports.push(message.id))
    broker.deliver(...['a', 'b'].map((id) => delivery(id, { history: 'died' })))
    await clock.advance(10 * WINDOW_MS)
    expect(reports).toEqual([])
    expect((await bus.health()).status).toBe('ok')
  })

  it('is nothing to report while a deadline will end it', async () => {
    const { broker, bus, clock } = await stage(
      (message: Message, ctx: HandlerContext) => {
        if (message.id === 'extended') ctx.extend(60_000)
        return new Promise(() => {})
      },
      { stalledAfterMs: WINDOW_MS, order: 'none' },
    )
    const reports: unknown[] = []
    bus.events.on('stuck', ({ message }) => reports.push(message.id))
    broker.deliver(delivery('extended'))
    await clock.advance(5_000)
    expect(reports).toEqual([])
  })
})

describe('a consumer whose only handler is slow', () => {
  it.each([
    ['with a deadline, is not stalled', { timeoutMs: 60_000 }, 'ok'],
    ['without one, is', {}, 'stalled'],
  ])('%s', async (_what, options, status) => {
    const { broker, bus, clock } = await stage(() => new Promise(() => {}), { stalledAfterMs: WINDOW_MS, ...options })
    broker.deliver(delivery('a', { key: 'k' }), delivery('b', { key: 'k' }))
    await clock.advance(3 * WINDOW_MS)
    expect((await bus.health()).consumers[0]?.status).toBe(status)
  })
})

describe('a consumer of which nothing can start', () => {
  it('is stalled, however often it tries', async () => {
    const store = new LetterStore()
    store.onRead = () => Promise.reject(new Error('no answer'))
    const options = { stalledAfterMs: WINDOW_MS, onDeadLetter: 'park-key' as const }
    const { broker, clock, events } = await stage(() => {}, options, store)
    broker.deliver(delivery('a', { key: 'k' }))
    await clock.advance(10 * WINDOW_MS)
    expect(events.filter((name) => name === 'stalled' || name === 'stuck').sort()).toEqual(['stalled', 'stuck'])
  })
})

describe('a consumer that gets nothing', () => {
  it('is healthy as a standby', async () => {
    const { broker, bus, clock, events } = await stage(() => {}, { stalledAfterMs: WINDOW_MS })
    broker.stateNow = { standby: true }
    broker.readyNow = 100
    await clock.advance(5 * WINDOW_MS)
    expect(events).not.toContain('stalled')
    const health = await bus.health()
    expect([health.status, health.consumers[0]?.status]).toEqual(['ok', 'standby'])
  })

  it('is stalled when it could have messages, until it gets some or there are none', async () => {
    const { broker, bus, clock, events } = await stage(() => {}, { stalledAfterMs: WINDOW_MS })
    broker.readyNow = 3
    await clock.advance(2 * WINDOW_MS)
    expect(events.filter((name) => name === 'stalled')).toHaveLength(1)
    expect((await bus.health()).consumers[0]?.detail).toContain('3 messages wait at the broker')
    broker.readyNow = 0
    await clock.advance(2 * WINDOW_MS)
    expect(events.filter((name) => name === 'recovered')).toHaveLength(1)
    expect((await bus.health()).status).toBe('ok')
  })

  it('is not stalled when messages have come at the moment of the check', async () => {
    const { broker, bus, clock, events } = await stage(() => {}, { stalledAfterMs: WINDOW_MS })
    // Once it has been idle for a window, each round at another time between two checks.
    for (let round = 0; round < 20; round++) {
      await clock.advance(WINDOW_MS)
      broker.readyNow = 1
      await clock.advance(WINDOW_MS / 4 - 13)
      broker.readyNow = 0
      broker.deliver(delivery(`a-${round}`))
    }
    expect(events).not.toContain('stalled')
    expect((await bus.health()).status).toBe('ok')
  })

  it('says what its subscription says is wrong, at once in health and soon in an event', async () => {
    const { broker, bus, clock } = await stage(() => {}, { stalledAfterMs: WINDOW_MS })
    const reasons: string[] = []
    bus.events.on('stalled', ({ reason }) => reasons.push(reason))
    broker.stateNow = { standby: false, trouble: 'its queue is gone' }
    expect((await bus.health()).consumers[0]).toMatchObject({ status: 'stalled', detail: 'its queue is gone' })
    await clock.advance(WINDOW_MS)
    expect(reasons).toEqual(['its queue is gone'])
    broker.stateNow = { standby: false }
    await clock.advance(WINDOW_MS)
    expect((await bus.health()).status).toBe('ok')
  })
})

describe('a partition that does not advance', () => {
  /** Two partitions of a log: messages of the second one wait. */
  function partitioned(second: Partial<PartitionInfo>): StubTransport {
    const at = (offset: number) => ({ offset })
    const common = { start: at(1), oldestUnackedAt: undefined, inFlight: 0 }
    const partitions: readonly PartitionInfo[] = [
      { ...common, partition: '0', lag: 0, position: at(9), head: at(9), member: 'other' },
      { ...common, partition: '1', lag: 7, position: at(2), head: at(9), ...second },
    ]
    const info = {
      topic: 'orders.placed',
      group: 'billing',
      lag: 7,
      inFlight: 0,
      members: 2,
      oldestUnackedAt: undefined,
    }
    const transport = new StubTransport({ lag: true, replay: ['position'] })
    let looks = 0
    const own = (): string | undefined => transport.subscriptions[0]?.spec.consumerId
    const named = (one: PartitionInfo): PartitionInfo => ({
      ...one,
      member: one.member === 'own' ? own() : one.member,
      lag: one.lag === -1 ? 9 - (looks++ % 3) : one.lag,
    })
    const admin = { groups: async () => [{ ...info, partitions: partitions.map(named) }] }
    return Object.assign(transport, { admin: admin as unknown as TransportAdmin })
  }

  async function flowing(second: Partial<PartitionInfo>, windows = 4): Promise<readonly [Stage, readonly string[]]> {
    const staged = await stage(() => {}, { stalledAfterMs: WINDOW_MS }, partitioned(second))
    const reasons: string[] = []
    staged.bus.events.on('stalled', ({ reason }) => reasons.push(reason))
    for (let round = 0; round < windows * 10; round++) {
      staged.broker.deliver(delivery(`flows-${round}`))
      await staged.clock.advance(WINDOW_MS / 10)
    }
    return [staged, reasons]
  }

  it('is reported once though others flow, when no member serves it; the process lives', async () => {
    const [{ bus }, reasons] = await flowing({ member: undefined })
    expect(reasons).toEqual(['partition "1" does not advance: 7 messages wait, and no member serves it'])
    const { live, status, consumers } = await bus.health()
    expect([live, status, consumers[0]?.status, consumers[0]?.detail]).toEqual([true, 'down', 'stuck', reasons[0]])
  })

  it('is reported by the member that it belongs to', async () => {
    const [, reasons] = await flowing({ member: 'own' })
    expect(reasons).toEqual(['partition "1" does not advance: 7 messages wait, and this member takes none of them'])
  })

  it.each<[string, Partial<PartitionInfo>]>([
    ['belongs to another member, which reports it', { member: 'another' }],
    ['has messages in flight', { inFlight: 1 }],
    ['has fewer messages at times', { lag: -1 }],
    ['has only messages that wait for their time', { ready: 0 }],
    ['is of a broker without a log', { head: undefined, position: undefined }],
  ])('is not reported when it %s', async (_, second) => {
    const [{ bus }, reasons] = await flowing(second)
    expect(reasons).toEqual([])
    expect((await bus.health()).status).toBe('ok')
  })

  it('is well again when it advances', async () => {
    const [{ bus, clock, broker, transport, events }, reasons] = await flowing({})
    expect(reasons).toHaveLength(1)
    Object.assign(transport, { admin: undefined })
    broker.deliver(delivery('last'))
    await clock.advance(2 * WINDOW_MS)
    expect((await bus.health()).status).toBe('ok')
    expect(events.filter((name) => name === 'recovered')).toHaveLength(1)
  })
})

describe('close', () => {
  it('of a handle has its own deadline, and a second one can be more urgent', async () => {
    const hand = byHand()
    const { broker, consumer, clock } = await stage(hand.handler)
    broker.deliver(delivery('a'))
    const ended: string[] = []
    void consumer.close().then(() => ended.push('patient'))
    await clock.advance(60_000)
    expect(ended).toEqual([])
    const urgent = consumer.close({ timeoutMs: 100 })
    await clock.advance(100)
    await urgent
    await turn()
    expect(ended).toEqual(['patient'])
    expect(broker.outcomes()).toEqual(['a release'])
    expect(hand.signals.get('a')?.aborted).toBe(true)
  })
})
