// The Kafka client below the transport, alone: what Busbar's own work costs is the difference. `--read` is `batches`, or `handler` for
// a call for each record; `--envelope=true` sends the headers that Busbar's compact envelope has, and reads them.

import { randomUUID } from 'node:crypto'
import { createClient } from 'busbar/kafka/client'
import type { Consumer, KafkaRecord, RecordContent } from 'busbar/kafka/client'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import { measurePeer } from '../harness/measure-peer.ts'
import type { PeerQueue } from '../harness/measure-peer.ts'
import { requiredUrl } from '../harness/required-url.ts'

const args = readCaseArguments()
const hasEnvelope = args.option('envelope', 'false') === 'true'
const isJson = args.option('body', 'bytes') === 'json'
/** As many as topics of Busbar have. */
const PARTITIONS = 6

let headerBytes = 0

function fail(error: unknown): never {
  console.error(error)
  process.exit(1)
}

function contentOf(value: Buffer): RecordContent {
  if (!hasEnvelope) return { value }
  const headers = [
    { key: 'busbar', value: '1' },
    { key: 'ce_id', value: randomUUID() },
    { key: 'ce_source', value: 'bench' },
  ]
  if (!isJson) headers.push({ key: 'content-type', value: 'application/octet-stream' })
  return { value, headers }
}

function read(record: KafkaRecord, handle: (body: Uint8Array) => void): void {
  if (hasEnvelope)
    record.eachHeader((name, value) => {
      headerBytes += name.length + (value?.length ?? 0)
    })
  const { value } = record
  if (value !== null) handle(value)
}

async function readBatches(consumer: Consumer, handle: (body: Uint8Array) => void, settled: (count: number) => void) {
  for await (const batch of consumer) {
    for (const record of batch) read(record, handle)
    batch.done()
    settled(batch.count)
  }
}

async function open(name: string): Promise<PeerQueue> {
  const kafka = createClient({ brokers: [new URL(requiredUrl('kafka')).host], clientId: 'bench' })
  await kafka.admin().topics.create([{ name, partitions: PARTITIONS }])
  const producer = kafka.producer()
  return {
    startsLate: true,
    publish(body, confirmed) {
      producer.send({ topic: name, ...contentOf(body) }).then(confirmed, fail)
    },
    publishMany(bodies, confirmed) {
      producer.sendMany(name, bodies.map(contentOf)).then(confirmed, fail)
    },
    async consume(handle, settled) {
      const consumer = kafka.consumer({ topics: [name], group: name })
      const assigned = new Promise<void>((resolve) => {
        consumer.on('assigned', () => resolve())
      })
      const handler = (record: KafkaRecord): void => {
        read(record, handle)
        settled(1)
      }
      const reading =
        args.option('read', 'batches') === 'handler'
          ? consumer.run({ handler: async (record) => handler(record) })
          : readBatches(consumer, handle, settled)
      reading.catch(fail)
      await assigned
    },
    async close() {
      await kafka.admin().topics.delete([name])
      await kafka.close({ deadlineMs: 1_000 })
    },
  }
}

printCaseOutput(await measurePeer(args, open))
if (hasEnvelope && args.option('mode', '') === 'consume' && headerBytes === 0) throw new Error('no headers were read')
process.exit()
