import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { TestContext } from 'vitest'
import { Cluster } from '../../src/kafka/cluster/cluster.ts'
import { Consumer } from '../../src/kafka/consumer/consumer.ts'
import type { ConsumerOptions } from '../../src/kafka/consumer/consumer-options.ts'
import { ShareConsumer } from '../../src/kafka/consumer/share/share-consumer.ts'
import { systemClock } from '../../src/kafka/network/clock.ts'
import { Producer } from '../../src/kafka/producer/producer.ts'
import { CODECS } from '../../src/kafka/records/batch-format.ts'
import { BrokerError } from '../../tools/brokers/errors.ts'
import { startPrivate, waitFor } from '../../tools/brokers/index.ts'
import type { KafkaBroker } from '../../tools/brokers/index.ts'
import { unlessMissing } from './broker-helpers.ts'

let starting: KafkaBroker | BrokerError | undefined

beforeAll(async () => {
  const properties = {
    'offsets.topic.num.partitions': '1',
    'transaction.state.log.num.partitions': '1',
    'group.initial.rebalance.delay.ms': '0',
    'group.consumer.min.heartbeat.interval.ms': '500',
    'group.consumer.heartbeat.interval.ms': '500',
  }
  starting = await unlessMissing(startPrivate('kafka', { properties }))
}, 300_000)

afterAll(async () => {
  if (starting !== undefined && !(starting instanceof BrokerError)) await starting.stop()
})

function brokerFor(context: TestContext): KafkaBroker {
  if (starting === undefined) throw new Error('no broker was started')
  return starting instanceof BrokerError ? context.skip(starting.message) : starting
}

function addresses(broker: KafkaBroker): string[] {
  return broker.nodes.map(({ host, port }) => `${host}:${port}`)
}

let topics = 0

async function setUp(context: TestContext, partitions = 1) {
  const broker = brokerFor(context)
  const cluster = new Cluster({ brokers: addresses(broker), clientId: 'test' })
  const topic = `consumer-${process.pid}-${topics++}`
  const description = { name: topic, numPartitions: partitions, replicationFactor: 1, assignments: [], configs: [] }
  const created = await cluster.sendToAny('CreateTopics', { topics: [description], validateOnly: false })
  expect(created.topics).toMatchObject([{ errorCode: 0 }])
  const producer = new Producer({}, { cluster })
  const consumers: Consumer[] = []
  const clusters = [cluster]
  const consumer = (options: Partial<ConsumerOptions> = {}) => {
    const own = new Cluster({ brokers: addresses(broker), clientId: 'test', metadataMaxAgeMs: 2_000 })
    clusters.push(own)
    const context = { cluster: own, clock: systemClock, random: Math.random }
    const made = new Consumer(context, { topics: [topic], group: `${topic}-group`, ...options })
    consumers.push(made)
    return made
  }
  const send = (values: readonly string[], partition?: number) =>
    producer.sendMany(
      topic,
      values.map((value) => ({ key: value, value, ...(partition === undefined ? {} : { partition }) })),
    )
  const close = async () => {
    await Promise.all(consumers.map((each) => each.close()))
    await producer.close()
    for (const each of clusters) each.close()
  }
  return { broker, cluster, topic, producer, consumer, send, close }
}

function numbers(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, index) => String(from + index))
}

/** Collects what handlers are given until the consumer is closed. */
function collect(consumer: Consumer) {
  const values: string[] = []
  const ended = consumer.run({ concurrency: 10, handler: (record) => void values.push(record.valueText ?? '') })
  return { values, ended }
}

