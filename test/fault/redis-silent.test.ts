import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { createClient } from 'redis'
import { afterAll, afterEach, beforeAll, describe, test } from 'vitest'
import { createBus, silentLogger } from 'busbar'
import type { Bus } from 'busbar'
import { redis } from 'busbar/redis'
import type { RedisOptions } from 'busbar/redis'
import { childConsumer, tcpProxy, uniqueName, waitUntil } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { RedisBroker } from '../../tools/brokers/index.ts'
import { QUICK } from './redis-options.ts'

interface FakeServer {
  readonly port: number
  readonly accepted: number
  readonly open: number
  close(): Promise<void>
}

/** Accepts connections; says what `answer` makes of what it is sent, and by default nothing. */
async function fakeServer(answer: (request: string) => string = () => ''): Promise<FakeServer> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('data', (request) => socket.write(answer(request.toString())))
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    get accepted() {
      return sockets.size
    },
    get open() {
      return [...sockets].filter(({ destroyed }) => !destroyed).length
    },
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy()
        server.close(() => resolve())
      }),
  }
}

/** The kernel of a machine that hangs still accepts connections, and nobody answers on them. */
describe('Redis: servers that accept a connection and say nothing', () => {
  let broker: RedisBroker
  const buses: Bus[] = []
  const servers: FakeServer[] = []
  beforeAll(async () => {
    broker = await startPrivate('redis')
  })
  afterEach(async () => {
    for (const bus of buses.splice(0)) await bus.close({ timeoutMs: 500 })
    for (const server of servers.splice(0)) await server.close()
  })
  afterAll(() => broker.stop())

  function bus(options: Partial<RedisOptions>): Bus {
    const limits = { connectTimeoutMs: 300, responseTimeoutMs: 300 } as const
    const made = createBus({ service: 'silent', transport: redis({ ...QUICK, ...limits, ...options }) })
    buses.push(made)
    return made
  }
  async function server(answer?: (request: string) => string): Promise<FakeServer> {
    const made = await fakeServer(answer)
    servers.push(made)
    return made
  }

  test('a connect that is never answered is given up, and the next one succeeds', { timeout: 20_000 }, async () => {
    const silent = await server()
    await using proxy = await tcpProxy(broker)
    const on = bus({ host: proxy.host, port: proxy.port })
    const topic = uniqueName('silent')
    const handled: unknown[] = []
    let reconnects = 0
    on.events.on('reconnect', () => reconnects++)
    on.consume(topic, ({ data }) => void handled.push(data))
    await on.start()
    await on.publish(topic, 'before')
    proxy.retarget(silent)
    proxy.cut()
    await waitUntil(() => silent.accepted >= 2, { describe: () => `${silent.accepted} connections` })
    assert.equal(reconnects, 0)
    proxy.retarget(broker)
    await waitUntil(() => reconnects > 0, { timeoutMs: 5_000, describe: 'the reconnect' })
    await on.publish(topic, 'after')
    await waitUntil(() => handled.length === 2, { timeoutMs: 5_000, describe: () => handled.join() })
  })

  test('the first connect rejects, and says what it waited for', { timeout: 20_000 }, async () => {
    const silent = await server()
    const on = bus({ host: '127.0.0.1', port: silent.port })
    await assert.rejects(on.start({ timeoutMs: 0 }), {
      code: 'BUSBAR_CONNECTION',
      retryable: true,
      message: new RegExp(`127\\.0\\.0\\.1:${silent.port} can't be reached: no answer within 600 ms`),
    })
  })

  test('the same of a cluster, and of a given client; no socket of ours is left', { timeout: 20_000 }, async () => {
    const [seed, single] = [await server(), await server()]
    const client = createClient({ url: `redis://127.0.0.1:${single.port}` })
    const clustered = bus({ cluster: { nodes: [`127.0.0.1:${seed.port}`] } })
    const given = createBus({ service: 'silent', transport: redis({ ...QUICK, client, responseTimeoutMs: 300 }) })
    const reason = { code: 'BUSBAR_CONNECTION', retryable: true, message: /no answer within/ }
    await Promise.all([
      assert.rejects(clustered.start({ timeoutMs: 0 }), reason),
      assert.rejects(given.start({ timeoutMs: 0 }), reason),
    ])
    await waitUntil(() => seed.open === 0, { timeoutMs: 5_000, describe: () => `${seed.open} connections are left` })
    await given.close()
    client.destroy()
  })

  test('a sentinel that says nothing does not keep the next one from being asked', { timeout: 20_000 }, async () => {
    const silent = await server()
    const port = String(broker.port)
    const sentinel = await server((request) =>
      request.includes('SENTINEL')
        ? `*2\r\n$${broker.host.length}\r\n${broker.host}\r\n$${port.length}\r\n${port}\r\n`
        : '+OK\r\n'.repeat(request.match(/\*\d+\r\n/g)?.length ?? 0),
    )
    const nodes = [silent, sentinel].map((one) => `127.0.0.1:${one.port}`)
    const on = bus({ sentinel: { name: 'primary', nodes } })
    await on.start({ timeoutMs: 0 })
    await on.publish(uniqueName('silent'), 1)
    assert.ok(silent.accepted > 0)
  })

  test('a process whose bus is closed while the server does not answer ends', { timeout: 40_000 }, async () => {
    const silent = await server()
    await using proxy = await tcpProxy(broker)
    await using child = await childConsumer({
      module: new URL('./redis-child.ts', import.meta.url),
      topic: uniqueName('silent'),
      env: { BUSBAR_TEST_REDIS: `redis://${proxy.host}:${proxy.port}` },
    })
    proxy.retarget(silent)
    proxy.cut()
    await waitUntil(() => silent.accepted >= 2, { describe: () => `${silent.accepted} connections` })
    assert.deepEqual(await child.stop(), { code: 0, signal: null })
  })

  test('a large message over a slow network takes longer than responseTimeoutMs, and comes once', async () => {
    await using proxy = await tcpProxy(broker)
    const topic = uniqueName('slow')
    const options = { ...QUICK, responseTimeoutMs: 500, leaseMs: 2_000, partitions: 1 }
    const on = createBus({
      service: 'slow',
      transport: redis({ ...options, host: proxy.host, port: proxy.port }),
      logger: silentLogger,
    })
    buses.push(on)
    const handled: number[] = []
    let disconnects = 0
    on.events.on('disconnect', () => void disconnects++)
    on.consume(topic, ({ data }) => void handled.push(String(data).length))
    await on.start()
    const fast = createBus({ service: 'slow', transport: redis({ ...options, host: broker.host, port: broker.port }) })
    buses.push(fast)
    await fast.start()
    proxy.slow({ bytesPerSecond: 200_000 }, 'down')
    await fast.publish(topic, 'x'.repeat(1_000_000))
    await waitUntil(() => handled.length > 0, { timeoutMs: 15_000 })
    assert.deepEqual([handled, disconnects], [[1_000_000], 0])
  })
})
