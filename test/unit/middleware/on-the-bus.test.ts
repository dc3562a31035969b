import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { createBus, sleep } from 'busbar'
import type { Bus, BusOptions, ConsumeOptions, ConsumerHandle, Handler, Middleware } from 'busbar'
import { memory, memoryBroker } from 'busbar/memory'
import { circuitBreaker, dedupe, logger, throttle, timeout } from 'busbar/middleware'
import { memoryDedupeStore } from 'busbar/stores/memory'
import { manualClock, seededRandom, waitUntil } from 'busbar/testing'
import type { ManualClock } from 'busbar/testing'
import { afterEach, describe, expect, it } from 'vitest'

const TOPIC = 'orders.placed'
const buses: Bus[] = []

afterEach(async () => {
  await Promise.all(buses.splice(0).map((bus) => bus.close({ timeoutMs: 100 })))
})

function busWith(options: Partial<BusOptions> = {}): { readonly bus: Bus; readonly clock: ManualClock } {
  const clock = manualClock()
  const bus = createBus({ logger: false, service: 'billing', transport: memory(), clock, ...options })
  buses.push(bus)
  return { bus, clock }
}

function consume(
  bus: Bus,
  middleware: readonly Middleware[],
  handler: Handler,
  options: Omit<ConsumeOptions, 'batch'> = {},
) {
  return bus.consume(TOPIC, handler, { middleware, retry: { attempts: 10, backoff: 'fixed', baseMs: 10 }, ...options })
}

async function publish(bus: Bus, count: number, keys = 0): Promise<void> {
  const items = Array.from({ length: count }, (_, data) => ({
    data,
    ...(keys > 0 ? { key: String(data % keys) } : {}),
  }))
  for (const { error } of await bus.publishMany(TOPIC, items, { allowFailures: true }))
    if (error !== undefined) throw error
}

/** Acks go to the broker a turn of the event loop later, which no clock knows of. */
async function acked(consumer: ConsumerHandle, count: number): Promise<void> {
  await waitUntil(() => consumer.stats().acked >= count, { describe: () => consumer.stats() })
}

