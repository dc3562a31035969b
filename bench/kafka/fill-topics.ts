// Makes the topics of the Kafka suite, and fills those that are read. A process of its own, so that nobody's memory is measured with it:
//
//     node --conditions=busbar-source bench/kafka/fill-topics.ts <host:port>

import { createClient } from '../../src/kafka/index.ts'
import { KAFKA_PARTITIONS, KAFKA_TOPICS, KAFKA_VALUE_BYTES, kafkaBacklog } from './topics.ts'

/** Records of one array, and arrays at a time: batches as an ordinary producer makes them, 16 to 100 KB. */
const ARRAY_BYTES = 100_000
const OUTSTANDING = 8

const [broker = ''] = process.argv.slice(2)
const kafka = createClient({ brokers: [broker], clientId: 'fill' })
const { topics } = kafka.admin()
const backlogs = KAFKA_VALUE_BYTES.map((bytes) => ({ bytes, ...kafkaBacklog(bytes) }))
const names = [...Object.values(KAFKA_TOPICS), ...backlogs.map(({ topic }) => topic)]
// What the sink gets is of no use: hours of it would fill the disk.
const configs = { 'retention.bytes': '268435456', 'segment.bytes': '67108864' }
await topics.create(
  names.map((name) => ({
    name,
    partitions: KAFKA_PARTITIONS,
    ...(name === KAFKA_TOPICS.sink ? { configs } : {}),
  })),
)
const producer = kafka.producer({ batchBytes: ARRAY_BYTES })
for (const { topic, records, bytes } of backlogs) {
  const count = Math.floor(ARRAY_BYTES / bytes)
  const values = Array.from({ length: count }, () => ({ value: Buffer.alloc(bytes, 'x') }))
  let left = records
  const loop = async (): Promise<void> => {
    while (left > 0) {
      const part = values.slice(0, left)
      left -= part.length
      await producer.sendMany(topic, part)
    }
  }
  await Promise.all(Array.from({ length: OUTSTANDING }, loop))
}
await kafka.close()
