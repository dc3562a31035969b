import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import kafkajs from 'kafkajs'
import SnappyCodec from 'kafkajs-snappy'
import { compressFrame, decompressFrame } from 'lz4-napi'
import { command, inputRecords, printRecord, settings, untilInputEnds } from './wire.mjs'

const { AssignerProtocol, CompressionCodecs, CompressionTypes, Kafka, PartitionAssigners, Partitioners, logLevel } =
  kafkajs

// What users add to KafkaJS, which has gzip alone.
CompressionCodecs[CompressionTypes.Snappy] = SnappyCodec
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: (encoder) => compressFrame(encoder.buffer),
  decompress: (buffer) => decompressFrame(buffer),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder) => zstdCompressSync(encoder.buffer),
  decompress: async (buffer) => zstdDecompressSync(buffer),
})

const TYPES = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}

const { brokers, topic, compression = 'none', group, transaction } = settings
const kafka = new Kafka({ clientId: 'kafkajs', brokers, logLevel: logLevel.ERROR })

/** KafkaJS has one value for each name of a header, or a list of them. */
function headersOf(pairs) {
  const headers = {}
  for (const [name, value] of pairs) headers[name] = name in headers ? [headers[name], value].flat() : value
  return headers
}

/** Its round-robin under the name that all others use: that is how KafkaJS shares a group with them. */
function roundrobin(config) {
  const name = 'roundrobin'
  const metadata = (topics) => AssignerProtocol.MemberMetadata.encode({ version: 0, topics, userData: Buffer.alloc(0) })
  return {
    ...PartitionAssigners.roundRobin(config),
    name,
    protocol: ({ topics }) => ({ name, metadata: metadata(topics) }),
  }
}

if (command === 'produce') {
  const transactional = transaction === undefined ? {} : { transactionalId: `kafkajs-${topic}`, maxInFlightRequests: 1 }
  const producer = kafka.producer({
    createPartitioner: Partitioners.DefaultPartitioner,
    idempotent: transaction !== undefined,
    ...transactional,
  })
  await producer.connect()
  const messages = (await inputRecords()).map(({ partition, headers, timestamp, ...rest }) => ({
    ...rest,
    headers: headersOf(headers),
    timestamp: String(timestamp),
    ...(partition === null ? {} : { partition }),
  }))
  const target = transaction === undefined ? producer : await producer.transaction()
  await target.send({ topic, messages, compression: TYPES[compression], acks: -1 })
  if (transaction !== undefined) await target[transaction]()
  await producer.disconnect()
} else {
  const consumer = kafka.consumer({
    groupId: group,
    heartbeatInterval: 500,
    maxWaitTimeInMs: 100,
    partitionAssigners: [roundrobin],
  })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({
    eachMessage: async ({ partition, message: { key, value, headers = {}, timestamp } }) => {
      const pairs = Object.entries(headers).flatMap(([name, values]) => [values].flat().map((each) => [name, each]))
      printRecord({ partition, key, value, headers: pairs, timestamp: Number(timestamp) })
    },
  })
  await untilInputEnds()
  await consumer.disconnect()
}
