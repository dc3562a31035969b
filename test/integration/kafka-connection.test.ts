import { describe, expect, test } from 'vitest'
import { systemClock } from '../../src/kafka/network/clock.ts'
import { Connection } from '../../src/kafka/network/connection.ts'
import { nodeSockets } from '../../src/kafka/network/sockets.ts'
import { BatchBuilder, NO_PRODUCER, stampBatch } from '../../src/kafka/records/batch-builder.ts'
import { CODECS } from '../../src/kafka/records/batch-format.ts'
import type { Codec } from '../../src/kafka/records/batch-format.ts'
import { compress } from '../../src/kafka/records/compression/index.ts'
import { readRecords } from '../../src/kafka/records/read-records.ts'
import { scanBatches } from '../../src/kafka/records/record-batch.ts'
import { waitFor } from '../../tools/brokers/index.ts'
import type { KafkaBroker } from '../../tools/brokers/index.ts'
import { useKafka } from './kafka-broker.ts'

const kafka = useKafka()

/** Of a broker that has not heard of a new topic, or that it leads it. */
const NOT_YET = [6, 100]

function connect({ host, port }: KafkaBroker): Connection {
  return new Connection({
    address: { host, port },
    sasl: undefined,
    openSocket: nodeSockets(),
    clock: systemClock,
    settings: {
      name: `the broker at ${host}:${port}`,
      clientId: 'test',
      softwareName: 'busbar',
      softwareVersion: '0.0.1',
      requestTimeoutMs: 20_000,
      connectTimeoutMs: 10_000,
      maxInFlight: 5,
      maxFrameBytes: 100 * 1024 * 1024,
    },
  })
}

async function topicOf(connection: Connection, name: string): Promise<string> {
  const topic = { name, numPartitions: 1, replicationFactor: 1, assignments: [], configs: [] }
  const { response } = await connection.send('CreateTopics', { topics: [topic], validateOnly: false })
  expect(response.topics).toMatchObject([{ name, errorCode: 0 }])
  return response.topics[0]?.topicId ?? ''
}

async function batchOf(codec: Codec, count: number): Promise<Buffer> {
  const builder = new BatchBuilder(Buffer.alloc(100_000))
  for (let index = 0; index < count; index++) {
    const value = index % 7 === 3 ? null : `value ${codec} ${index}`
    expect(builder.append(`k${index}`, value, 1_700_000_000_000 + index, [{ key: 'h', value: codec }])).toBe(true)
  }
  const records = await compress(codec, builder.records())
  const batch = codec === 'none' ? builder.seal() : builder.sealCompressed(codec, records, Buffer.alloc(100_000))
  stampBatch(batch, NO_PRODUCER)
  return batch
}

describe('a broker', () => {
  test('takes and gives batches of every codec', { timeout: 60_000 }, async (context) => {
    const connection = connect(kafka.of(context))
    await connection.ready
    const topicId = await topicOf(connection, 'codecs')
    for (const codec of CODECS) {
      const records = await batchOf(codec, 200)
      const partitionData = [{ index: 0, records }]
      const responses = await waitFor(
        async () => {
          const { response } = await connection.send('Produce', (version) => ({
            acks: -1,
            timeoutMs: 10_000,
            topicData: [version >= 13 ? { topicId, partitionData } : { name: 'codecs', partitionData }],
          }))
          const { partitionResponses } = response.responses[0] ?? {}
          return !NOT_YET.includes(partitionResponses?.[0]?.errorCode ?? 0) && partitionResponses
        },
        { timeoutMs: 20_000 },
      )
      expect(responses).toMatchObject([{ errorCode: 0, recordErrors: [] }])
    }
    const partitions = [{ partition: 0, fetchOffset: 0, partitionMaxBytes: 1 << 20 }]
    const fetch = { maxWaitMs: 100, minBytes: 1, isolationLevel: 0, topics: [{ topicId, partitions }] }
    const { response } = await connection.send('Fetch', fetch, { waitMs: 100 })
    const batches = scanBatches(response.responses[0]?.partitions[0]?.records ?? Buffer.alloc(0))
    expect(batches.map(({ codec }) => codec)).toEqual(CODECS)
    for (const batch of batches) {
      const records = await readRecords(batch)
      expect(records.map(({ offset }) => offset)).toEqual(Array.from({ length: 200 }, (_, i) => batch.baseOffset + i))
      expect(records.map(({ valueText }) => valueText)).toEqual(
        Array.from({ length: 200 }, (_, i) => (i % 7 === 3 ? null : `value ${batch.codec} ${i}`)),
      )
      expect(records[5]?.headers).toEqual([{ key: 'h', value: Buffer.from(batch.codec) }])
      expect(records[5]?.timestamp).toBe(1_700_000_000_005)
    }
    connection.close()
  })
})
