import assert from 'node:assert/strict'
import { createClient } from 'redis'
import { describe, test } from 'vitest'
import type { Bus } from 'busbar'
import { tcpProxy, uniqueName, waitUntil } from 'busbar/testing'
import type { RedisOptions } from 'busbar/redis'
import { startPrivate } from '../../tools/brokers/index.ts'
import { redisHarness, streamOf } from './redis-harness.ts'

const QUICK = { leaseMs: 1_000, pollIntervalMs: 50, partitions: 1, checkServer: false } as const
const GROUP = 'removed'

/** Several looks for what was removed. */
const LOOKS_MS = 3 * QUICK.leaseMs

const { broker, client, bus: make } = await redisHarness(GROUP, QUICK, { concurrent: true })

describe.concurrent('Redis: what other programs remove before a group has read it', () => {
  async function publish(bus: Bus, topic: string, count: number): Promise<void> {
    const items = Array.from({ length: count }, (_, at) => ({ data: at, key: `k${at % 7}` }))
    for (const { error } of await bus.publishMany(topic, items, { allowFailures: true })) assert.equal(error, undefined)
  }
  const idsOf = async (topic: string): Promise<string[]> =>
    ((await client.xRange(streamOf(topic), '-', '+')) ?? []).map(({ id }) => id)
  const passes = async (ms: number): Promise<void> => {
    const until = performance.now() + ms
    await waitUntil(() => performance.now() >= until, { timeoutMs: ms + 5_000 })
  }

  /** A consumer that stops in the middle of what it has read until `open` is called. */
  async function consumer(topic: string, options: Partial<RedisOptions> = {}) {
    const bus = make(options)
    const gate = Promise.withResolvers<void>()
    const seen = { handled: new Set<string>(), losses: [] as (number | undefined)[] }
    bus.events.on('loss', ({ count }) => void seen.losses.push(count))
    const handle = bus.consume(
      topic,
      async ({ id }) => {
        await gate.promise
        seen.handled.add(id)
      },
      { prefetch: 32, concurrency: 8 },
    )
    await bus.start()
    const sum = (): number => seen.losses.reduce<number>((total, count) => total + (count ?? Number.NaN), 0)
    return { bus, seen, handle, open: gate.resolve, sum }
  }

  const removals: Readonly<Record<string, (topic: string) => Promise<unknown>>> = {
    'trims all of it': (topic) => client.xTrim(streamOf(topic), 'MAXLEN', 0),
    'trims the older ones': (topic) => client.xTrim(streamOf(topic), 'MAXLEN', 100),
    'deletes the newest': async (topic) => client.xDel(streamOf(topic), (await idsOf(topic)).slice(-60)),
    'deletes some in the middle': async (topic) => client.xDel(streamOf(topic), (await idsOf(topic)).slice(150, 260)),
    'moves the group to the end': (topic) => client.xGroupSetId(streamOf(topic), GROUP, '$'),
  }

  test.each(Object.keys(removals))(
    'another program %s, and newer ones are read right after: each missing message is counted once',
    { timeout: 30_000 },
    async (how) => {
      const topic = uniqueName('removed')
      const { bus, seen, handle, open, sum } = await consumer(topic)
      await publish(bus, topic, 400)
      await waitUntil(() => handle.stats().received >= 16, { timeoutMs: 5_000 })
      await removals[how]?.(topic)
      await publish(bus, topic, 200)
      open()
      await waitUntil(() => seen.handled.size + sum() >= 600, {
        timeoutMs: 10_000,
        describe: () => `${seen.handled.size} handled, lost ${seen.losses.join()}`,
      })
      await publish(bus, topic, 100)
      await passes(LOOKS_MS)
      assert.equal(seen.handled.size + sum(), 700, `${seen.handled.size} handled, lost ${seen.losses.join()}`)
      assert.ok(seen.losses.length === 1, seen.losses.join())
    },
  )

  /** While no member reads, another program trims away what is published, and then publishes more. */
  async function nextMemberCounts(topic: string): Promise<void> {
    const publisher = make()
    await publisher.start()
    await publish(publisher, topic, 300)
    await client.xTrim(streamOf(topic), 'MAXLEN', 0)
    await publish(publisher, topic, 50)
    const { seen, open, sum } = await consumer(topic)
    open()
    await waitUntil(() => seen.handled.size === 50 && sum() === 300, {
      timeoutMs: 10_000,
      describe: () => `${seen.handled.size} handled, lost ${seen.losses.join()}`,
    })
    await passes(LOOKS_MS)
    assert.deepEqual([seen.losses, seen.handled.size], [[300], 50])
  }

  test('another program trims while no member runs, and publishes more: the next member counts them', async () => {
    const topic = uniqueName('removed')
    const first = await consumer(topic)
    await publish(first.bus, topic, 20)
    first.open()
    await waitUntil(() => first.seen.handled.size === 20, { timeoutMs: 5_000 })
    await first.bus.close()
    await nextMemberCounts(topic)
  })

  test('another program trims after a member has died: the member that takes over counts them', async () => {
    await using proxy = await tcpProxy({ host: broker.host, port: broker.port })
    const topic = uniqueName('removed')
    const first = await consumer(topic, { url: `redis://${proxy.host}:${proxy.port}` })
    await publish(first.bus, topic, 20)
    first.open()
    const isAcked = async (): Promise<boolean> => (await client.xPending(streamOf(topic), GROUP)).pending === 0
    await waitUntil(async () => first.seen.handled.size === 20 && (await isAcked()), { timeoutMs: 5_000 })
    proxy.refuse()
    proxy.cut()
    await nextMemberCounts(topic)
  })

  test.each([
    ['few', 10],
    ['many', 300],
  ])(
    'another program restores an older dump of the stream, and %s are published: a loss without a count',
    async (_, more) => {
      const topic = uniqueName('removed')
      const { bus, seen, open } = await consumer(topic)
      open()
      await publish(bus, topic, 100)
      const dump = await client.withTypeMapping({ 36: Buffer }).dump(streamOf(topic))
      await publish(bus, topic, 100)
      await waitUntil(() => seen.handled.size === 200, { timeoutMs: 5_000 })
      await passes(LOOKS_MS)
      await client.sendCommand(['RESTORE', streamOf(topic), '0', dump, 'REPLACE'])
      await publish(bus, topic, more)
      await waitUntil(() => seen.losses.length > 0, { timeoutMs: 10_000 })
      await passes(LOOKS_MS)
      assert.deepEqual(seen.losses, [undefined])
    },
  )

  test('after a long time in which nothing happened: what was removed while the consumer was paused', async () => {
    const topic = uniqueName('quiet')
    // A quiet partition is looked at for what other programs did once per six leases.
    const { bus, seen, handle, open } = await consumer(topic, { leaseMs: 200, pollIntervalMs: 20 })
    open()
    await publish(bus, topic, 10)
    await waitUntil(() => seen.handled.size === 10, { timeoutMs: 5_000 })
    await passes(4_000)
    handle.pause()
    // At once: a read that the pause has not ended yet must not receive them.
    const removing = client.multi()
    for (let number = 0; number < 20; number++) removing.xAdd(streamOf(topic), '*', { data: String(number) })
    await removing.xTrim(streamOf(topic), 'MAXLEN', 0).exec()
    await waitUntil(() => seen.losses.length > 0, { timeoutMs: 5_000 })
    assert.deepEqual([seen.losses, seen.handled.size], [[20], 10])
  })

  test('another program moves the group back: messages come again, and that is no loss', async () => {
    const topic = uniqueName('removed')
    const { bus, seen, handle, open } = await consumer(topic)
    open()
    await publish(bus, topic, 100)
    await waitUntil(() => seen.handled.size === 100, { timeoutMs: 5_000 })
    await client.xGroupSetId(streamOf(topic), GROUP, '0')
    await publish(bus, topic, 100)
    await waitUntil(() => handle.stats().received >= 300, { timeoutMs: 5_000 })
    await passes(LOOKS_MS)
    assert.deepEqual(seen.losses, [])
  })

  test('a purge is no loss', { timeout: 60_000 }, async () => {
    const topic = uniqueName('removed')
    const often = { leaseMs: 200, pollIntervalMs: 10, partitions: 8 }
    const { bus, seen, handle } = await consumer(topic, often)
    handle.pause()
    for (let round = 0; round < 60; round++) {
      await publish(bus, topic, 40)
      await bus.admin().purge(topic)
    }
    await passes(LOOKS_MS)
    assert.deepEqual(seen.losses, [])
  })

  test('another program reads in the name of the group: that is no loss, and comes after a lease', async () => {
    const topic = uniqueName('removed')
    const { bus, seen, handle, open } = await consumer(topic)
    await publish(bus, topic, 100)
    await waitUntil(() => handle.stats().received >= 16, { timeoutMs: 5_000 })
    const taken = await client.xReadGroup(GROUP, 'stranger', { key: streamOf(topic), id: '>' }, { COUNT: 10 })
    assert.notEqual(taken, null)
    open()
    await waitUntil(() => seen.handled.size === 100, { timeoutMs: 10_000, describe: () => `${seen.handled.size}` })
    await passes(LOOKS_MS)
    assert.deepEqual(seen.losses, [])
  })

  test(
    'a member without an order beside one with an order: what it takes is no loss',
    { timeout: 30_000 },
    async () => {
      const topic = uniqueName('removed')
      const { bus, seen, open } = await consumer(topic)
      open()
      await publish(bus, topic, 100)
      await waitUntil(() => seen.handled.size === 100, { timeoutMs: 5_000 })
      const other = make()
      const taken = new Set<string>()
      other.events.on('loss', ({ count }) => void seen.losses.push(count))
      other.consume(topic, ({ id }) => void taken.add(id), { order: 'none' })
      await other.start()
      for (let round = 0; round < 40; round++) {
        await publish(bus, topic, 20)
        await passes(100)
      }
      // Where a lease ended because this machine was busy, both have handled a message.
      const all = (): number => new Set([...seen.handled, ...taken]).size
      await waitUntil(() => all() === 900, { timeoutMs: 5_000, describe: () => `${all()} of 900` })
      assert.ok(taken.size > 0)
      await other.close()
      await publish(bus, topic, 100)
      await passes(LOOKS_MS)
      assert.deepEqual(seen.losses, [])
    },
  )

  test('a server that restarts is no loss', { timeout: 60_000 }, async () => {
    const own = await startPrivate('redis', { args: ['--appendfsync', 'always'] })
    try {
      const topic = uniqueName('removed')
      const { bus, seen, open } = await consumer(topic, { url: own.url })
      open()
      let reconnects = 0
      bus.events.on('reconnect', () => void reconnects++)
      for (let round = 0; round < 4; round++) {
        await publish(bus, topic, 200)
        await own.restart()
        await waitUntil(() => reconnects > round, { timeoutMs: 10_000, describe: 'the reconnect' })
        await publish(bus, topic, 200)
        await passes(QUICK.leaseMs)
      }
      await waitUntil(() => seen.handled.size === 1_600, {
        timeoutMs: 20_000,
        describe: () => `${seen.handled.size} of 1600`,
      })
      await passes(LOOKS_MS)
      assert.deepEqual(seen.losses, [])
      await bus.close({ timeoutMs: 500 })
    } finally {
      await own.stop()
    }
  })

  test('a server that is the primary again after another one was is no loss', { timeout: 60_000 }, async () => {
    const servers = [await startPrivate('redis'), await startPrivate('redis')] as const
    const [first, second] = [createClient({ url: servers[0].url }), createClient({ url: servers[1].url })]
    await Promise.all([first.connect(), second.connect()])
    const replication = async (one: typeof first, pattern: RegExp): Promise<string | undefined> =>
      pattern.exec(await one.info('replication'))?.[0]
    const follow = async (one: typeof first, port: number): Promise<void> => {
      await one.sendCommand(['REPLICAOF', '127.0.0.1', String(port)])
      await waitUntil(async () => (await replication(one, /master_link_status:up/)) !== undefined, {
        timeoutMs: 10_000,
      })
    }
    const makePrimary = async (one: typeof first, other: typeof first, port: number): Promise<void> => {
      const offset = (of: typeof first): Promise<string | undefined> => replication(of, /master_repl_offset:\d+/)
      await waitUntil(async () => (await offset(one)) === (await offset(other)), { timeoutMs: 10_000 })
      await one.sendCommand(['REPLICAOF', 'NO', 'ONE'])
      await follow(other, port)
    }
    try {
      await follow(second, servers[0].port)
      const topic = uniqueName('removed')
      const publisher = make({ url: servers[0].url })
      await publisher.start()
      const before = await consumer(topic, { url: servers[0].url })
      await publish(publisher, topic, 10_000)
      await publisher.close()
      await waitUntil(() => before.handle.stats().received >= 16, { timeoutMs: 5_000 })
      await before.bus.close({ timeoutMs: 500 })
      await makePrimary(second, first, servers[1].port)
      const there = await consumer(topic, { url: servers[1].url })
      there.open()
      await waitUntil(() => there.seen.handled.size >= 100, { timeoutMs: 5_000 })
      await there.bus.close()
      assert.ok(there.seen.handled.size < 10_000)
      await makePrimary(first, second, servers[0].port)
      const { seen, open } = await consumer(topic, { url: servers[0].url })
      open()
      const all = (): number => new Set([...seen.handled, ...there.seen.handled]).size
      await waitUntil(() => all() === 10_000, { timeoutMs: 30_000, describe: () => `${all()} of 10000` })
      await passes(LOOKS_MS)
      assert.deepEqual(seen.losses, [])
    } finally {
      first.destroy()
      second.destroy()
      for (const server of servers) await server.stop()
    }
  })

  test('connections that break and members that come and go are no loss', { timeout: 60_000 }, async () => {
    await using proxy = await tcpProxy({ host: broker.host, port: broker.port })
    const topic = uniqueName('removed')
    const behind = { url: `redis://${proxy.host}:${proxy.port}`, partitions: 4 }
    const [one, publisher] = [await consumer(topic, behind), make({ partitions: 4 })]
    await publisher.start()
    one.open()
    const handled = new Set<string>()
    let published = 0
    for (let round = 0; round < 12; round++) {
      const other = round % 3 === 0 ? await consumer(topic, { partitions: 4 }) : undefined
      other?.open()
      for (let time = 0; time < 10; time++) {
        await publish(publisher, topic, 50)
        published += 50
        if (time % 4 === 0) proxy.cut()
        await passes(30)
      }
      await other?.bus.close()
      for (const id of other?.seen.handled ?? []) handled.add(id)
      assert.deepEqual(other?.seen.losses ?? [], [])
    }
    const all = (): number => new Set([...handled, ...one.seen.handled]).size
    await waitUntil(() => all() === published, { timeoutMs: 20_000, describe: () => `${all()} of ${published}` })
    await passes(LOOKS_MS)
    assert.deepEqual(one.seen.losses, [])
  })
})
