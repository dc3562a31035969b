import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { createAdmin } from '../../src/kafka/admin/admin.ts'
import { Cluster } from '../../src/kafka/cluster/cluster.ts'
import type { RequestEvent } from '../../src/kafka/cluster/hooks.ts'
import { Consumer } from '../../src/kafka/consumer/consumer.ts'
import type { ConsumerOptions } from '../../src/kafka/consumer/consumer-options.ts'
import { systemClock } from '../../src/kafka/network/clock.ts'
import { nodeSockets } from '../../src/kafka/network/sockets.ts'
import type { OpenSocket } from '../../src/kafka/network/sockets.ts'
import { Producer } from '../../src/kafka/producer/producer.ts'
import { waitFor } from '../../tools/brokers/index.ts'
import { addressesOf, useKafka } from '../integration/kafka-broker.ts'
import { QUICK_GROUPS, numbers } from '../integration/kafka-consumer-setup.ts'
import { nodeOf } from './kafka-nodes.ts'
import { KafkaWorkers } from './kafka-workers.ts'

function consumerOf(cluster: Cluster, options: ConsumerOptions): Consumer {
  return new Consumer({ cluster, clock: systemClock, random: Math.random }, options)
}

describe('one broker', () => {
  const kafka = useKafka(QUICK_GROUPS)

  test(
    'C15: pausing and resuming at random delivers nothing too early, and fetches nothing twice',
    { timeout: 300_000 },
    async (context) => {
      const brokers = addressesOf(kafka.of(context))
      const [topic, partitions, perPartition, valueBytes] = ['paused', 60, 2_000, 500]
      let received = 0
      const counting: OpenSocket = (address, handlers) =>
        nodeSockets()(address, {
          connected: () => handlers.connected(),
          room: () => handlers.room(),
          received: (chunk) => {
            received += chunk.length
            handlers.received(chunk)
          },
          closed: (error) => handlers.closed(error),
        })
      const writing = new Cluster({ brokers })
      const reading = new Cluster({ brokers, openSocket: counting })
      const producer = new Producer({}, { cluster: writing })
      // Small buffers, which are full all the time.
      const consumer = consumerOf(reading, {
        topics: [topic],
        onReset: 'earliest',
        maxBufferedBytes: 1_000_000,
        maxPartitionBytes: 50_000,
        maxBatchRecords: 20,
      })
      try {
        await createAdmin(writing).topics.create([{ name: topic, partitions }])
        const filler = 'x'.repeat(valueBytes)
        for (let first = 0; first < perPartition; first += 50) {
          const sent = Array.from({ length: partitions }, (_, partition) =>
            producer.sendMany(
              topic,
              numbers(50, first).map((value) => ({ key: value, value: filler, partition })),
            ),
          )
          await Promise.all(sent)
        }
        const slow = { topic, partition: 0 }
        const next = new Map<number, number>()
        const violations: string[] = []
        let isPaused = false
        let handled = 0
        const ended = consumer.run({
          handler: (record, { partition }) => {
            const expected = next.get(partition) ?? 0
            if (Number(record.keyText) !== expected) violations.push(`${partition}: ${record.keyText}, not ${expected}`)
            if (isPaused && partition === slow.partition) violations.push(`paused: ${record.keyText}`)
            next.set(partition, expected + 1)
            handled++
            return partition === slow.partition ? delay(1) : undefined
          },
        })
        let changes = 0
        const total = partitions * perPartition
        for (; changes < 1_000; changes++) {
          isPaused = Math.random() < 0.5
          if (isPaused) consumer.pause([slow])
          else consumer.resume([slow])
          await delay(Math.random() * 10)
        }
        isPaused = false
        consumer.resume([slow])
        await waitFor(() => handled === total, { timeoutMs: 120_000 })
        await consumer.close()
        await ended
        expect({ violations, handled }).toEqual({ violations: [], handled: total })
        // Keys and the framing of records are some 15 bytes each.
        const delivered = total * (valueBytes + 15)
        console.log(`C15: ${received} bytes received for ${delivered} delivered`)
        expect(received / delivered).toBeLessThan(1.1)
      } finally {
        await consumer.close()
        await producer.close()
        writing.close()
        reading.close()
      }
    },
  )

  test(
    'C23: a static member that is killed and started again moves no partition',
    { timeout: 300_000 },
    async (context) => {
      const brokers = addressesOf(kafka.of(context))
      const [topic, group] = ['static', 'static-group']
      const cluster = new Cluster({ brokers })
      const producer = new Producer({}, { cluster })
      const handled = new Set<string>()
      const other = consumerOf(cluster, { topics: [topic], group, instanceId: 'b', sessionTimeoutMs: 30_000 })
      const workers = new KafkaWorkers(
        () => ({ brokers, topic, group, instanceId: 'a', sessionTimeoutMs: 30_000 }),
        (notice) => void handled.add(notice.handled),
      )
      let changes = 0
      let sent = 0
      try {
        await createAdmin(cluster).topics.create([{ name: topic, partitions: 4 }])
        const ended = other.run({ handler: (record) => void handled.add(record.valueText ?? '') })
        workers.start(1)
        expect(await waitFor(() => other.assignment.length === 2, { timeoutMs: 60_000 })).toBe(true)
        for (const event of ['assigned', 'revoking', 'lost'] as const) other.on(event, () => void changes++)
        const allHandled = async () => {
          const values = numbers(40, sent)
          sent += values.length
          await producer.sendMany(
            topic,
            values.map((value, index) => ({ value, partition: index % 4 })),
          )
          return waitFor(() => values.every((value) => handled.has(value)), { timeoutMs: 25_000 })
        }
        expect(await allHandled()).toBe(true)
        for (let kill = 0; kill < 3; kill++) {
          await workers.kill(0)
          // Within the session, by the process that was started in its place.
          expect(await allHandled()).toBe(true)
        }
        expect({ changes, failures: workers.failures }).toEqual({ changes: 0, failures: [] })
        await other.close()
        await ended
      } finally {
        await workers.close()
        await other.close()
        await producer.close()
        cluster.close()
      }
    },
  )

  test(
    'C23: of two static members with the same id exactly one ends, named, and does not come back',
    { timeout: 120_000 },
    async (context) => {
      const brokers = addressesOf(kafka.of(context))
      const [topic, group] = ['same-id', 'same-id-group']
      let joins = 0
      const onRequest = ({ api }: { readonly api: string }) => void (joins += api === 'JoinGroup' ? 1 : 0)
      const clusters = [0, 1].map(() => new Cluster({ brokers, hooks: { onRequest } }))
      const [one, two] = clusters as [Cluster, Cluster]
      const options: ConsumerOptions = { topics: [topic], group, instanceId: 'a', heartbeatIntervalMs: 1_000 }
      const first = consumerOf(one, options)
      const second = consumerOf(two, options)
      try {
        await createAdmin(one).topics.create([{ name: topic, partitions: 4 }])
        const outcome = Promise.allSettled([first.next()])
        expect(await waitFor(() => first.assignment.length === 4, { timeoutMs: 30_000 })).toBe(true)
        const running = second.run({ handler: () => {} })
        const start = performance.now()
        expect(await outcome).toMatchObject([{ status: 'rejected', reason: { code: 'FENCED_INSTANCE_ID' } }])
        expect(performance.now() - start).toBeLessThan(10_000)
        expect(await waitFor(() => second.assignment.length === 4, { timeoutMs: 10_000 })).toBe(true)
        const joined = joins
        await delay(15_000)
        expect([joins - joined, first.assignment.length, second.assignment.length]).toEqual([0, 0, 4])
        await second.close()
        await running
      } finally {
        await Promise.all([first.close(), second.close()])
        for (const cluster of clusters) cluster.close()
      }
    },
  )
})

