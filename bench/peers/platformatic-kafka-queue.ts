import {
  Admin,
  Consumer,
  MessagesStreamFallbackModes,
  MessagesStreamModes,
  ProduceAcks,
  Producer,
} from '@platformatic/kafka'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import { measurePeer } from '../harness/measure-peer.ts'
import type { PeerQueue } from '../harness/measure-peer.ts'
import { requiredUrl } from '../harness/required-url.ts'

// A topic and a group of its own; a consumer stream with `data` events, which commits each second.

const args = readCaseArguments()
const PARTITIONS = 6

function fail(error: unknown): never {
  console.error(error)
  process.exit(1)
}

async function open(topic: string): Promise<PeerQueue> {
  const base = { clientId: 'bench', bootstrapBrokers: [new URL(requiredUrl('kafka')).host] }
  const admin = new Admin(base)
  await admin.createTopics({ topics: [topic], partitions: PARTITIONS, replicas: 1 })
  const producer = new Producer(base)
  const consumer = new Consumer({ ...base, groupId: topic })
  const send = (bodies: readonly Buffer[], confirmed: () => void): void => {
    producer.send({ acks: ProduceAcks.ALL, messages: bodies.map((value) => ({ topic, value })) }).then(confirmed, fail)
  }
  return {
    startsLate: true,
    publish: (body, confirmed) => send([body], confirmed),
    publishMany: send,
    async consume(handle, settled) {
      const stream = await consumer.consume({
        topics: [topic],
        mode: MessagesStreamModes.COMMITTED,
        fallbackMode: MessagesStreamFallbackModes.EARLIEST,
        autocommit: 1_000,
      })
      stream.on('error', fail)
      stream.on('data', ({ value }) => {
        handle(value)
        settled(1)
      })
    },
    async close() {
      await consumer.close(true)
      await producer.close()
      await admin.deleteTopics({ topics: [topic] })
      await admin.close()
    },
  }
}

printCaseOutput(await measurePeer(args, open))
process.exit()
