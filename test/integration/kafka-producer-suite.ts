import { expect, test } from 'vitest'
import type { TestContext } from 'vitest'
import { createAdmin } from '../../src/kafka/admin/admin.ts'
import { Cluster } from '../../src/kafka/cluster/cluster.ts'
import type { KafkaError } from '../../src/kafka/errors.ts'
import { Producer } from '../../src/kafka/producer/producer.ts'
import type { ProducerOptions } from '../../src/kafka/producer/producer-options.ts'
import type { KafkaBroker, KafkaOptions } from '../../tools/brokers/index.ts'
import { addressesOf } from './kafka-broker.ts'
import type { KafkaOfTests } from './kafka-broker.ts'
import { readValues } from './kafka-reader.ts'

const READ_COMMITTED = 1

/** A broker that forgets a producer, and a transaction that is left alone, within a test. */
export const FORGETFUL: KafkaOptions = {
  properties: {
    'producer.id.expiration.ms': '5000',
    'producer.id.expiration.check.interval.ms': '500',
    'transaction.abort.timed.out.transaction.cleanup.interval.ms': '500',
    'offsets.topic.num.partitions': '1',
    'transaction.state.log.num.partitions': '1',
  },
}

let topics = 0

/** A new topic and a producer. */
export interface ProducerSetup {
  readonly broker: KafkaBroker
  readonly cluster: Cluster
  readonly topic: string
  readonly producer: Producer
  /** The requests so far. */
  readonly asked: readonly string[]
  readonly close: () => Promise<void>
}

export async function setUpProducer(
  context: TestContext,
  kafka: KafkaOfTests,
  options: ProducerOptions = {},
  partitions = 1,
): Promise<ProducerSetup> {
  const broker = kafka.of(context)
  const asked: string[] = []
  const cluster = new Cluster({
    brokers: addressesOf(broker),
    clientId: 'test',
    hooks: { onRequest: ({ api }) => void asked.push(api) },
  })
  const topic = `producer-${process.pid}-${topics++}`
  await createAdmin(cluster).topics.create([{ name: topic, partitions }])
  const producer = new Producer(options, { cluster })
  const close = async () => {
    await producer.close()
    cluster.close()
  }
  return { broker, cluster, topic, producer, asked, close }
}

/** What Java's console consumer prints, line by line. */
export async function readByJava(
  broker: KafkaBroker,
  topic: string,
  count: number,
  ...more: readonly string[]
): Promise<string[]> {
  const output = await broker.tool(
    'org.apache.kafka.tools.consumer.ConsoleConsumer',
    '--bootstrap-server',
    addressesOf(broker).join(','),
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

/** What producers do on any broker. */
export function producerTests(kafka: KafkaOfTests): void {
  test(
    'has each record once and in order, with sends one by one and in arrays',
    { timeout: 60_000 },
    async (context) => {
      const { cluster, topic, producer, close } = await setUpProducer(context, kafka, { batchBytes: 65_536 }, 3)
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
}

/** On one that is {@link FORGETFUL}. */
export function forgottenProducerTest(kafka: KafkaOfTests): void {
  test('C06: goes on when a broker has forgotten it', { timeout: 60_000 }, async (context) => {
    const { cluster, topic, producer, close } = await setUpProducer(context, kafka, {}, 2)
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
}

/** Transactions of either version: the cluster's feature says which. */
export function transactionTests(kafka: KafkaOfTests, version: 1 | 2): void {
  test('commits all or nothing, with offsets', { timeout: 60_000 }, async (context) => {
    const { broker, cluster, topic, producer, asked, close } = await setUpProducer(
      context,
      kafka,
      { transactionalId: true },
      2,
    )
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
    if (!broker.version.startsWith('kfake')) {
      const lines = await readByJava(broker, topic, 8, '--isolation-level', 'read_committed')
      expect(lines.toSorted()).toEqual([...committed, 'other'].toSorted())
    }
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
}

/** Who may go on when a newer producer, or an impatient coordinator, has taken a transactional id: on {@link FORGETFUL} brokers. */
export function fencingTests(kafka: KafkaOfTests, version: 1 | 2): void {
  test('tells a newer producer of the same id from a failure', { timeout: 60_000 }, async (context) => {
    const {
      cluster,
      topic,
      producer: older,
      close,
    } = await setUpProducer(context, kafka, { transactionalId: 'shared' })
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
      const { cluster, topic, producer, close } = await setUpProducer(context, kafka, options)
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
