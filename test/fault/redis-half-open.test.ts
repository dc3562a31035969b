import assert from 'node:assert/strict'
import { createClient } from 'redis'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { createBus } from 'busbar'
import type { Bus, ConsumerHandle, Message } from 'busbar'
import { tcpProxy, uniqueName, waitUntil } from 'busbar/testing'
import { redis } from 'busbar/redis'
import { partitionOf } from '../../src/transports/redis/topology/partitioner.ts'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { RedisBroker } from '../../tools/brokers/index.ts'

/** The client's side of its connections ends, and the server is not told: it keeps them, with the read that blocks there. */
describe('Redis: connections that the server believes to be alive', () => {
  let broker: RedisBroker
  let admin: ReturnType<typeof createClient>
  beforeAll(async () => {
    broker = await startPrivate('redis')
    admin = createClient({ url: broker.url })
    await admin.connect()
  })
  afterAll(async () => {
    admin.destroy()
    await broker.stop()
  })

  const blocked = async (): Promise<number> => Number(/blocked_clients:(\d+)/.exec(await admin.info('clients'))?.[1])

  async function orderAcross(user: { readonly username?: string; readonly password?: string }): Promise<void> {
    await using proxy = await tcpProxy({ host: broker.host, port: broker.port })
    const options = { retention: { maxMessages: 10_000 }, partitions: 1, checkServer: false } as const
    const topic = uniqueName('half-open')
    const consumer = createBus({
      service: 'half-open',
      transport: redis({ ...options, ...user, host: proxy.host, port: proxy.port }),
    })
    const publisher = createBus({
      service: 'half-open',
      transport: redis({ ...options, host: broker.host, port: broker.port }),
    })
    try {
      const handled: unknown[] = []
      let reconnects = 0
      consumer.events.on('reconnect', () => reconnects++)
      consumer.consume(topic, ({ data }) => void handled.push(data))
      await consumer.start()
      await publisher.start()
      await publisher.publish(topic, 0, { key: 'k' })
      await waitUntil(() => handled.length === 1, { timeoutMs: 5_000 })
      await waitUntil(async () => (await blocked()) > 0, { timeoutMs: 5_000, describe: 'the read to block' })
      const before = await blocked()
      proxy.halfOpen('target')
      await waitUntil(() => reconnects > 0, { timeoutMs: 5_000, describe: 'the reconnect' })
      // Had the former read gone on, it would be given the first of these, and the others would overtake it.
      for (let number = 1; number <= 10; number++) await publisher.publish(topic, number, { key: 'k' })
      await waitUntil(() => handled.length === 11, { timeoutMs: 15_000, describe: () => handled.join() })
      assert.deepEqual(handled, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
      await waitUntil(async () => (await blocked()) <= before, { timeoutMs: 5_000, describe: 'the former read to end' })
    } finally {
      await consumer.close({ timeoutMs: 500 })
      await publisher.close({ timeoutMs: 500 })
    }
  }

  test('order of a key is kept after a reset that the server does not notice', { timeout: 30_000 }, () =>
    orderAcross({}),
  )

  test('also where CLIENT KILL is forbidden: the read is woken', { timeout: 30_000 }, async () => {
    await admin.sendCommand(['ACL', 'SETUSER', 'wake', 'on', '>pw', '~*', '&*', '+@all', '-client|kill'])
    await orderAcross({ username: 'wake', password: 'pw' })
  })

  test('also where CLIENT UNBLOCK is forbidden too: its end is waited for', { timeout: 30_000 }, async () => {
    const rules = ['~*', '&*', '+@all', '-client|kill', '-client|unblock']
    await admin.sendCommand(['ACL', 'SETUSER', 'wait', 'on', '>pw', ...rules])
    await orderAcross({ username: 'wait', password: 'pw' })
  })

  /**
   * The read of one consumer is left behind at the server, and can't be replaced, while its other connection works. Then `goAway`
   * gives its partitions to another consumer, who must get what is published from then on.
   */
  async function orderWithAnother(
    partitions: number,
    user: { readonly username?: string; readonly password?: string },
    goAway: (first: ConsumerHandle, startSecond: () => Promise<void>) => Promise<void>,
  ): Promise<void> {
    await using proxy = await tcpProxy({ host: broker.host, port: broker.port })
    const options = { retention: { maxMessages: 10_000 }, partitions, checkServer: false } as const
    const topic = uniqueName('half-open')
    const busAt = (port: number, as: typeof user = {}): Bus =>
      createBus({ service: 'half-open', transport: redis({ ...options, ...as, host: broker.host, port }) })
    const [one, two] = [busAt(proxy.port, user), busAt(broker.port)]
    try {
      const handled = new Map<string, unknown[]>()
      const handle = ({ data, key }: Message): void => {
        const known = handled.get(key as string)
        if (known === undefined) handled.set(key as string, [data])
        else known.push(data)
      }
      const moved = new Set<string>()
      two.events.on('rebalance', ({ assigned }) => assigned.forEach((name) => moved.add(name)))
      const first = one.consume(topic, handle)
      await one.start()
      await proxy.waitForLinks(2)
      await waitUntil(async () => (await blocked()) > 0, { timeoutMs: 5_000, describe: 'the read to block' })
      proxy.refuse()
      proxy.links[1]?.halfOpen('target')
      await waitUntil(() => proxy.refused > 0, { timeoutMs: 5_000, describe: 'an attempt to connect again' })
      await goAway(first, async () => {
        two.consume(topic, handle)
        await two.start()
      })
      await waitUntil(() => moved.size > 0, { timeoutMs: 15_000, describe: 'the hand-over' })
      const all = Array.from({ length: 32 }, (_, at) => `k${at}`)
      const keys = all.filter((key) => moved.has(`${topic}/${partitionOf(key, partitions)}`))
      const numbers = Array.from({ length: 5 }, (_, at) => at)
      for (const number of numbers) for (const key of keys) await two.publish(topic, number, { key })
      proxy.accept()
      const total = (): number => [...handled.values()].reduce((sum, { length }) => sum + length, 0)
      await waitUntil(() => total() === keys.length * numbers.length, {
        timeoutMs: 30_000,
        describe: () => `${total()} handled`,
      })
      assert.deepEqual(Object.fromEntries(handled), Object.fromEntries(keys.map((key) => [key, numbers])))
    } finally {
      await one.close({ timeoutMs: 500 })
      await two.close({ timeoutMs: 500 })
    }
  }

  test('order is kept when a partition is handed over while its reader connects again', { timeout: 60_000 }, () =>
    orderWithAnother(2, {}, (_, startSecond) => startSecond()),
  )

  test('also when the consumer is closed meanwhile', { timeout: 60_000 }, () =>
    orderWithAnother(1, {}, async (first, startSecond) => {
      await first.close()
      await startSecond()
    }),
  )

  test('and where CLIENT KILL is forbidden: the read is woken', { timeout: 60_000 }, async () => {
    await admin.sendCommand(['ACL', 'SETUSER', 'wake', 'on', '>pw', '~*', '&*', '+@all', '-client|kill'])
    await orderWithAnother(2, { username: 'wake', password: 'pw' }, (_, startSecond) => startSecond())
  })
})
