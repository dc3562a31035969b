import assert from 'node:assert/strict'
import { afterAll, afterEach, beforeAll, describe, test } from 'vitest'
import type { Bus, ConsumerHandle } from 'busbar'
import { tcpProxy, uniqueName, waitUntil } from 'busbar/testing'
import type { TcpProxy } from 'busbar/testing'
import { memberKeyOf } from '../../src/transports/rabbitmq/topology/names.ts'
import { rabbitMqSuite } from './rabbitmq-harness.ts'

/** Past this, a consumer goes on without knowing the others. */
const PATIENCE_MS = 1_000

describe('RabbitMQ: members of a group that meet while the broker is slow', () => {
  const suite = rabbitMqSuite('members')
  let proxy: TcpProxy

  beforeAll(async () => {
    proxy = await tcpProxy({ port: suite.broker.port })
  })
  afterEach(() => proxy.resume())
  afterAll(() => proxy.close())

  const bus = (url: string): Bus => suite.bus({ url, partitions: 2 })

  /** How many processes hear what members of the group say. */
  async function counted(topic: string): Promise<number> {
    const key = memberKeyOf(`busbar:${topic}:members`)
    const rows = (await suite.broker.ctl('-q', 'list_bindings', 'source_name', 'routing_key')).split('\n')
    return rows.filter((row) => row.trim() === `busbar.system\t${key}`).length
  }

  /**
   * A member that has left the group, and keeps its queues because a handler runs for each: to come back it needs the broker for
   * nothing but to meet the others.
   */
  async function away(topic: string): Promise<{ handle: ConsumerHandle; done: () => void }> {
    const on = bus(`amqp://${proxy.host}:${proxy.port}`)
    const { promise, resolve } = Promise.withResolvers<void>()
    const queues = new Set<unknown>()
    const handle = on.consume(topic, (_, ctx) => {
      queues.add(ctx.position['queue'])
      return promise
    })
    await on.start()
    await waitUntil(async () => (await counted(topic)) === 1)
    for (let number = 0; number < 20; number++) await on.publish(topic, number, { key: `k${number}` })
    await waitUntil(() => queues.size === 2)
    handle.pause()
    await waitUntil(async () => (await counted(topic)) === 0)
    return { handle, done: resolve }
  }

  /** Until something is asked of the broker that it does not answer, and the consumer does not wait for it any longer. */
  async function joiningInVain(): Promise<void> {
    const before = proxy.bytesUp
    await waitUntil(() => proxy.bytesUp > before)
    const at = performance.now()
    await waitUntil(() => performance.now() - at > 1.5 * PATIENCE_MS)
  }

  test('one that closes while it joins is not counted afterwards', { timeout: 40_000 }, async () => {
    const topic = uniqueName('closing')
    const { handle, done } = await away(topic)
    proxy.stall('down')
    handle.resume()
    await joiningInVain()
    await handle.close({ timeoutMs: 100 })
    proxy.resume()
    done()
    const other = bus(suite.broker.url)
    const keys = new Set<string | undefined>()
    const standing = other.consume(topic, ({ key }) => void keys.add(key))
    await other.start()
    await standing.ready
    for (let number = 100; number < 120; number++) await other.publish(topic, number, { key: `k${number}` })
    const all = (): boolean => Array.from({ length: 20 }, (_, at) => `k${100 + at}`).every((key) => keys.has(key))
    await waitUntil(all, { timeoutMs: 15_000, describe: () => keys })
    assert.equal(await counted(topic), 1)
  })

  test('one that has to join again while it joins is counted once', { timeout: 40_000 }, async () => {
    const topic = uniqueName('again')
    const { handle, done } = await away(topic)
    proxy.stall('down')
    handle.resume()
    await joiningInVain()
    handle.pause()
    handle.resume()
    await joiningInVain()
    proxy.resume()
    await waitUntil(async () => (await counted(topic)) === 1)
    done()
    // Whatever else it had asked for is answered before what it asks now.
    const other = bus(suite.broker.url)
    other.consume(topic, () => undefined)
    await other.start()
    await waitUntil(async () => (await counted(topic)) === 2, { timeoutMs: 5_000 })
  })
})
