// Records what our client and real brokers say to each other: test/unit/kafka/golden-frames.txt has a request and its response of each
// version of each API that came up. A test reads and writes them again, byte for byte. Starts the brokers of tools/brokers:
//
//     node tools/kafka-protocol/record-frames.ts

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FrameSplitter } from '../../src/kafka/network/frame-splitter.ts'
import { nodeSockets } from '../../src/kafka/network/sockets.ts'
import type { OpenSocket } from '../../src/kafka/network/sockets.ts'
import { createClient } from '../../src/kafka/index.ts'
import type { KafkaClient } from '../../src/kafka/index.ts'
import { allApis } from '../../src/kafka/protocol/apis.ts'
import { API_KEYS } from '../../src/kafka/protocol/generated/api-types.ts'
import { startPrivate } from '../brokers/index.ts'

const FILE = join(import.meta.dirname, '..', '..', 'test', 'unit', 'kafka', 'golden-frames.txt')
const VERSIONS = ['4', '3.9'] as const
/** What is longer says nothing new. */
const MAX_FRAME_BYTES = 1_500
const PROPERTIES = { 'group.initial.rebalance.delay.ms': '0', 'offsets.topic.num.partitions': '1' }

const nameOf = new Map([...allApis().keys()].map((name) => [API_KEYS[name], name]))
const lines: string[] = []

for (const version of VERSIONS) {
  await using broker = await startPrivate('kafka', { version, properties: PROPERTIES })
  const found = new Map<string, string>()
  const kafka = createClient({
    brokers: [`${broker.host}:${broker.port}`],
    clientId: 'golden',
    openSocket: recording((exchange, line) => {
      if (!found.has(exchange)) found.set(exchange, line)
    }),
  })
  try {
    await converse(kafka, version !== '3.9')
  } finally {
    await kafka.close()
  }
  for (const [exchange, line] of found) lines.push(`${broker.version} ${exchange} ${line}`)
}
const head =
  '# Recorded by tools/kafka-protocol/record-frames.ts: broker, API, version, request, response; without their sizes, in base64'
writeFileSync(FILE, `${head}\n${lines.toSorted().join('\n')}\n`)
console.log(`${lines.length} exchanges`)

/** Sockets of Node. Responses come in the order of the requests. */
function recording(record: (exchange: string, line: string) => void): OpenSocket {
  const open = nodeSockets()
  return (address, handlers) => {
    const asked: Buffer[] = []
    const requests = new FrameSplitter(MAX_FRAME_BYTES * 100)
    const responses = new FrameSplitter(MAX_FRAME_BYTES * 100)
    const answered = (response: Buffer): void => {
      const request = asked.shift()
      if (request === undefined) throw new Error('a response to nothing')
      if (request.length > MAX_FRAME_BYTES || response.length > MAX_FRAME_BYTES) return
      const exchange = `${nameOf.get(request.readInt16BE(0))} ${request.readInt16BE(2)}`
      record(exchange, `${request.toString('base64')} ${response.toString('base64')}`)
    }
    const socket = open(address, {
      ...handlers,
      connected: () => handlers.connected(),
      // Bytes that come where they belong would pass by.
      room: () => undefined,
      received: (chunk) => {
        responses.push(chunk, answered)
        handlers.received(chunk)
      },
      closed: (error) => handlers.closed(error),
    })
    return {
      write: (chunks, written) => {
        for (const chunk of chunks) requests.push(chunk, (request) => void asked.push(request))
        socket.write(chunks, written)
      },
      destroy: () => socket.destroy(),
    }
  }
}

async function converse(kafka: KafkaClient, hasShareGroups: boolean): Promise<void> {
  const admin = kafka.admin()
  await admin.topics.create([{ name: 'golden', partitions: 2, configs: { 'retention.ms': '600000' } }])
  await admin.topics.addPartitions({ golden: 3 })
  await admin.configs.describe({ type: 'topic', name: 'golden' })
  await admin.configs.alter({ type: 'topic', name: 'golden' }, { set: { 'retention.ms': '700000' } })
  await admin.cluster.describe()
  await admin.cluster.logDirs()

  const producer = kafka.producer({ compression: 'gzip' })
  const headers = [{ key: 'trace', value: '1' }]
  const send = () => producer.send({ topic: 'golden', partition: 0, key: 'k', value: 'v', headers })
  await send()

  for (const protocol of ['classic', 'consumer'] as const) {
    await send()
    const consumer = kafka.consumer({ group: `g-${protocol}`, topics: ['golden'], protocol, onReset: 'earliest' })
    const batch = await consumer.next()
    batch.value?.done()
    await consumer.commit()
    await admin.groups.describe(`g-${protocol}`)
    await consumer.close()
    await admin.offsets.list(`g-${protocol}`)
    await admin.offsets.reset(`g-${protocol}`, ['golden'], 'earliest')
  }

  const consumer = kafka.consumer({ group: 'g-transaction', topics: ['golden'], isolation: 'read_committed' })
  await consumer.next()
  const transactional = kafka.producer({ transactionalId: 'golden' })
  await transactional.transaction(async (tx) => {
    await tx.send({ topic: 'golden', value: 'in a transaction' })
    tx.offsets(consumer, [{ topic: 'golden', partition: 0, offset: 1 }])
    await admin.transactions.list()
  })
  await admin.transactions.describe('golden')
  await consumer.close()

  if (hasShareGroups) {
    const share = kafka.shareConsumer({ group: 'g-share', topics: ['golden'] })
    const next = share.next()
    const sending = setInterval(() => void send(), 200)
    const { value } = await next
    clearInterval(sending)
    for (const record of value ?? []) record.accept()
    await admin.shareOffsets.list('g-share')
    await share.close()
  }

  await admin.groups.list()
  await admin.records.offsets('golden', 'latest')
  await admin.records.deleteBefore('golden', { 0: 1 })
  await admin.quotas.list()
  await admin.groups.delete(['g-classic'])
  await admin.topics.delete(['golden'])
}
