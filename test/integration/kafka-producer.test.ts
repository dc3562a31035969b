import { beforeAll, describe, expect, test } from 'vitest'
import { Producer } from '../../src/kafka/producer/producer.ts'
import { CODECS } from '../../src/kafka/records/batch-format.ts'
import { addressesOf, useKafka } from './kafka-broker.ts'
import {
  FORGETFUL,
  fencingTests,
  forgottenProducerTest,
  producerTests,
  readByJava,
  setUpProducer,
  transactionTests,
} from './kafka-producer-suite.ts'

const kafka = useKafka(FORGETFUL)

test('Java reads what was written with every compression', { timeout: 120_000 }, async (context) => {
  const { broker, topic, close, cluster } = await setUpProducer(context, kafka)
  const expected: string[] = []
  for (const compression of CODECS) {
    const producer = new Producer({ compression, lingerMs: 5 }, { cluster })
    const records = Array.from({ length: 500 }, (_, index) => ({
      key: index % 3 === 0 ? null : `key-${index}`,
      value: index % 7 === 3 ? null : `${compression} ${index} ${'ä'.repeat(20)}`,
      headers:
        index % 5 === 0
          ? [
              { key: 'h', value: 'one' },
              { key: 'h', value: null },
            ]
          : [],
      timestamp: 1_700_000_000_000 + index,
      partition: 0,
    }))
    const ranges = await producer.sendMany(topic, records)
    expect(ranges.reduce((sum, { count }) => sum + count, 0)).toBe(500)
    for (const { key, value, headers, timestamp } of records) {
      const printed = headers.length === 0 ? 'NO_HEADERS' : 'h:one,h:null'
      expected.push(`CreateTime:${timestamp}|${printed}|${key ?? 'null'}|${value ?? 'null'}`)
    }
    await producer.close()
  }
  const properties = ['print.timestamp=true', 'print.headers=true', 'print.key=true', 'key.separator=|']
  const formatting = properties.flatMap((property) => ['--formatter-property', property])
  const lines = await readByJava(broker, topic, expected.length, ...formatting)
  expect(lines).toEqual(expected)
  await close()
})

producerTests(kafka)
forgottenProducerTest(kafka)

describe('transactions of version 2', () => {
  transactionTests(kafka, 2)
  fencingTests(kafka, 2)
})

describe('transactions of version 1', () => {
  beforeAll(async () => {
    const { started } = kafka
    if (started === undefined) return
    const feature = ['downgrade', '--feature', 'transaction.version=1']
    const address = addressesOf(started).join(',')
    await started.tool('org.apache.kafka.tools.FeatureCommand', '--bootstrap-server', address, ...feature)
  }, 60_000)

  transactionTests(kafka, 1)
  fencingTests(kafka, 1)
})
