import { expect, test } from 'vitest'
import type { TestContext } from 'vitest'
import { Cluster } from '../../src/kafka/cluster/cluster.ts'
import type { KafkaError } from '../../src/kafka/errors.ts'
import { Producer } from '../../src/kafka/producer/producer.ts'
import type { ProducerOptions } from '../../src/kafka/producer/producer-options.ts'
import { waitFor } from '../../tools/brokers/index.ts'
import { addressesOf, useKafka } from '../integration/kafka-broker.ts'
import { readValues } from '../integration/kafka-reader.ts'
import { recordKafkaFault } from './kafka-fault-report.ts'

const PARTITIONS = 6
const KEYS = 60
const NODES = [1, 2, 3]

const kafka = useKafka({ nodes: 3 })

async function setUp(context: TestContext, name: string, options: ProducerOptions = {}) {
  const broker = kafka.of(context)
  const cluster = new Cluster({ brokers: addressesOf(broker), clientId: 'test', requestTimeoutMs: 5_000 })
  const assignments = Array.from({ length: PARTITIONS }, (_, partitionIndex) => ({
    partitionIndex,
    brokerIds: replicasOf(partitionIndex, 0),
  }))
  const topic = { name, numPartitions: -1, replicationFactor: -1, assignments, configs: [] }
  const created = await cluster.sendToAny('CreateTopics', { topics: [topic], validateOnly: false, timeoutMs: 10_000 })
  expect(created.topics).toMatchObject([{ errorCode: 0 }])
  const producer = new Producer({ ackTimeoutMs: 3_000, deliveryTimeoutMs: 30_000, ...options }, { cluster })
  return { broker, cluster, producer }
}

/** The preferred leader is the first one. */
function replicasOf(partition: number, turn: number): number[] {
  return NODES.map((_, index) => NODES[(partition + turn + index) % NODES.length] as number)
}

/** Moves the leader of every partition to the next broker. */
async function moveLeaders(cluster: Cluster, name: string, turn: number): Promise<void> {
  const partitions = Array.from({ length: PARTITIONS }, (_, partitionIndex) => ({
    partitionIndex,
    replicas: replicasOf(partitionIndex, turn),
  }))
  await cluster.sendToAny('AlterPartitionReassignments', { timeoutMs: 5_000, topics: [{ name, partitions }] })
  const topicPartitions = [{ topic: name, partitions: partitions.map(({ partitionIndex }) => partitionIndex) }]
  await cluster.sendToAny('ElectLeaders', { electionType: 0, topicPartitions, timeoutMs: 5_000 })
}

/** Keyed records, one by one, until it is stopped; what became of each, by id. */
class Load {
  readonly outcomes = new Map<string, 'confirmed' | KafkaError['outcome']>()
  readonly #producer: Producer
  readonly #topic: string
  readonly #settling: Promise<void>[] = []
  #isOver = false
  #next = 0
  longestPauseMs = 0
  #lastConfirmed = performance.now()

  constructor(producer: Producer, topic: string) {
    this.#producer = producer
    this.#topic = topic
  }

  /** `perTick` records in each turn of a timer. */
  async run(perTick: number): Promise<void> {
    this.#lastConfirmed = performance.now()
    await waitFor(
      () => {
        for (let count = 0; count < perTick; count++) this.#send()
        return this.#isOver
      },
      { timeoutMs: 600_000, intervalMs: 5 },
    )
    await Promise.all(this.#settling)
  }

  stop(): void {
    this.#isOver = true
  }

  #send(): void {
    const key = `k${this.#next % KEYS}`
    const value = `${key}:${this.#next++}`
    const sending = this.#producer.send({ topic: this.#topic, key, value })
    this.#settling.push(
      sending.then(
        () => {
          const now = performance.now()
          this.longestPauseMs = Math.max(this.longestPauseMs, now - this.#lastConfirmed)
          this.#lastConfirmed = now
          this.outcomes.set(value, 'confirmed')
        },
        (error: KafkaError) => void this.outcomes.set(value, error.outcome),
      ),
    )
  }
}

