import assert from 'node:assert/strict'
import { createClient } from 'redis'
import { afterAll, afterEach, beforeAll, beforeEach, describe, test } from 'vitest'
import { createBus, PublishError } from 'busbar'
import type { Bus } from 'busbar'
import { redis } from 'busbar/redis'
import { tcpProxy, uniqueName, waitUntil } from 'busbar/testing'
import type { TcpProxy } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { RedisBroker } from '../../tools/brokers/index.ts'
import { QUICK } from './redis-options.ts'

describe('Redis: publishes without a connection', () => {
  let broker: RedisBroker
  let admin: ReturnType<typeof createClient>
  let proxy: TcpProxy
  let bus: Bus
  let topic: string
  beforeAll(async () => {
    broker = await startPrivate('redis')
    admin = createClient({ url: broker.url })
    await admin.connect()
  })
  beforeEach(async () => {
    proxy = await tcpProxy(broker)
    topic = uniqueName('not-sent')
    bus = createBus({
      service: 'not-sent',
      transport: redis({ ...QUICK, host: proxy.host, port: proxy.port, partitions: 1 }),
      publish: { deliveryTimeoutMs: 400 },
    })
    await bus.start()
    await bus.publish(topic, 'before')
  })
  afterEach(async () => {
    await bus.close({ timeoutMs: 500 })
    await proxy.close()
  })
  afterAll(async () => {
    admin.destroy()
    await broker.stop()
  })

  async function loseConnection(): Promise<void> {
    let lost = false
    bus.events.on('disconnect', () => (lost = true))
    proxy.refuse()
    proxy.cut()
    await waitUntil(() => lost, { timeoutMs: 5_000, describe: 'the disconnect' })
  }
  async function fates(publishing: readonly Promise<unknown>[]): Promise<unknown[]> {
    const results = await Promise.allSettled(publishing)
    return results.map((result) => {
      const reason: unknown = result.status === 'rejected' ? result.reason : undefined
      return PublishError.is(reason) ? reason.outcome : (reason ?? 'confirmed')
    })
  }
  /** Nothing of it is stored later on either. */
  async function assertNothingCame(): Promise<void> {
    let back = false
    bus.events.on('reconnect', () => (back = true))
    proxy.accept()
    // The next attempt to connect may follow after more than the deadline of a publish.
    await waitUntil(() => back, { timeoutMs: 5_000, describe: 'the reconnect' })
    await bus.publish(topic, 'after')
    assert.equal(await admin.xLen(`busbar:{${topic}}`), 2)
  }

  test('end as not sent at their deadline, of whatever kind', async () => {
    await loseConnection()
    const many = bus.publishMany(topic, [{ data: 1 }, { data: 2 }], { allowFailures: true })
    const publishing = [
      bus.publish(topic, 3),
      bus.publish(topic, 4, { delayMs: 10 }),
      bus.publish(uniqueName('never-seen'), 5),
    ]
    // In a batch of its own.
    await new Promise((resolve) => {
      setImmediate(resolve)
    })
    publishing.push(bus.publish(topic, 6))
    assert.deepEqual(await fates(publishing), ['not-sent', 'not-sent', 'not-sent', 'not-sent'])
    const errors = (await many).map(({ error }) => error as PublishError)
    assert.deepEqual(
      errors.map(({ outcome, retryable }) => [outcome, retryable]),
      [
        ['not-sent', true],
        ['not-sent', true],
      ],
    )
    await assertNothingCame()
  })

  test('end as not sent when their signal aborts, also one that several share', async () => {
    await loseConnection()
    const [one, shared] = [new AbortController(), new AbortController()]
    const alone = bus.publish(topic, 1, { signal: one.signal })
    await new Promise((resolve) => {
      setImmediate(resolve)
    })
    const publishing = [alone, ...[2, 3].map((data) => bus.publish(topic, data, { signal: shared.signal }))]
    await new Promise((resolve) => {
      setImmediate(resolve)
    })
    one.abort(new Error('enough'))
    shared.abort(new Error('enough'))
    assert.deepEqual(await fates(publishing), ['not-sent', 'not-sent', 'not-sent'])
    await assertNothingCame()
  })

  test('end as not sent when the bus is closed', async () => {
    await loseConnection()
    const publishing = [bus.publish(topic, 1), bus.publish(topic, 2)]
    await new Promise((resolve) => {
      setImmediate(resolve)
    })
    const closing = bus.close({ timeoutMs: 0 })
    assert.deepEqual(await fates(publishing), ['not-sent', 'not-sent'])
    await closing
  })

  test('what was written and not answered is unknown, as before', async () => {
    proxy.stall('down')
    const sent = proxy.bytesUp
    const publishing = bus.publish(topic, 1)
    await waitUntil(() => proxy.bytesUp > sent, { timeoutMs: 5_000 })
    assert.deepEqual(await fates([publishing]), ['unknown'])
    proxy.resume()
  })
})