describe('three brokers', () => {
  const kafka = useKafka({ nodes: 3, properties: { 'unclean.leader.election.enable': 'true' } })

  test(
    'a replica in the rack of the consumer is read from, and the leader when that replica dies (KIP-392)',
    { timeout: 180_000 },
    async (context) => {
      const broker = kafka.of(context)
      const topic = 'near'
      const fetched = new Set<number | undefined>()
      const onRequest = ({ api, broker: { nodeId } }: RequestEvent) => void (api === 'Fetch' && fetched.add(nodeId))
      const cluster = new Cluster({ brokers: addressesOf(broker), rack: 'b', hooks: { onRequest } })
      const producer = new Producer({}, { cluster })
      const consumer = consumerOf(cluster, { topics: [topic], onReset: 'earliest' })
      const values: string[] = []
      try {
        await createAdmin(cluster).topics.create([{ name: topic, replicas: [[1, 2, 3]] }])
        const ended = consumer.run({ handler: (record) => void values.push(record.valueText ?? '') })
        let sent = 0
        const exchange = async () => {
          await producer.sendMany(
            topic,
            numbers(10, sent).map((value) => ({ value })),
          )
          sent += 10
          return waitFor(() => values.length === sent, { timeoutMs: 30_000 })
        }
        expect(await exchange()).toBe(true)
        expect(await waitFor(() => fetched.has(2), { timeoutMs: 30_000 })).toBe(true)
        // What was asked of the leader has been answered by then.
        await delay(2_000)
        fetched.clear()
        expect(await exchange()).toBe(true)
        expect([...fetched]).toEqual([2])
        await nodeOf(broker, 2).kill()
        expect(await exchange()).toBe(true)
        expect(values).toEqual(numbers(sent))
        await consumer.close()
        await ended
      } finally {
        await consumer.close()
        await producer.close()
        cluster.close()
        await nodeOf(broker, 2).restart()
      }
    },
  )

  test('C17: a leader that loses the end of its log is reported', { timeout: 300_000 }, async (context) => {
    const broker = kafka.of(context)
    const topic = 'truncated'
    let epochRequests = 0
    const onRequest = ({ api }: { readonly api: string }) => {
      if (api === 'OffsetForLeaderEpoch') epochRequests++
    }
    const cluster = new Cluster({ brokers: addressesOf(broker), hooks: { onRequest } })
    const producer = new Producer({}, { cluster })
    const consumer = consumerOf(cluster, { topics: [topic], onReset: 'earliest' })
    const truncations: { readonly from: number; readonly to: number }[] = []
    const values: string[] = []
    consumer.on('truncated', (_, offsets) => void truncations.push(offsets))
    const send = (from: number, count: number) =>
      producer.sendMany(
        topic,
        numbers(count, from).map((value) => ({ value })),
      )
    try {
      const admin = createAdmin(cluster)
      await admin.topics.create([{ name: topic, replicas: [[1, 2]], configs: { 'min.insync.replicas': '1' } }])
      const ended = consumer.run({ handler: (record) => void values.push(record.valueText ?? '') })
      await send(0, 500)
      expect(await waitFor(() => values.length === 500, { timeoutMs: 30_000 })).toBe(true)
      // The follower misses what only the leader gets.
      await nodeOf(broker, 2).kill()
      await send(500, 100)
      expect(await waitFor(() => values.length === 600, { timeoutMs: 60_000 })).toBe(true)
      await nodeOf(broker, 1).kill()
      await nodeOf(broker, 2).restart()
      await send(1_000, 300)
      expect(await waitFor(() => values.includes('1299'), { timeoutMs: 60_000 })).toBe(true)
      expect(truncations).toEqual([{ from: 600, to: 500 }])
      expect(values).toEqual([...numbers(600), ...numbers(300, 1_000)])
      const asked = epochRequests
      await nodeOf(broker, 1).restart()
      await delay(15_000)
      console.log(`C17: ${epochRequests} requests for epochs`)
      // One for each change of the epoch: two kills, an election, and the leader's return.
      expect([asked <= 3, epochRequests <= 4]).toEqual([true, true])
      expect(truncations.length).toBe(1)
      await consumer.close()
      await ended
    } finally {
      await consumer.close()
      await producer.close()
      cluster.close()
    }
  })
})
