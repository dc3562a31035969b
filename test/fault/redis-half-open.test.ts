import assert from 'node:assert/strict'
import { createClient } from 'redis'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { createBus } from 'busbar'
import { tcpProxy, uniqueName, waitUntil } from 'busbar/testing'
import { redis } from 'busbar/redis'
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
})