/** By id: confirmed once, refused never, unknown at most once; each key in order. */
async function account(cluster: Cluster, topic: string, load: Load): Promise<Record<string, number>> {
  const count = new Map<string, number>()
  const reordered: string[] = []
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const last = new Map<string, number>()
    for (const value of await readValues(cluster, topic, 0, partition)) {
      const [key = '', id] = value.split(':')
      count.set(value, (count.get(value) ?? 0) + 1)
      if (Number(id) <= (last.get(key) ?? -1)) reordered.push(value)
      last.set(key, Number(id))
    }
  }
  const all = [...load.outcomes]
  const times = ([value]: readonly [string, string]) => count.get(value) ?? 0
  return {
    sent: all.length,
    lost: all.filter((each) => each[1] === 'confirmed' && times(each) === 0).length,
    repeated: [...count.values()].filter((value) => value > 1).length,
    reordered: reordered.length,
    untrue: all.filter((each) => (each[1] === 'not-sent' || each[1] === 'rejected') && times(each) > 0).length,
    unknown: all.filter(([, outcome]) => outcome === 'unknown').length,
    failed: all.filter(([, outcome]) => outcome === 'not-sent' || outcome === 'rejected').length,
  }
}

const RIGHT = { lost: 0, repeated: 0, reordered: 0, untrue: 0 }

function record(version: string, fault: string, load: Load, result: Readonly<Record<string, number>>): void {
  const { sent = 0, lost = 0, repeated = 0, reordered = 0, untrue = 0, unknown = 0, failed = 0 } = result
  recordKafkaFault(version, {
    fault,
    group: '',
    confirmed: sent - unknown - failed,
    unknown,
    lost,
    duplicated: repeated,
    outOfOrder: reordered,
    untrue,
    produceStallMs: Math.round(load.longestPauseMs),
  })
}

test('C05: leaders that move all the time lose, repeat and reorder nothing', { timeout: 300_000 }, async (context) => {
  const { broker, cluster, producer } = await setUp(context, 'moves')
  const load = new Load(producer, 'moves')
  const running = load.run(50)
  for (let turn = 1; turn <= 20; turn++) {
    await moveLeaders(cluster, 'moves', turn)
    await cluster.pause(2_000)
  }
  load.stop()
  await running
  const result = await account(cluster, 'moves', load)
  record(broker.version, 'all leaders move, 20 times', load, result)
  console.log('leaders moved 20 times:', result, `longest pause ${Math.round(load.longestPauseMs)} ms`)
  expect(result).toMatchObject({ ...RIGHT, failed: 0, unknown: 0 })
  expect(load.longestPauseMs).toBeLessThan(10_000)
  await producer.close()
  cluster.close()
})

test(
  'brokers killed, frozen and started again lose, repeat and reorder nothing',
  { timeout: 400_000 },
  async (context) => {
    const { broker, cluster, producer } = await setUp(context, 'kills')
    const load = new Load(producer, 'kills')
    const running = load.run(20)
    for (const node of broker.nodes) {
      await cluster.pause(2_000)
      await node.kill()
      await cluster.pause(6_000)
      await node.restart()
      await waitFor(() => node.sees(3), { timeoutMs: 60_000 })
    }
    const [first] = broker.nodes
    await first?.pause()
    await cluster.pause(15_000)
    await first?.resume()
    await cluster.pause(5_000)
    load.stop()
    await running
    const result = await account(cluster, 'kills', load)
    record(broker.version, 'each broker is killed, one is frozen for 15 s', load, result)
    console.log('brokers killed and frozen:', result, `longest pause ${Math.round(load.longestPauseMs)} ms`)
    expect(result).toMatchObject(RIGHT)
    await producer.close()
    cluster.close()
  },
)

test('C04: closing while a leader is dead settles everything in time', { timeout: 120_000 }, async (context) => {
  const { broker, cluster, producer } = await setUp(context, 'closing')
  await Promise.all(
    Array.from({ length: 30 }, (_, index) => producer.send({ topic: 'closing', value: 'w', partition: index % 6 })),
  )
  const unhandled: unknown[] = []
  const onUnhandled = (reason: unknown) => unhandled.push(reason)
  process.on('unhandledRejection', onUnhandled)
  const [first] = broker.nodes
  await first?.pause()
  const sending = Array.from({ length: 1_000 }, (_, index) =>
    producer.send({ topic: 'closing', key: `k${index}`, value: 'v' }),
  )
  // Ten of them are awaited by nobody.
  const watched = Promise.allSettled(sending.slice(10))
  const start = performance.now()
  await producer.close({ deadlineMs: 3_000 })
  expect(performance.now() - start).toBeLessThan(3_500)
  // Those of other leaders, too, wait for the frozen replica.
  const codes = (await watched).map((result) =>
    result.status === 'fulfilled' ? '' : (result.reason as KafkaError).code,
  )
  expect(codes.filter((code) => code !== '' && code !== 'CLOSED')).toEqual([])
  expect(codes).toContain('CLOSED')
  await first?.resume()
  process.off('unhandledRejection', onUnhandled)
  expect(unhandled).toEqual([])
  cluster.close()
})
