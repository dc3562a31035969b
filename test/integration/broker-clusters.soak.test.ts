import { expect, test } from 'vitest'
import { startPrivate } from '../../tools/brokers/index.ts'
import { skipIfMissing } from './broker-helpers.ts'
import { checkCluster } from './cluster-test.ts'

const SLOW = { timeout: 240_000 }

test('kafka runs three nodes, of which one may die and come back', SLOW, async (context) => {
  await using cluster = await skipIfMissing(context, startPrivate('kafka', { nodes: 3 }))
  expect(cluster.url.split(',')).toHaveLength(3)
  await checkCluster(cluster.nodes)
})

test('nats runs three nodes with JetStream, of which one may die and come back', SLOW, async (context) => {
  await using cluster = await skipIfMissing(context, startPrivate('nats', { nodes: 3 }))
  expect(cluster.url.split(',')).toHaveLength(3)
  await checkCluster(cluster.nodes)
  const state = await (await fetch(`${cluster.nodes[2]?.monitorUrl}/jsz`)).json()
  expect(state).toMatchObject({ meta_cluster: { name: 'busbar', cluster_size: 3 } })
})

test('rabbitmq runs three nodes, of which one may die and come back', SLOW, async (context) => {
  await using cluster = await skipIfMissing(context, startPrivate('rabbitmq', { nodes: 3 }))
  expect(cluster.url).toBe(cluster.nodes[0]?.url)
  await checkCluster(cluster.nodes)
  // Each handle asks its own node.
  const names = await Promise.all(cluster.nodes.map((node) => node.ctl('--silent', 'eval', 'node().')))
  expect(names.map((name) => name.trim().replaceAll("'", ''))).toEqual(
    cluster.nodes.map(({ port }) => `busbar-${port}@localhost`),
  )
})
