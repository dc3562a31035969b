// Reads ten records a second, in a process of its own whose memory can be measured: `<host:port,…> <topic> <seconds>`. Reports to the parent.
import { setTimeout as delay } from 'node:timers/promises'
import { createClient } from 'busbar/kafka/client'

export interface SlowReaderReport {
  /** Above what it was before the first fetch, at most. */
  readonly rssGrowthBytes: number
  readonly records: number
  /** Batches of all partitions between two of one partition, or from its last one to the end. */
  readonly longestGap: number
  readonly partitions: number
}

const RECORDS_PER_SECOND = 10

const [brokers = '', topic = '', seconds = '60'] = process.argv.slice(2)
const kafka = createClient({ brokers: brokers.split(',') })
await kafka.admin().topics.list()
globalThis.gc?.()
const before = process.memoryUsage().rss

const consumer = kafka.consumer({
  topics: [topic],
  onReset: 'earliest',
  maxBatchRecords: 10,
  maxBufferedBytes: 64 * 1024 * 1024,
})
const total = Number(seconds) * RECORDS_PER_SECOND
const lastOf = new Map<number, number>()
let [most, longestGap, records, turn] = [before, 0, 0, 0]
const start = performance.now()
for (; records < total; turn++) {
  const { value: batch } = await consumer.next()
  if (batch === undefined) throw new Error('the consumer was closed')
  longestGap = Math.max(longestGap, turn - (lastOf.get(batch.partition) ?? 0))
  lastOf.set(batch.partition, turn)
  for (const record of batch) {
    if (record.valueSize !== 10_000) throw new Error(`a value of ${record.valueSize} bytes`)
    records++
    most = Math.max(most, process.memoryUsage().rss)
    await delay(start + (records * 1_000) / RECORDS_PER_SECOND - performance.now())
  }
  batch.done()
}
for (const last of lastOf.values()) longestGap = Math.max(longestGap, turn - last)
const report: SlowReaderReport = { rssGrowthBytes: most - before, records, longestGap, partitions: lastOf.size }
process.send?.(report)
await kafka.close()
process.disconnect?.()
