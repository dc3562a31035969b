import assert from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, describe, test } from 'vitest'
import { createBus } from 'busbar'
import { tcpProxy, uniqueName, waitUntil } from 'busbar/testing'
import { nats } from 'busbar/nats'
import { startPrivate } from '../../tools/brokers/index.ts'

const KEYS = 20
/** Of each key, between two losses of the connection. */
const PORTION = 20
const LOSSES = 3
/** Messages must come one by one: a backlog would use up the old requests at once. */
const PACE_MS = 5

const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})

describe('a connection that is lost on the side of the client alone', () => {
  test(
    'keys keep their order, also of messages that the server keeps sending into it',
    { timeout: 60_000 },
    async () => {
      const server = await startPrivate('nats')
      cleanUps.push(() => server.stop())
      const proxy = await tcpProxy(server)
      cleanUps.push(() => proxy.close())
      const topic = uniqueName('half-open')
      const bus = createBus({ service: 'consumer', transport: nats({ url: `nats://${proxy.host}:${proxy.port}` }) })
      const publisher = createBus({ service: 'publisher', transport: nats({ url: server.url }) })
      cleanUps.push(() => Promise.all([bus.close({ timeoutMs: 1_000 }), publisher.close()]))
      const handled = new Map<string, number[]>()
      let count = 0
      let reconnects = 0
      bus.events.on('reconnect', () => void reconnects++)
      bus.consume(
        topic,
        ({ key, data: value }) => {
          const data = Number(value)
          const seen = handled.get(key ?? '') ?? []
          handled.set(key ?? '', seen)
          if (seen.includes(data)) return
          seen.push(data)
          count++
        },
        { concurrency: 6, prefetch: 96 },
      )
      await bus.start()
      await publisher.start()
      const publish = async (from: number, to: number): Promise<void> => {
        for (let data = from; data < to; data++)
          for (let key = 0; key < KEYS; key++) {
            await publisher.publish(topic, data, { key: `k${key}` })
            await pause(PACE_MS)
          }
      }
      await publish(0, PORTION)
      await waitUntil(() => count === KEYS * PORTION)
      for (let loss = 1; loss <= LOSSES; loss++) {
        // The server's side stays as it is: it takes what the server sends.
        for (const link of proxy.links) link.halfOpen('target')
        await publish(loss * PORTION, (loss + 1) * PORTION)
        await waitUntil(() => reconnects === loss)
      }
      const all = KEYS * PORTION * (LOSSES + 1)
      await waitUntil(() => count === all, { timeoutMs: 30_000, describe: () => `${count} of ${all} handled` })
      for (const [key, seen] of handled)
        assert.deepEqual(
          seen,
          seen.toSorted((a, b) => a - b),
          `order of ${key}`,
        )
    },
  )
})
