import kafkajs from 'kafkajs'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import { brokerFor } from '../harness/kafka-broker.ts'
import { measureKafka } from '../harness/measure-kafka.ts'
import type { KafkaPeer } from '../harness/measure-kafka.ts'

// Batches of records as they are fetched (`eachBatch`), which is its fast way. Its default producer, without numbers: what the broker
// has written may be written again.

const { Kafka, Partitioners, logLevel } = kafkajs

function connect(broker: string) {
  return new Kafka({ clientId: 'bench', brokers: [broker], logLevel: logLevel.ERROR })
}

const peer: KafkaPeer = {
  async writer(broker, topic) {
    const producer = connect(broker).producer({ createPartitioner: Partitioners.DefaultPartitioner })
    await producer.connect()
    return {
      sendMany: (values) => producer.send({ topic, acks: -1, messages: values.map((value) => ({ value })) }),
      send: (value) => producer.send({ topic, acks: -1, messages: [{ value }] }),
      close: () => producer.disconnect(),
    }
  },
  async read(broker, topic, groupId, handle) {
    const consumer = connect(broker).consumer({ groupId })
    await consumer.connect()
    await consumer.subscribe({ topics: [topic], fromBeginning: true })
    await consumer.run({
      eachBatch: async ({ batch }) => {
        for (const { value } of batch.messages) if (value !== null) handle(value)
      },
    })
    return () => consumer.disconnect()
  },
}

const args = readCaseArguments()
const { address, stop } = await brokerFor(args)
printCaseOutput(await measureKafka(args, peer, address))
await stop()
process.exit()
