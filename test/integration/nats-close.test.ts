import assert from 'node:assert/strict'
import { test } from 'vitest'
import { tcpProxy, uniqueName } from 'busbar/testing'
import { RawConsumer } from '../../src/testing/conformance/raw.ts'
import { onEnd, openTransport, startServer } from './nats-harness.ts'

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
