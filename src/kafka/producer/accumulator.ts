import { KafkaError } from '../errors.ts'
import type { ClientErrorCode } from '../errors.ts'
import { checkTimestamp, maxRecordSize } from '../records/batch-builder.ts'
import type { RecordBytes, RecordHeader } from '../records/batch-builder.ts'
import { BATCH } from '../records/batch-format.ts'
import { BlockMemory } from './block-memory.ts'
import { KeyPartitioner, StickyPartition } from './partitioner.ts'
import type { Partitioner } from './partitioner.ts'
import type { PartitionQueue } from './partition-queue.ts'
import { ProducerBatch } from './producer-batch.ts'
import type { RecordContent } from './producer-record.ts'
import type { Sender } from './sender.ts'

export interface AccumulatorSettings {
  readonly maxBufferedBytes: number
  readonly batchBytes: number
  readonly lingerMs: number
  readonly deliveryTimeoutMs: number
  readonly partitioner: Partitioner | undefined
  readonly random: () => number
  readonly now: () => number
  readonly hasLeader: (topic: string, partition: number) => boolean
  /** A batch has got its first record. */
  readonly opened: (batch: ProducerBatch) => void
}

interface PartitionWriter {
  readonly queue: PartitionQueue<ProducerBatch>
  /** The last one; it may be closed. */
  batch: ProducerBatch | undefined
}

/** The batches of one topic that are being filled. */
export interface TopicWriter {
  readonly topic: string
  partitions: number
  /** Less than the option once the topic has refused a batch as too large. */
  batchBytes: number
  readonly hasLeader: (partition: number) => boolean
  readonly sticky: StickyPartition
  readonly writers: (PartitionWriter | undefined)[]
}

const SMALLEST_BLOCK = 16 * 1024
const SMALLEST_BATCH = 1_024
/** Of records without a key, before they go to another partition. */
const STICKY_BYTES = 64 * 1024
const NO_HEADERS: readonly RecordHeader[] = []

/** Fills a batch for each partition, in blocks whose size follows what the partition gets. */
export class Accumulator {
  readonly memory: BlockMemory
  readonly #settings: AccumulatorSettings
  readonly #sender: Sender<ProducerBatch>
  readonly #topics = new Map<string, TopicWriter>()
  readonly #keys = new KeyPartitioner()

  constructor(settings: AccumulatorSettings, sender: Sender<ProducerBatch>) {
    this.#settings = settings
    this.#sender = sender
    this.memory = new BlockMemory(settings.maxBufferedBytes)
  }

