import type { TestContext } from 'vitest'
import { createAdmin } from '../../src/kafka/admin/admin.ts'
import { Cluster } from '../../src/kafka/cluster/cluster.ts'
import { Consumer } from '../../src/kafka/consumer/consumer.ts'
import type { ConsumerContext } from '../../src/kafka/consumer/consumer-context.ts'
import type { ConsumerOptions } from '../../src/kafka/consumer/consumer-options.ts'
import { ShareConsumer } from '../../src/kafka/consumer/share/share-consumer.ts'
import type { ShareConsumerOptions } from '../../src/kafka/consumer/share/share-options.ts'
import { systemClock } from '../../src/kafka/network/clock.ts'
import { Producer } from '../../src/kafka/producer/producer.ts'
import type { KafkaBroker, KafkaOptions } from '../../tools/brokers/index.ts'
import { addressesOf } from './kafka-broker.ts'
import type { KafkaOfTests } from './kafka-broker.ts'

/** One partition of each internal topic and quick heartbeats: what a test waits for comes sooner. */
export const QUICK_GROUPS: KafkaOptions = {
  properties: {
    'offsets.topic.num.partitions': '1',
    'transaction.state.log.num.partitions': '1',
    'share.coordinator.state.topic.num.partitions': '1',
    'group.initial.rebalance.delay.ms': '0',
    'group.consumer.min.heartbeat.interval.ms': '500',
    'group.consumer.heartbeat.interval.ms': '500',
  },
}

let topics = 0

/** A new topic, and what a test of consumers needs around it. */
export interface ConsumerSetup {
  readonly broker: KafkaBroker
  readonly cluster: Cluster
  readonly topic: string
  readonly producer: Producer
  /** In one group, unless it is told otherwise. */
  readonly consumer: (options?: Partial<ConsumerOptions>) => Consumer
  readonly shareConsumer: (options?: Partial<ShareConsumerOptions>) => ShareConsumer
  /** Each value is its own key. */
  readonly send: (values: readonly string[], partition?: number) => Promise<unknown>
  readonly close: () => Promise<void>
}

export async function setUpConsumers(
  context: TestContext,
  kafka: KafkaOfTests,
  partitions = 1,
): Promise<ConsumerSetup> {
  const broker = kafka.of(context)
  const cluster = new Cluster({ brokers: addressesOf(broker), clientId: 'test' })
  const topic = `consumer-${process.pid}-${topics++}`
  await createAdmin(cluster).topics.create([{ name: topic, partitions }])
  const producer = new Producer({}, { cluster })
  const consumers: Consumer[] = []
  const clusters = [cluster]
  const contextOf = (of: Cluster): ConsumerContext => ({ cluster: of, clock: systemClock, random: Math.random })
  const consumer = (options: Partial<ConsumerOptions> = {}) => {
    const own = new Cluster({ brokers: addressesOf(broker), clientId: 'test', metadataMaxAgeMs: 2_000 })
    clusters.push(own)
    const made = new Consumer(contextOf(own), { topics: [topic], group: `${topic}-group`, ...options })
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
  const shareConsumer = (options: Partial<ShareConsumerOptions> = {}) =>
    new ShareConsumer(contextOf(cluster), { topics: [topic], group: `${topic}-share`, ...options })
  return { broker, cluster, topic, producer, consumer, shareConsumer, send, close }
}

/** The same, and a share group that reads from the start: new ones begin at the end unless they are told otherwise. */
export async function setUpShareGroup(
  context: TestContext,
  kafka: KafkaOfTests,
  partitions = 1,
  configs: Readonly<Record<string, string>> = {},
): Promise<ConsumerSetup> {
  const base = await setUpConsumers(context, kafka, partitions)
  const set = { 'share.auto.offset.reset': 'earliest', ...configs }
  await createAdmin(base.cluster).configs.alter({ type: 'group', name: `${base.topic}-share` }, { set })
  return base
}

export function numbers(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, index) => String(from + index))
}
