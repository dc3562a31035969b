import { BATCH } from './batch-format.ts'
import { decompress } from './compression/index.ts'
import { decodeRecords } from './decode-records.ts'
import { decodeLegacyMessage, decodeLegacyPayload, legacyPayload } from './legacy-records.ts'
import type { KafkaRecord } from './record.ts'
import { checkCrc } from './record-batch.ts'
import type { RecordBatch } from './record-batch.ts'

export interface ReadRecordsOptions {
  /** Check the CRC-32C of each batch. @default true */
  readonly checkCrc?: boolean
  /** Bytes of a batch after decompression; more is an error. @default 67_108_864 (64 MiB) */
  readonly maxBatchBytes?: number
}

const MAX_BATCH_BYTES = 64 * 1024 * 1024

/**
 * The records of a batch, whatever its format and compression. A promise only where decompression runs in another thread. Throws, or
 * rejects with, {@link MalformedError}: the batch can't be read, now or later.
 */
export function readRecords(
  batch: RecordBatch,
  options: ReadRecordsOptions = {},
): KafkaRecord[] | Promise<KafkaRecord[]> {
  const { magic, codec } = batch
  if (options.checkCrc !== false) checkCrc(batch)
  if (codec === 'none') return magic === 2 ? decodeRecords(batch) : decodeLegacyMessage(batch)
  const packed = magic === 2 ? batch.bytes.subarray(BATCH.records) : legacyPayload(batch)
  const limit = options.maxBatchBytes ?? MAX_BATCH_BYTES
  const payload = decompress(codec, packed, { limit, allowBrokenChecksum: magic === 0 })
  return payload instanceof Promise ? payload.then((bytes) => decode(batch, bytes)) : decode(batch, payload)
}

function decode(batch: RecordBatch, payload: Buffer): KafkaRecord[] {
  return batch.magic === 2 ? decodeRecords(batch, payload) : decodeLegacyPayload(batch, payload)
}
