import { Consumer, MessagesStreamFallbackModes, MessagesStreamModes, Producer, ProduceAcks } from '@platformatic/kafka'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import { brokerFor } from '../harness/kafka-broker.ts'
import { measureKafka } from '../harness/measure-kafka.ts'
import type { KafkaPeer } from '../harness/measure-kafka.ts'

// Its default producer, without numbers; its consumer stream with `data` events.

const peer: KafkaPeer = {
  async writer(broker, topic) {
    const producer = new Producer({ clientId: 'bench', bootstrapBrokers: [broker] })
    const send = (values: readonly Buffer[]) =>
      producer.send({ acks: ProduceAcks.ALL, messages: values.map((value) => ({ topic, value })) })
    return { sendMany: send, send: (value) => send([value]), close: () => producer.close() }
  },
  async read(broker, topic, groupId, handle) {
    const consumer = new Consumer({ clientId: 'bench', bootstrapBrokers: [broker], groupId })
    const stream = await consumer.consume({
      topics: [topic],
      mode: MessagesStreamModes.COMMITTED,
      fallbackMode: MessagesStreamFallbackModes.EARLIEST,
      autocommit: 1_000,
    })
    stream.on('data', ({ value }) => handle(value))
    return () => consumer.close(true)
  },
}

const args = readCaseArguments()
const { address, stop } = await brokerFor(args)
printCaseOutput(await measureKafka(args, peer, address))
await stop()
process.exit()