  topic(name: string): TopicWriter {
    let topic = this.#topics.get(name)
    if (topic === undefined) {
      const { batchBytes, random, hasLeader } = this.#settings
      const sticky = new StickyPartition(Math.min(batchBytes, STICKY_BYTES), random)
      const isLed = (partition: number) => hasLeader(name, partition)
      this.#topics.set(
        name,
        (topic = { topic: name, partitions: 0, batchBytes, hasLeader: isLed, sticky, writers: [] }),
      )
    }
    return topic
  }

  /**
   * Appends a record, and returns its batch; undefined, and nothing has changed, if there is no room for it. Throws if it can't be
   * written at all. `deadline`: of a call that has waited; else it is counted from now.
   */
  append(topic: TopicWriter, record: RecordContent, timestamp: number, deadline?: number): ProducerBatch | undefined {
    const { key = null, value, headers = NO_HEADERS } = record
    const chosen = this.#partitionOf(topic, record, key)
    const partition = chosen ?? topic.sticky.partitionOf(topic.partitions, topic.hasLeader)
    const writer = (topic.writers[partition] ??= this.#writerOf(topic, partition))
    for (;;) {
      const open = writer.batch
      const batch = open === undefined || open.isClosed ? this.#open(topic, writer, record, deadline) : open
      if (batch === undefined) return undefined
      const before = batch.size
      if (batch.builder.append(key, value, record.timestamp ?? timestamp, headers)) {
        if (batch.count === 1) this.#opened(writer, batch)
        if (chosen === undefined) topic.sticky.appended(batch.size - before)
        return batch
      }
      if (!this.#grow(topic, batch, record)) this.#press(writer, batch)
    }
  }

  /** The topic has refused a batch of this size: from now on they are half as large at most. */
  tooLarge(name: string, size: number): void {
    const topic = this.topic(name)
    topic.batchBytes = Math.max(SMALLEST_BATCH, Math.min(topic.batchBytes, size >> 1))
  }

  /** Lets every open batch go without waiting for its linger. */
  pressAll(): void {
    for (const { writers } of this.#topics.values()) {
      for (const writer of writers) {
        if (writer?.batch?.isClosed === false && writer.batch.count > 0) this.#press(writer, writer.batch, false)
      }
    }
  }

  #partitionOf(topic: TopicWriter, record: RecordContent, key: RecordBytes): number | undefined {
    const { partitioner } = this.#settings
    const { topic: name, partitions } = topic
    const partition = record.partition ?? partitioner?.({ topic: name, key, value: record.value, partitions })
    if (partition === undefined) return key === null ? undefined : this.#keys.partitionOf(key, partitions)
    if (Number.isInteger(partition) && partition >= 0 && partition < partitions) return partition
    throw notSent('INVALID_PARTITION', `${name} has no partition ${partition}: it has ${partitions}`)
  }

  #writerOf({ topic }: TopicWriter, partition: number): PartitionWriter {
    return { queue: this.#sender.queueOf(topic, partition), batch: undefined }
  }

  #open(
    { batchBytes }: TopicWriter,
    writer: PartitionWriter,
    record: RecordContent,
    deadline: number | undefined,
  ): ProducerBatch | undefined {
    const { deliveryTimeoutMs, lingerMs, maxBufferedBytes, now } = this.#settings
    const needed = BATCH.records + recordSize(record)
    if (needed > maxBufferedBytes) {
      throw notSent(
        'RECORD_TOO_LARGE',
        `a record of ${needed} bytes is larger than maxBufferedBytes, ${maxBufferedBytes}`,
      )
    }
    // As large as the last one has become.
    const likely = Math.max(needed, Math.min(batchBytes, Math.max(SMALLEST_BLOCK, writer.batch?.size ?? 0)))
    const block = this.memory.take(likely) ?? this.memory.take(needed)
    if (block === undefined) return undefined
    const openedAt = now()
    const times = { openedAt, readyAt: openedAt + lingerMs, deadline: deadline ?? openedAt + deliveryTimeoutMs }
    return (writer.batch = new ProducerBatch(writer.queue, block, Math.max(batchBytes, needed), times))
  }

  #opened({ queue }: PartitionWriter, batch: ProducerBatch): void {
    this.#settings.opened(batch)
    this.#sender.add(queue, batch)
  }

  /** Moves a batch that may still grow into a larger block; false if it is full, or there is none. */
  #grow({ batchBytes }: TopicWriter, batch: ProducerBatch, record: RecordContent): boolean {
    const needed = batch.size + recordSize(record)
    if (needed > batchBytes) return false
    const block = this.memory.take(Math.min(batchBytes, Math.max(needed, 2 * batch.block.length)))
    if (block === undefined) return false
    this.memory.give(batch.moveTo(block, batchBytes))
    return true
  }

  /** It may go at once. What is full takes no more. */
  #press(writer: PartitionWriter, batch: ProducerBatch, isFull = true): void {
    batch.isClosed = isFull
    batch.readyAt = -Infinity
    this.#sender.wake(writer.queue)
  }
}

/** Bytes at most. Throws if the record can't be written: before it gets a batch and memory. */
export function recordSize({ key = null, value, headers = NO_HEADERS, timestamp }: RecordContent): number {
  if (timestamp !== undefined) checkTimestamp(timestamp)
  return maxRecordSize(key, value, headers)
}

function notSent(code: ClientErrorCode, message: string): KafkaError {
  return new KafkaError(message, { code, action: 'fatal', outcome: 'not-sent' })
}
