import assert from 'node:assert/strict'
import { Cluster } from 'ioredis'
import { createClient, createCluster } from 'redis'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { createBus } from 'busbar'
import type { Bus, PublishError } from 'busbar'
import { ledger, tcpProxy, uniqueName, waitUntil } from 'busbar/testing'
import { redis } from 'busbar/redis'
import { redisDedupeStore } from 'busbar/stores/redis'
import type { RedisOptions } from 'busbar/redis'
import { freePort, startPrivate } from '../../tools/brokers/index.ts'
import type { RedisBroker } from '../../tools/brokers/index.ts'

const SLOTS = 16_384
const QUICK = { retention: { maxMessages: 100_000 }, leaseMs: 1_500, pollIntervalMs: 100, checkServer: false } as const

/** Three primaries on loopback, a third of the slots each. */
async function startCluster(): Promise<RedisBroker[]> {
  const nodes = await Promise.all(
    [0, 1, 2].map(async () => {
      const busPort = String(await freePort())
      return startPrivate('redis', {
        args: ['--cluster-enabled', 'yes', '--cluster-port', busPort, '--cluster-node-timeout', '2000'],
      })
    }),
  )
  const clients = await Promise.all(nodes.map(({ url }) => createClient({ url }).connect()))
  const first = nodes[0] ?? assert.fail()
  const busPort = String((await clients[0]?.configGet('cluster-port'))?.['cluster-port'])
  for (const [index, client] of clients.entries()) {
    const from = Math.floor((SLOTS / 3) * index)
    const to = index === 2 ? SLOTS - 1 : Math.floor((SLOTS / 3) * (index + 1)) - 1
    await client.sendCommand(['CLUSTER', 'ADDSLOTSRANGE', String(from), String(to)])
    if (index > 0) await client.sendCommand(['CLUSTER', 'MEET', first.host, String(first.port), busPort])
  }
  await waitUntil(
    async () => {
      const infos = await Promise.all(clients.map((client) => client.sendCommand(['CLUSTER', 'INFO'])))
      return infos.every((info) => /cluster_state:ok[^]*cluster_known_nodes:3/.test(textOf(info)))
    },
    { timeoutMs: 20_000, describe: 'the cluster to be whole' },
  )
  for (const client of clients) client.destroy()
  return nodes
}

/** Moves the slot of a key, and all keys in it, as an operator would. */
async function moveSlot(nodes: readonly RedisBroker[], key: string): Promise<void> {
  const clients = await Promise.all(nodes.map(({ url }) => createClient({ url }).connect()))
  const ids = await Promise.all(clients.map(async (client) => textOf(await client.sendCommand(['CLUSTER', 'MYID']))))
  const slot = textOf(await clients[0]?.sendCommand(['CLUSTER', 'KEYSLOT', key]))
  const has = await Promise.all(
    clients.map(async (client) => Number(await client.sendCommand(['CLUSTER', 'COUNTKEYSINSLOT', slot])) > 0),
  )
  const from = has.indexOf(true)
  const to = (from + 1) % nodes.length
  const [source, target] = [clients[from] ?? assert.fail(), clients[to] ?? assert.fail()]
  const { host, port } = nodes[to] ?? assert.fail()
  await target.sendCommand(['CLUSTER', 'SETSLOT', slot, 'IMPORTING', ids[from] ?? ''])
  await source.sendCommand(['CLUSTER', 'SETSLOT', slot, 'MIGRATING', ids[to] ?? ''])
  for (;;) {
    const keys = (await source.sendCommand(['CLUSTER', 'GETKEYSINSLOT', slot, '100'])) as unknown as string[]
    if (keys.length === 0) break
    await source.sendCommand(['MIGRATE', host, String(port), '', '0', '5000', 'KEYS', ...keys])
  }
  for (const client of [target, source, ...clients])
    await client.sendCommand(['CLUSTER', 'SETSLOT', slot, 'NODE', ids[to] ?? ''])
  for (const client of clients) client.destroy()
}

function textOf(reply: unknown): string {
  assert.ok(typeof reply === 'string' || typeof reply === 'number')
  return String(reply)
}