describe('circuitBreaker on a bus', () => {
  it('pauses intake while the dependency is down, and what waits loses no attempt', async () => {
    const { bus, clock } = busWith()
    const calls: { readonly at: number; readonly attempt: number }[] = []
    let down = true
    const breaker = circuitBreaker({ name: 'api', failureThreshold: 3, resetTimeoutMs: 1_000 })
    const consumer = consume(
      bus,
      [breaker],
      async (_message, ctx) => {
        calls.push({ at: clock.monotonic(), attempt: ctx.attempt })
        if (down) throw new Error('down')
      },
      { concurrency: 1, order: 'none' },
    )
    const limits: (number | undefined)[] = []
    bus.events.on('limit', ({ reason, maxConcurrency }) => {
      expect(reason).toBe('circuit-breaker:api')
      limits.push(maxConcurrency)
    })
    await bus.start()
    await publish(bus, 20)
    await clock.advance(900)
    expect(breaker.state).toBe('open')
    expect(calls).toHaveLength(3)
    expect((await bus.health()).consumers[0]).toMatchObject({ status: 'paused', detail: 'circuit-breaker:api' })
    await clock.advance(9_000)
    // One probe for each second.
    expect(calls.length).toBeGreaterThanOrEqual(11)
    expect(calls.length).toBeLessThanOrEqual(12)
    const failures = calls.length
    down = false
    await clock.advance(2_000)
    expect(breaker.state).toBe('closed')
    await acked(consumer, 20)
    expect(consumer.stats()).toMatchObject({ acked: 20, deadLettered: 0, retried: failures, running: 0, buffered: 0 })
    expect(limits.slice(0, 4)).toEqual([0, 1, 0, 1])
    expect(limits.at(-1)).toBeUndefined()
  })

  it('puts off what was under way in many handlers, has one probe at a time, and loses nothing', async () => {
    const { bus, clock } = busWith()
    let down = true
    let inside = 0
    const whileHalfOpen: number[] = []
    const breaker = circuitBreaker({ name: 'api', failureThreshold: 5, resetTimeoutMs: 1_000 })
    const slowly: Middleware = (next) => async (message, ctx) => {
      // Other middleware takes its time, so that messages reach the breaker after it has opened.
      await sleep(clock, 7, ctx.signal)
      return next(message, ctx)
    }
    const consumer = consume(
      bus,
      [slowly, breaker],
      async (message) => {
        inside++
        if (breaker.state === 'half-open') whileHalfOpen.push(inside)
        await sleep(clock, 5 + (message.data as number))
        inside--
        if (down) throw new Error('down')
      },
      { concurrency: 10, order: 'none' },
    )
    await bus.start()
    await publish(bus, 40)
    await clock.advance(6_000)
    expect(whileHalfOpen.length).toBeGreaterThan(2)
    expect(new Set(whileHalfOpen)).toEqual(new Set([1]))
    down = false
    await clock.advance(10_000)
    await acked(consumer, 40)
    expect(consumer.stats()).toMatchObject({ acked: 40, deadLettered: 0, running: 0, buffered: 0 })
  })

  it('stops all consumers of one dependency together, and not the others', async () => {
    const { bus, clock } = busWith()
    let down = true
    const breaker = circuitBreaker({ name: 'api', failureThreshold: 2, resetTimeoutMs: 1_000 })
    const work = async (): Promise<void> => {
      if (down) throw new Error('down')
    }
    const retry = { attempts: 20, backoff: 'fixed', baseMs: 10 } as const
    const one = bus.consume('orders.placed', work, { middleware: [breaker], retry })
    const two = bus.consume('orders.paid', work, { middleware: [breaker], retry })
    const free = bus.consume('orders.placed', () => undefined, { group: 'free' })
    await bus.start()
    await bus.publish('orders.placed', 1)
    await bus.publish('orders.paid', 1)
    await clock.advance(500)
    const { consumers } = await bus.health()
    expect(consumers.map((consumer) => consumer.status)).toEqual(['paused', 'paused', 'ok'])
    await bus.publish('orders.placed', 2)
    await clock.advance(100)
    await acked(free, 2)
    down = false
    await clock.advance(5_000)
    await acked(one, 2)
    await acked(two, 1)
  })

  it('takes hung handlers for failures when they have a deadline', async () => {
    const { bus, clock } = busWith()
    let hang = true
    const breaker = circuitBreaker({ name: 'api', failureThreshold: 2, resetTimeoutMs: 1_000 })
    const consumer = consume(
      bus,
      [breaker, timeout({ ms: 100 })],
      () => (hang ? new Promise<void>(() => {}) : undefined),
      { abandonAfterMs: 50 },
    )
    await bus.start()
    await publish(bus, 3)
    await clock.advance(500)
    expect(breaker.state).toBe('open')
    hang = false
    await clock.advance(3_000)
    expect(breaker.state).toBe('closed')
    await acked(consumer, 3)
    expect(consumer.stats()).toMatchObject({ acked: 3, abandoned: 3, deadLettered: 0 })
  })

  it('does no harm when it changes after its bus has closed', async () => {
    const { bus, clock } = busWith()
    const breaker = circuitBreaker({ name: 'api', failureThreshold: 1, resetTimeoutMs: 1_000 })
    consume(bus, [breaker], () => Promise.reject(new Error('down')))
    await bus.start()
    await publish(bus, 2)
    await clock.advance(100)
    expect(breaker.state).toBe('open')
    const closing = bus.close()
    await clock.advance(100)
    await closing
    await clock.advance(2_000)
    expect(breaker.state).toBe('half-open')
  })

  it('lets the process end when its bus has closed while it is open', async () => {
    const program = `
      import { createBus } from 'busbar'
      import { memory } from 'busbar/memory'
      import { circuitBreaker, dedupe } from 'busbar/middleware'
      import { memoryDedupeStore } from 'busbar/stores/memory'
      const bus = createBus({ logger: false, service: 'billing', transport: memory() })
      const breaker = circuitBreaker({ failureThreshold: 1, resetTimeoutMs: 3_600_000 })
      const once = dedupe({ store: memoryDedupeStore(), leaseMs: 3_600_000 })
      bus.consume('orders.placed', () => { throw new Error('down') }, { middleware: [once, breaker] })
      await bus.start()
      const limited = bus.events.once('limit')
      await bus.publish('orders.placed', {})
      await limited
      await bus.close()
      console.log(breaker.state)`
    const args = ['--conditions=busbar-source', '--input-type=module', '--eval', program]
    const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 10_000 })
    expect(stdout.trim()).toBe('open')
  })

  it.each([1, 2, 3, 4, 5, 6])(
    'keeps every message and the order within each key, however it opens and closes (seed %i)',
    async (seed) => {
      const random = seededRandom(`breaker on the bus ${seed}`)
      const { bus, clock } = busWith()
      const breaker = circuitBreaker({
        name: 'api',
        failureThreshold: 3,
        resetTimeoutMs: 200,
        halfOpenPermits: random.integer(1, 2),
      })
      let down = false
      let opened = 0
      bus.events.on('limit', ({ maxConcurrency }) => {
        if (maxConcurrency === 0) opened++
      })
      const handled = new Map<string, number[]>()
      const middleware = random.chance(0.5) ? [breaker] : [breaker, throttle({ perSecond: 500 })]
      const consumer = consume(
        bus,
        middleware,
        async (message, ctx) => {
          await sleep(clock, random.integer(0, 20), ctx.signal)
          if (down || random.chance(0.05)) throw new Error('down')
          const key = message.key ?? ''
          handled.set(key, [...(handled.get(key) ?? []), message.data as number])
        },
        {
          concurrency: 5,
          retry: { attempts: 1_000, backoff: 'fixed', baseMs: 20, mode: random.pick(['inline', 'delayed']) },
        },
      )
      await bus.start()
      await publish(bus, 60, 4)
      for (let round = 0; round < 30; round++) {
        down = round < 20 && random.chance(0.4)
        await clock.advance(random.integer(50, 300))
      }
      await clock.advance(10_000)
      expect(opened).toBeGreaterThan(0)
      await acked(consumer, 60)
      expect(consumer.stats()).toMatchObject({ acked: 60, deadLettered: 0, running: 0, buffered: 0 })
      for (let key = 0; key < 4; key++)
        expect(handled.get(String(key))).toEqual(Array.from({ length: 15 }, (_, index) => index * 4 + key))
    },
  )
})

