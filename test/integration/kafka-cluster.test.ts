import { afterEach, describe, expect, test } from 'vitest'
import { Cluster } from '../../src/kafka/cluster/cluster.ts'
import type { ClusterOptions } from '../../src/kafka/cluster/cluster-options.ts'
import { errorFromBroker } from '../../src/kafka/errors.ts'
import type { BrokerNode, KafkaBroker } from '../../tools/brokers/index.ts'
import { batchOf } from '../unit/kafka/sim/batch.ts'
import { addressesOf, useKafka } from './kafka-broker.ts'

const clusters: Cluster[] = []

afterEach(() => {
  for (const cluster of clusters.splice(0)) cluster.close()
})

function connect(options: ClusterOptions): Cluster {
  const cluster = new Cluster({ clientId: 'test', ...options })
  clusters.push(cluster)
  return cluster
}

async function withTopic(brokers: readonly string[], name: string, partitions: number): Promise<Cluster> {
  const cluster = connect({ brokers, requestTimeoutMs: 60_000 })
  const topic = { name, numPartitions: partitions, replicationFactor: -1, assignments: [], configs: [] }
  await cluster.sendToAny('CreateTopics', { topics: [topic], validateOnly: false })
  cluster.track().add(name)
  for (let partition = 0; partition < partitions; partition++)
    await cluster.leader(name, partition, { timeoutMs: 30_000 })
  return cluster
}

/** Produces until a leader takes it; how long that took. */
async function produce(cluster: Cluster, topic: string, partition: number): Promise<number> {
  const start = performance.now()
  await cluster.retry(
    'a produce request',
    async () => {
      const { leader } = await cluster.leader(topic, partition)
      const partitionData = [{ index: partition, records: batchOf(['x']) }]
      const topicData = [{ name: topic, topicId: cluster.metadata.topic(topic)?.id ?? '', partitionData }]
      const { response } = await cluster.send(leader, 'Produce', { acks: -1, timeoutMs: 10_000, topicData })
      const errorCode = response.responses[0]?.partitionResponses[0]?.errorCode ?? -1
      if (errorCode !== 0) throw errorFromBroker(errorCode, 'Produce')
    },
    { timeoutMs: 60_000 },
  )
  return performance.now() - start
}

function nodeOf(broker: KafkaBroker, id: number | undefined): BrokerNode {
  const node = broker.nodes.find((each) => each.id === id)
  if (node === undefined) throw new Error(`no node ${id}`)
  return node
}

describe('three nodes', () => {
  const kafka = useKafka({ nodes: 3 })

  test('are found from one address, the first of which is dead', { timeout: 60_000 }, async (context) => {
    const broker = kafka.of(context)
    const cluster = await withTopic(['127.0.0.1:1', addressesOf(broker)[1] ?? ''], 'found', 3)
    expect([...cluster.metadata.nodes.keys()].toSorted((a, b) => a - b)).toEqual([1, 2, 3])
    for (let partition = 0; partition < 3; partition++) await produce(cluster, 'found', partition)
  })

  test('have a new leader and coordinator soon after one is killed', { timeout: 120_000 }, async (context) => {
    const broker = kafka.of(context)
    const cluster = await withTopic(addressesOf(broker), 'killed', 1)
    const before = await cluster.leader('killed', 0)
    const coordinator = () => cluster.retry('the coordinator', () => cluster.coordinators.find('group', 'g'))
    await coordinator()
    const node = nodeOf(broker, before.leader)
    await node.kill()
    // The brokers take 4 s to give it up (broker.session.timeout.ms).
    expect(await produce(cluster, 'killed', 0)).toBeLessThan(14_000)
    expect((await cluster.leader('killed', 0)).leader).not.toBe(before.leader)
    cluster.coordinators.forget('group', 'g')
    expect(await coordinator()).not.toBe(before.leader)
    await node.restart()
    await cluster.waitFor('the node again', () => cluster.metadata.nodes.get(node.id), { timeoutMs: 60_000 })
  })

  test('go on while one is frozen, whose requests end when it is given up', { timeout: 120_000 }, async (context) => {
    const broker = kafka.of(context)
    const cluster = await withTopic(addressesOf(broker), 'frozen', 1)
    await produce(cluster, 'frozen', 0)
    const { leader } = await cluster.leader('frozen', 0)
    const node = nodeOf(broker, leader)
    await node.pause()
    try {
      // With a request timeout of 60 s.
      expect(await produce(cluster, 'frozen', 0)).toBeLessThan(14_000)
      const start = performance.now()
      for (let count = 0; count < 5; count++) await cluster.refresh()
      expect(performance.now() - start).toBeLessThan(10_000)
    } finally {
      await node.resume()
    }
    await cluster.waitFor('the node again', () => cluster.metadata.nodes.get(node.id), { timeoutMs: 60_000 })
  })
})
