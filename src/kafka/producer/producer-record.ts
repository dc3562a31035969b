import type { RecordBytes, RecordHeader } from '../records/batch-builder.ts'

/** What is written for one record. Strings are UTF-8. */
export interface RecordContent {
  /** Records with the same key go to the same partition, in the order of the calls. @default null */
  readonly key?: RecordBytes | undefined
  /** What is in it. Null: a tombstone, which deletes the key from a compacted topic. */
  readonly value: RecordBytes
  /** Keys may repeat; order is kept. @default none */
  readonly headers?: readonly RecordHeader[] | undefined
  /** In milliseconds since 1970. @default the time of the call */
  readonly timestamp?: number | undefined
  /** Where it goes. @default what the partitioner chooses */
  readonly partition?: number | undefined
}

/** A record, and where it goes. */
export interface ProducerRecord extends RecordContent {
  /** Its topic, which must exist, unless the client has `autoCreateTopics`. */
  readonly topic: string
}