describe('throttle on a bus', () => {
  it('starts no more messages than its rate, in order, and costs no attempt', async () => {
    const { bus, clock } = busWith()
    const started: { readonly data: unknown; readonly at: number; readonly attempt: number }[] = []
    consume(bus, [throttle({ limit: 10, intervalMs: 1_000, burst: 1 })], (message, ctx) => {
      started.push({ data: message.data, at: clock.monotonic(), attempt: ctx.attempt })
    })
    await bus.start()
    await publish(bus, 30)
    await clock.advance(3_000)
    expect(started.map(({ data }) => data)).toEqual(Array.from({ length: 30 }, (_, data) => data))
    expect(started.every(({ attempt }) => attempt === 1)).toBe(true)
    for (const [index, { at }] of started.entries()) expect(at - (started[0]?.at ?? 0)).toBe(index * 100)
  })

  it('gives up waiting when the bus closes, and the message comes again', async () => {
    const broker = memoryBroker()
    const { bus, clock } = busWith({ transport: memory({ broker }) })
    const handled: unknown[] = []
    const slow = throttle({ limit: 1, intervalMs: 3_600_000, burst: 1 })
    consume(bus, [slow], (message) => handled.push(message.data))
    await bus.start()
    await publish(bus, 2)
    await clock.advance(1_000)
    expect(handled).toEqual([0])
    const closing = bus.close({ timeoutMs: 500 })
    await clock.advance(1_000)
    await closing
    const next = createBus({ logger: false, service: 'billing', transport: memory({ broker }), clock })
    buses.push(next)
    consume(next, [], (message) => handled.push(message.data))
    await next.start()
    await clock.advance(1_000)
    expect(handled).toEqual([0, 1])
  })
})

