import { describe, expect, it } from 'vitest'
import { createBus, silentLogger } from 'busbar'
import type { BusOptions, Bus, BusExtension } from 'busbar'
import { memory } from 'busbar/memory'
import { nats } from 'busbar/nats'
import { rabbitmq } from 'busbar/rabbitmq'
import { redis } from 'busbar/redis'
import { manualClock } from 'busbar/testing'
import { delivery, notSent, StubTransport } from './stub-transport.ts'
import { turn } from './stage.ts'

function made(options: Partial<BusOptions> = {}): { bus: Bus; transport: StubTransport } {
  const transport = new StubTransport()
  const bus = createBus({
    service: 'billing',
    clock: manualClock(),
    logger: silentLogger,
    ...(options.transports === undefined && { transport }),
    ...options,
  })
  return { bus, transport }
}

describe('bus.snapshot', () => {
  it('has the bus, its transports and consumers with their options', async () => {
    const { bus, transport } = made()
    bus.consume('orders.placed', () => {}, { concurrency: 3, retry: { attempts: 2, retryIf: () => true } })
    bus.consume('orders.>', () => {}, { group: 'audit', batch: { size: 50 }, native: { password: 'geheim' } })
    await bus.start()
    transport.subscriptions[0]?.deliver(delivery('m'))
    await turn()
    const snapshot = bus.snapshot()
    expect(snapshot).toStrictEqual({
      service: 'billing',
      instanceId: expect.stringMatching(/^[0-9a-f]{12}$/),
      state: 'running',
      startedAt: expect.any(Number),
      transports: [{ name: 'main', system: 'stub', connected: true, capabilities: transport.capabilities }],
      consumers: [
        {
          topic: 'orders.placed',
          group: 'billing',
          transport: 'main',
          status: 'ok',
          consumerId: `billing.${snapshot.instanceId}.0`,
          stats: expect.objectContaining({ received: 1, acked: 1, running: 0 }),
          options: {
            broadcast: false,
            concurrency: 3,
            order: 'key',
            prefetch: 256,
            prefetchBytes: 16_777_216,
            retry: { attempts: 2, backoff: 'full-jitter', baseMs: 200, maxMs: 30_000, mode: 'auto' },
            deadLetter: 'topic',
            onDeadLetter: 'continue',
            abandonAfterMs: 5_000,
            stalledAfterMs: 60_000,
          },
        },
        expect.objectContaining({
          group: 'audit',
          options: expect.objectContaining({ batch: { size: 50, timeoutMs: 100 } }),
        }),
      ],
      published: { topics: [], others: { confirmed: 0, failed: 0 } },
      extensions: [],
    })
    expect(JSON.parse(JSON.stringify(snapshot))).toStrictEqual(snapshot)
    expect(JSON.stringify(snapshot)).not.toContain('geheim')
    await bus.close()
  })

  it('can be taken in every state', async () => {
    const { bus } = made({ extensions: [{ name: 'a', snapshot: () => 1 }] })
    bus.consume('orders', () => {})
    const look = (): unknown[] => {
      const { state, startedAt, consumers, extensions } = bus.snapshot()
      return [state, startedAt !== undefined, consumers[0]?.status, extensions[0]]
    }
    expect(look()).toEqual(['idle', false, 'starting', { name: 'a', status: 'starting' }])
    const starting = bus.start()
    expect(look()).toEqual(['starting', false, 'starting', { name: 'a', status: 'starting' }])
    await starting
    expect(look()).toEqual(['running', true, 'ok', { name: 'a', status: 'ok', data: 1 }])
    const closing = bus.close()
    expect(look()).toEqual(['draining', true, 'draining', { name: 'a', status: 'ok', data: 1 }])
    await closing
    expect(look()).toEqual(['closed', true, 'stopped', { name: 'a', status: 'stopped' }])
  })

  it('lists consumers that were added later, and those no longer that were closed', async () => {
    const { bus } = made()
    await bus.start()
    const first = bus.consume('a', () => {})
    bus.consume('b', () => {})
    await first.close()
    expect(bus.snapshot().consumers.map(({ topic }) => topic)).toEqual(['b'])
    await bus.close()
  })

  it('counts what was published by topic, whether anyone listens or not', async () => {
    const [main, other] = [new StubTransport(), new StubTransport()]
    const { bus } = made({ transports: { main, other } })
    await bus.start()
    await bus.publishMany('a', [{ data: 1 }, { data: 2 }], { allowFailures: true })
    await bus.publish('b', 1)
    await bus.publish('a', 1, { transport: 'other' })
    main.answer = async (batch) =>
      batch.map((_, index) => (index === 0 ? { error: notSent() } : { position: undefined }))
    await bus.publishMany('a', [{ data: 1 }, { data: 2 }], { allowFailures: true })
    // Never given to the transport.
    await bus.publish('a', 'x'.repeat(2_000_000)).catch(() => {})
    expect(bus.snapshot().published).toEqual({
      topics: [
        { transport: 'main', topic: 'a', confirmed: 3, failed: 1 },
        { transport: 'main', topic: 'b', confirmed: 1, failed: 0 },
        { transport: 'other', topic: 'a', confirmed: 1, failed: 0 },
      ],
      others: { confirmed: 0, failed: 0 },
    })
    await bus.close()
  })

  it('counts a message once that is confirmed after its deadline', async () => {
    const { bus, transport } = made()
    await bus.start()
    const answer = Promise.withResolvers<readonly { position: undefined }[]>()
    transport.answer = () => answer.promise
    const controller = new AbortController()
    const failed = bus.publish('a', 1, { signal: controller.signal }).catch(() => {})
    await turn()
    controller.abort()
    await failed
    answer.resolve([{ position: undefined }])
    await turn()
    expect(bus.snapshot().published.topics).toMatchObject([{ confirmed: 0, failed: 1 }])
    await bus.close()
  })

  it('remembers 256 topics, and the sum of the others', async () => {
    const { bus } = made()
    await bus.start()
    for (let n = 0; n < 300; n++) await bus.publish(`live.scores.${n}`, n)
    await bus.publish('live.scores.299', 1)
    await bus.publish('live.scores.0', 1)
    const { topics, others } = bus.snapshot().published
    expect(topics).toHaveLength(256)
    expect(topics[0]).toMatchObject({ topic: 'live.scores.0', confirmed: 2 })
    expect(others).toEqual({ confirmed: 45, failed: 0 })
    await bus.close()
  })

  it.each<[unknown, object]>([
    [() => ({ rows: 3 }), { data: { rows: 3 } }],
    [() => undefined, {}],
    [() => ({ to: 'redis://u:geheim@h' }), { data: { to: 'redis://***@h' } }],
    [() => Promise.reject(new Error('ignored')), { error: 'snapshot() must return at once, got a Promise' }],
    [
      () => {
        throw new Error('no amqp://u:geheim@h')
      },
      { error: 'snapshot() failed: no amqp://***@h' },
    ],
    [() => 'x'.repeat(500).split(''), { data: expect.any(Array) }],
    [
      () => Array.from({ length: 10_000 }, () => 'x'),
      { error: 'snapshot() failed: it has more than 16384 characters as JSON' },
    ],
  ])('takes what an extension reports, within limits: %s', async (snapshot, expected) => {
    const { bus } = made({ extensions: [{ name: 'a', snapshot } as BusExtension] })
    await bus.start()
    expect(bus.snapshot().extensions).toStrictEqual([{ name: 'a', status: 'ok', ...expected }])
    await bus.close()
  })

  it('masks passwords in what a transport or extension reports of itself', async () => {
    const detail = 'connect amqp://u:geheim@h failed'
    const { bus, transport } = made({ extensions: [{ name: 'a', health: () => ({ status: 'failed', detail }) }] })
    transport.health = () => ({ connected: false, detail }) as { connected: boolean }
    await bus.start()
    expect(bus.snapshot()).toMatchObject({
      transports: [{ detail: 'connect amqp://***@h failed' }],
      extensions: [{ detail: 'connect amqp://***@h failed' }],
    })
    await bus.close()
  })

  it('is plain data with every transport', () => {
    const bus = createBus({
      service: 'billing',
      logger: silentLogger,
      transports: {
        memory: memory(),
        rabbitmq: rabbitmq({ url: 'amqp://u:geheim@h' }),
        nats: nats({ url: 'nats://u:geheim@h' }),
        redis: redis({ url: 'redis://u:geheim@h' }),
      },
    })
    const snapshot = bus.snapshot()
    expect(JSON.stringify(snapshot)).not.toContain('geheim')
    for (const { capabilities } of snapshot.transports) expect(capabilities.maxMessageBytes).toBeGreaterThan(0)
    expect(JSON.parse(JSON.stringify(snapshot))).toStrictEqual(snapshot)
  })
})
