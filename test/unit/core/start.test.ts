import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { AuthorizationError, ConnectionError, createBus, silentLogger } from 'busbar'
import type { Bus, BusEventMap, BusOptions, StateError } from 'busbar'
import { manualClock } from 'busbar/testing'
import type { ManualClock } from 'busbar/testing'
import { sqlite } from 'busbar/sqlite'
import { StubTransport } from './stub-transport.ts'

/** A transport whose broker is away for as long as `failure` is set. */
class AwayTransport extends StubTransport {
  failure: Error | undefined = new ConnectionError('the broker is away')
  opens = 0
  closes = 0

  override async open(): Promise<void> {
    this.opens++
    if (this.failure !== undefined) throw this.failure
  }

  override async close(): Promise<void> {
    this.closes++
  }
}

function made(options: Partial<BusOptions> = {}): { bus: Bus; transport: AwayTransport; clock: ManualClock } {
  const transport = new AwayTransport()
  const clock = manualClock()
  const bus = createBus({
    service: 'test',
    clock,
    logger: silentLogger,
    ...(options.transports === undefined && { transport }),
    ...options,
  })
  return { bus, transport, clock }
}

/** The error of a promise that is to reject; listens at once. */
function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error,
  )
}

describe('start', () => {
  it('waits for a broker that is not up yet, longer each time, and reports each attempt', async () => {
    const { bus, transport, clock } = made()
    const seen: BusEventMap['connecting'][] = []
    bus.events.on('connecting', (event) => seen.push(event))
    const starting = bus.start()
    await clock.advance(20_000)
    expect(seen.length).toBeGreaterThan(4)
    expect(seen.map(({ attempt }) => attempt)).toEqual(seen.map((_, index) => index + 1))
    expect(seen[0]).toMatchObject({ transport: 'main', error: { message: 'the broker is away' } })
    expect(seen.at(-1)?.delayMs).toBeGreaterThan(2_000)
    expect(await bus.health()).toMatchObject({ live: true, ready: false, state: 'starting' })
    transport.failure = undefined
    await clock.advance(5_000)
    await starting
    expect(bus.state).toBe('running')
    await bus.close()
  })

  it('gives up after its time with the last error, and may be called again with the same transport', async () => {
    const { bus, transport, clock } = made({ startTimeoutMs: 3_000 })
    const failed = failureOf(bus.start())
    await clock.advance(2_900)
    expect(bus.state).toBe('starting')
    await clock.advance(200)
    expect(await failed).toBe(transport.failure)
    expect(bus.state).toBe('idle')
    await expect(bus.publish('t', 1)).rejects.toThrow('not started')

    const opens = transport.opens
    expect(await failureOf(bus.start({ timeoutMs: 0 }))).toBe(transport.failure)
    expect(transport.opens).toBe(opens + 1)

    transport.failure = undefined
    const consumer = bus.consume('t', () => {})
    await bus.start()
    await consumer.ready
    await bus.publish('t', 1)
    await bus.close()
    expect(transport.closes).toBe(1)
  })

  it('does not wait for what can not pass, also when another transport still waits', async () => {
    const [away, locked] = [new AwayTransport(), new AwayTransport()]
    locked.failure = new AuthorizationError('wrong password')
    const { bus } = made({ transports: { away, locked } })
    expect(await failureOf(bus.start())).toBe(locked.failure)
    locked.failure = undefined
    away.failure = undefined
    await bus.start()
    expect([away.opens, locked.opens]).toEqual([2, 2])
    await bus.close()
  })

  it('opens what is open already no second time', async () => {
    const [up, away] = [new AwayTransport(), new AwayTransport()]
    up.failure = undefined
    const { bus } = made({ transports: { up, away } })
    await failureOf(bus.start({ timeoutMs: 0 }))
    away.failure = undefined
    await bus.start()
    expect([up.opens, away.opens]).toEqual([1, 2])
    await bus.close()
  })

  it('ends with a StateError when the bus is closed meanwhile', async () => {
    const { bus, transport, clock } = made()
    const failed = failureOf(bus.start())
    await clock.advance(500)
    await bus.close()
    expect(await failed).toMatchObject({ code: 'BUSBAR_STATE', message: 'The bus was closed while it was starting' })
    expect(transport.closes).toBe(1)
    expect(((await failureOf(bus.start())) as StateError).message).toContain('closed')
  })

  it('ends the same way when a database is just being opened', async () => {
    const bus = createBus({
      service: 'test',
      transport: sqlite({ path: join(tmpdir(), `busbar-start-${process.pid}.db`) }),
      logger: silentLogger,
    })
    const failed = failureOf(bus.start())
    await bus.close()
    expect(await failed).toMatchObject({ code: 'BUSBAR_STATE', message: 'The bus was closed while it was starting' })
  })

  it.each([-1, Number.NaN, '5'])('refuses the time %j', async (timeoutMs) => {
    const { bus } = made()
    await expect(bus.start({ timeoutMs: timeoutMs as number })).rejects.toMatchObject({ code: 'BUSBAR_CONFIGURATION' })
    await expect(bus.close({ timeoutMs: timeoutMs as number })).rejects.toMatchObject({ code: 'BUSBAR_CONFIGURATION' })
    await bus.close()
  })
})

