import { maxRecordSize } from '../records/batch-builder.ts'
import { BATCH } from '../records/batch-format.ts'
import { readRecords } from '../records/read-records.ts'
import type { KafkaRecord } from '../records/record.ts'
import { scanBatches } from '../records/record-batch.ts'
import type { BlockMemory } from './block-memory.ts'
import type { Delivery } from './producer-batch.ts'
import { ProducerBatch } from './producer-batch.ts'

/**
 * Two batches with the records of one that is too large, in order; and each delivery with the batch that has its records. If it rejects,
 * the batch is as it was, and no memory is taken.
 */
export async function splitBatch(batch: ProducerBatch, bytes: Buffer, memory: BlockMemory): Promise<ProducerBatch[]> {
  const [whole] = scanBatches(bytes)
  if (whole === undefined) throw new Error('a batch without bytes')
  const records = await readRecords(whole, { checkCrc: false, maxBatchBytes: batch.size })
  const middle = records.length >> 1
  const first = rebuilt(batch, records.slice(0, middle), memory)
  const second = secondOf(batch, records.slice(middle), first, memory)
  const [ofFirst, ofSecond] = divide(batch.deliveries, middle)
  first.deliveries.push(...ofFirst)
  second.deliveries.push(...ofSecond)
  return [first, second]
}

function secondOf(
  batch: ProducerBatch,
  records: readonly KafkaRecord[],
  first: ProducerBatch,
  memory: BlockMemory,
): ProducerBatch {
  try {
    return rebuilt(batch, records, memory)
  } catch (error) {
    memory.give(first.block)
    throw error
  }
}

function rebuilt(
  { topic, partition, openedAt, readyAt, deadline, builder }: ProducerBatch,
  records: readonly KafkaRecord[],
  memory: BlockMemory,
): ProducerBatch {
  let size: number = BATCH.records
  for (const { key, value, headers } of records) size += maxRecordSize(key, value, headers)
  const block = memory.takeExactly(Math.min(size, builder.size))
  const half = new ProducerBatch({ topic, partition }, block, block.length, { openedAt, readyAt, deadline })
  for (const { key, value, timestamp, headers } of records) half.builder.append(key, value, timestamp, headers)
  half.isClosed = true
  return half
}

/** Deliveries up to the record `at`, and those from it on; one that has both is cut. */
function divide(deliveries: readonly Delivery[], at: number): [readonly Delivery[], readonly Delivery[]] {
  const first: Delivery[] = []
  const second: Delivery[] = []
  let left = at
  for (const delivery of deliveries) {
    const { count } = delivery
    if (left >= count) first.push(delivery)
    else if (left > 0) {
      const rest = delivery.divide(left)
      first.push(delivery)
      second.push(rest)
    } else second.push(delivery)
    left = Math.max(0, left - count)
  }
  return [first, second]
}
