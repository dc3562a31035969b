import type { KafkaError } from '../errors.ts'
import { BatchBuilder } from '../records/batch-builder.ts'
import type { Codec } from '../records/batch-format.ts'
import { compress } from '../records/compression/index.ts'
import type { Confirmation, OutgoingBatch } from './partition-queue.ts'

/** Who waits for the records of a batch: one send, or the part of an array that is in this batch. */
export interface Delivery {
  /** Records of the batch that are its own. They follow each other. */
  readonly count: number
  /** `baseOffset` is of its first record; -1 if it isn't known. */
  confirmed(partition: number, baseOffset: number, logAppendTimeMs: number): void
  failed(error: KafkaError): void
  /** Cuts off what is behind the first `count` records, when the batch is halved. */
  divide(count: number): Delivery
}

const NO_BLOCK = Buffer.alloc(0)

/** One batch on its way: a block that is being filled, and who waits for it. */
export class ProducerBatch implements OutgoingBatch {
  readonly topic: string
  readonly partition: number
  readonly deadline: number
  readonly openedAt: number
  readonly deliveries: Delivery[] = []
  readonly builder: BatchBuilder
  /** The whole block, to be given back. */
  block: Buffer
  readyAt: number
  isClosed = false
  /** Flushes that wait for it. */
  onSettled: (() => void)[] | undefined
  #bytes: Buffer | Promise<Buffer> | undefined

  constructor(
    place: { readonly topic: string; readonly partition: number },
    block: Buffer,
    limit: number,
    times: { readonly openedAt: number; readonly readyAt: number; readonly deadline: number },
  ) {
    this.topic = place.topic
    this.partition = place.partition
    this.block = block
    this.builder = new BatchBuilder(partOf(block, limit))
    this.openedAt = times.openedAt
    this.readyAt = times.readyAt
    this.deadline = times.deadline
  }

  get count(): number {
    return this.builder.count
  }

  get size(): number {
    return this.builder.size
  }

  /** Continues in a larger block, and returns the one that it had. */
  moveTo(block: Buffer, limit: number): Buffer {
    const former = this.block
    this.builder.moveTo(partOf(block, limit))
    this.block = block
    return former
  }

  /** The batch as it is sent, except for producer and sequence. The same bytes at each call. */
  bytes(codec: Codec): Buffer | Promise<Buffer> {
    return (this.#bytes ??= this.#seal(codec))
  }

  /** It is settled: the block, to be given back. The partition keeps the batch for its size only, and must not keep what it had. */
  release(): Buffer {
    const { block } = this
    this.deliveries.length = 0
    this.#bytes = undefined
    this.block = NO_BLOCK
    this.builder.drop()
    return block
  }

  confirmed({ baseOffset, logAppendTimeMs }: Confirmation): void {
    let offset = baseOffset
    for (const delivery of this.deliveries) {
      delivery.confirmed(this.partition, offset, logAppendTimeMs)
      if (baseOffset >= 0) offset += delivery.count
    }
  }

  failed(error: KafkaError): void {
    for (const delivery of this.deliveries) delivery.failed(error)
  }

  #seal(codec: Codec): Buffer | Promise<Buffer> {
    if (codec === 'none') return this.builder.seal()
    const records = compress(codec, this.builder.records())
    return Buffer.isBuffer(records) ? this.#sealCompressed(codec, records) : this.#sealLater(codec, records)
  }

  async #sealLater(codec: Codec, records: Promise<Buffer>): Promise<Buffer> {
    this.#bytes = await records.then(
      (packed) => this.#sealCompressed(codec, packed),
      // It is as good without.
      () => this.builder.seal(),
    )
    return this.#bytes
  }

  /** Compressed records go back into the block if they have become fewer bytes, as they nearly always have. */
  #sealCompressed(codec: Codec, records: Buffer): Buffer {
    const { builder } = this
    if (records.length >= builder.records().length) return builder.seal()
    return builder.sealCompressed(codec, records, builder.block)
  }
}

function partOf(block: Buffer, limit: number): Buffer {
  return block.length > limit ? block.subarray(0, limit) : block
}
