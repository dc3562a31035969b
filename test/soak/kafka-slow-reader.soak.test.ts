import { fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { createClient } from '../../src/kafka/index.ts'
import { addressesOf, useKafka } from '../integration/kafka-broker.ts'
import type { SlowReaderReport } from './kafka-slow-reader.ts'

const MINUTES = Number(process.env['BUSBAR_KAFKA_SLOW_MINUTES'] ?? 10)
const PARTITIONS = 60
const MIB = 1_048_576
/** The buffers of the reader, and what else may come to them. */
const MAX_GROWTH_BYTES = (64 + 32) * MIB

const kafka = useKafka({ nodes: 3 })

test(
  `C16: in ${MINUTES} minutes of slow reading, memory stays bounded, and every partition gets its turn`,
  { timeout: (MINUTES + 5) * 60_000 },
  async (context) => {
    const brokers = addressesOf(kafka.of(context))
    const client = createClient({ brokers })
    try {
      await client.admin().topics.create([{ name: 'slow', partitions: PARTITIONS }])
      const producer = client.producer({ compression: 'gzip' })
      // A hundred to one. 1.2 GB, many times what may be buffered.
      const value = Buffer.alloc(10_000, randomBytes(100))
      for (let batch = 0; batch < 200; batch++) {
        const sent = Array.from({ length: PARTITIONS }, (_, partition) =>
          producer.sendMany(
            'slow',
            Array.from({ length: 10 }, () => ({ value, partition })),
          ),
        )
        await Promise.all(sent)
      }
    } finally {
      await client.close()
    }
    const reader = fork(
      new URL('kafka-slow-reader.ts', import.meta.url),
      [brokers.join(','), 'slow', String(MINUTES * 60)],
      { execArgv: ['--conditions=busbar-source', '--expose-gc'], stdio: ['ignore', 'inherit', 'pipe', 'ipc'] },
    )
    let errors = ''
    reader.stderr?.on('data', (text: Buffer) => (errors = `${errors}${text.toString()}`.slice(-4_000)))
    let report: SlowReaderReport | undefined
    reader.on('message', (message) => (report = message as SlowReaderReport))
    const [code] = (await once(reader, 'exit')) as [number | null]
    expect([code, errors]).toEqual([0, ''])
    console.log(`C16: ${JSON.stringify(report)}`)
    expect(report?.partitions).toBe(PARTITIONS)
    expect(report?.rssGrowthBytes).toBeLessThan(MAX_GROWTH_BYTES)
    expect(report?.longestGap).toBeLessThanOrEqual(3 * PARTITIONS)
  },
)
