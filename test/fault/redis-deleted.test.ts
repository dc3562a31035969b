// Longer than most files: whatever may be deleted, on one broker and with the same helpers.
import assert from 'node:assert/strict'
import { createClient } from 'redis'
import { afterAll, afterEach, beforeAll, describe, test } from 'vitest'
import { createBus } from 'busbar'
import type { Bus, Transport } from 'busbar'
import { redis } from 'busbar/redis'
import { tcpProxy, uniqueName, waitUntil } from 'busbar/testing'
import type { TcpProxy } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { RedisBroker } from '../../tools/brokers/index.ts'
import { recordFault, toRow } from './fault-report.ts'
import { Flow, pause, PREFETCH } from './flow.ts'
import { QUICK } from './redis-options.ts'

describe('Redis: what other programs delete', () => {
  let broker: RedisBroker
  let client: ReturnType<typeof createClient>
  let flow: Flow | undefined
  let bus: Bus | undefined
  beforeAll(async () => {
    broker = await startPrivate('redis')
    client = createClient({ url: broker.url })
    await client.connect()
  })
  afterEach(async () => {
    await flow?.close()
    await bus?.close({ timeoutMs: 500 })
    flow = bus = undefined
  })
  afterAll(async () => {
    client.destroy()
    await broker.stop()
  })

  const transport = (): Transport => redis({ ...QUICK, host: broker.host, port: broker.port })
  const streamsOf = async (topic: string): Promise<string[]> =>
    (await client.keys(`busbar:{${topic}*}`)).filter((key) => key.endsWith('}'))

  async function start(): Promise<Flow> {
    flow = new Flow({ members: [transport, transport], publisher: transport })
    return flow.start()
  }
  async function judge(fault: string, running: Flow, explained: number): Promise<void> {
    const backMs = await running.progress(20)
    const outcome = await running.end()
    recordFault('redis', broker.version, toRow(fault, outcome, explained, backMs))
    assert.ok(outcome.repeated <= explained, `${outcome.repeated} were handled again, ${explained} can be explained`)
    assert.ok(backMs < 5_000, `it took ${backMs} ms to come back`)
  }

  test('the consumer group, under load: reading continues where it was', { timeout: 30_000 }, async () => {
    const running = await start()
    for (const stream of await streamsOf(running.topic)) await client.xGroupDestroy(stream, running.group)
    await judge('consumer group deleted', running, 2 * PREFETCH)
  })

  test('the members of the group, under load: what they had is found', { timeout: 30_000 }, async () => {
    const running = await start()
    // Their pending entries go with them: what was being handled is acked in vain, and nothing else is touched.
    for (const stream of await streamsOf(running.topic))
      for (const { name, pending } of await client.xInfoConsumers(stream, running.group))
        if (pending === 0) await client.xGroupDelConsumer(stream, running.group, name)
    await judge('idle members deleted', running, 0)
  })

  test('what keeps leases and shares of a group, under load', { timeout: 30_000 }, async () => {
    const running = await start()
    for (const key of await client.keys(`busbar:{${running.topic}*}:*:${running.group}`)) await client.del(key)
    await judge('keys of the group deleted', running, 0)
  })

  test('the cache of scripts, again and again, under load', { timeout: 30_000 }, async () => {
    const running = await start()
    for (let time = 0; time < 10; time++) {
      await client.scriptFlush()
      await pause(20)
    }
    await judge('scripts flushed 10 times', running, 0)
  })

  const losses = (on: Bus): { readonly group: string | undefined; readonly count: number | undefined }[] => {
    const told: { group: string | undefined; count: number | undefined }[] = []
    on.events.on('loss', ({ group, count }) => void told.push({ group, count }))
    return told
  }
  const warnings = (on: Bus): Set<string> => {
    const codes = new Set<string>()
    on.events.on('warning', ({ code }) => codes.add(code))
    return codes
  }
  async function deleteConsumers(topic: string, which: (name: string) => boolean = () => true): Promise<number> {
    let removed = 0
    for (const stream of await streamsOf(topic))
      for (const { name } of await client.xInfoConsumers(stream, 'deleted'))
        if (which(name)) removed += await client.xGroupDelConsumer(stream, 'deleted', name)
    return removed
  }
  /** A member in the middle of eight handlers that never end, behind a proxy. */
  async function eightBegun(proxy: TcpProxy): Promise<string> {
    const topic = uniqueName('deleted')
    let begun = 0
    bus = createBus({ service: 'deleted', transport: redis({ ...QUICK, host: proxy.host, port: proxy.port }) })
    bus.consume(
      topic,
      () => {
        begun++
        return new Promise(() => {})
      },
      { abandonAfterMs: 1, concurrency: 8 },
    )
    await bus.start()
    for (let number = 0; number < 8; number++) await bus.publish(topic, number, { key: `k${number}` })
    await waitUntil(() => begun >= 8, { timeoutMs: 5_000, describe: () => `${begun} of 8` })
    return topic
  }
  async function nextHandlesAll(topic: string): Promise<Set<string>> {
    const next = createBus({ service: 'deleted', transport: transport() })
    const codes = warnings(next)
    try {
      const handled = new Set<unknown>()
      next.consume(topic, ({ data }) => void handled.add(data))
      await next.start()
      await waitUntil(() => handled.size === 8, { timeoutMs: 20_000, describe: () => [...handled].join() })
    } finally {
      await next.close({ timeoutMs: 500 })
    }
    return codes
  }

  test('the consumer of a living member: what it holds is pending again, and comes when the member dies', async () => {
    await using proxy = await tcpProxy({ host: broker.host, port: broker.port })
    const topic = await eightBegun(proxy)
    const codes = warnings(bus ?? assert.fail())
    assert.equal(await deleteConsumers(topic), 8)
    await waitUntil(() => codes.has('redis-consumer-deleted'), { timeoutMs: 5_000, describe: () => [...codes].join() })
    const pending = async (): Promise<number> => {
      let count = 0
      for (const stream of await streamsOf(topic)) count += (await client.xPending(stream, 'deleted')).pending
      return count
    }
    await waitUntil(async () => (await pending()) === 8, { timeoutMs: 5_000 })
    // It says nothing more, not even goodbye.
    proxy.refuse()
    proxy.cut()
    await nextHandlesAll(topic)
  })

  test('the consumer of a dead member, before another one has taken over: what it held comes', async () => {
    await using proxy = await tcpProxy({ host: broker.host, port: broker.port })
    const topic = await eightBegun(proxy)
    proxy.refuse()
    proxy.cut()
    assert.equal(await deleteConsumers(topic), 8)
    const codes = await nextHandlesAll(topic)
    assert.ok(codes.has('redis-consumer-deleted'), [...codes].join())
  })

  describe.each(['group', 'consumer'] as const)('the %s, in the middle of a handler that fails', (deleted) => {
    test.each([
      ['key', 'retried'],
      ['key', 'dead-lettered'],
      ['none', 'retried'],
      ['none', 'dead-lettered'],
    ] as const)('order %s: the message is %s all the same', async (order, ending) => {
      bus = createBus({ service: 'deleted', transport: redis({ ...QUICK, url: broker.url, partitions: 1 }) })
      const topic = uniqueName('deleted')
      const attempts: number[] = []
      bus.consume(
        topic,
        async (_, ctx) => {
          attempts.push(ctx.attempt)
          if (ctx.attempt > 1) return
          const streams = await streamsOf(topic)
          // Not awaited: the failure is to be settled before anything of it is noticed.
          if (deleted === 'group') for (const stream of streams) void client.xGroupDestroy(stream, 'deleted')
          else await deleteConsumers(topic)
          if (ending === 'retried') ctx.retry({ delayMs: 100 })
          ctx.reject('bad')
        },
        { order, retry: { mode: 'delayed', attempts: 5 } },
      )
      await bus.start()
      await bus.publish(topic, 1)
      const letters = bus.deadLetters(topic, 'deleted')
      const until = async (): Promise<boolean> => attempts.length > 1 || (await letters.list()).length > 0
      await waitUntil(until, { timeoutMs: QUICK.leaseMs * 6, describe: () => `attempts ${attempts.join()}` })
      assert.equal((await letters.list()).length, ending === 'retried' ? 0 : 1)
    })
  })

  test('the group, while messages wait for their retry: made again with a warning for each partition and no error', async () => {
    bus = createBus({ service: 'deleted', transport: redis({ ...QUICK, url: broker.url, partitions: 2 }) })
    const topic = uniqueName('deleted')
    const deleted = Promise.withResolvers<void>()
    const seen = { errors: [] as string[], warnings: [] as string[], attempts: new Map<unknown, number[]>() }
    bus.events.on('error', ({ error, doing }) => void seen.errors.push(`${doing}: ${String(error)}`))
    bus.events.on('warning', ({ code }) => void seen.warnings.push(code))
    bus.consume(
      topic,
      async ({ data }, { attempt }) => {
        seen.attempts.set(data, [...(seen.attempts.get(data) ?? []), attempt])
        // All of them fail at once, before anything is noticed.
        if (attempt === 1) await deleted.promise
        if (attempt < 3) throw new Error('again')
      },
      { retry: { mode: 'inline', attempts: 5, backoff: 'fixed', baseMs: 150 } },
    )
    await bus.start()
    for (let number = 0; number < 10; number++) await bus.publish(topic, number, { key: `k${number}` })
    await waitUntil(() => seen.attempts.size === 10, { timeoutMs: 5_000 })
    for (const stream of await streamsOf(topic)) void client.xGroupDestroy(stream, 'deleted')
    deleted.resolve()
    await waitUntil(() => [...seen.attempts.values()].every((attempts) => attempts.includes(3)), {
      timeoutMs: 10_000,
      describe: () => JSON.stringify([...seen.attempts]),
    })
    assert.deepEqual(
      [...seen.attempts.values()].flat().sort((a, b) => a - b),
      Array.from({ length: 30 }, (_, at) => 1 + Math.floor(at / 10)),
    )
    assert.deepEqual(seen.errors, [])
    assert.deepEqual(seen.warnings, ['redis-group-made-again', 'redis-group-made-again'])
  })

  test('the data of the group, just before handlers end: what they handled is acked, and partitions are not lost', async () => {
    bus = createBus({ service: 'deleted', transport: transport() })
    const topic = uniqueName('deleted')
    const gate = Promise.withResolvers<void>()
    const handled: unknown[] = []
    const lost: unknown[] = []
    bus.events.on('lost', (event) => void lost.push(event))
    bus.consume(
      topic,
      async ({ data }) => {
        handled.push(data)
        await gate.promise
      },
      { concurrency: 8 },
    )
    await bus.start()
    for (let number = 0; number < 8; number++) await bus.publish(topic, number, { key: `k${number}` })
    await waitUntil(() => handled.length === 8, { timeoutMs: 5_000 })
    await client.del(`busbar:{${topic}}:group:deleted`)
    gate.resolve()
    await waitUntil(async () => (await bus?.admin().groups(topic))?.[0]?.lag === 0, { timeoutMs: 1_000 })
    await bus.publish(topic, 8)
    await waitUntil(() => handled.includes(8), { timeoutMs: 1_000, describe: () => handled.join() })
    assert.deepEqual([handled.length, lost], [9, []])
  })

  test('the consumer, again and again while leases of its messages are renewed: they are still its own', async () => {
    bus = createBus({
      service: 'deleted',
      transport: redis({ ...QUICK, url: broker.url, partitions: 1, pollIntervalMs: QUICK.leaseMs / 2 }),
    })
    const topic = uniqueName('deleted')
    const lost: unknown[] = []
    const attempts: number[] = []
    bus.events.on('lost', (event) => void lost.push(event))
    bus.consume(
      topic,
      async (_, ctx) => {
        attempts.push(ctx.attempt)
        if (ctx.attempt > 1) return
        const until = performance.now() + QUICK.leaseMs
        while (performance.now() < until) await deleteConsumers(topic)
        ctx.retry()
      },
      { order: 'none', retry: { mode: 'delayed', backoff: 'fixed', baseMs: 10 } },
    )
    await bus.start()
    await bus.publish(topic, 1)
    await waitUntil(() => attempts.length > 1, { timeoutMs: QUICK.leaseMs * 6, describe: () => attempts.join() })
    assert.deepEqual([attempts, lost], [[1, 2], []])
  })

  test('the consumer, while a reply to it is lost: what was in the reply comes again', async () => {
    await using proxy = await tcpProxy({ host: broker.host, port: broker.port })
    const topic = uniqueName('deleted')
    const options = { ...QUICK, leaseMs: 10_000, partitions: 1 }
    bus = createBus({ service: 'deleted', transport: redis({ ...options, host: proxy.host, port: proxy.port }) })
    const handled: unknown[] = []
    bus.consume(topic, ({ data }) => void handled.push(data))
    await bus.start()
    await bus.publish(topic, 0, { key: 'k' })
    await waitUntil(() => handled.length === 1, { timeoutMs: 5_000 })
    const [stream = ''] = await streamsOf(topic)
    const settled = async (count: number): Promise<boolean> =>
      (await client.xPending(stream, 'deleted')).pending === count
    await waitUntil(() => settled(0), { timeoutMs: 5_000 })
    proxy.stall('down')
    for (let number = 1; number < 4; number++) await client.xAdd(stream, '*', { data: String(number) })
    await waitUntil(() => settled(1), { timeoutMs: 5_000, describe: 'a reply on its way' })
    await deleteConsumers(topic)
    proxy.cut()
    proxy.resume()
    await waitUntil(() => handled.length === 4, { timeoutMs: 10_000, describe: () => handled.join() })
    assert.deepEqual(
      handled.map(Number).toSorted((a, b) => a - b),
      [0, 1, 2, 3],
    )
  })

  test('the consumer that holds what a member handed back: it still comes before what is newer', async () => {
    const topic = uniqueName('deleted')
    const make = (): Bus =>
      createBus({ service: 'deleted', transport: redis({ ...QUICK, url: broker.url, partitions: 1 }) })
    const first = (bus = make())
    const begun = Promise.withResolvers<void>()
    const consumer = first.consume(
      topic,
      () => {
        begun.resolve()
        return new Promise(() => {})
      },
      { concurrency: 1, abandonAfterMs: 1 },
    )
    await first.start()
    for (let number = 0; number < 5; number++) await first.publish(topic, number, { key: 'k' })
    await begun.promise
    await waitUntil(() => consumer.stats().received === 5, { timeoutMs: 5_000 })
    await first.close({ timeoutMs: 100 })
    assert.equal(await deleteConsumers(topic, (name) => name === '@later'), 5)
    const second = (bus = make())
    const handled: unknown[] = []
    await second.start()
    for (let number = 5; number < 10; number++) await second.publish(topic, number, { key: 'k' })
    second.consume(topic, ({ data }) => void handled.push(data))
    await waitUntil(() => handled.length === 10, { timeoutMs: 5_000, describe: () => handled.join() })
    assert.deepEqual(handled, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  })

  test.each(['retried', 'dead-lettered'] as const)(
    'nothing, but a lease ends before a failure is settled: what another member has handled is not %s',
    async (ending) => {
      await using proxy = await tcpProxy({ host: broker.host, port: broker.port })
      const topic = uniqueName('deleted')
      const options = { ...QUICK, partitions: 1 }
      bus = createBus({ service: 'deleted', transport: redis({ ...options, host: proxy.host, port: proxy.port }) })
      const other = createBus({ service: 'deleted', transport: redis({ ...options, url: broker.url }) })
      const handled: string[] = []
      const begun = Promise.withResolvers<void>()
      const cut = Promise.withResolvers<void>()
      bus.consume(
        topic,
        async (_, ctx) => {
          handled.push('one')
          begun.resolve()
          await cut.promise
          if (ending === 'retried') ctx.retry({ delayMs: 10 })
          ctx.reject('bad')
        },
        { order: 'none', retry: { mode: 'delayed', attempts: 5 } },
      )
      other.consume(topic, () => void handled.push('other'), { order: 'none' })
      try {
        await bus.start()
        await bus.publish(topic, 1)
        await begun.promise
        await other.start()
        let up = true
        bus.events.on('disconnect', () => {
          up = false
        })
        bus.events.on('reconnect', () => {
          up = true
        })
        proxy.refuse()
        proxy.cut()
        await waitUntil(() => !up, { timeoutMs: 5_000 })
        cut.resolve()
        await waitUntil(() => handled.length === 2, { timeoutMs: QUICK.leaseMs * 6 })
        proxy.accept()
        await waitUntil(() => up, { timeoutMs: 10_000 })
        await bus.close()
        const pending = await client.xPending((await streamsOf(topic))[0] ?? '', 'deleted')
        assert.deepEqual([handled, pending.pending], [['one', 'other'], 0])
        assert.deepEqual(await other.deadLetters(topic, 'deleted').list(), [])
      } finally {
        await other.close({ timeoutMs: 500 })
      }
    },
  )

  test('the consumer that keeps what waits for its retry: it comes when it is due', async () => {
    bus = createBus({ service: 'deleted', transport: transport() })
    const topic = uniqueName('deleted')
    const attempts: number[] = []
    bus.consume(
      topic,
      (_, { attempt }) => {
        attempts.push(attempt)
        if (attempt === 1) throw new Error('again')
      },
      { order: 'none', retry: { mode: 'delayed', backoff: 'fixed', baseMs: 1_000, attempts: 3 } },
    )
    await bus.start()
    await bus.publish(topic, 'waits')
    await waitUntil(async () => (await deleteConsumers(topic, (name) => name === '@later')) === 1, { timeoutMs: 5_000 })
    await waitUntil(() => attempts.length === 2, { timeoutMs: 10_000, describe: () => attempts.join() })
    assert.deepEqual(attempts, [1, 2])
  })

  for (const from of ['latest', 'earliest'] as const)
    test(`the group while no member runs (from ${from}): it continues where it was`, async () => {
      const topic = uniqueName('deleted')
      const handled: unknown[] = []
      const run = async (): Promise<Bus> => {
        const made = createBus({ service: 'deleted', transport: transport() })
        made.consume(topic, ({ data }) => void handled.push(data), { from, group: 'g' })
        await made.start()
        return made
      }
      const first = await run()
      for (let number = 0; number < 10; number++) await first.publish(topic, number, { key: `k${number % 3}` })
      await waitUntil(() => handled.length === 10, { timeoutMs: 5_000 })
      await first.close()
      for (const stream of await streamsOf(topic)) await client.xGroupDestroy(stream, 'g')
      bus = createBus({ service: 'deleted', transport: transport() })
      await bus.start()
      for (let number = 10; number < 20; number++) await bus.publish(topic, number, { key: `k${number % 3}` })
      const second = await run()
      try {
        await waitUntil(() => handled.length >= 20, { timeoutMs: 10_000, describe: () => handled.join() })
        await second.publish(topic, 'last', { key: 'k0' })
        await waitUntil(() => handled.includes('last'), { timeoutMs: 5_000 })
        const expected = [...Array.from({ length: 20 }, (_, at) => String(at)), 'last'].sort()
        assert.deepEqual(handled.map(String).sort(), expected)
      } finally {
        await second.close({ timeoutMs: 500 })
      }
    })

  test('the streams: what was in them is lost, what comes after is handled', { timeout: 30_000 }, async () => {
    bus = createBus({ service: 'deleted', transport: transport() })
    const [topic, held] = [uniqueName('deleted'), Promise.withResolvers<void>()]
    const handled = new Set<string>()
    const [codes, lost] = [warnings(bus), losses(bus)]
    let begun = 0
    bus.consume(topic, async ({ id, data }) => {
      if (data === 'before') {
        begun++
        await held.promise
      }
      handled.add(id)
    })
    await bus.start()
    await bus.publishMany(
      topic,
      Array.from({ length: 20 }, (_, at) => ({ data: 'before', key: `k${at}` })),
    )
    await waitUntil(() => begun >= 10, { timeoutMs: 5_000, describe: () => `${begun} begun` })
    for (const stream of await streamsOf(topic)) await client.del(stream)
    const results = await bus.publishMany(
      topic,
      Array.from({ length: 100 }, (_, at) => ({ data: 'after', key: `k${at % 20}` })),
      { allowFailures: true },
    )
    held.resolve()
    const ids = results.map(({ id, error }) => (assert.equal(error, undefined), id))
    await waitUntil(() => ids.every((id) => handled.has(id)), {
      timeoutMs: 15_000,
      describe: () => `${ids.filter((id) => handled.has(id)).length} of 100`,
    })
    assert.ok(codes.has('redis-group-made-again'), [...codes].join())
    assert.deepEqual(lost[0], { group: 'deleted', count: undefined })
    // What was being handled has not been lost with the stream.
    await waitUntil(() => handled.size >= 100 + begun, { timeoutMs: 5_000, describe: () => `${handled.size} handled` })
  })

  test('the stream of copies for a group: the server is not asked for it again and again, and the next copy comes', async () => {
    bus = createBus({ service: 'deleted', transport: redis({ ...QUICK, url: broker.url, partitions: 1 }) })
    const [topic, side] = [uniqueName('deleted'), (name: string) => `busbar:{${name}}:side:deleted`]
    const handled: unknown[] = []
    let failing = true
    bus.consume(
      topic,
      ({ data }) => {
        if (failing) throw new Error('dead')
        handled.push(data)
      },
      { retry: { attempts: 1 } },
    )
    await bus.start()
    const letters = bus.deadLetters(topic, 'deleted')
    const redrive = async (data: string): Promise<void> => {
      failing = true
      await bus?.publish(topic, data, { key: 'k' })
      await waitUntil(async () => (await letters.list()).length === 1, { timeoutMs: 5_000 })
      failing = false
      await letters.redrive()
    }
    await redrive('one')
    await waitUntil(() => handled.length === 1, { timeoutMs: 5_000 })
    await client.del(side(topic))
    const calls = async (): Promise<number> =>
      Number(/cmdstat_evalsha:calls=(\d+)/.exec(await client.info('commandstats'))?.[1])
    const before = await calls()
    const until = performance.now() + 2_000
    await waitUntil(() => performance.now() > until)
    const each = ((await calls()) - before) / 2
    // A sign of life and a renewal at each of the ten ticks of a second, and little else.
    assert.ok(each < 60, `${each} scripts in a second`)
    await redrive('two')
    await waitUntil(() => handled.length === 2, { timeoutMs: 5_000, describe: () => handled.join() })
  })

  test('everything: topics, groups and patterns come back by themselves', { timeout: 30_000 }, async () => {
    bus = createBus({ service: 'deleted', transport: transport() })
    const base = uniqueName('deleted')
    const handled = new Set<unknown>()
    bus.consume(`${base}.plain`, ({ data }) => void handled.add(data))
    bus.consume(`${base}.many.>`, ({ data }) => void handled.add(data), { group: 'pattern' })
    await bus.start()
    const publish = async (count: string): Promise<void> => {
      await bus?.publish(`${base}.plain`, `plain ${count}`)
      await bus?.publish(`${base}.many.one`, `many ${count}`)
      await waitUntil(() => handled.has(`plain ${count}`) && handled.has(`many ${count}`), {
        timeoutMs: 15_000,
        describe: () => [...handled].join(),
      })
    }
    await publish('before')
    await client.flushAll()
    await publish('after')
    await bus.publish(`${base}.many.two`, 'new topic')
    await waitUntil(() => handled.has('new topic'), { timeoutMs: 15_000 })
  })
})
