import assert from 'node:assert/strict'
import { connect } from '@nats-io/transport-node'
import { afterEach, expect, test } from 'vitest'
import { createBus } from 'busbar'
import type { Bus } from 'busbar'
import { tcpProxy, uniqueName, waitUntil } from 'busbar/testing'
import { nats } from 'busbar/nats'
import { startPrivate } from '../../tools/brokers/index.ts'

/** Longer than a restart with its elections takes. */
const ACK_WAIT_MS = 20_000

const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
}, 60_000)

test(
  'all nodes are restarted at once: a newcomer leaves alone what a member still handles that is not back yet',
  { timeout: 180_000 },
  async () => {
    const cluster = await startPrivate('nats', { nodes: 3 })
    cleanUps.push(() => cluster.stop())
    const [first] = cluster.nodes
    assert.ok(first !== undefined)
    const proxy = await tcpProxy(first)
    cleanUps.push(() => proxy.close())
    const topic = uniqueName('restart')
    const makeBus = (url: string | readonly string[]): Bus => {
      const transport = nats({
        url,
        leaseMs: ACK_WAIT_MS,
        stream: { replicas: 3 },
        partitions: 1,
        // It must not find its way around the proxy.
        native: { connect: { ignoreClusterUpdates: true } },
      })
      const bus = createBus({ service: 'restart', transport, startTimeoutMs: 60_000 })
      cleanUps.push(() => bus.close({ timeoutMs: 1_000 }))
      return bus
    }
    const steps: string[] = []
    const away = makeBus(`nats://${proxy.host}:${proxy.port}`)
    away.consume(
      topic,
      ({ data }, { signal }) =>
        new Promise<void>((resolve) => {
          steps.push(`away begins ${String(data)}`)
          signal.addEventListener('abort', () => {
            steps.push(`away lost ${String(data)}`)
            resolve()
          })
        }),
      { group: 'g', from: 'earliest' },
    )
    await away.start()
    await away.publishMany(
      topic,
      [1, 2].map((data) => ({ data, key: 'k' })),
    )
    await waitUntil(() => steps.length === 1)
    proxy.refuse()
    await Promise.all(cluster.nodes.map((node) => node.kill()))
    await Promise.all(cluster.nodes.map((node) => node.restart()))
    const newcomer = makeBus(cluster.nodes.map(({ url }) => url))
    newcomer.consume(topic, ({ data }) => void steps.push(`newcomer handles ${String(data)}`), { group: 'g' })
    await newcomer.start()
    await waitUntil(() => steps.length === 4, { timeoutMs: 3 * ACK_WAIT_MS, describe: () => steps.join(', ') })
    expect(steps).toEqual(['away begins 1', 'away lost 1', 'newcomer handles 1', 'newcomer handles 2'])
  },
)

test(
  'a stream with one copy in memory comes back empty with its node: what is published then is handled',
  { timeout: 180_000 },
  async () => {
    const cluster = await startPrivate('nats', { nodes: 3 })
    cleanUps.push(() => cluster.stop())
    const topic = uniqueName('emptied')
    const bus = createBus({
      service: 'emptied',
      transport: nats({
        url: cluster.nodes.map(({ url }) => url),
        stream: { name: 'emptied', replicas: 3 },
        partitions: 2,
        native: { stream: { storage: 'memory', num_replicas: 1 } },
      }),
      startTimeoutMs: 60_000,
    })
    cleanUps.push(() => bus.close({ timeoutMs: 1_000 }))
    const handled = new Set<unknown>()
    const losses: unknown[] = []
    bus.events.on('loss', (event) => void losses.push(event))
    bus.consume(topic, ({ data }) => void handled.add(data), { group: 'g' })
    await bus.start()
    const publish = (first: number, count: number): Promise<unknown> =>
      bus.publishMany(
        topic,
        Array.from({ length: count }, (_, at) => ({ data: first + at, key: `k${at}` })),
      )
    await publish(0, 50)
    await waitUntil(() => handled.size === 50)
    const client = await connect({ servers: cluster.nodes.map(({ host, port }) => `${host}:${port}`) })
    cleanUps.push(() => client.close())
    const info = async (): Promise<{ cluster: { leader?: string }; state: { last_seq: number } }> =>
      (await client.request('$JS.API.STREAM.INFO.emptied', '{}', { timeout: 5_000 })).json()
    const { leader } = (await info()).cluster
    const node = cluster.nodes.find(({ port }) => leader?.includes(String(port)) ?? false)
    assert.ok(node !== undefined, `the leader is ${leader}`)
    await node.kill()
    await node.restart()
    await waitUntil(async () => (await info().catch(() => undefined))?.state.last_seq === 0, { timeoutMs: 60_000 })
    await publish(100, 10)
    await waitUntil(() => handled.size === 60, { timeoutMs: 60_000, describe: () => `${handled.size} handled` })
  },
)
