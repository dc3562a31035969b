import type { RecordBytes, RecordHeader } from '../records/batch-builder.ts'

/** What is written for one record. Strings are UTF-8. */
export interface RecordContent {
  /** Records with the same key go to the same partition, in the order of the calls. @default null */
  readonly key?: RecordBytes
  /** Null: a tombstone, which deletes the key from a compacted topic. */
  readonly value: RecordBytes
  /** Keys may repeat; order is kept. @default none */
  readonly headers?: readonly RecordHeader[]
  /** In milliseconds since 1970. @default the time of the call */
  readonly timestamp?: number
  /** @default what the partitioner chooses */
  readonly partition?: number
}

export interface ProducerRecord extends RecordContent {
  readonly topic: string
}
