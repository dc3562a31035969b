import type { RecordBytes, RecordHeader } from '../records/batch-builder.ts'

/** What is written for one record. Strings are UTF-8. */
export interface RecordContent {
  /** Records with the same key go to the same partition, in the order of the calls. @default null */
  readonly key?: RecordBytes | undefined
  /** The content. Null is a tombstone, which deletes the key from a compacted topic. */
  readonly value: RecordBytes
  /** Keys may repeat; order is kept. @default none */
  readonly headers?: readonly RecordHeader[] | undefined
  /** In milliseconds since 1970. @default the time of the call */
  readonly timestamp?: number | undefined
  /** The partition to write to. @default the partitioner's choice */
  readonly partition?: number | undefined
}

/** A record and its topic. */
export interface ProducerRecord extends RecordContent {
  /** The topic to write to. It must exist, unless the client has `autoCreateTopics`. */
  readonly topic: string
}
