// The Kafka client. `--target=discard`: through a broker that throws everything away, and costs next to nothing; `--target=records`: from
// one that answers every fetch with the same batches; else the broker of the run.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createClient } from 'busbar/kafka/client'
import type { Consumer } from 'busbar/kafka/client'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import type { CaseOutput } from '../harness/case-output.ts'
import { brokerFor } from '../harness/kafka-broker.ts'
import { measureKafka } from '../harness/measure-kafka.ts'
import type { KafkaPeer } from '../harness/measure-kafka.ts'
import { measureRate } from '../harness/measure-rate.ts'

const args = readCaseArguments()

const peer: KafkaPeer = {
  async writer(broker, topic) {
    const kafka = createClient({ brokers: [broker], clientId: 'bench' })
    const producer = kafka.producer()
    return {
      sendMany: (values) =>
        producer.sendMany(
          topic,
          values.map((value) => ({ value })),
        ),
      send: (value) => producer.send({ topic, value }),
      close: () => kafka.close(),
    }
  },
  async read(broker, topic, group, handle) {
    const kafka = createClient({ brokers: [broker], clientId: 'bench' })
    const consumer = kafka.consumer({ topics: [topic], group })
    const reading = readAll(consumer, handle)
    return async () => {
      await kafka.close()
      await reading
    }
  },
}

async function readAll(consumer: Consumer, handle: (value: Uint8Array) => void): Promise<void> {
  for await (const batch of consumer) {
    for (const { value } of batch) if (value !== null) handle(value)
    batch.done()
  }
}

/** Without a group: the broker has none. */
async function fromRecords(): Promise<CaseOutput> {
  const bytes = args.number('bytes', 100)
  const batchRecords = args.number('batch', 1_000)
  const server = fork(join(import.meta.dirname, '../kafka/record-server.ts'), [60, bytes, batchRecords].map(String), {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    execArgv: ['--conditions=busbar-source'],
  })
  const [port] = (await once(server.stdout as NodeJS.ReadableStream, 'data')) as [Buffer]
  const kafka = createClient({ brokers: [`127.0.0.1:${Number(port.toString())}`], clientId: 'bench' })
  const consumer = kafka.consumer({ topics: ['records'] })
  let count = 0
  let size = 0
  const read =
    args.option('read', 'batches') === 'handler'
      ? consumer.run({
          handler: (record) => {
            size += record.valueSize
            count++
          },
        })
      : countBatches()
  async function countBatches(): Promise<void> {
    for await (const batch of consumer) {
      for (const record of batch) size += record.valueSize
      count += batch.count
      batch.done()
    }
  }
  const output = await measureRate(args, async (deadline) => {
    const before = count
    while (!deadline.passed) await new Promise((resolve) => setTimeout(resolve, 20))
    return count - before
  })
  await kafka.close()
  await read
  server.kill()
  if (size === 0) throw new Error('no record came')
  return output
}

if (args.option('target', 'kafka') === 'records') printCaseOutput(await fromRecords())
else {
  const { address, stop } = await brokerFor(args)
  printCaseOutput(await measureKafka(args, peer, address))
  await stop()
}
process.exit()