describe('a consumer that can not be subscribed', () => {
  it('is tried again for as long as start waits', async () => {
    const { bus, transport, clock } = made()
    transport.failure = undefined
    transport.subscribeError = new ConnectionError('not yet')
    bus.consume('t', () => {})
    const starting = bus.start()
    await clock.advance(5_000)
    transport.subscribeError = undefined
    await clock.advance(5_000)
    await starting
    expect(await bus.health()).toMatchObject({ status: 'ok', ready: true })
    await bus.close()
  })

  it('for good fails the start at once, also while another one is tried again', async () => {
    const { bus, transport, clock } = made()
    transport.failure = undefined
    const refused = new AuthorizationError('no permission')
    transport.subscribe = (spec) => Promise.reject(spec.topic === 'b' ? refused : new ConnectionError('not yet'))
    bus.consume('a', () => {})
    bus.consume('b', () => {})
    const failed = failureOf(bus.start())
    await clock.advance(1_000)
    expect(bus.state).toBe('closed')
    expect(await failed).toBe(refused)
    expect(clock.pending).toBe(0)
  })

  it('and was added while start waits for another one is tried again for as long as it lives', async () => {
    const { bus, transport, clock } = made({ startTimeoutMs: 2_000 })
    transport.failure = undefined
    let away = new Set(['a', 'b'])
    const subscribe = transport.subscribe.bind(transport)
    transport.subscribe = (spec, sink) =>
      away.has(spec.topic) ? Promise.reject(new ConnectionError('not yet')) : subscribe(spec, sink)
    bus.consume('a', () => {})
    const starting = bus.start()
    await clock.advance(500)
    const later = bus.consume('b', () => {})
    away = new Set(['b'])
    await clock.advance(60_000)
    await starting
    away.clear()
    await clock.advance(10_000)
    await later.ready
    await bus.close()
  })

  it('after start is tried again until it succeeds, and seen in health meanwhile', async () => {
    const { bus, transport, clock } = made()
    transport.failure = undefined
    await bus.start()
    transport.subscribeError = new ConnectionError('not yet')
    const errors: unknown[] = []
    bus.events.on('error', ({ doing }) => errors.push(doing))
    const consumer = bus.consume('t', () => {})
    await clock.advance(600_000)
    expect(errors.length).toBeGreaterThan(50)
    expect(errors[0]).toBe('subscribing group "test" to "t"')
    expect(await bus.health()).toMatchObject({
      status: 'down',
      live: true,
      ready: false,
      reasons: [
        { transport: 'main', topic: 't', group: 'test', status: 'failed', detail: expect.stringContaining('not yet') },
      ],
    })
    transport.subscribeError = undefined
    await clock.advance(5_000)
    await consumer.ready
    expect(await bus.health()).toMatchObject({ status: 'ok', ready: true, reasons: [] })
    await bus.close()
  })

  it('stops trying when it is closed, or its bus is', async () => {
    const { bus, transport, clock } = made()
    transport.failure = undefined
    await bus.start()
    transport.subscribeError = new ConnectionError('not yet')
    const consumer = bus.consume('a', () => {})
    const other = bus.consume('b', () => {})
    await clock.advance(1_000)
    await consumer.close()
    expect(await failureOf(consumer.ready)).toBeDefined()
    await bus.close()
    expect(await failureOf(other.ready)).toBeDefined()
    expect(clock.pending).toBe(0)
  })

  it('for good is not tried again', async () => {
    const { bus, transport } = made()
    transport.failure = undefined
    await bus.start()
    transport.subscribeError = new AuthorizationError('no permission')
    const consumer = bus.consume('t', () => {})
    expect(await failureOf(consumer.ready)).toBe(transport.subscribeError)
    expect((await bus.health()).consumers[0]).toMatchObject({ status: 'failed', detail: 'no permission' })
    await bus.close()
  })
})