/** How far behind a group is, and what it has committed, as Kafka's own tool sees it. */
async function lagByJava(broker: KafkaBroker, group: string): Promise<number> {
  const output = await broker.tool(
    'org.apache.kafka.tools.consumer.group.ConsumerGroupCommand',
    '--bootstrap-server',
    addresses(broker).join(','),
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

describe.each(['classic', 'consumer'] as const)('a group of the protocol %s on a real broker', (protocol) => {
  test('reads every compression, and commits so that the lag is 0', { timeout: 120_000 }, async (context) => {
    const { broker, topic, cluster, consumer, close } = await setUp(context, 3)
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
    await reading.close()
    await ended
    expect(values.toSorted()).toEqual(expected.toSorted())
    expect(await lagByJava(broker, `${topic}-group`)).toBe(0)
    await close()
  })

  test('members come and go under load: each record once', { timeout: 120_000 }, async (context) => {
    const { consumer, send, close } = await setUp(context, 6)
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

  test("shares a group with Java's consumer", { timeout: 120_000 }, async (context) => {
    const { broker, topic, consumer, send, close } = await setUp(context, 4)
    const ours = consumer({ protocol })
    const { values, ended } = collect(ours)
    await waitFor(() => ours.assignment.length === 4, { timeoutMs: 30_000 })
    // It ends when nothing has come for a while.
    const java = broker.tool(
      'org.apache.kafka.tools.consumer.ConsoleConsumer',
      `--bootstrap-server=${addresses(broker).join(',')}`,
      `--topic=${topic}`,
      '--timeout-ms=15000',
      `--consumer-property=group.id=${topic}-group`,
      `--consumer-property=group.protocol=${protocol}`,
      '--consumer-property=auto.offset.reset=earliest',
    )
    await waitFor(() => ours.assignment.length === 2, { timeoutMs: 60_000 })
    await send(numbers(1_000))
    const theirs = (await java).split('\n').filter((line) => /^\d+$/.test(line))
    await waitFor(() => values.length + theirs.length >= 1_000, { timeoutMs: 30_000 })
    await waitFor(() => ours.assignment.length === 4, { timeoutMs: 30_000 })
    expect(theirs.length).toBeGreaterThan(0)
    expect(values.length).toBeGreaterThan(0)
    expect([...values, ...theirs].toSorted()).toEqual(numbers(1_000).toSorted())
    await close()
    await ended
  })
})

test(
  'partitions that are added, and topics that come to match, are read from their start',
  { timeout: 120_000 },
  async (context) => {
    const { cluster, topic, consumer, producer, close } = await setUp(context)
    const reading = consumer({ topics: [new RegExp(`${topic}.*`)], onReset: 'latest' })
    const { values, ended } = collect(reading)
    await waitFor(() => reading.assignment.length === 1, { timeoutMs: 30_000 })
    const grown = { name: topic, count: 3, assignments: null }
    await cluster.sendToAny('CreatePartitions', { topics: [grown], timeoutMs: 10_000, validateOnly: false })
    await producer.send({ topic, partition: 2, value: 'new partition' })
    await waitFor(() => values.includes('new partition'), { timeoutMs: 30_000 })
    await close()
    await ended
  },
)

test('aborted transactions are not seen by a reader of committed ones', { timeout: 120_000 }, async (context) => {
  const { cluster, topic, consumer, close } = await setUp(context)
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
    const { broker, topic, cluster, consumer, send, close } = await setUp(context)
    await send(numbers(10))
    const reading = consumer({ autoCommit: false })
    const producer = new Producer({ transactionalId: topic }, { cluster })
    const { value: batch } = await reading.next()
    expect(batch?.count).toBe(10)
    await producer.transaction(async (tx) => {
      await tx.send({ topic, value: 'derived' })
      tx.offsets(reading, [{ topic, partition: 0, offset: 10 }])
    })
    batch?.done()
    await reading.close()
    await producer.close()
    const again = collect(consumer({ onReset: 'fail' }))
    await waitFor(() => again.values.length > 0, { timeoutMs: 30_000 })
    expect(again.values).toEqual(['derived'])
    await close()
    await again.ended
    expect(await lagByJava(broker, `${topic}-group`)).toBe(0)
  },
)

describe('a share group on a real broker', () => {
  /** New share groups begin at the end of the log unless they are told otherwise. */
  async function fromStart(cluster: Cluster, group: string): Promise<void> {
    const config = { name: 'share.auto.offset.reset', configOperation: 0, value: 'earliest' }
    const resource = { resourceType: 32, resourceName: group, configs: [config] }
    const response = await cluster.sendToAny('IncrementalAlterConfigs', { resources: [resource], validateOnly: false })
    expect(response.responses).toMatchObject([{ errorCode: 0 }])
  }

  test(
    'each record is handled; what is released comes again, what is rejected does not',
    { timeout: 120_000 },
    async (context) => {
      const { topic, cluster, send, close } = await setUp(context, 3)
      const group = `${topic}-share`
      await fromStart(cluster, group)
      await send(numbers(200))
      const handled = new Map<string, number>()
      const members = [1, 2].map(() => {
        const share = new ShareConsumer(
          { cluster, clock: systemClock, random: Math.random },
          { topics: [topic], group },
        )
        const ended = share.run({
          concurrency: 10,
          handler: async (record) => {
            const value = record.record.valueText ?? ''
            handled.set(value, (handled.get(value) ?? 0) + 1)
            expect(record.deliveryCount).toBe(handled.get(value))
            if (Number(value) % 10 === 3 && record.deliveryCount < 3) throw new Error('again')
            if (Number(value) % 10 === 7) record.reject()
          },
        })
        return { share, ended }
      })
      const expected = (value: string) => (Number(value) % 10 === 3 ? 3 : 1)
      const isDone = () => numbers(200).every((value) => handled.get(value) === expected(value))
      await waitFor(isDone, { timeoutMs: 60_000 })
      await Promise.all(members.map(({ share }) => share.close()))
      await Promise.all(members.map(({ ended }) => ended))
      // Nothing is left for another.
      await send(['last'])
      const after = new ShareConsumer({ cluster, clock: systemClock, random: Math.random }, { topics: [topic], group })
      const { value } = await after.next()
      expect(value?.map(({ record }) => record.valueText)).toEqual(['last'])
      for (const record of value ?? []) record.accept()
      await after.close()
      await close()
    },
  )

  test(
    'what was not delivered when a member closes is not counted as lost to it',
    { timeout: 120_000 },
    async (context) => {
      const { topic, cluster, send, close } = await setUp(context, 1)
      const group = `${topic}-share`
      await fromStart(cluster, group)
      await send(numbers(50))
      const first = new ShareConsumer({ cluster, clock: systemClock, random: Math.random }, { topics: [topic], group })
      const { value: acquired = [] } = await first.next()
      expect(acquired.length).toBeGreaterThan(0)
      const [kept, ...rest] = acquired
      expect(kept?.accept()).toBe(true)
      for (const record of rest) expect(record.release()).toBe(true)
      expect(kept?.accept()).toBe(false)
      await first.close()
      const second = new ShareConsumer({ cluster, clock: systemClock, random: Math.random }, { topics: [topic], group })
      const seen: string[] = []
      const ended = second.run({ handler: ({ record }) => void seen.push(record.valueText ?? '') })
      await waitFor(() => seen.length >= 49, { timeoutMs: 30_000 })
      await second.close()
      await ended
      expect(seen.toSorted()).toEqual(
        numbers(50)
          .filter((value) => value !== kept?.record.valueText)
          .toSorted(),
      )
      await close()
    },
  )

  test('C27: a lock is renewed while its record is handled', { timeout: 120_000 }, async (context) => {
    const { topic, cluster, send, close } = await setUp(context, 1)
    const group = `${topic}-share`
    await fromStart(cluster, group)
    const lock = { name: 'share.record.lock.duration.ms', configOperation: 0, value: '15000' }
    const resource = { resourceType: 32, resourceName: group, configs: [lock] }
    await cluster.sendToAny('IncrementalAlterConfigs', { resources: [resource], validateOnly: false })
    await send(['slow'])
    const share = new ShareConsumer({ cluster, clock: systemClock, random: Math.random }, { topics: [topic], group })
    const stale: unknown[] = []
    share.onStale((records) => void stale.push(...records))
    const { value: [record] = [] } = await share.next()
    const began = systemClock.now()
    await waitFor(() => systemClock.now() - began > 20_000, { timeoutMs: 60_000 })
    expect(record?.deliveryCount).toBe(1)
    expect(record?.accept()).toBe(true)
    await share.close()
    expect(stale).toEqual([])
    await send(['next'])
    const after = new ShareConsumer({ cluster, clock: systemClock, random: Math.random }, { topics: [topic], group })
    const { value } = await after.next()
    expect(value?.map((each) => each.record.valueText)).toEqual(['next'])
    await after.close()
    await close()
  })
})
