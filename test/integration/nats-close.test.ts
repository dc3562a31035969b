import assert from 'node:assert/strict'
import { test } from 'vitest'
import { ConnectionError } from 'busbar'
import { tcpProxy, uniqueName, waitUntil } from 'busbar/testing'
import { RawConsumer } from '../../src/testing/conformance/raw.ts'
import { makeBus, onEnd, openTransport, record, startServer } from './nats-harness.ts'

test('a transport whose server has fallen silent closes by its deadline', async () => {
  const proxy = await tcpProxy(await startServer())
  onEnd(() => proxy.close())
  const { transport } = await openTransport({ url: `nats://${proxy.host}:${proxy.port}`, heartbeatMs: 60_000 })
  await new RawConsumer(10_000).subscribe(transport, { topic: uniqueName('silent'), group: 'g', order: 'key' })
  proxy.stall()
  const since = performance.now()
  await transport.close({ deadlineMs: 1_000 })
  const tookMs = performance.now() - since
  assert.ok(tookMs < 3_000, `${tookMs} ms`)
})

test('what is asked of a server whose connection is lost fails at once, and works when it is back', async () => {
  const proxy = await tcpProxy(await startServer())
  onEnd(() => proxy.close())
  const bus = makeBus({ url: `nats://${proxy.host}:${proxy.port}` })
  const [disconnects, reconnects] = [record(bus, 'disconnect'), record(bus, 'reconnect')]
  await bus.start()
  proxy.refuse()
  proxy.cut()
  await waitUntil(() => disconnects.length > 0)
  const since = performance.now()
  await assert.rejects(bus.admin().groups(), ConnectionError.is)
  assert.ok(performance.now() - since < 1_000)
  proxy.accept()
  await waitUntil(() => reconnects.length > 0)
  assert.deepEqual(await bus.admin().groups(), [])
})
