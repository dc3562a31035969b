import assert from 'node:assert/strict'
import { test } from 'vitest'
import { uniqueName, waitUntil } from 'busbar/testing'
import { makeBus, onEnd, record, startServer, streamName } from './nats-harness.ts'

// The server keeps leases in memory. Members of a group that had some go by them for as long as they last.

test('a new group starts at once on a server that has just been restarted', async () => {
  const server = await startServer()
  onEnd(() => server.stop())
  const bus = makeBus({ url: server.url, leaseMs: 20_000, stream: { name: streamName() } })
  await bus.start()
  const reconnects = record(bus, 'reconnect')
  await server.restart()
  await waitUntil(() => reconnects.length > 0)

  const topic = uniqueName('orders')
  const seen: unknown[] = []
  bus.consume(topic, ({ data }) => void seen.push(data), { group: 'new' })
  await bus.publish(topic, 1, { key: 'k' })
  await waitUntil(() => seen.length === 1, { timeoutMs: 5_000 })
  assert.deepEqual(seen, [1])
})
