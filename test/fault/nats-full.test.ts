import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from '@nats-io/transport-node'
import type { NatsConnection } from '@nats-io/transport-node'
import { afterEach, describe, test } from 'vitest'
import { createBus, PublishError } from 'busbar'
import type { Bus } from 'busbar'
import { uniqueName, waitUntil } from 'busbar/testing'
import { nats } from 'busbar/nats'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { NatsBroker } from '../../tools/brokers/index.ts'

const COUNT = 300

const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})

/** A server with little room on its disk. */
async function smallServer(): Promise<{ server: NatsBroker; client: NatsConnection }> {
  const dir = await mkdtemp(join(tmpdir(), 'busbar-full-'))
  cleanUps.push(() => rm(dir, { recursive: true, force: true }))
  const config = `jetstream { store_dir: ${JSON.stringify(dir)}, max_file_store: 24MB, max_memory_store: 16MB }`
  const server = await startPrivate('nats', { jetStream: false, config })
  cleanUps.push(() => server.stop())
  const client = await connect({ servers: `${server.host}:${server.port}` })
  cleanUps.push(() => client.close())
  return { server, client }
}

/** The stream of another team takes what there is. */
async function fill(client: NatsConnection): Promise<void> {
  const other = {
    name: 'OTHER',
    subjects: ['other.>'],
    storage: 'file',
    retention: 'limits',
    num_replicas: 1,
    discard: 'new',
  }
  await client.request('$JS.API.STREAM.CREATE.OTHER', JSON.stringify(other))
  for (const bytes of [500_000, 10_000, 100, 1]) {
    const room = new Uint8Array(bytes)
    for (;;) {
      const { error } = (await client.request('other.x', room)).json<{ error?: object }>()
      if (error !== undefined) break
    }
  }
}

function makeBus(server: NatsBroker): Bus {
  const bus = createBus({ service: 'full', transport: nats({ url: server.url, leaseMs: 1_500 }) })
  cleanUps.push(() => bus.close({ timeoutMs: 1_000 }))
  return bus
}

const messages = Array.from({ length: COUNT }, (_, data) => ({
  data,
  key: data % 9 === 0 ? undefined : `k${data % 16}`,
}))

describe('the store of JetStream is full', () => {
  test(
    'a running group works off its backlog, also when its leases are over, and the reason is shown',
    { timeout: 60_000 },
    async () => {
      const { server, client } = await smallServer()
      const topic = uniqueName('full')
      const bus = makeBus(server)
      const losts: unknown[] = []
      bus.events.on('lost', (event) => void losts.push(event))
      const seen = new Map<unknown, number>()
      let isOpen = false
      const consumer = bus.consume(topic, async ({ data }) => {
        seen.set(data, (seen.get(data) ?? 0) + 1)
        await waitUntil(() => isOpen, { timeoutMs: 30_000 })
      })
      await bus.start()
      consumer.pause()
      await bus.publishMany(topic, messages)
      await fill(client)
      await assert.rejects(bus.publish(topic, -1, { key: 'k0' }), (error: unknown) => {
        assert.ok(PublishError.is(error))
        assert.equal(error.outcome, 'not-sent')
        return /insufficient resources/.test(error.message)
      })
      assert.match(Object.values((await bus.health()).transports)[0]?.detail ?? '', /insufficient resources/)
      consumer.resume()
      // Longer than a lease: it has to be renewed meanwhile.
      const since = performance.now()
      await waitUntil(() => seen.size > 0 && performance.now() - since > 3_500, { timeoutMs: 10_000 })
      isOpen = true
      await waitUntil(() => seen.size === COUNT, {
        describe: () => `${seen.size} of ${COUNT} handled`,
        timeoutMs: 20_000,
      })
      assert.deepEqual(losts, [])
      assert.ok([...seen.values()].every((times) => times === 1))
      await client.request('$JS.API.STREAM.DELETE.OTHER')
      await waitUntil(async () =>
        bus.publish(topic, COUNT, { key: 'k0' }).then(
          () => true,
          () => false,
        ),
      )
      await waitUntil(() => seen.size === COUNT + 1)
      assert.equal(Object.values((await bus.health()).transports)[0]?.detail, undefined)
    },
  )

  test('a member that joins then gets its share', { timeout: 60_000 }, async () => {
    const { server, client } = await smallServer()
    const topic = uniqueName('full')
    const before = makeBus(server)
    before.consume(topic, () => undefined, { group: 'g', from: 'earliest' })
    await before.start()
    await before.close()
    const publisher = makeBus(server)
    await publisher.start()
    await publisher.publishMany(topic, messages)
    await fill(client)
    const bus = makeBus(server)
    const seen = new Set<unknown>()
    bus.consume(topic, ({ data }) => void seen.add(data), { group: 'g' })
    await bus.start()
    await waitUntil(() => seen.size === COUNT, {
      describe: () => `${seen.size} of ${COUNT} handled`,
      timeoutMs: 20_000,
    })
  })
})
