import { describe, expect, test } from 'vitest'
import { createAdmin } from '../../src/kafka/admin/admin.ts'
import type { Cluster } from '../../src/kafka/cluster/cluster.ts'
import type { Consumer } from '../../src/kafka/consumer/consumer.ts'
import { Producer } from '../../src/kafka/producer/producer.ts'
import { CODECS } from '../../src/kafka/records/batch-format.ts'
import { waitFor } from '../../tools/brokers/index.ts'
import type { KafkaBroker } from '../../tools/brokers/index.ts'
import { addressesOf } from './kafka-broker.ts'
import type { KafkaOfTests } from './kafka-broker.ts'
import { numbers, setUpConsumers } from './kafka-consumer-setup.ts'

/** Collects what handlers are given until the consumer is closed. */
function collect(consumer: Consumer) {
  const values: string[] = []
  const ended = consumer.run({ concurrency: 10, handler: (record) => void values.push(record.valueText ?? '') })
  return { values, ended }
}

/** How far a group is behind, and what it has committed: as Kafka's own tool sees it, where there is one. */
async function lagOf(broker: KafkaBroker, cluster: Cluster, group: string): Promise<number> {
  return broker.version.startsWith('kfake') ? lagByUs(cluster, group) : lagByJava(broker, group)
}

async function lagByUs(cluster: Cluster, group: string): Promise<number> {
  const { offsets, records } = createAdmin(cluster)
  let lag = 0
  for (const { topic, partition, offset } of await offsets.list(group)) {
    const ends = await records.offsets(topic, 'latest')
    lag += (ends.find((end) => end.partition === partition)?.offset ?? Number.NaN) - offset
  }
  return lag
}

async function lagByJava(broker: KafkaBroker, group: string): Promise<number> {
  const output = await broker.tool(
    'org.apache.kafka.tools.consumer.group.ConsumerGroupCommand',
    '--bootstrap-server',
    addressesOf(broker).join(','),
    '--describe',
    '--group',
    group,
  )
  const [head = [], ...rows] = output
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((line) => line.length > 5)
  const column = head.indexOf('LAG')
  return rows.reduce((sum, row) => sum + Number(row[column]), 0)
}

