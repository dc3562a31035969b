import kafkajs from 'kafkajs'
import { allHandled } from '../footprint/all-handled.ts'
import { startConsumers } from '../footprint/consumer-process.ts'

// What KafkaJS needs for the same: a consumer for each member of a group, which reads all topics.

const { Kafka, Partitioners, logLevel } = kafkajs
/** As many as topics of Busbar have. */
const PARTITIONS = 6

await startConsumers(async ({ url, topics, groups, members, keys }) => {
  const kafka = new Kafka({ clientId: 'footprint', brokers: [new URL(url).host], logLevel: logLevel.NOTHING })
  const names = Array.from({ length: topics }, (_, topic) => `footprint.t${topic}`)
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: names.map((topic) => ({ topic, numPartitions: PARTITIONS })), timeout: 120_000 })
  await admin.disconnect()
  const handled = allHandled(topics * groups * keys)
  const start = async (groupId: string): Promise<void> => {
    const consumer = kafka.consumer({ groupId })
    const joined = new Promise<void>((resolve) => {
      consumer.on(consumer.events.GROUP_JOIN, () => resolve())
    })
    await consumer.connect()
    await consumer.subscribe({ topics: names, fromBeginning: true })
    await consumer.run({ eachMessage: async () => handled.one() })
    await joined
  }
  const all = Array.from({ length: groups * members }, (_, index) => start(`g${index % groups}`))
  await Promise.all(all)
  if (keys > 0) {
    const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner })
    await producer.connect()
    for (const topic of names)
      for (let key = 0; key < keys; key++)
        await producer.send({ topic, messages: [{ key: `key-${key}`, value: '{}' }] })
    await handled.all
  }
})