describe('dedupe on a bus', () => {
  it('skips what is published twice under one id, and what is delivered again', async () => {
    const { bus, clock } = busWith()
    const handled: string[] = []
    const duplicates: string[] = []
    const store = memoryDedupeStore({ clock })
    const consumer = consume(bus, [dedupe({ store, onDuplicate: ({ id }) => duplicates.push(id) })], ({ id }) =>
      handled.push(id),
    )
    await bus.start()
    for (const id of ['a', 'b', 'a', 'c', 'a']) await bus.publish(TOPIC, {}, { id })
    await clock.advance(100)
    expect(handled).toEqual(['a', 'b', 'c'])
    await bus.admin().seek(TOPIC, 'billing', 'earliest')
    await clock.advance(100)
    expect(handled).toEqual(['a', 'b', 'c'])
    expect(duplicates).toEqual(['a', 'a', 'a', 'b', 'a', 'c', 'a'])
    await acked(consumer, 10)
    expect(consumer.stats()).toMatchObject({ acked: 10, deadLettered: 0 })
  })

  it('handles a message again after a failure, and a dead letter again after its redrive', async () => {
    const { bus, clock } = busWith()
    let broken = true
    const attempts: number[] = []
    consume(
      bus,
      [dedupe({ store: memoryDedupeStore({ clock }) })],
      async (_message, ctx) => {
        attempts.push(ctx.attempt)
        if (broken) throw new Error('broken')
      },
      { retry: { attempts: 3, baseMs: 10 } },
    )
    await bus.start()
    await publish(bus, 1)
    await clock.advance(1_000)
    expect(attempts).toEqual([1, 2, 3])
    broken = false
    const redriving = bus.deadLetters(TOPIC).redrive()
    await clock.advance(100)
    expect(await redriving).toMatchObject({ redriven: 1 })
    await clock.advance(1_000)
    expect(attempts).toEqual([1, 2, 3, 1])
  })

  it('handles a message once in two groups each, and holds back a copy that comes while the first is at work', async () => {
    const { bus, clock } = busWith()
    const handled: string[] = []
    const store = memoryDedupeStore({ clock })
    const options = { retry: { attempts: 2 }, order: 'none' } as const
    for (const group of ['one', 'two'])
      bus.consume(
        TOPIC,
        async (message, ctx) => {
          handled.push(`${ctx.group} ${message.id} ${ctx.attempt}`)
          await sleep(clock, 20_000, ctx.signal)
        },
        { ...options, group, middleware: [dedupe({ store, leaseMs: 1_000 })] },
      )
    await bus.start()
    for (let copy = 0; copy < 3; copy++) await bus.publish(TOPIC, {}, { id: 'same' })
    await clock.advance(60_000)
    expect(handled.sort()).toEqual(['one same 1', 'two same 1'])
    const { consumers } = await bus.health()
    expect(consumers.map(({ status }) => status)).toEqual(['ok', 'ok'])
    expect(await bus.deadLetters(TOPIC, 'one').list()).toEqual([])
  })
})

describe('timeout on a bus', () => {
  it('aborts the attempt, which is tried again', async () => {
    const { bus, clock } = busWith()
    const seen: string[] = []
    const consumer = consume(bus, [timeout({ ms: 100 })], async (_message, ctx) => {
      const start = clock.monotonic()
      try {
        await sleep(clock, ctx.attempt < 3 ? 10_000 : 50, ctx.signal)
        seen.push('done')
      } catch (error) {
        seen.push(`${(error as Error).name} after ${Math.round((clock.monotonic() - start) / 50) * 50}`)
        throw error
      }
    })
    const errors: unknown[] = []
    bus.events.on('retry', ({ error }) => errors.push(error))
    await bus.start()
    await publish(bus, 1)
    await clock.advance(2_000)
    expect(seen).toEqual(['TimeoutError after 100', 'TimeoutError after 100', 'done'])
    expect(errors).toMatchObject([{ code: 'BUSBAR_TIMEOUT' }, { code: 'BUSBAR_TIMEOUT' }])
    await acked(consumer, 1)
    expect(consumer.stats()).toMatchObject({ acked: 1, retried: 2, abandoned: 0 })
  })
})

describe('logger on a bus', () => {
  it('reports every attempt', async () => {
    const lines: string[] = []
    const at =
      (level: string) =>
      (fields: object, text: string): void => {
        const { attempt, group } = fields as { attempt: number; group: string }
        lines.push(`${level} ${text}: ${group} ${attempt}`)
      }
    const log = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
    const { bus, clock } = busWith({ middleware: [logger({ logger: log })] })
    consume(bus, [], (_message, ctx) => {
      if (ctx.attempt === 1) throw new Error('broken')
    })
    await bus.start()
    await publish(bus, 1)
    await clock.advance(1_000)
    expect(lines).toEqual([
      'debug message received: billing 1',
      'warn message failed: billing 1',
      'debug message received: billing 2',
      'debug message handled: billing 2',
    ])
  })
})
