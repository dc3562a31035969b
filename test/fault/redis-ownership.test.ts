import assert from 'node:assert/strict'
import { afterEach, describe, test, vi } from 'vitest'
import type { RedisOptions } from 'busbar/redis'
import { tcpProxy, uniqueName, waitUntil } from 'busbar/testing'
import { ScriptRunner } from '../../src/transports/redis/connection/script-runner.ts'
import { ACQUIRE, RELEASE } from '../../src/transports/redis/scripts/group.ts'
import { FENCE_DEAD, RENEW } from '../../src/transports/redis/scripts/lease.ts'
import type { Script } from '../../src/transports/redis/scripts/script.ts'
import { LOOK } from '../../src/transports/redis/scripts/look.ts'
import { SEEK } from '../../src/transports/redis/scripts/move.ts'
import { pause } from './flow.ts'
import { QUICK } from './redis-options.ts'
import { redisHarness, streamOf } from '../integration/redis-harness.ts'

type Run = (this: ScriptRunner, ...args: Parameters<ScriptRunner['run']>) => Promise<unknown>

const GROUP = 'owners'
const PARTITIONS = 4

const { broker, client, bus: makeBus } = await redisHarness(GROUP, { ...QUICK, partitions: PARTITIONS })

/** As long as a process lives, nobody takes over what the server says it owns: so the server must never say so wrongly. */
describe('Redis: who owns a partition', () => {
  afterEach(() => {
    vi.restoreAllMocks()
  })

  /** A member, not started, and what it has handled. */
  function member(topic: string, options: Partial<RedisOptions> = {}) {
    const bus = makeBus(options)
    const handled: unknown[] = []
    const consumer = bus.consume(topic, ({ data }) => void handled.push(data))
    return { bus, consumer, handled }
  }
  const metaOf = (topic: string): string => `busbar:{${topic}}:group:${GROUP}`
  async function ownersOf(topic: string): Promise<string[]> {
    const meta = await client.hGetAll(metaOf(topic))
    return Array.from({ length: PARTITIONS }, (_, at) => meta[`${at}:owner`]?.split(' ')[0] ?? '')
  }
  const shared = async (topic: string): Promise<void> => {
    const count = async (): Promise<number> => new Set((await ownersOf(topic)).filter((name) => name !== '')).size
    await waitUntil(async () => (await count()) === 2 && !(await ownersOf(topic)).includes(''), {
      timeoutMs: 10_000,
      describe: 'each of two members to own partitions',
    })
  }
  /** One message in each partition. */
  async function fill(topic: string): Promise<void> {
    for (let at = 0; at < PARTITIONS; at++) await client.xAdd(streamOf(topic, at), '*', { data: String(at) })
  }
  const all = Array.from({ length: PARTITIONS }, (_, at) => at)
  const run = (script: Script, key: string, ...args: (string | number)[]): Promise<unknown> =>
    client.eval(script.lua, { keys: [key], arguments: args.map(String) })
  const serverTime = async (): Promise<number> =>
    Number(await client.eval(`local t = redis.call('TIME') return t[1] * 1000 + math.floor(t[2] / 1000)`))

  test('a consumer that is closed without a connection leaves its partitions to others while its process lives on', async () => {
    await using proxy = await tcpProxy(broker)
    const topic = uniqueName('owners')
    const leaving = member(topic, { host: proxy.host, port: proxy.port, leaseMs: 10_000 })
    // Keeps the process, and so its lease, busy.
    leaving.bus.consume(uniqueName('other'), () => {})
    const other = member(topic, { leaseMs: 10_000 })
    await leaving.bus.start()
    await other.bus.start()
    await shared(topic)
    const back = new Promise((resolve) => {
      leaving.bus.events.on('reconnect', resolve)
    })
    const down = new Promise((resolve) => {
      leaving.bus.events.on('disconnect', resolve)
    })
    proxy.refuse()
    proxy.cut()
    await down
    await leaving.consumer.close()
    proxy.accept()
    await back
    await fill(topic)
    await waitUntil(() => other.handled.length === PARTITIONS, {
      timeoutMs: 5_000,
      describe: () => `handled ${other.handled.join()}`,
    })
    assert.deepEqual(new Set(other.handled), new Set(all))
  })

  test('a consumer that is closed while it takes partitions of a dead process leaves them to others', async () => {
    const topic = uniqueName('owners')
    const leaving = member(topic)
    leaving.bus.consume(uniqueName('other'), () => {})
    await leaving.bus.start()
    await leaving.consumer.close()
    await waitUntil(async () => (await ownersOf(topic)).every((name) => name === ''), { timeoutMs: 5_000 })
    const dead = 'dead.60000'
    for (const at of all) await client.hSet(metaOf(topic), `${at}:owner`, `${dead} member`)
    await client.zAdd('busbar:leases', { value: dead, score: (await serverTime()) + 60_000 })
    const closing = member(topic)
    closing.bus.consume(uniqueName('other'), () => {})
    await closing.bus.start()

    const original: Run = Reflect.get(ScriptRunner.prototype, 'run')
    const asked = Promise.withResolvers<void>()
    const go = Promise.withResolvers<void>()
    vi.spyOn(ScriptRunner.prototype, 'run').mockImplementation(async function (this: ScriptRunner, script, ...rest) {
      const reply = await original.call(this, script, ...rest)
      // It knows that the owner is dead, and is about to take over.
      if (script === FENCE_DEAD && String(rest[1]) === dead && String(reply) === '1') {
        asked.resolve()
        await go.promise
      }
      return reply
    })
    await client.zAdd('busbar:leases', { value: dead, score: -(await serverTime()) })
    await asked.promise
    const closed = closing.consumer.close()
    await pause(200)
    go.resolve()
    await closed
    const next = member(topic)
    await next.bus.start()
    await fill(topic)
    await waitUntil(() => next.handled.length === PARTITIONS, {
      timeoutMs: 5_000,
      describe: () => `handled ${next.handled.join()}`,
    })
  })

  test('a group that is moved in the last moment of a handover: the partition goes to the other member', async () => {
    const topic = uniqueName('owners')
    const [first, second] = [member(topic), member(topic)]
    const original: Run = Reflect.get(ScriptRunner.prototype, 'run')
    let moved = 0
    vi.spyOn(ScriptRunner.prototype, 'run').mockImplementation(async function (this: ScriptRunner, script, ...rest) {
      if (script === RELEASE && moved < 2) {
        moved++
        const partition = String(rest[1][1]).split(':')[0] ?? ''
        const stream = streamOf(topic, Number(partition))
        const keys = [stream, metaOf(topic), `${stream}:later:${GROUP}`, `${stream}:notes:${GROUP}`]
        await client.eval(SEEK.lua, { keys, arguments: [GROUP, '0', partition] })
      }
      return original.call(this, script, ...rest)
    })
    await first.bus.start()
    await second.bus.start()
    await shared(topic)
    assert.equal(moved, 2)
    await fill(topic)
    await waitUntil(() => first.handled.length + second.handled.length === PARTITIONS, { timeoutMs: 5_000 })
  })

  test('a partition that is given back while its handover ends is given up when the consumer closes', async () => {
    const topic = uniqueName('owners')
    const [first, second] = [member(topic, { leaseMs: 10_000 }), member(topic, { leaseMs: 10_000 })]
    first.bus.consume(uniqueName('other'), () => {})
    const original: Run = Reflect.get(ScriptRunner.prototype, 'run')
    const released = new Map<string, PromiseWithResolvers<void>>()
    vi.spyOn(ScriptRunner.prototype, 'run').mockImplementation(async function (this: ScriptRunner, script, ...rest) {
      const [, args] = rest
      const owner = String(args[0])
      if (script === RELEASE && released.size < PARTITIONS / 2) {
        const again = Promise.withResolvers<void>()
        released.set(`${owner} ${String(args[1]).split(':')[0] ?? ''}`, again)
        const reply = await original.call(this, script, ...rest)
        // The reply arrives when the partition is about to be taken again.
        await again.promise
        return reply
      }
      if (script === ACQUIRE) {
        released.get(`${owner} ${String(args[5])}`)?.resolve()
        await pause(1)
      }
      return original.call(this, script, ...rest)
    })
    await first.bus.start()
    await second.bus.start()
    await shared(topic)
    await second.bus.close()
    const owners = async (): Promise<number> => new Set(await ownersOf(topic)).size
    await waitUntil(async () => (await owners()) === 1 && !(await ownersOf(topic)).includes(''), { timeoutMs: 5_000 })
    await first.consumer.close()
    assert.deepEqual(await ownersOf(topic), ['', '', '', ''])
  })

  test('a partition that is given back while the last look of its handover runs stays with its member', async () => {
    const topic = uniqueName('owners')
    const first = makeBus({ leaseMs: 10_000, handoverTimeoutMs: 50 })
    const [handling, running] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    let handled = 0
    const consumer = first.consume(topic, async () => {
      if (++handled === PARTITIONS) running.resolve()
      await handling.promise
    })
    await first.start()
    await fill(topic)
    await running.promise
    const original: Run = Reflect.get(ScriptRunner.prototype, 'run')
    const looks: PromiseWithResolvers<void>[] = []
    const taken = new Set<string>()
    const released: string[] = []
    const lost = Promise.withResolvers<void>()
    const takenAgain = Promise.withResolvers<void>()
    let owner = ''
    vi.spyOn(ScriptRunner.prototype, 'run').mockImplementation(async function (this: ScriptRunner, script, ...rest) {
      const [, args] = rest
      if (script === LOOK && args[1] === '' && looks.length < PARTITIONS / 2) {
        const look = Promise.withResolvers<void>()
        if (looks.push(look) === PARTITIONS / 2) lost.resolve()
        await look.promise
      }
      // Before they are taken again, a member may tell the server that it does not have them.
      const isDenial = String(args[1]).endsWith(':') && taken.size < PARTITIONS / 2
      if (script === RELEASE && args[0] === owner && !isDenial) released.push(String(args[1]).split(':')[0] ?? '')
      const reply = await original.call(this, script, ...rest)
      if (script === ACQUIRE && args[0] === owner && taken.add(String(args[5])).size === PARTITIONS / 2)
        takenAgain.resolve()
      return reply
    })
    owner = (await client.hGet(metaOf(topic), '0:owner')) ?? ''
    const second = member(topic, { leaseMs: 10_000 })
    await second.bus.start()
    await lost.promise
    await second.bus.close()
    await takenAgain.promise
    await pause(1)
    for (const look of looks) look.resolve()
    handling.resolve()
    await consumer.close()
    assert.deepEqual(released.toSorted(), all.map(String))
  })

  test('after a reconnect, a member gives up only what it may have had', async () => {
    await using proxy = await tcpProxy(broker)
    const topic = uniqueName('owners')
    const first = member(topic)
    const second = member(topic, { host: proxy.host, port: proxy.port })
    await first.bus.start()
    await second.bus.start()
    await shared(topic)
    const firstOwner = (await ownersOf(topic))[0]
    const had = (await ownersOf(topic)).flatMap((owner, at) => (owner === firstOwner ? [] : [String(at)]))
    const gaveUp = new Set<string>()
    const original: Run = Reflect.get(ScriptRunner.prototype, 'run')
    vi.spyOn(ScriptRunner.prototype, 'run').mockImplementation(function (this: ScriptRunner, script, ...rest) {
      const [, args] = rest
      if (script === RELEASE && !String(args[0]).startsWith(firstOwner ?? ''))
        gaveUp.add(String(args[1]).split(':')[0] ?? '')
      return original.call(this, script, ...rest)
    })
    const back = new Promise((resolve) => {
      second.bus.events.on('reconnect', resolve)
    })
    proxy.cut()
    await back
    await second.consumer.close()
    assert.deepEqual([...gaveUp].toSorted(), had)
  })

  test('a failover to a replica that lacks a handover: the partition is read all the same', async () => {
    await using proxy = await tcpProxy(broker)
    const topic = uniqueName('owners')
    const first = member(topic, { host: proxy.host, port: proxy.port })
    await first.bus.start()
    const before = await client.hGetAll(metaOf(topic))
    const second = member(topic, { host: proxy.host, port: proxy.port })
    await second.bus.start()
    await shared(topic)
    // As the replica knows it: everything belongs to the first.
    await client.hSet(metaOf(topic), before)
    let reconnects = 0
    for (const { bus } of [first, second]) bus.events.on('reconnect', () => reconnects++)
    proxy.cut()
    await waitUntil(() => reconnects === 2, { timeoutMs: 10_000 })
    await shared(topic)
    await fill(topic)
    await waitUntil(() => first.handled.length + second.handled.length === PARTITIONS, { timeoutMs: 5_000 })
  })

  test('a member that joins after the hash of the group was deleted takes nothing from the owner, who has not noticed', async () => {
    const topic = uniqueName('owners')
    const gate = Promise.withResolvers<void>()
    const [begun, done]: [unknown[], unknown[]] = [[], []]
    const first = makeBus({ leaseMs: 5_000, pollIntervalMs: 1_000 })
    first.consume(topic, async ({ data }, { signal }) => {
      begun.push(data)
      await gate.promise
      signal.throwIfAborted()
      done.push(data)
    })
    await first.start()
    await fill(topic)
    await waitUntil(() => begun.length === PARTITIONS, { timeoutMs: 5_000 })
    await client.del(metaOf(topic))
    const second = member(topic)
    await second.bus.start()
    await waitUntil(
      async () => (await ownersOf(topic)).filter((name) => name !== '' && name !== '?').length === PARTITIONS,
      {
        timeoutMs: 10_000,
        describe: 'each partition to have an owner',
      },
    )
    gate.resolve()
    await waitUntil(() => done.length + second.handled.length >= PARTITIONS, { timeoutMs: 10_000 })
    assert.deepEqual([done.map(Number).toSorted((a, b) => a - b), second.handled], [all, []])
  })

  test('the same without an order: what was being handled is acked, and all members go on', async () => {
    const topic = uniqueName('owners')
    const options = { partitions: 1, leaseMs: 3_000, pollIntervalMs: 1_000 }
    const [first, second] = [makeBus(options), makeBus(options)]
    const gate = Promise.withResolvers<void>()
    const handled: number[] = []
    const running = first.consume(
      topic,
      async ({ data }) => {
        await gate.promise
        handled.push(Number(data))
      },
      { order: 'none', concurrency: 2, prefetch: 5 },
    )
    await first.start()
    for (let number = 0; number < 5; number++) await first.publish(topic, number)
    await waitUntil(() => running.stats().received === 5, { timeoutMs: 5_000 })
    await client.del(metaOf(topic))
    second.consume(topic, ({ data }) => void handled.push(Number(data)), { order: 'none' })
    await second.start()
    gate.resolve()
    const settled = async (): Promise<boolean> => (await client.xPending(streamOf(topic), GROUP)).pending === 0
    await waitUntil(settled, { timeoutMs: 2_000, describe: 'everything to be settled' })
    for (let number = 5; number < 45; number++) await first.publish(topic, number)
    await waitUntil(async () => handled.length >= 45 && (await settled()), {
      timeoutMs: 10_000,
      describe: () => `${handled.length} of 45 handled`,
    })
    assert.deepEqual(
      handled.toSorted((a, b) => a - b),
      Array.from({ length: 45 }, (_, at) => at),
    )
  })

  test('a stream of copies that is deleted while its messages wait here: the partition goes to the next owner', async () => {
    const topic = uniqueName('owners')
    const sideOf = (partition: number): string => `${streamOf(topic, partition)}:side:${GROUP}`
    for (const partition of [0, 1]) {
      await client.xGroupCreate(sideOf(partition), GROUP, '0', { MKSTREAM: true })
      for (let number = 0; number < 100; number++)
        await client.xAdd(sideOf(partition), '*', { data: `"copy ${partition}"` })
    }
    const first = makeBus({ partitions: 2, handoverTimeoutMs: 100 })
    let next = Promise.withResolvers<void>()
    let [current, started, isHeld] = ['', 0, false]
    const losses: (number | undefined)[] = []
    first.events.on('loss', ({ count }) => void losses.push(count))
    // With room for one, what is read of the four streams waits here.
    first.consume(
      topic,
      async ({ data }) => {
        current = String(data)
        started++
        if (isHeld) await next.promise
      },
      { concurrency: 1, prefetch: 1 },
    )
    await first.start()
    for (let number = 0; number < 100; number++)
      for (const partition of [0, 1]) await client.xAdd(streamOf(topic, partition), '*', { data: '"main"' })
    isHeld = true
    const waiting = async (): Promise<number> => (await client.xPendingRange(sideOf(1), GROUP, '-', '+', 10)).length
    let before = started
    await waitUntil(
      async () => {
        const isSteady = started === before
        before = started
        if (!isSteady) return false
        if ((await waiting()) > 0 && current !== 'copy 1') return true
        next.resolve()
        next = Promise.withResolvers()
        return false
      },
      { timeoutMs: 10_000, describe: () => `copies to wait while ${current} is handled` },
    )
    for (const partition of [0, 1]) await client.del(sideOf(partition))
    const second = member(topic, { partitions: 2 })
    await second.bus.start()
    await waitUntil(() => second.handled.length > 0, { timeoutMs: 5_000, describe: 'the other member to read' })
    next.resolve()
    isHeld = false
    assert.ok(losses.length > 0)
  })

  test('no generation comes again, not even when the server forgot the last ones', async () => {
    const [meta, stream] = [uniqueName('meta'), uniqueName('stream')]
    const acquire = async (owner: string, dead: string): Promise<unknown> => {
      const options = { keys: [meta, stream], arguments: [owner, '1500', '  m', GROUP, dead, '0'] }
      return ((await client.eval(ACQUIRE.lua, options)) as unknown[])[1]
    }
    await client.hSet(meta, { '0:generation': '1700000000000' })
    const copy = await client.hGetAll(meta)
    const first = await acquire('a m', '')
    const at = await serverTime()
    await waitUntil(async () => (await serverTime()) > at, { timeoutMs: 5_000 })
    await client.del(meta)
    await client.hSet(meta, copy)
    assert.notEqual(await acquire('b m', ''), first)
  })

  describe('leases', () => {
    const LEASE_MS = 10_000
    const lease = async (leases: Readonly<Record<string, number>>): Promise<string> => {
      const key = uniqueName('leases')
      const now = await serverTime()
      for (const [value, inMs] of Object.entries(leases)) await client.zAdd(key, { value, score: now + inMs })
      return key
    }
    const fence = (key: string, name: string): Promise<unknown> => run(FENCE_DEAD, key, name)

    test('thousands of silent processes are told', async () => {
      const key = uniqueName('leases')
      const score = (await serverTime()) + 1_000
      const silent = Array.from({ length: 5_000 }, (_, at) => ({ value: `p${at}.10000`, score }))
      await client.zAdd(key, [...silent, { value: 'b.10000', score: score + 8_000 }])
      assert.equal(((await run(RENEW, key, 'b.10000', 5_000)) as unknown[]).length, 2 + 2 * silent.length)
    })

    test('a question about living processes does not make the server look at all of them', async () => {
      const key = await lease({ 'a.10000': 5_000, 'b.10000': 9_000 })
      await client.configResetStat()
      assert.deepEqual(await fence(key, 'a.10000'), [0])
      assert.doesNotMatch(await client.info('commandstats'), /cmdstat_zrange:/)
    })

    test('a process whose lease ended while the server was away is not dead until others could renew theirs', async () => {
      const key = await lease({ 'a.10000': -500, 'b.10000': -700 })
      assert.deepEqual(await fence(key, 'a.10000'), [2])
      await run(RENEW, key, 'b.10000', 5_000)
      assert.deepEqual(await fence(key, 'a.10000'), [0])
      assert.equal(((await run(RENEW, key, 'a.10000', 5_000)) as number[])[0], 1)
    })

    test('a process that is silent while others renew is dead', async () => {
      const key = await lease({ 'a.10000': -500, 'b.10000': 9_000 })
      assert.deepEqual(await fence(key, 'a.10000'), [1])
      assert.equal(((await run(RENEW, key, 'a.10000', 5_000)) as number[])[0], 0)
    })

    test('a process that was deleted from the list is dead after a lease, and not before', async () => {
      const key = await lease({ 'b.500': 400 })
      assert.deepEqual(await fence(key, 'a.500'), [0])
      await waitUntil(
        async () => {
          await run(RENEW, key, 'b.500', 250)
          return String(await fence(key, 'a.500')) === '1'
        },
        { timeoutMs: 5_000 },
      )
    })

    test('a process that is not on the list is dead at once if there has been a list for longer than its lease', async () => {
      const key = await lease({ since: -1_000, 'b.10000': 9_000 })
      assert.deepEqual(await fence(key, 'a.500'), [1])
      assert.deepEqual(await fence(key, 'a.10000'), [0])
    })

    test('in a cluster, where the list may be older than the partitions, one that is not on it lives for a lease', async () => {
      const key = await lease({ 'b.10000': 9_000 })
      await run(RENEW, key, 'b.10000', 5_000, 'cluster')
      const later = (await serverTime()) + 600
      await waitUntil(async () => (await serverTime()) > later, { timeoutMs: 5_000 })
      assert.deepEqual(await fence(key, 'a.500'), [0])
    })

    test('a dead process is noticed after a lease also when the clock of the server was set back', async () => {
      const key = await lease({ 'a.10000': 3_600_000 })
      await run(RENEW, key, 'b.10000', 5_000)
      const ends = Number(await client.zScore(key, 'a.10000'))
      assert.ok(ends <= (await serverTime()) + LEASE_MS, `it ends in ${ends - (await serverTime())} ms`)
    })

    test('a dead process with a much shorter lease than ours is noticed', async () => {
      const key = await lease({ 'a.1000': -500, 'b.10000': 8_000 })
      await run(RENEW, key, 'b.10000', 5_000)
      assert.ok(Number(await client.zScore(key, 'a.1000')) < 0)
    })

    test('a process with a shorter lease than ours is not taken for silent', async () => {
      const key = await lease({ 'a.10000': 9_000 })
      assert.deepEqual(((await run(RENEW, key, 'b.60000', 30_000)) as unknown[]).slice(2), [])
    })
  })
})