describe('Redis Cluster', () => {
  let nodes: RedisBroker[] = []
  const buses: Bus[] = []
  beforeAll(async () => {
    nodes = await startCluster()
  })
  afterAll(async () => {
    for (const bus of buses) await bus.close()
    await Promise.all(nodes.map((node) => node.stop()))
  })

  function makeBus(options: Partial<RedisOptions> = {}): Bus {
    const cluster = { nodes: nodes.map(({ host, port }) => `${host}:${port}`) }
    const bus = createBus({ service: 'cluster', transport: redis({ ...QUICK, cluster, ...options }) })
    buses.push(bus)
    return bus
  }

  test('partitions lie on several nodes; order by key holds across members, each message once', async () => {
    const [topic, book] = [`${uniqueName('c')}.topic`, ledger()]
    const members = [makeBus(), makeBus()]
    const by = new Set<number>()
    for (const [index, bus] of members.entries()) {
      bus.consume(
        topic,
        ({ id }) => {
          by.add(index)
          book.handled(id)
        },
        { prefetch: 20 },
      )
      await bus.start()
    }
    const publisher = members[0] ?? assert.fail()
    // Until both have had some: the second one gets its share of the partitions a moment after it has started.
    for (let round = 0; round < 5 || (by.size < 2 && round < 500); round++) {
      const items = Array.from({ length: 200 }, (_, at) => ({
        data: at,
        id: `${topic}-${round}-${at}`,
        key: `k${at % 20}`,
      }))
      for (const { id, error } of await publisher.publishMany(topic, items, { allowFailures: true })) {
        assert.equal(error, undefined)
        book.published(id, 'confirmed', `k${Number(id.split('-').at(-1)) % 20}`)
      }
    }
    await waitUntil(() => book.complete(), { timeoutMs: 15_000 })
    assert.equal(by.size, 2)
    book.check()
    const client = await createCluster({ rootNodes: nodes.map(({ url }) => ({ url })) })
      .on('error', () => {})
      .connect()
    const ports = new Set<unknown>()
    for (let partition = 0; partition < 8; partition++) {
      const node = await client.getNodeClientForKey(`busbar:{${topic}${partition === 0 ? '' : `/${partition}`}}`)
      ports.add((node.options?.socket as { port?: number } | undefined)?.port)
    }
    client.destroy()
    assert.ok(ports.size >= 2, 'several nodes share the topic')
  })

  test('a new group begins at once, also where some nodes answer later than others', async () => {
    const [topic, slow] = [`${uniqueName('c')}.topic`, nodes[2] ?? assert.fail()]
    await using proxy = await tcpProxy(slow)
    proxy.slow({ delayMs: 50 }, 'both')
    const bus = makeBus({
      nodeAddressMap: { [`${slow.host}:${slow.port}`]: { host: proxy.host, port: proxy.port } },
      leaseMs: 30_000,
    })
    const handled = new Set<unknown>()
    bus.consume(topic, ({ data }) => void handled.add(data))
    await bus.start()
    await bus.publishMany(
      topic,
      Array.from({ length: 64 }, (_, data) => ({ data, key: `k${data}` })),
    )
    // Well before a lease ends for which somebody might wait.
    await waitUntil(() => handled.size === 64, { timeoutMs: 10_000, describe: () => `${handled.size} of 64` })
    await bus.close()
  })

  test('dead letters, redrive, delayed messages and patterns work as on a single server', async () => {
    const bus = makeBus()
    const [base, seen] = [uniqueName('c'), [] as string[]]
    let works = false
    bus.consume(
      `${base}.>`,
      ({ data, topic }) => {
        if (data === 'poison' && !works) throw new Error('not yet')
        seen.push(`${topic}:${String(data)}`)
      },
      { retry: { attempts: 2, baseMs: 5 } },
    )
    await bus.start()
    await bus.publish(`${base}.one`, 'delayed', { delayMs: 300 })
    await bus.publish(`${base}.one`, 'poison', { key: 'a' })
    await bus.publish(`${base}.two`, 'fine', { key: 'a' })
    const letters = bus.deadLetters(`${base}.one`, 'cluster')
    await waitUntil(async () => (await letters.list()).length === 1, { timeoutMs: 10_000, describe: 'the dead letter' })
    works = true
    assert.equal((await letters.redrive()).redriven, 1)
    await waitUntil(() => seen.length === 3, { timeoutMs: 10_000, describe: () => seen.join(', ') })
    assert.deepEqual(seen.sort(), [`${base}.one:delayed`, `${base}.one:poison`, `${base}.two:fine`])
    await waitUntil(async () => (await bus.admin().groups(`${base}.one`))[0]?.lag === 0, { timeoutMs: 5_000 })
  })

  test('a dedupe store works over several nodes, with both client libraries', async () => {
    const rootNodes = nodes.map(({ host, port }) => ({ host, port }))
    const cluster = await createCluster({ rootNodes: rootNodes.map((socket) => ({ socket })) }).connect()
    const io = new Cluster(rootNodes)
    try {
      const stores = [redisDedupeStore({ client: cluster }), redisDedupeStore({ client: io })] as const
      for (let index = 0; index < 50; index++) {
        const key = `${uniqueName('dedupe')} ${index}`
        const [store, other] = index % 2 === 0 ? stores : [stores[1], stores[0]]
        const claim = await store.claim(key, 60_000)
        assert.equal(claim.status, 'claimed')
        assert.equal((await other.claim(key, 60_000)).status, 'in-progress')
        assert.equal(await other.complete(key, claim.token, 60_000), true)
        assert.deepEqual(await store.claim(key, 60_000), { status: 'done' })
      }
    } finally {
      cluster.destroy()
      io.disconnect()
    }
  })

  test('a slot that moves to another node takes its partition along: nothing is lost, no key out of order', async () => {
    const bus = makeBus({ partitions: 1 })
    const [topic, book] = [`${uniqueName('c')}.topic`, ledger()]
    bus.consume(topic, ({ id }) => book.handled(id), { prefetch: 16 })
    await bus.start()
    const publish = async (from: number): Promise<void> => {
      for (let number = from; number < from + 40; number++) {
        const id = `${topic}-${number}`
        try {
          await bus.publish(topic, number, { id, key: 'one' })
          book.published(id, 'confirmed', 'one')
        } catch (error) {
          book.published(id, (error as PublishError).outcome, 'one')
        }
      }
    }
    await publish(0)
    const flowing = publish(100)
    await moveSlot(nodes, `busbar:{${topic}}`)
    await flowing
    await publish(200)
    await waitUntil(() => book.complete(), {
      timeoutMs: 15_000,
      describe: () => `${book.report().missing.length} of ${book.report().confirmed} are missing`,
    })
    const { confirmed } = book.check({ duplicates: 'any' })
    assert.ok(confirmed >= 80, `${confirmed} of 120 were confirmed`)
  })

  test('a node that is killed and comes back: its partitions continue', { timeout: 60_000 }, async () => {
    const bus = makeBus()
    const topic = `${uniqueName('c')}.topic`
    const handled = new Set<string>()
    bus.consume(topic, ({ id }) => void handled.add(id))
    await bus.start()
    const confirmed: string[] = []
    const publish = async (count: number): Promise<void> => {
      const items = Array.from({ length: count }, (_, at) => ({ data: at, key: `k${at}` }))
      for (const { id, error } of await bus.publishMany(topic, items, { allowFailures: true }))
        if (error === undefined) confirmed.push(id)
    }
    await publish(100)
    const victim = nodes[1] ?? assert.fail()
    await victim.kill()
    await victim.restart()
    await waitUntil(
      async () => {
        const before = confirmed.length
        await publish(50)
        return confirmed.length === before + 50
      },
      { timeoutMs: 20_000, describe: 'all partitions to take messages again' },
    )
    await waitUntil(() => confirmed.every((id) => handled.has(id)), {
      timeoutMs: 20_000,
      describe: () => `${confirmed.filter((id) => !handled.has(id)).length} of ${confirmed.length} are missing`,
    })
  })
})
