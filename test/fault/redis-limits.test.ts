// Longer than most files: every limit and permission, on one broker with the same users.
import assert from 'node:assert/strict'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { createClient } from 'redis'
import { afterAll, afterEach, beforeAll, describe, test } from 'vitest'
import { AuthorizationError, ConfigurationError, ConnectionError, createBus, PublishError, silentLogger } from 'busbar'
import type { Bus, BusOptions } from 'busbar'
import { tcpProxy, uniqueName, waitUntil } from 'busbar/testing'
import { redis } from 'busbar/redis'
import type { RedisOptions } from 'busbar/redis'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { RedisBroker } from '../../tools/brokers/index.ts'
import { recordFault, toRow } from './fault-report.ts'
import { Flow, pause, PREFETCH } from './flow.ts'
import { QUICK } from './redis-options.ts'

describe('Redis: limits and permissions', () => {
  let broker: RedisBroker
  let admin: ReturnType<typeof createClient>
  const buses: Bus[] = []
  let flow: Flow | undefined
  beforeAll(async () => {
    broker = await startPrivate('redis')
    admin = createClient({ url: broker.url })
    admin.on('error', () => {})
    await admin.connect()
  })
  afterEach(async () => {
    await admin.configSet('maxmemory', '0')
    await flow?.close()
    flow = undefined
    for (const bus of buses.splice(0)) await bus.close({ timeoutMs: 500 })
  })
  afterAll(async () => {
    admin.destroy()
    await broker.stop()
  })

  function bus(options: Partial<RedisOptions> = {}, more: Partial<BusOptions> = {}): Bus {
    const transport = redis({ ...QUICK, host: broker.host, port: broker.port, ...options })
    const made = createBus({ service: 'limits', transport, ...more })
    buses.push(made)
    return made
  }
  const user = (name: string, ...rules: string[]): Promise<unknown> =>
    admin.sendCommand(['ACL', 'SETUSER', name, 'on', '>pw', '~*', '&*', '+@all', ...rules])
  async function startFlow(options: Partial<RedisOptions> = {}): Promise<Flow> {
    const one = () => redis({ ...QUICK, host: broker.host, port: broker.port, ...options })
    flow = new Flow({ members: [one, one], publisher: one })
    return flow.start()
  }
  async function judge(fault: string, running: Flow, explained: number, backMs: number): Promise<void> {
    const outcome = await running.end()
    recordFault('redis', broker.version, toRow(fault, outcome, explained, backMs))
    assert.ok(outcome.repeated <= explained, `${outcome.repeated} were handled again, ${explained} can be explained`)
    assert.ok(outcome.notSent > 0, 'the fault must have been felt')
    assert.ok(backMs < 5_000, `it took ${backMs} ms to come back`)
  }
  const failureOf = async (publishing: Promise<unknown>): Promise<PublishError> => {
    const error: unknown = await publishing.catch((reason: unknown) => reason)
    assert.ok(error instanceof PublishError, `it must reject with a PublishError, got ${String(error)}`)
    return error
  }

  test('maxmemory: publishing fails as not sent, consumers continue, and publishing works when there is room again', async () => {
    const on = bus()
    const topic = `${uniqueName('oom')}.topic`
    const handled = new Set<string>()
    const codes: string[] = []
    on.events.on('warning', ({ code }) => codes.push(code))
    let attempts = 0
    on.consume(
      topic,
      ({ id, data }) => {
        if (data === 'retried' && ++attempts < 4) throw new Error('again')
        handled.add(id)
      },
      { order: 'none', retry: { mode: 'delayed', backoff: 'fixed', baseMs: 50, attempts: 10 } },
    )
    await on.start()
    const first = await on.publish(topic, 'first')
    await waitUntil(() => handled.has(first.id), { timeoutMs: 5_000 })
    const retried = await on.publish(topic, 'retried')
    await admin.configSet('maxmemory', '1mb')
    const error = await failureOf(on.publish(topic, 'no room'))
    assert.deepEqual([error.outcome, error.retryable], ['not-sent', true])
    assert.match(error.message, /maxmemory/)
    assert.deepEqual(codes, ['redis-out-of-memory'])
    assert.match((await on.health()).transports['main']?.detail ?? '', /out of memory/)
    // What was there before is handled, acked and even handed back for a while, though nothing can be added.
    await waitUntil(() => handled.has(retried.id), { timeoutMs: 5_000, describe: () => `${attempts} attempts` })
    await waitUntil(async () => (await on.admin().groups(topic))[0]?.lag === 0, { timeoutMs: 5_000 })
    await admin.configSet('maxmemory', '0')
    const last = await on.publish(topic, 'room again')
    await waitUntil(() => handled.has(last.id), { timeoutMs: 5_000 })
    assert.equal((await on.health()).transports['main']?.detail, undefined)
  })

  test('maxmemory is reached under load, for longer than a lease', { timeout: 30_000 }, async () => {
    const running = await startFlow()
    await admin.configSet('maxmemory', '1mb')
    await pause(QUICK.leaseMs + 500)
    await admin.configSet('maxmemory', '0')
    await judge('maxmemory reached for 2 s', running, 0, await running.progress(20))
  })

  test('credentials are revoked under load, and given back', { timeout: 30_000 }, async () => {
    await user('flow')
    const running = await startFlow({ username: 'flow', password: 'pw' })
    await admin.sendCommand(['ACL', 'SETUSER', 'flow', 'off'])
    await admin.sendCommand(['CLIENT', 'KILL', 'USER', 'flow'])
    await pause(1_000)
    await user('flow')
    const backMs = await running.progress(20)
    const outcome = await running.end()
    recordFault('redis', broker.version, toRow('credentials revoked for 1 s', outcome, 2 * PREFETCH, backMs))
    assert.ok(outcome.repeated <= 2 * PREFETCH)
    assert.ok(backMs < 5_000, `it took ${backMs} ms to come back`)
  })

  test('maxmemory for longer than a lease: partitions stay with their owner, order holds', async () => {
    const on = bus()
    const topic = `${uniqueName('oom')}.topic`
    const lost: unknown[] = []
    on.events.on('lost', (event) => lost.push(event))
    const gate = Promise.withResolvers<void>()
    const handled: unknown[] = []
    on.consume(topic, async ({ data }) => {
      if (data === 0) await gate.promise
      handled.push(data)
    })
    await on.start()
    for (let number = 0; number < 5; number++) await on.publish(topic, number, { key: 'k' })
    await admin.configSet('maxmemory', '1mb')
    const until = performance.now() + QUICK.leaseMs * 2
    await waitUntil(() => performance.now() > until, { timeoutMs: 10_000 })
    gate.resolve()
    await waitUntil(() => handled.length === 5, { timeoutMs: 5_000 })
    assert.deepEqual(handled, [0, 1, 2, 3, 4])
    assert.deepEqual(lost, [])
  })

  test('a message over the limit is refused, its neighbours are not', async () => {
    const on = bus({ maxMessageBytes: 1_000 })
    await on.start()
    const topic = `${uniqueName('large')}.topic`
    const results = await on.publishMany(topic, [{ data: 'a' }, { data: new Uint8Array(5_000) }, { data: 'b' }], {
      allowFailures: true,
    })
    assert.deepEqual(
      results.map(({ error }) => (error as PublishError | undefined)?.outcome),
      [undefined, 'not-sent', undefined],
    )
  })

  test('credentials revoked while connected are reported, and health is down; work continues when they are back', async () => {
    await user('shop')
    const on = bus({ username: 'shop', password: 'pw' }, { publish: { deliveryTimeoutMs: 1_000 } })
    const topic = `${uniqueName('acl')}.topic`
    const handled = new Set<string>()
    const errors: unknown[] = []
    let reconnects = 0
    on.events.on('error', ({ error }) => errors.push(error))
    on.events.on('reconnect', () => reconnects++)
    on.consume(topic, ({ id }) => void handled.add(id))
    await on.start()
    const before = await on.publish(topic, 'before')
    await waitUntil(() => handled.has(before.id), { timeoutMs: 5_000 })
    await admin.sendCommand(['ACL', 'DELUSER', 'shop'])
    await waitUntil(() => errors.some((error) => AuthorizationError.is(error)), {
      timeoutMs: 10_000,
      describe: () => errors.map(String).join('; '),
    })
    assert.equal((await on.health()).status, 'down')
    await failureOf(on.publish(topic, 'refused'))
    await user('shop')
    await waitUntil(() => reconnects > 0, { timeoutMs: 10_000, describe: 'the reconnect' })
    const after = await on.publish(topic, 'after')
    await waitUntil(() => handled.has(after.id), { timeoutMs: 10_000 })
  })

  test('an admin call that a cut falls into rejects with a ConnectionError', async () => {
    await using proxy = await tcpProxy({ host: broker.host, port: broker.port })
    const on = bus({ host: proxy.host, port: proxy.port })
    await on.start()
    const topic = uniqueName('cut')
    await on.admin().ensureTopic(topic)
    const sent = proxy.bytesUp
    proxy.stall('down')
    const asking = on.admin().groups(topic)
    await waitUntil(() => proxy.bytesUp > sent, { timeoutMs: 5_000, describe: 'the command to be sent' })
    proxy.cut()
    await assert.rejects(asking, (error) => ConnectionError.is(error) && error.retryable)
    proxy.resume()
  })

  test('a permission that is missing: the publish says so, as not sent', async () => {
    await user('reader', '-xadd')
    const on = bus({ username: 'reader', password: 'pw' })
    await on.start()
    const error = await failureOf(on.publish(`${uniqueName('acl')}.topic`, 1))
    assert.deepEqual([error.outcome, error.retryable], ['not-sent', false])
    assert.ok(AuthorizationError.is(error.cause))
  })

  test('the rules that the page gives an ACL user are enough for everything, and nothing is warned of', async () => {
    const rules = '~busbar:* +@all -@admin -@dangerous +info +client|kill +client|unblock'
    await admin.sendCommand(['ACL', 'SETUSER', 'page', 'reset', 'on', '>pw', ...rules.split(' ')])
    const on = bus({ username: 'page', password: 'pw', checkServer: true })
    const topic = uniqueName('acl')
    const told: unknown[] = []
    const handled: unknown[] = []
    on.events.on('warning', (event) => told.push(event))
    on.events.on('error', (event) => told.push(event))
    const handle = on.consume(
      topic,
      ({ data }) => {
        if (data === 'bad') throw new Error('bad')
        handled.push(data)
      },
      { retry: { attempts: 1 } },
    )
    await on.start()
    await on.publishMany(topic, [{ data: 'good' }, { data: 'bad' }, { data: 'more' }])
    await on.publish(topic, 'late', { delayMs: 50 })
    const letters = on.deadLetters(topic, 'limits')
    await waitUntil(async () => handled.length === 3 && (await letters.list()).length === 1, { timeoutMs: 5_000 })
    handle.pause()
    await on.admin().seek(topic, 'limits', 'earliest')
    await on.admin().purge(topic)
    // A group that is deleted under its members is made again, with a warning.
    await handle.close()
    await on.admin().deleteGroup(topic, 'limits')
    await on.close()
    assert.deepEqual(told, [])
  })

  test('without CLIENT KILL and CLIENT UNBLOCK everything works, and is warned of', async () => {
    await user('poor', '-@admin', '-@dangerous', '+info')
    const topic = `${uniqueName('acl')}.topic`
    const handled: unknown[] = []
    const codes = new Set<string>()
    const members = [bus({ username: 'poor', password: 'pw' }), bus({ username: 'poor', password: 'pw' })]
    for (const member of members) {
      member.events.on('warning', ({ code }) => codes.add(code))
      member.consume(topic, ({ data }) => void handled.push(data))
      await member.start()
    }
    const publisher = members[0] ?? assert.fail()
    for (let number = 0; number < 20; number++) await publisher.publish(topic, number, { key: `k${number % 5}` })
    await waitUntil(() => handled.length === 20, { timeoutMs: 10_000, describe: () => `${handled.length} of 20` })
    await members[1]?.close()
    for (let number = 20; number < 40; number++) await publisher.publish(topic, number, { key: `k${number % 5}` })
    await waitUntil(() => handled.length === 40, { timeoutMs: 10_000, describe: () => `${handled.length} of 40` })
    assert.ok(codes.has('redis-acl'))
  })

  /** The server refuses writes for longer than a lease. Nobody else can take anything over, so nothing is to be done again. */
  async function refusing(
    begin: () => Promise<unknown>,
    end: () => Promise<unknown>,
    code: string,
    detail: RegExp,
  ): Promise<void> {
    const on = bus()
    const topic = uniqueName('refused')
    const runs = new Map<unknown, number>()
    const [errors, codes]: [string[], string[]] = [[], []]
    on.events.on('error', ({ error, doing }) => errors.push(`${doing}: ${String(error)}`))
    on.events.on('warning', ({ code }) => codes.push(code))
    on.consume(topic, async ({ data }) => {
      runs.set(data, (runs.get(data) ?? 0) + 1)
      await pause(5)
    })
    await on.start()
    const results = await on.publishMany(
      topic,
      Array.from({ length: 200 }, (_, data) => ({ data, key: `k${data % 16}` })),
      { allowFailures: true },
    )
    for (const { error } of results) assert.equal(error, undefined)
    await waitUntil(() => runs.size >= 20, { timeoutMs: 5_000 })
    await begin()
    const refused = await failureOf(on.publish(topic, 'refused', { signal: AbortSignal.timeout(500) }))
    assert.equal(refused.outcome, 'not-sent')
    await waitUntil(async () => detail.test((await on.health()).transports['main']?.detail ?? ''), { timeoutMs: 5_000 })
    await pause(QUICK.leaseMs * 2)
    await end()
    await waitUntil(async () => runs.size >= 200 && (await on.admin().groups(topic))[0]?.lag === 0, {
      timeoutMs: 15_000,
      describe: () => `${runs.size} of 200`,
    })
    const twice = [...runs].filter(([, count]) => count > 1).length
    assert.equal(twice, 0, `${twice} were handled twice`)
    assert.deepEqual([errors, codes], [[], [code]], 'reported once, and not for each command')
    await waitUntil(async () => (await on.health()).transports['main']?.detail === undefined, { timeoutMs: 5_000 })
  }

  test('NOREPLICAS for longer than a lease: nothing is handled twice, and health says why', { timeout: 30_000 }, () =>
    refusing(
      () => admin.configSet('min-replicas-to-write', '1'),
      () => admin.configSet('min-replicas-to-write', '0'),
      'redis-replicas',
      /min-replicas-to-write/,
    ),
  )

  test('MISCONF because the disk can not be written: the same', { timeout: 30_000 }, async () => {
    // Nothing can be renamed to the name of a directory that is not empty.
    const dump = join(broker.dataDir, 'dump.rdb')
    mkdirSync(join(dump, 'in-the-way'), { recursive: true })
    await refusing(
      async () => {
        await admin.configSet('save', '3600 1')
        await admin.bgSave()
        await waitUntil(async () => /rdb_last_bgsave_status:err/.test(await admin.info('persistence')), {
          timeoutMs: 5_000,
        })
      },
      async () => {
        rmSync(dump, { recursive: true })
        await admin.configSet('save', '')
      },
      'redis-disk',
      /disk/,
    )
  })

  test('BUSY with a script of another program: the same', { timeout: 30_000 }, async () => {
    await admin.configSet('lua-time-limit', '100')
    const busy = createClient({ url: broker.url })
    busy.on('error', () => {})
    await busy.connect()
    try {
      let running: Promise<unknown> = Promise.resolve()
      await refusing(
        async () => {
          running = busy.eval('while true do end').catch(() => {})
          await waitUntil(
            () =>
              admin.ping().then(
                () => false,
                () => true,
              ),
            { timeoutMs: 5_000 },
          )
        },
        async () => {
          await admin.sendCommand(['SCRIPT', 'KILL'])
          await running
        },
        'redis-busy',
        /BUSY/,
      )
    } finally {
      busy.destroy()
    }
  })

  test.each([
    ['maxmemory', '1mb', '0'],
    ['min-replicas-to-write', '1', '0'],
  ])('a bus that starts while the server takes no writes waits for their end: %s', async (setting, on, off) => {
    await admin.configSet(setting, on)
    try {
      const [starting, topic, handled, errors] = [bus(), uniqueName('refused'), [] as unknown[], [] as unknown[]]
      starting.consume(topic, ({ data }) => void handled.push(data))
      starting.events.on('error', ({ error }) => {
        errors.push(error)
        void admin.configSet(setting, off)
      })
      await starting.start({ timeoutMs: 10_000 })
      assert.ok(errors.length > 0 && errors.every((error) => ConnectionError.is(error) && error.retryable))
      await starting.publish(topic, 1)
      await waitUntil(() => handled.length === 1, { timeoutMs: 5_000 })
    } finally {
      await admin.configSet(setting, off)
    }
  })

  test('a note that can not be stored: nothing overtakes the message that it is about', async () => {
    await user('noter')
    const on = bus({ username: 'noter', password: 'pw' }, { logger: silentLogger })
    const topic = `${uniqueName('acl')}.topic`
    const [handled, retries]: [unknown[], unknown[]] = [[], []]
    on.events.on('retry', (event) => void retries.push(event))
    const consumer = on.consume(topic, ({ data }, ctx) => {
      if (data === 0 && ctx.attempt === 1) ctx.retry({ delayMs: 500 })
      handled.push(data)
    })
    await on.start()
    for (let number = 0; number < 5; number++) await on.publish(topic, number, { key: 'k' })
    await waitUntil(() => retries.length === 1 && consumer.stats().buffered === 5, { timeoutMs: 5_000 })
    await user('noter', '-hset')
    consumer.pause()
    consumer.resume()
    await waitUntil(() => handled.length >= 5, { timeoutMs: 10_000, describe: () => handled.join() })
    assert.deepEqual(handled, [0, 1, 2, 3, 4])
  })

  test('a consumer that lacks a permission says so', async () => {
    await user('joiner', '-xgroup')
    const on = bus({ username: 'joiner', password: 'pw' })
    on.consume(uniqueName('acl'), () => {})
    await assert.rejects(
      on.start(),
      (error) => AuthorizationError.is(error) && error.message.includes(`${broker.host}:${broker.port}`),
    )
  })

  test('a user who may not WAIT is refused at the start, if publishing needs it', async () => {
    await user('waiter', '-wait')
    const on = bus({ username: 'waiter', password: 'pw', wait: { replicas: 1, timeoutMs: 100 } })
    await assert.rejects(on.start(), (error) => AuthorizationError.is(error) && /'?wait'?/.test(error.message))
    const without = bus({ username: 'waiter', password: 'pw' })
    await without.start()
  })

  test('where SCRIPT is forbidden, scripts are sent in full', async () => {
    await user('hosted', '-script')
    const on = bus({ username: 'hosted', password: 'pw' })
    const topic = `${uniqueName('acl')}.topic`
    const handled: unknown[] = []
    on.consume(topic, ({ data }) => void handled.push(data))
    await on.start()
    await on.publish(topic, 1)
    await waitUntil(() => handled.length === 1, { timeoutMs: 5_000 })
  })

  test('a key that holds something else is named, in the error of a consumer and of a publish', async () => {
    const topic = `${uniqueName('type')}.topic`
    const on = bus({ partitions: 1 })
    await on.start()
    await admin.set(`busbar:{${topic}}`, 'not a stream')
    const named = (error: unknown): boolean =>
      ConfigurationError.is(error) && error.message.includes(`busbar:{${topic}}`) && /is a string/.test(error.message)
    await assert.rejects(on.consume(topic, () => {}).ready, named)
    const refused = await failureOf(on.publish(topic, 1))
    assert.deepEqual([refused.outcome, refused.retryable, named(refused.cause)], ['not-sent', false, true])
  })

  test('a key that becomes something else under a consumer is named, and read again when it is deleted', async () => {
    const topic = `${uniqueName('type')}.topic`
    const stream = `busbar:{${topic}}`
    const on = bus({ partitions: 1 }, { logger: silentLogger })
    const [errors, handled]: [string[], unknown[]] = [[], []]
    on.events.on('error', ({ error }) => errors.push(String(error)))
    on.consume(topic, ({ data }) => void handled.push(data))
    await on.start()
    await on.publish(topic, 1)
    await waitUntil(() => handled.length === 1, { timeoutMs: 5_000 })
    await admin.multi().del(stream).set(stream, 'not a stream').exec()
    await waitUntil(() => errors.some((text) => text.includes(`${stream}: must be a stream and is a string`)), {
      timeoutMs: 5_000,
      describe: () => errors.join(),
    })
    const calls = async (command: string): Promise<number> =>
      Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(await admin.info('commandstats'))?.[1] ?? 0)
    await admin.configResetStat()
    await waitUntil(async () => (await calls('xreadgroup')) >= 5, { timeoutMs: 5_000, describe: 'more failed reads' })
    assert.ok((await calls('type')) <= 1, `looked at the key ${await calls('type')} times`)
    await admin.del(stream)
    await on.publish(topic, 2)
    await waitUntil(() => handled.includes(2), { timeoutMs: 5_000, describe: () => handled.join() })
  })

  test('a connection for reads that is refused while the other one works is reported', async () => {
    const on = bus({}, { logger: silentLogger })
    const topic = uniqueName('clients')
    const [errors, handled]: [string[], unknown[]] = [[], []]
    on.events.on('error', ({ error, doing }) => errors.push(`${doing}: ${String(error)}`))
    on.consume(topic, ({ data }) => void handled.push(data))
    await on.start()
    const before = (await admin.configGet('maxclients'))['maxclients'] ?? ''
    try {
      await admin.configSet('maxclients', '1')
      const readers = (await admin.clientList()).filter(({ cmd }) => cmd === 'xreadgroup')
      for (const { id } of readers) await admin.sendCommand(['CLIENT', 'KILL', 'ID', String(id)])
      await waitUntil(() => errors.some((text) => /connecting to read.*max number of clients/.test(text)), {
        timeoutMs: 5_000,
        describe: () => errors.join(),
      })
    } finally {
      await admin.configSet('maxclients', before)
    }
    await on.publish(topic, 1)
    await waitUntil(() => handled.length === 1, { timeoutMs: 5_000 })
  })
})
