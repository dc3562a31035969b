import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from 'redis'
import { afterEach, describe, test } from 'vitest'
import { createBus, PublishError } from 'busbar'
import type { Bus, BusOptions } from 'busbar'
import { uniqueName, waitUntil } from 'busbar/testing'
import { redis } from 'busbar/redis'
import type { RedisOptions } from 'busbar/redis'
import { createCertificates } from '../../tools/brokers/certificates.ts'
import { freePort, startPrivate } from '../../tools/brokers/index.ts'
import type { RedisBroker } from '../../tools/brokers/index.ts'

const QUICK = { retention: { maxMessages: 100_000 }, leaseMs: 1_500, pollIntervalMs: 100 } as const

/** What a test has started, to be ended in the opposite order. */
const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})

async function broker(...args: string[]): Promise<RedisBroker> {
  const started = await startPrivate('redis', { args })
  cleanUps.push(() => started.stop())
  return started
}

function tempFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'busbar-redis-'))
  cleanUps.push(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

function bus(options: Partial<RedisOptions>, more: Partial<BusOptions> = {}): Bus {
  const made = createBus({ service: 'servers', transport: redis({ ...QUICK, ...options }), ...more })
  cleanUps.push(() => made.close({ timeoutMs: 500 }))
  return made
}

async function roundTrip(on: Bus): Promise<void> {
  const topic = `${uniqueName('trip')}.topic`
  const seen: unknown[] = []
  const handle = on.consume(topic, ({ data }) => void seen.push(data))
  if (on.state === 'idle') await on.start()
  await handle.ready
  await on.publish(topic, 'hello', { key: 'k' })
  await waitUntil(() => seen.length === 1, { timeoutMs: 5_000 })
  await handle.close()
}

describe('Redis: kinds of servers', () => {
  test('a database that the server does not have ends the start at once', { timeout: 30_000 }, async () => {
    const { host, port } = await broker()
    const on = bus({ url: `redis://${host}:${port}/99` })
    await assert.rejects(on.start({ timeoutMs: 20_000 }), {
      code: 'BUSBAR_CONFIGURATION',
      message: `redis has invalid options:\n  - database: Redis at ${host}:${port} does not have it: ERR DB index is out of range`,
    })
  })

  test('TLS on a port without it is named in the error', { timeout: 30_000 }, async () => {
    const { host, port } = await broker()
    const on = bus({ url: `rediss://${host}:${port}`, connectTimeoutMs: 500 })
    await assert.rejects(on.start({ timeoutMs: 0 }), {
      code: 'BUSBAR_CONNECTION',
      message: `Redis at ${host}:${port} can't be reached: Connection timeout; does this port speak TLS?`,
    })
  })

  test('Sentinel: when the primary dies, the new one is found and work continues', { timeout: 60_000 }, async () => {
    const primary = await broker()
    const replica = await broker('--replicaof', primary.host, String(primary.port), '--repl-diskless-sync-delay', '0')
    const port = await startSentinel(primary)
    const on = bus({ sentinel: { name: 'busbar-test', nodes: [`127.0.0.1:${port}`] }, checkServer: false })
    const topic = `${uniqueName('sentinel')}.topic`
    const handled = new Set<string>()
    on.consume(topic, ({ id }) => void handled.add(id))
    await on.start()
    const before = await on.publish(topic, 'before', { key: 'k' })
    await waitUntil(() => handled.has(before.id), { timeoutMs: 5_000 })
    await primary.kill()
    const after = await waitUntil(
      () =>
        on.publish(topic, 'after', { key: 'k' }).catch((error: unknown) => {
          assert.ok(error instanceof PublishError)
          return undefined
        }),
      { timeoutMs: 30_000, describe: 'a publish on the new primary' },
    )
    await waitUntil(() => handled.has(after.id), { timeoutMs: 10_000 })
    const client = await createClient({ url: replica.url }).connect()
    assert.equal(((await client.sendCommand(['ROLE'])) as unknown as string[])[0], 'master')
    client.destroy()
  })

  test('WAIT: confirmed only when replicas have it; without them the outcome is unknown', async () => {
    const primary = await broker()
    const on = bus({ url: primary.url, wait: { replicas: 1, timeoutMs: 200 }, checkServer: false })
    await on.start()
    const topic = `${uniqueName('wait')}.topic`
    const error: unknown = await on.publish(topic, 1).catch((reason: unknown) => reason)
    assert.ok(error instanceof PublishError)
    assert.equal(error.outcome, 'unknown')
    await broker('--replicaof', primary.host, String(primary.port), '--repl-diskless-sync-delay', '0')
    const confirmed = (): Promise<boolean> =>
      on.publish(topic, 2).then(
        () => true,
        () => false,
      )
    await waitUntil(confirmed, { timeoutMs: 15_000, describe: 'a publish that the replica confirms' })
  })

  test.for(['compact', 'cloudevents'] as const)(
    'WAIT: a message that was refused is not sent, whatever replicas say (%s)',
    async (envelope) => {
      const primary = await broker()
      const wait = { replicas: 1, timeoutMs: 50 }
      const on = bus({ url: primary.url, wait, envelope, partitions: 1, checkServer: false })
      await on.start()
      const topic = `${uniqueName('wait')}.topic`
      const client = await createClient({ url: primary.url }).connect()
      await client.set(`busbar:{${topic}}`, 'not a stream')
      client.destroy()
      const error: unknown = await on.publish(topic, 1).catch((reason: unknown) => reason)
      assert.ok(error instanceof PublishError)
      assert.equal(error.outcome, 'not-sent')
    },
  )

  test('WAIT: a script that the server has forgotten is confirmed after it was sent in full', async () => {
    const primary = await broker('--repl-diskless-sync-delay', '0')
    const replica = await broker('--replicaof', primary.host, String(primary.port))
    const [client, ofReplica] = await Promise.all([
      createClient({ url: primary.url }).connect(),
      createClient({ url: replica.url }).connect(),
    ])
    cleanUps.push(() => [client, ofReplica].forEach((one) => one.destroy()))
    const on = bus({ url: primary.url, wait: { replicas: 1, timeoutMs: 200 }, checkServer: false })
    await on.start()
    const topic = `${uniqueName('wait')}.topic`
    const delayed = (): Promise<unknown> => on.publish(topic, 1, { delayMs: 60_000 })
    await waitUntil(
      () =>
        delayed().then(
          () => true,
          () => false,
        ),
      { timeoutMs: 15_000, describe: 'a replica' },
    )
    await client.scriptFlush()
    assert.equal(await client.wait(1, 5_000), 1)
    // From here on it gets nothing more.
    const pid = Number(/process_id:(\d+)/.exec(await ofReplica.info('server'))?.[1])
    process.kill(pid, 'SIGSTOP')
    try {
      const error: unknown = await delayed().catch((reason: unknown) => reason)
      assert.ok(error instanceof PublishError)
      assert.equal(error.outcome, 'unknown')
    } finally {
      process.kill(pid, 'SIGCONT')
    }
  })

  test('WAIT: while replicas are missing, leases are renewed and messages handled', async () => {
    const primary = await broker()
    const wait = { replicas: 1, timeoutMs: 400 }
    const on = bus({ ...QUICK, url: primary.url, wait, checkServer: false })
    const topic = uniqueName('wait')
    const handled: unknown[] = []
    const lost: unknown[] = []
    on.events.on('lost', (event) => lost.push(event))
    on.consume(topic, ({ data }) => void handled.push(data))
    await on.start()
    const outcomes: string[] = []
    // Each in a turn of its own.
    const publishing: Promise<unknown>[] = []
    for (let number = 0; number < 20; number++) {
      await new Promise((resolve) => {
        setImmediate(resolve)
      })
      publishing.push(on.publish(topic, number).catch(({ outcome }: PublishError) => outcomes.push(outcome)))
    }
    await Promise.all(publishing)
    assert.deepEqual(new Set(outcomes), new Set(['unknown']))
    await waitUntil(() => handled.length === 20, { timeoutMs: 2_000, describe: () => `${handled.length} handled` })
    assert.deepEqual(lost, [])
  })

  test('TLS, a password and a separate user; no secret in any error or event', async () => {
    const { server: files } = await createCertificates('redis', tempFolder())
    const port = await freePort()
    const tls = ['--tls-port', String(port), '--tls-cert-file', files.certFile, '--tls-key-file', files.keyFile]
    const user = '--user shop on >s3cret-pw ~* &* +@all'.split(' ')
    await broker(...tls, '--tls-ca-cert-file', files.caFile, '--tls-auth-clients', 'no', ...user)
    const ca = readFileSync(files.caFile)
    await roundTrip(bus({ url: `rediss://shop:s3cret-pw@127.0.0.1:${port}`, tls: { ca }, checkServer: false }))
    const told: string[] = []
    const bad = bus({ url: `rediss://shop:wr0ng-pw@127.0.0.1:${port}`, tls: { ca } })
    bad.events.onAny((name, event) => told.push(`${name} ${JSON.stringify(event)}`))
    await assert.rejects(
      () => bad.start(),
      (error: Error & { code?: string }) => {
        assert.equal(error.code, 'BUSBAR_AUTHORIZATION')
        assert.doesNotMatch(`${error.stack} ${String(error.cause)}`, /wr0ng-pw/)
        return true
      },
    )
    assert.doesNotMatch(told.join('\n'), /wr0ng-pw/)
    const untrusted = bus({ url: `rediss://shop:s3cret-pw@127.0.0.1:${port}` }, { startTimeoutMs: 0 })
    await assert.rejects(() => untrusted.start(), { code: 'BUSBAR_CONNECTION' })
  })

  test('without a server, a start that does not wait rejects at once and says where', async () => {
    const port = await freePort()
    const on = bus({ host: '127.0.0.1', port }, { startTimeoutMs: 0 })
    await assert.rejects(() => on.start(), new RegExp(`127\\.0\\.0\\.1:${port}`))
  })

  test('a server that is too old: start does not wait for it to become newer', async () => {
    const server = await broker()
    const posing = createServer((socket) => {
      const upstream = connect(server.port, server.host)
      socket.pipe(upstream)
      upstream.on('data', (data) =>
        socket.write(data.toString('latin1').replace(/(?<=redis_version:)\d/, '0'), 'latin1'),
      )
      for (const [one, other] of [
        [socket, upstream],
        [upstream, socket],
      ] as const)
        one.on('error', () => {}).on('close', () => other.destroy())
    }).listen(0, '127.0.0.1')
    cleanUps.push(() => posing.close())
    await once(posing, 'listening')
    const on = bus({ host: '127.0.0.1', port: (posing.address() as AddressInfo).port })
    await assert.rejects(() => on.start({ timeoutMs: 2_000 }), { code: 'BUSBAR_UNSUPPORTED' })
  })

  test('a client that is given is used and not closed', async () => {
    const server = await broker()
    const client = createClient({ url: server.url })
    client.on('error', () => {})
    await client.connect()
    cleanUps.push(() => client.destroy())
    const on = bus({ client, checkServer: false })
    const reconnects: unknown[] = []
    on.events.on('reconnect', (event) => reconnects.push(event))
    await roundTrip(on)
    await server.kill()
    await server.restart()
    await waitUntil(() => reconnects.length > 0, { timeoutMs: 10_000, describe: 'the reconnect to be told' })
    await roundTrip(on)
    await on.close()
    assert.equal(await client.ping(), 'PONG')
  })

  test.for([2, 3] as const)(
    'with a given client that speaks RESP %i, members that come are known at once',
    async (RESP) => {
      const server = await broker()
      const client = createClient({ url: server.url, RESP })
      client.on('error', () => {})
      await client.connect()
      cleanUps.push(() => client.destroy())
      // Far too long to find out by itself.
      const slow = { leaseMs: 60_000, checkServer: false }
      const [first, second] = [bus({ ...slow, client }), bus({ ...slow, url: server.url })]
      const [topic, revoked] = [uniqueName('given'), [] as string[]]
      const errors: unknown[] = []
      first.events.on('error', ({ error }) => errors.push(error))
      first.events.on('rebalance', (event) => revoked.push(...event.revoked))
      for (const one of [first, second]) {
        one.consume(topic, () => {})
        await one.start()
      }
      await waitUntil(() => revoked.length === 4, { timeoutMs: 5_000, describe: () => errors.join() })
      assert.deepEqual(errors, [])
    },
  )

  test('a client that is given and then closed by its owner is reported, and everything ends by itself', async () => {
    const server = await broker()
    const client = createClient({ url: server.url })
    client.on('error', () => {})
    const on = bus({ client, checkServer: false }, { publish: { deliveryTimeoutMs: 500 } })
    const topic = uniqueName('closed')
    const handling = Promise.withResolvers<void>()
    const go = Promise.withResolvers<void>()
    on.consume(topic, async () => {
      handling.resolve()
      await go.promise
    })
    await on.start()
    await on.publish(topic, 1)
    await handling.promise
    client.destroy()
    go.resolve()
    await assert.rejects(on.publish(topic, 2), { code: 'BUSBAR_PUBLISH', outcome: 'not-sent' })
    assert.equal((await on.health()).status, 'down')
    await on.close({ timeoutMs: 1_000 })
  })

  test('a server that may forget is warned of: eviction, no append-only file', async () => {
    const server = await broker('--appendonly', 'no', '--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-lru')
    const on = bus({ url: server.url })
    const codes: string[] = []
    on.events.on('warning', ({ code }) => codes.push(code))
    await on.start()
    assert.deepEqual(codes.sort(), ['redis-eviction', 'redis-persistence'])
  })

  test('a unix socket', async () => {
    const path = join(tempFolder(), 'redis.sock')
    await broker('--unixsocket', path)
    await roundTrip(bus({ url: `unix://${path}`, checkServer: false }))
  })
})

async function startSentinel(primary: { host: string; port: number }): Promise<number> {
  const folder = tempFolder()
  const port = await freePort()
  const lines = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${folder}`,
    `sentinel monitor busbar-test ${primary.host} ${primary.port} 1`,
    'sentinel down-after-milliseconds busbar-test 500',
    'sentinel failover-timeout busbar-test 5000',
  ]
  const config = join(folder, 'sentinel.conf')
  writeFileSync(config, lines.join('\n'))
  const sentinel: ChildProcess = spawn('redis-server', [config, '--sentinel'], { stdio: 'ignore' })
  cleanUps.push(async () => {
    sentinel.kill('SIGKILL')
    await new Promise((resolve) => sentinel.once('exit', resolve))
  })
  const client = createClient({ url: `redis://127.0.0.1:${port}` })
  client.on('error', () => {})
  await client.connect()
  // It must have found the replica by itself before the primary may die.
  await waitUntil(
    async () => {
      const replicas = await client.sendCommand(['SENTINEL', 'REPLICAS', 'busbar-test'])
      return (replicas as unknown as unknown[]).length === 1
    },
    { timeoutMs: 20_000, describe: 'the sentinel to know the replica' },
  )
  client.destroy()
  return port
}
