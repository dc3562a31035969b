import { BatchBuilder, NO_PRODUCER, stampBatch } from '../../../../src/kafka/records/batch-builder.ts'
import type { ProducerStamp } from '../../../../src/kafka/records/batch-builder.ts'

/** A batch as a producer sends it. */
export function batchOf(values: readonly string[], stamp: ProducerStamp = NO_PRODUCER, timestamp = 1_000): Buffer {
  const builder = new BatchBuilder(Buffer.alloc(128 + values.reduce((size, value) => size + 32 + 3 * value.length, 0)))
  for (const value of values) builder.append(null, value, timestamp)
  const batch = builder.seal()
  stampBatch(batch, stamp)
  return batch
}
