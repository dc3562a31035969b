import kafkajs from 'kafkajs'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import { measurePeer } from '../harness/measure-peer.ts'
import type { PeerQueue } from '../harness/measure-peer.ts'
import { requiredUrl } from '../harness/required-url.ts'

// A topic and a group of its own. `--read` is `batches` (`eachBatch`) or `handler` (`eachMessage`), both with all partitions side by side.

const { Kafka, Partitioners, logLevel } = kafkajs
const args = readCaseArguments()
const PARTITIONS = 6

function fail(error: unknown): never {
  console.error(error)
  process.exit(1)
}

async function open(topic: string): Promise<PeerQueue> {
  const kafka = new Kafka({
    clientId: 'bench',
    brokers: [new URL(requiredUrl('kafka')).host],
    logLevel: logLevel.NOTHING,
  })
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: PARTITIONS }] })
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner })
  await producer.connect()
  const consumer = kafka.consumer({ groupId: topic })
  return {
    startsLate: true,
    publish(body, confirmed) {
      producer.send({ topic, acks: -1, messages: [{ value: body }] }).then(confirmed, fail)
    },
    publishMany(bodies, confirmed) {
      producer.send({ topic, acks: -1, messages: bodies.map((value) => ({ value })) }).then(confirmed, fail)
    },
    async consume(handle, settled) {
      await consumer.connect()
      await consumer.subscribe({ topics: [topic], fromBeginning: true })
      const joined = new Promise<void>((resolve) => {
        consumer.on(consumer.events.GROUP_JOIN, () => resolve())
      })
      const partitionsConsumedConcurrently = PARTITIONS
      if (args.option('read', 'batches') === 'handler')
        await consumer.run({
          partitionsConsumedConcurrently,
          eachMessage: async ({ message }) => {
            if (message.value !== null) handle(message.value)
            settled(1)
          },
        })
      else
        await consumer.run({
          partitionsConsumedConcurrently,
          eachBatch: async ({ batch }) => {
            for (const { value } of batch.messages) if (value !== null) handle(value)
            settled(batch.messages.length)
          },
        })
      await joined
    },
    async close() {
      await admin.deleteTopics({ topics: [topic] })
      await Promise.all([consumer.disconnect(), producer.disconnect(), admin.disconnect()])
    },
  }
}

printCaseOutput(await measurePeer(args, open))
process.exit()
