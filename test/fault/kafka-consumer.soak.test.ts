import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { TestContext } from 'vitest'
import { Cluster } from '../../src/kafka/cluster/cluster.ts'
import { Consumer } from '../../src/kafka/consumer/consumer.ts'
import { systemClock } from '../../src/kafka/network/clock.ts'
import { Producer } from '../../src/kafka/producer/producer.ts'
import { BrokerError } from '../../tools/brokers/errors.ts'
import { startPrivate, waitFor } from '../../tools/brokers/index.ts'
import type { KafkaBroker } from '../../tools/brokers/index.ts'
import { unlessMissing } from '../integration/broker-helpers.ts'

const PARTITIONS = 6

let starting: KafkaBroker | BrokerError | undefined

beforeAll(async () => {
  starting = await unlessMissing(startPrivate('kafka', { nodes: 3 }))
}, 300_000)

afterAll(async () => {
  if (starting !== undefined && !(starting instanceof BrokerError)) await starting.stop()
})

function brokerFor(context: TestContext): KafkaBroker {
  if (starting === undefined) throw new Error('no broker was started')
  return starting instanceof BrokerError ? context.skip(starting.message) : starting
}

describe.each(['classic', 'consumer'] as const)('two consumers of a %s group', (protocol) => {
  test('handle every id, while each broker is killed and one is frozen', { timeout: 600_000 }, async (context) => {
    const broker = brokerFor(context)
    const clusters: Cluster[] = []
    const clusterOf = () => {
      const brokers = broker.nodes.map(({ host, port }) => `${host}:${port}`)
      const cluster = new Cluster({ brokers, clientId: 'test' })
      clusters.push(cluster)
      return cluster
    }
    const cluster = clusterOf()
    const name = `consumer-faults-${protocol}-${process.pid}`
    const topic = { name, numPartitions: PARTITIONS, replicationFactor: 3, assignments: [], configs: [] }
    await cluster.sendToAny('CreateTopics', { topics: [topic], validateOnly: false, timeoutMs: 10_000 })
    const producer = new Producer({ deliveryTimeoutMs: 120_000 }, { cluster })

    const handled = new Map<string, number>()
    let lastHandledAt = 0
    let longestPauseMs = 0
    const consumers = [1, 2].map(() => {
      const context = { cluster: clusterOf(), clock: systemClock, random: Math.random }
      return new Consumer(context, { topics: [name], group: name, protocol })
    })
    const runs = consumers.map((consumer) =>
      consumer.run({
        concurrency: 20,
        handler: (record) => {
          const id = record.valueText ?? ''
          handled.set(id, (handled.get(id) ?? 0) + 1)
          const now = performance.now()
          if (lastHandledAt > 0) longestPauseMs = Math.max(longestPauseMs, now - lastHandledAt)
          lastHandledAt = now
        },
      }),
    )

    const stop = new AbortController()
    let sent = 0
    const confirmed: string[] = []
    const sending = (async () => {
      while (!stop.signal.aborted) {
        const ids = Array.from({ length: 50 }, () => String(sent++))
        const results = await Promise.allSettled(ids.map((id) => producer.send({ topic: name, key: id, value: id })))
        for (const [index, id] of ids.entries()) if (results[index]?.status === 'fulfilled') confirmed.push(id)
      }
    })()
    await waitFor(() => handled.size > 1_000, { timeoutMs: 60_000 })
    for (const node of broker.nodes) {
      await node.kill()
      const before = handled.size
      await waitFor(() => handled.size > before + 1_000, { timeoutMs: 60_000 })
      await node.restart()
      await waitFor(() => node.sees(3), { timeoutMs: 60_000 })
    }
    const [frozen] = broker.nodes
    await frozen?.pause()
    const before = handled.size
    await waitFor(() => handled.size > before + 1_000, { timeoutMs: 60_000 })
    await frozen?.resume()
    stop.abort()
    await sending
    await waitFor(() => confirmed.every((id) => handled.has(id)), { timeoutMs: 60_000 })
    await Promise.all(consumers.map((each) => each.close()))
    await Promise.all(runs)

    const repeated = [...handled.values()].reduce((sum, times) => sum + times - 1, 0)
    console.log(
      `${protocol}: ${sent} sent, ${confirmed.length} confirmed, ${handled.size} handled, ${repeated} handled again, longest pause ${Math.round(longestPauseMs)} ms`,
    )
    const lag = await broker.tool(
      'org.apache.kafka.tools.consumer.group.ConsumerGroupCommand',
      `--bootstrap-server=${broker.nodes.map(({ host, port }) => `${host}:${port}`).join(',')}`,
      '--describe',
      `--group=${name}`,
    )
    const rows = lag.split('\n').filter((line) => line.startsWith(name))
    expect(rows.length).toBe(PARTITIONS)
    // Group, topic, partition, committed offset, end of the log, lag.
    expect(rows.map((line) => line.trim().split(/\s+/)[5])).toEqual(rows.map(() => '0'))
    await producer.close()
    for (const each of clusters) each.close()
  })
})
