import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { tcpProxy, uniqueName, waitUntil } from 'busbar/testing'
import { outgoing, publishRaw, RawConsumer } from '../../src/testing/conformance/raw.ts'
import { onEnd, openTransport, startServer } from './nats-harness.ts'

const MIB = 1_048_576
const BODY = Buffer.alloc(30_000)

describe('credit of a consumer with many partitions', () => {
  test('bytes hold over all partitions together', { timeout: 40_000 }, async () => {
    const server = await startServer()
    const proxy = await tcpProxy(server)
    onEnd(() => proxy.close())
    const topic = uniqueName('bytes')
    const { transport: publisher } = await openTransport({ url: server.url })
    for (let round = 0; round < 10; round++)
      await publishRaw(
        publisher,
        Array.from({ length: 64 }, (_, at) => outgoing(topic, { key: `k${at}`, body: BODY })),
      )
    const { transport } = await openTransport({ url: `nats://${proxy.host}:${proxy.port}` })
    const raw = await new RawConsumer(10_000).subscribe(transport, { topic, group: 'g', order: 'key', prefetch: 512 })
    onEnd(() => raw.close())
    raw.request(512, MIB)
    const taken = (): number => raw.deliveries.reduce((total, { bytes }) => total + bytes, 0)
    await waitUntil(() => taken() >= MIB, { describe: () => `${taken()} bytes` })
    // Whatever was asked for has come when nothing comes for a while.
    let [before, since] = [0, 0]
    await waitUntil(() => {
      const now = performance.now()
      if (proxy.bytesDown > before + 2_000) [before, since] = [proxy.bytesDown, now]
      return now - since > 1_000
    })
    // 64 KiB for each of 8 partitions, one message that may overshoot in each, and what the server says besides.
    const most = MIB + 8 * (65_536 + BODY.length) + 200_000
    assert.ok(proxy.bytesDown < most, `${proxy.bytesDown} bytes came, at most ${most} should`)
    assert.ok(taken() < MIB + 40_000)
  })

  test('a partition that stands still leaves room for the others', { timeout: 40_000 }, async () => {
    const server = await startServer()
    const topic = uniqueName('hot')
    const { transport } = await openTransport({ url: server.url })
    await publishRaw(
      transport,
      Array.from({ length: 500 }, () => outgoing(topic, { key: 'hot' })),
    )
    const raw = await new RawConsumer(10_000).subscribe(transport, {
      topic,
      group: 'g',
      order: 'key',
      prefetch: 64,
      maxPerKey: 8,
    })
    onEnd(() => raw.close())
    raw.request(64)
    await raw.take(32)
    // Nothing of it is settled.
    await publishRaw(
      transport,
      Array.from({ length: 16 }, (_, at) => outgoing(topic, { id: `other-${at}`, key: `k${at}` })),
    )
    const others = (): number => raw.ids().filter((id) => id.startsWith('other')).length
    // Those that share the partition of the hot key wait behind it.
    await waitUntil(() => others() >= 10, { describe: () => `${others()} of others, ${raw.deliveries.length} in all` })
  })
})
