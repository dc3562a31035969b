import assert from 'node:assert/strict'
import { connect } from '@nats-io/transport-node'
import { afterEach, describe, test } from 'vitest'
import { createBus } from 'busbar'
import { uniqueName, waitUntil } from 'busbar/testing'
import { nats } from 'busbar/nats'
import type { NatsOptions } from 'busbar/nats'
import { startPrivate } from '../../tools/brokers/index.ts'

interface Info {
  readonly config: { readonly num_replicas: number }
}

const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})

describe('replicas of the streams on a cluster', () => {
  test(
    'all streams have as many as was asked for; fewer than the messages have are reported',
    {
      timeout: 120_000,
    },
    async () => {
      const cluster = await startPrivate('nats', { nodes: 3 })
      cleanUps.push(() => cluster.stop())
      const client = await connect({ servers: cluster.nodes.map(({ host, port }) => `${host}:${port}`) })
      cleanUps.push(() => client.close())
      const replicasOf = async (stream: string): Promise<number> =>
        (await client.request(`$JS.API.STREAM.INFO.${stream}`, '{}')).json<Info>().config.num_replicas
      const warningsOf = async (stream: NatsOptions['stream']): Promise<string[]> => {
        const bus = createBus({
          service: 'replicas',
          transport: nats({ url: cluster.nodes.map(({ url }) => url), stream }),
        })
        cleanUps.push(() => bus.close())
        const warnings: string[] = []
        bus.events.on('warning', ({ code, detail }) => {
          if (code === 'nats-fewer-replicas') warnings.push(detail)
        })
        const handled: unknown[] = []
        const topic = uniqueName('replicas')
        bus.consume(topic, ({ data }) => void handled.push(data))
        await bus.start({ timeoutMs: 30_000 })
        await bus.publish(topic, 1, { key: 'k' })
        await waitUntil(() => handled.length === 1)
        return warnings
      }

      assert.deepEqual(await warningsOf({ name: 'safe', subjectPrefix: 'safe', replicas: 3 }), [])
      for (const name of ['safe', 'safe_dlq', 'safe_state', 'safe_leases'])
        assert.equal(await replicasOf(name), 3, name)

      const risky = { name: 'risky', subjectPrefix: 'risky' }
      assert.deepEqual(await warningsOf(risky), [])
      const { config } = (await client.request('$JS.API.STREAM.INFO.risky', '{}')).json<Info>()
      const update = JSON.stringify({ ...config, num_replicas: 3 })
      const updated = (await client.request('$JS.API.STREAM.UPDATE.risky', update, { timeout: 10_000 })).json<Info>()
      assert.equal(updated.config.num_replicas, 3)
      const warnings = await warningsOf(risky)
      assert.equal(warnings.length, 1)
      assert.match(warnings[0] ?? '', /"risky_state" \(1\), "risky_dlq" \(1\), "risky_leases" \(1\)/)
    },
  )
})
