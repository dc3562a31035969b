import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it, vi } from 'vitest'
import { createBus, silentLogger } from 'busbar'
import type { Bus, BusEventMap, BusOptions, ConsumerHandle, HandlerContext } from 'busbar'
import { memory } from 'busbar/memory'
import { manualClock } from 'busbar/testing'
import { delivery, StubTransport } from './stub-transport.ts'

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

async function started(options: Partial<BusOptions> = {}): Promise<{
  bus: Bus
  transport: StubTransport
  clock: ReturnType<typeof manualClock>
}> {
  const transport = new StubTransport()
  const clock = manualClock()
  const bus = createBus({ service: 'test', transport, clock, logger: silentLogger, ...options })
  return { bus, transport, clock }
}

describe('a second close', () => {
  it('ends the first one sooner when it is more urgent', async () => {
    const { bus, transport, clock } = await started()
    bus.consume('t', () => new Promise(() => {}))
    await bus.start()
    transport.subscriptions[0]?.deliver(delivery('m', { topic: 't' }))
    await turn()
    const first = bus.close()
    await clock.advance(1_000)
    expect(bus.state).toBe('draining')
    const second = bus.close({ timeoutMs: 0 })
    await Promise.all([first, second])
    expect(bus.state).toBe('closed')
    expect(transport.subscriptions[0]?.closed).toBe(true)
    expect(clock.pending).toBe(0)
  })

  it('changes nothing when it has more patience, or says nothing', async () => {
    const { bus, transport, clock } = await started()
    bus.consume('t', () => new Promise(() => {}))
    await bus.start()
    transport.subscriptions[0]?.deliver(delivery('m', { topic: 't' }))
    await turn()
    const first = bus.close({ timeoutMs: 2_000 })
    await clock.advance(1_500)
    const others = [bus.close(), bus.close({ timeoutMs: 60_000 })]
    await clock.advance(400)
    expect(bus.state).toBe('draining')
    await clock.advance(200)
    await Promise.all([first, ...others])
    expect(bus.state).toBe('closed')
  })
})

describe('a close that runs out of time', () => {
  const waitForever = async (_: unknown, { signal }: HandlerContext): Promise<void> => {
    signals.push(signal)
    await new Promise(() => {})
  }
  let signals: AbortSignal[] = []
  const gaveUp: BusEventMap['warning'][] = []

  async function closedAround(
    options: Partial<BusOptions>,
    close: (bus: Bus, consumer: ConsumerHandle) => Promise<void>,
    consume: object = {},
  ): Promise<readonly string[]> {
    signals = []
    gaveUp.length = 0
    const lines: string[] = []
    const logger = { ...silentLogger, warn: (_: object, line: string) => lines.push(line) }
    const { bus, transport, clock } = await started({ logger, ...options })
    bus.events.on('warning', (event) => gaveUp.push(event))
    const consumer = bus.consume('t', waitForever as never, { concurrency: 2, ...consume })
    await bus.start()
    transport.subscriptions[0]?.deliver(...['m-1', 'm-2', 'm-3'].map((id) => delivery(id, { topic: 't' })))
    await turn()
    const closing = close(bus, consumer)
    await clock.advance(1_500)
    await closing
    await bus.close()
    return lines
  }

  it('says which handlers it gave up, and their signals name the limit', async () => {
    const lines = await closedAround({ closeTimeoutMs: 1_500 }, (bus) => bus.close())
    const detail =
      'the consumer of "t" (group "test") was closed after waiting 1,500 ms while 2 handlers were running, the first with message m-1: their messages are not settled, and their outcomes are ignored'
    expect(gaveUp).toEqual([{ transport: 'main', code: 'close-timeout', detail }])
    expect(lines).toEqual([`close-timeout: ${detail}`])
    expect(signals.map(({ reason }) => reason as unknown)).toEqual(
      [1, 2].map(() =>
        expect.objectContaining({
          name: 'TimeoutError',
          message: 'The consumer of "t" (group "test") was closed, and the handler did not end within 1,500 ms',
        }),
      ),
    )
  })

  it('names the limit of the second call when that was more urgent', async () => {
    await closedAround({}, async (bus) => {
      const first = bus.close()
      await bus.close({ timeoutMs: 0 })
      await first
    })
    expect(gaveUp.map(({ detail }) => detail)).toEqual([expect.stringContaining('after waiting 0 ms')])
  })

  it('says so for a single consumer, and for a batch', async () => {
    await closedAround({}, (_, consumer) => consumer.close({ timeoutMs: 200 }), { batch: { size: 3 } })
    expect(gaveUp.map(({ detail }) => detail)).toEqual([
      expect.stringMatching(/after waiting 200 ms while 1 handler was running, the first with message m-1/),
    ])
  })

  it('says nothing when no handler was running', async () => {
    const { bus } = await started({ closeTimeoutMs: 0 })
    bus.consume('t', () => {})
    await bus.start()
    const warned = vi.fn()
    bus.events.on('warning', warned)
    await bus.close()
    expect(warned).not.toHaveBeenCalled()
  })
})