/** What consumers do on any broker that has both kinds of groups, and transactions. */
export function consumerTests(kafka: KafkaOfTests): void {
  describe.each(['classic', 'consumer'] as const)('a group of the protocol %s', (protocol) => {
    test('reads every compression, and commits so that the lag is 0', { timeout: 120_000 }, async (context) => {
      const { broker, topic, cluster, consumer, close } = await setUpConsumers(context, kafka, 3)
      const expected: string[] = []
      for (const compression of CODECS) {
        const producer = new Producer({ compression, lingerMs: 5 }, { cluster })
        const records = numbers(500).map((n) => ({ key: n, value: `${compression} ${n} ${'ä'.repeat(20)}` }))
        expected.push(...records.map(({ value }) => value))
        await producer.sendMany(topic, records)
        await producer.close()
      }
      const reading = consumer({ protocol })
      const { values, ended } = collect(reading)
      await waitFor(() => values.length >= expected.length, { timeoutMs: 30_000 })
      expect((await createAdmin(cluster).groups.describe(`${topic}-group`)).type).toBe(protocol)
      await reading.close()
      await ended
      expect(values.toSorted()).toEqual(expected.toSorted())
      expect(await lagOf(broker, cluster, `${topic}-group`)).toBe(0)
      await close()
    })

    test('members come and go under load: each record once', { timeout: 120_000 }, async (context) => {
      const { consumer, send, close } = await setUpConsumers(context, kafka, 6)
      const first = consumer({ protocol })
      const second = consumer({ protocol })
      const third = consumer({ protocol })
      const all = [collect(first)]
      let count = 0
      const stop = new AbortController()
      const sending = (async () => {
        while (!stop.signal.aborted) {
          await send(numbers(100, count))
          count += 100
        }
      })()
      const seen = () => all.reduce((sum, { values }) => sum + values.length, 0)
      await waitFor(() => seen() > 500, { timeoutMs: 30_000 })
      all.push(collect(second), collect(third))
      const isEven = () => [first, second, third].every(({ assignment }) => assignment.length === 2)
      await waitFor(isEven, { timeoutMs: 30_000 })
      await second.close()
      await waitFor(() => first.assignment.length === 3 && third.assignment.length === 3, { timeoutMs: 30_000 })
      stop.abort()
      await sending
      await waitFor(() => seen() >= count, { timeoutMs: 30_000 })
      await close()
      const values = all.flatMap((each) => each.values)
      expect(values.toSorted()).toEqual(numbers(count).toSorted())
      await Promise.all(all.map(({ ended }) => ended))
    })
  })

  test(
    'partitions that are added, and topics that come to match, are read from their start',
    { timeout: 120_000 },
    async (context) => {
      const { cluster, topic, consumer, producer, close } = await setUpConsumers(context, kafka)
      const reading = consumer({ topics: [new RegExp(`${topic}.*`)], onReset: 'latest' })
      const { values, ended } = collect(reading)
      await waitFor(() => reading.assignment.length === 1, { timeoutMs: 30_000 })
      await createAdmin(cluster).topics.addPartitions({ [topic]: 3 })
      await producer.send({ topic, partition: 2, value: 'new partition' })
      await waitFor(() => values.includes('new partition'), { timeoutMs: 30_000 })
      await close()
      await ended
    },
  )

  test('aborted transactions are not seen by a reader of committed ones', { timeout: 120_000 }, async (context) => {
    const { cluster, topic, consumer, close } = await setUpConsumers(context, kafka)
    const producer = new Producer({ transactionalId: topic }, { cluster })
    await producer.transaction((tx) => tx.sendMany(topic, [{ value: 'committed 1' }]))
    const aborted = producer.transaction(async (tx) => {
      await tx.sendMany(topic, [{ value: 'aborted' }])
      throw new Error('no')
    })
    await expect(aborted).rejects.toThrow('no')
    await producer.transaction((tx) => tx.sendMany(topic, [{ value: 'committed 2' }]))
    await producer.close()
    const committed = collect(consumer())
    await waitFor(() => committed.values.length >= 2, { timeoutMs: 30_000 })
    const all = collect(consumer({ group: `${topic}-all`, isolation: 'read_uncommitted' }))
    await waitFor(() => all.values.length >= 3, { timeoutMs: 30_000 })
    await close()
    expect(committed.values).toEqual(['committed 1', 'committed 2'])
    expect(all.values).toEqual(['committed 1', 'aborted', 'committed 2'])
    await Promise.all([committed.ended, all.ended])
  })

  test(
    'a transaction commits offsets for a consumer that does not commit by itself',
    { timeout: 120_000 },
    async (context) => {
      const { broker, topic, cluster, consumer, send, close } = await setUpConsumers(context, kafka)
      await send(numbers(10))
      const reading = consumer({ autoCommit: false })
      const producer = new Producer({ transactionalId: topic }, { cluster })
      const { value: batch } = await reading.next()
      if (batch === undefined) throw new Error('the consumer has ended')
      expect(batch.count).toBe(10)
      await producer.transaction(async (tx) => {
        await tx.send({ topic, value: 'derived' })
        tx.offsets(batch)
      })
      batch.done()
      await reading.close()
      await producer.close()
      const reader = consumer({ onReset: 'fail' })
      const again = collect(reader)
      await waitFor(() => again.values.length > 0, { timeoutMs: 30_000 })
      expect(again.values).toEqual(['derived'])
      await reader.close()
      await again.ended
      expect(await lagOf(broker, cluster, `${topic}-group`)).toBe(0)
      await close()
    },
  )
}
