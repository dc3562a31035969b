import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { test } from 'vitest'
import { KafkaProxy } from '../../../bench/footprint/kafka-proxy.ts'

function request(api: number, bytes: number): Buffer {
  const request = Buffer.alloc(bytes + 4)
  request.writeInt32BE(bytes, 0)
  request.writeInt16BE(api, 4)
  return request
}

async function arrived(socket: Socket, bytes: number): Promise<void> {
  let count = 0
  for await (const chunk of socket) {
    count += (chunk as Buffer).length
    if (count >= bytes) return
  }
}

test('the proxy counts requests by name, wherever their bytes are cut', async () => {
  const broker = createServer().listen(0, '127.0.0.1')
  await once(broker, 'listening')
  await using proxy = await KafkaProxy.listen()
  proxy.target((broker.address() as AddressInfo).port)
  const [metadata, heartbeat, fetch] = [request(3, 40), request(12, 10), request(1, 3_000)]
  const all = Buffer.concat([metadata, heartbeat, fetch, heartbeat])
  for (const size of [1, 3, 7, 45, 10_000]) {
    const joined = once(broker, 'connection')
    const client = connect({ port: proxy.port, host: '127.0.0.1', noDelay: true })
    const [socket] = (await joined) as [Socket]
    const received = arrived(socket, all.length)
    for (let at = 0; at < all.length; at += size) client.write(all.subarray(at, at + size))
    await received
    client.destroy()
  }
  const { requests, bytesIn } = proxy.counts()
  assert.deepEqual(Object.fromEntries(requests), { Metadata: 5, Heartbeat: 10, Fetch: 5 })
  assert.equal(bytesIn, 5 * all.length)
  broker.close()
})