describe('a consumer that was closed', () => {
  it('is released by the bus', async () => {
    const { bus } = await started({ transport: memory(), clock: undefined })
    await bus.start()
    const released: WeakRef<object>[] = []
    for (let n = 0; n < 50; n++) {
      const handler = (): void => {}
      released.push(new WeakRef(handler))
      await bus.consume('live.scores', handler, { broadcast: true }).close()
    }
    expect((await bus.health()).consumers).toEqual([])
    setFlagsFromString('--expose-gc')
    const gc = runInNewContext('gc') as () => void
    await expect
      .poll(() => {
        gc()
        return released.filter((ref) => ref.deref() !== undefined).length
      })
      // The stack may still hold the last one.
      .toBeLessThanOrEqual(1)
    await bus.close()
  })

  it('leaves its place in its group to another one', async () => {
    const { bus } = await started()
    await bus.start()
    const first = bus.consume('t', () => {})
    expect(() => bus.consume('t', () => {})).toThrow('has a consumer of "t" on this bus already')
    await first.close()
    await bus.consume('t', () => {}).ready
    expect((await bus.health()).consumers).toHaveLength(1)
    await bus.close()
  })
})

describe('events.once', () => {
  it('rejects when the bus is closed before the event, and after', async () => {
    const { bus } = await started()
    await bus.start()
    const waiting = bus.events.once('deadLetter')
    const rejected = expect(waiting).rejects.toMatchObject({ code: 'BUSBAR_STATE', message: /no event "deadLetter"/ })
    await bus.close()
    await rejected
    await expect(bus.events.once('connect')).rejects.toMatchObject({ code: 'BUSBAR_STATE' })
    expect(bus.events.wants('deadLetter')).toBe(false)
  })

  it('still resolves with what happens while the bus closes', async () => {
    const { bus } = await started({ transport: memory(), clock: undefined })
    await bus.start()
    const end = bus.events.once('disconnect')
    await bus.close()
    expect(await end).toMatchObject({ planned: true })
  })
})

describe('health', () => {
  it('of a consumer that drains fails neither probe', async () => {
    const { bus, transport } = await started()
    let finish: () => void = () => {}
    const slow = bus.consume('a', () => new Promise<void>((resolve) => (finish = resolve)))
    bus.consume('b', () => {})
    await bus.start()
    transport.subscriptions[0]?.deliver(delivery('m', { topic: 'a' }))
    await turn()
    const draining = slow.drain()
    expect(await bus.health()).toMatchObject({ status: 'ok', live: true, ready: true, reasons: [] })
    expect((await bus.health()).consumers.map(({ status }) => status)).toEqual(['draining', 'ok'])
    finish()
    await draining
    await bus.close()
  })

  it('distinguishes liveness from readiness over the life of a bus', async () => {
    const { bus, transport } = await started()
    bus.consume('a', () => {})
    const seen: string[] = []
    const look = async (): Promise<void> => {
      const { status, live, ready, reasons } = await bus.health()
      seen.push(`${status} ${live} ${ready} ${reasons.map((reason) => reason.status).join()}`)
    }
    await look()
    await bus.start()
    await look()
    transport.health = () => ({ connected: false, detail: 'cut' }) as { connected: boolean }
    await look()
    expect((await bus.health()).reasons).toEqual([{ transport: 'main', status: 'disconnected', detail: 'cut' }])
    const closing = bus.close()
    await look()
    await closing
    await look()
    expect(seen).toEqual([
      'down true false idle,starting',
      'ok true true ',
      'down true false disconnected',
      'down true false draining,disconnected',
      'down false false closed,disconnected',
    ])
  })
})
