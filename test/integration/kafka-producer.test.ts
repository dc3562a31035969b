import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { TestContext } from 'vitest'
import { Cluster } from '../../src/kafka/cluster/cluster.ts'
import type { KafkaError } from '../../src/kafka/errors.ts'
import { Producer } from '../../src/kafka/producer/producer.ts'
import type { ProducerOptions } from '../../src/kafka/producer/producer-options.ts'
import type { ApiName } from '../../src/kafka/protocol/generated/api-types.ts'
import { CODECS } from '../../src/kafka/records/batch-format.ts'
import { BrokerError } from '../../tools/brokers/errors.ts'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { KafkaBroker } from '../../tools/brokers/index.ts'
import { unlessMissing } from './broker-helpers.ts'
import { readValues } from './kafka-reader.ts'

const READ_COMMITTED = 1

let starting: KafkaBroker | BrokerError | undefined

beforeAll(async () => {
  const properties = {
    // So that a broker forgets a producer, and a transaction that is left alone, within a test.
    'producer.id.expiration.ms': '5000',
    'producer.id.expiration.check.interval.ms': '500',
    'transaction.abort.timed.out.transaction.cleanup.interval.ms': '500',
    'offsets.topic.num.partitions': '1',
    'transaction.state.log.num.partitions': '1',
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

let topics = 0

async function setUp(context: TestContext, options: ProducerOptions = {}, partitions = 1) {
  const broker = brokerFor(context)
  const asked: ApiName[] = []
  const cluster = new Cluster({
    brokers: broker.nodes.map(({ host, port }) => `${host}:${port}`),
    clientId: 'test',
    hooks: { onRequest: ({ api }) => void asked.push(api) },
  })
  const topic = `producer-${process.pid}-${topics++}`
  const description = { name: topic, numPartitions: partitions, replicationFactor: 1, assignments: [], configs: [] }
  const created = await cluster.sendToAny('CreateTopics', { topics: [description], validateOnly: false })
  expect(created.topics).toMatchObject([{ errorCode: 0 }])
  const producer = new Producer(options, { cluster })
  const close = async () => {
    await producer.close()
    cluster.close()
  }
  return { broker, cluster, topic, producer, asked, close }
}

/** What Java's console consumer prints, line by line. */
async function readByJava(broker: KafkaBroker, topic: string, count: number, ...more: readonly string[]) {
  const output = await broker.tool(
    'org.apache.kafka.tools.consumer.ConsoleConsumer',
    '--bootstrap-server',
    broker.nodes.map(({ host, port }) => `${host}:${port}`).join(','),
    '--topic',
    topic,
    '--from-beginning',
    '--max-messages',
    String(count),
    '--timeout-ms',
    '20000',
    ...more,
  )
  return output.split('\n').filter((line) => line !== '' && !line.startsWith('Processed a total'))
}

describe('a real broker', () => {
  test('takes every compression, and Java reads what was written', { timeout: 120_000 }, async (context) => {
    const { broker, topic, close, cluster } = await setUp(context)
    const expected: string[] = []
    for (const compression of CODECS) {
      const producer = new Producer({ compression, lingerMs: 5 }, { cluster })
      const records = Array.from({ length: 500 }, (_, index) => ({
        key: index % 3 === 0 ? null : `key-${index}`,
        value: index % 7 === 3 ? null : `${compression} ${index} ${'ä'.repeat(20)}`,
        headers:
          index % 5 === 0
            ? [
                { key: 'h', value: 'one' },
                { key: 'h', value: null },
              ]
            : [],
        timestamp: 1_700_000_000_000 + index,
        partition: 0,
      }))
      const ranges = await producer.sendMany(topic, records)
      expect(ranges.reduce((sum, { count }) => sum + count, 0)).toBe(500)
      for (const { key, value, headers, timestamp } of records) {
        const printed = headers.length === 0 ? 'NO_HEADERS' : 'h:one,h:null'
        expected.push(`CreateTime:${timestamp}|${printed}|${key ?? 'null'}|${value ?? 'null'}`)
      }
      await producer.close()
    }
    const properties = ['print.timestamp=true', 'print.headers=true', 'print.key=true', 'key.separator=|']
    const formatting = properties.flatMap((property) => ['--formatter-property', property])
    const lines = await readByJava(broker, topic, expected.length, ...formatting)
    expect(lines).toEqual(expected)
    await close()
  })

  test(
    'has each record once and in order, with sends one by one and in arrays',
    { timeout: 60_000 },
    async (context) => {
      const { cluster, topic, producer, close } = await setUp(context, { batchBytes: 65_536 }, 3)
      const single = Array.from({ length: 3_000 }, (_, index) =>
        producer.send({ topic, value: `single ${index}`, partition: index % 3 }),
      )
      const arrays = Array.from({ length: 30 }, (_, array) =>
        producer.sendMany(
          topic,
          Array.from({ length: 300 }, (_, index) => ({ value: `${array} ${index}`, partition: 1 })),
        ),
      )
      const sent = await Promise.all(single)
      await Promise.all(arrays)
      for (const partition of [0, 1, 2]) {
        const log = await readValues(cluster, topic, 0, partition)
        for (const { offset, partition: at } of sent) if (at === partition) expect(log[offset]).toMatch(/^single/)
        expect(log.filter((value) => value.startsWith('single'))).toEqual(
          Array.from({ length: 1_000 }, (_, index) => `single ${3 * index + partition}`),
        )
        if (partition !== 1) continue
        expect(log.filter((value) => !value.startsWith('single'))).toEqual(
          Array.from({ length: 9_000 }, (_, index) => `${Math.floor(index / 300)} ${index % 300}`),
        )
      }
      await close()
    },
  )

  test('C06: goes on when a broker has forgotten it', { timeout: 60_000 }, async (context) => {
    const { cluster, topic, producer, close } = await setUp(context, {}, 2)
    await producer.send({ topic, value: 'before', partition: 0 })
    const end = Date.now() + 8_000
    let slowest = 0
    for (let index = 0; Date.now() < end; index++) {
      const start = Date.now()
      await producer.send({ topic, value: `busy ${index}`, partition: 1 })
      slowest = Math.max(slowest, Date.now() - start)
    }
    const numbers = Array.from({ length: 50 }, (_, index) => String(index))
    await Promise.all(numbers.map((value) => producer.send({ topic, value, partition: 0 })))
    expect(await readValues(cluster, topic, 0, 0)).toEqual(['before', ...numbers])
    const busy = await readValues(cluster, topic, 0, 1)
    expect(busy).toEqual(busy.map((_, index) => `busy ${index}`))
    expect(slowest).toBeLessThan(1_000)
    await close()
  })
})

/** Of both versions: the cluster's feature says which. */
function transactionTests(version: 1 | 2): void {
  test('commits all or nothing, with offsets', { timeout: 60_000 }, async (context) => {
    const { broker, cluster, topic, producer, asked, close } = await setUp(context, { transactionalId: true }, 2)
    const groupId = `group-${topic}`
    const result = await producer.transaction(async (tx) => {
      await tx.send({ topic, value: 'a', partition: 0 })
      void tx.sendMany(topic, [
        { value: 'b', partition: 0 },
        { value: 'other', partition: 1 },
      ])
      tx.offsets({ groupId, generationId: -1, memberId: '' }, [{ topic, partition: 0, offset: 7, metadata: 'm' }])
      return 'result'
    })
    expect(result).toBe('result')
    const failing = producer.transaction(async (tx) => {
      await tx.send({ topic, value: 'never', partition: 0 })
      tx.offsets({ groupId, generationId: -1, memberId: '' }, [{ topic, partition: 0, offset: 9 }])
      throw new Error('mine')
    })
    await expect(failing).rejects.toThrow('mine')
    await producer.transaction(() => {})
    for (let index = 0; index < 5; index++) {
      await producer.transaction(async (tx) => void (await tx.send({ topic, value: `c${index}`, partition: 0 })))
    }
    const committed = ['a', 'b', 'c0', 'c1', 'c2', 'c3', 'c4']
    expect(await readValues(cluster, topic, READ_COMMITTED)).toEqual(committed)
    expect(await readValues(cluster, topic, READ_COMMITTED, 1)).toEqual(['other'])
    expect(await readValues(cluster, topic, 0)).toContain('never')
    const lines = await readByJava(broker, topic, 8, '--isolation-level', 'read_committed')
    expect(lines.toSorted()).toEqual([...committed, 'other'].toSorted())
    expect(asked.includes('AddPartitionsToTxn')).toBe(version === 1)
    const ends = asked.filter((api) => api === 'EndTxn').length
    await producer.transaction(() => {})
    expect(asked.filter((api) => api === 'EndTxn').length).toBe(ends)
    const connections = cluster.connections({ purpose: 'group' })
    const partitions = { topics: [{ name: topic, partitionIndexes: [0] }] }
    const { response } = await cluster.coordinators.send(
      connections,
      { type: 'group', key: groupId },
      'OffsetFetch',
      { groupId, ...partitions },
      { maxVersion: 7 },
    )
    expect(response.topics[0]?.partitions[0]).toMatchObject({ committedOffset: 7, metadata: 'm' })
    await close()
  })

  test('tells a newer producer of the same id from a failure', { timeout: 60_000 }, async (context) => {
    const { cluster, topic, producer: older, close } = await setUp(context, { transactionalId: 'shared' })
    const write = (producer: Producer, value: string) =>
      producer.transaction(async (tx) => void (await tx.send({ topic, value })))
    await write(older, 'older')
    const newer = new Producer({ transactionalId: 'shared' }, { cluster })
    await write(newer, 'newer')
    const first = await write(older, 'late').catch((error: KafkaError) => error)
    expect(first).toMatchObject({ action: 'fenced' })
    const second = await write(older, 'later').catch((error: KafkaError) => error)
    expect(second).toMatchObject({ action: 'fenced' })
    await write(newer, 'newer again')
    expect(await readValues(cluster, topic, READ_COMMITTED)).toEqual(['older', 'newer', 'newer again'])
    await newer.close()
    await close()
  })

  test('C24: recovers when the coordinator has aborted a transaction', { timeout: 60_000 }, async (context) => {
    for (const transactionalId of [true, 'patient'] as const) {
      const options = { transactionalId, transactionTimeoutMs: 1_000 }
      const { cluster, topic, producer, close } = await setUp(context, options)
      await producer.transaction(async (tx) => void (await tx.send({ topic, value: 'before' })))
      const aborted = producer.transaction(async (tx) => {
        await tx.send({ topic, value: 'too slow' })
        const { promise, resolve } = Promise.withResolvers<void>()
        // The coordinator writes its marker behind the record.
        const watch = async () => {
          for (;;) {
            const { response } = await cluster.coordinators.send(
              cluster.connections({ purpose: 'look' }),
              { type: 'transaction', key: producer.transactionalId ?? '' },
              'DescribeTransactions',
              { transactionalIds: [producer.transactionalId ?? ''] },
            )
            if (response.transactionStates[0]?.transactionState === 'CompleteAbort') return resolve()
          }
        }
        void watch()
        await promise
      })
      const error = await aborted.catch((reason: KafkaError) => reason)
      expect(error).toMatchObject({ action: 'fenced' })
      const next = await producer
        .transaction(async (tx) => void (await tx.send({ topic, value: 'after' })))
        .catch((reason: KafkaError) => reason.action)
      // With version 1, a coordinator that has lost patience looks like a newer producer with the same id.
      const isTakenForFenced = version === 1 && transactionalId !== true
      expect(next).toBe(isTakenForFenced ? 'fenced' : undefined)
      const visible = isTakenForFenced ? ['before'] : ['before', 'after']
      expect(await readValues(cluster, topic, READ_COMMITTED)).toEqual(visible)
      await close()
    }
  })
}

describe('transactions of version 2', () => {
  transactionTests(2)
})

describe('transactions of version 1', () => {
  beforeAll(async () => {
    if (starting === undefined || starting instanceof BrokerError) return
    const address = starting.nodes.map(({ host, port }) => `${host}:${port}`).join(',')
    const feature = ['downgrade', '--feature', 'transaction.version=1']
    await starting.tool('org.apache.kafka.tools.FeatureCommand', '--bootstrap-server', address, ...feature)
  }, 60_000)

  transactionTests(1)
})
