import { BATCH } from '../../../../src/kafka/records/batch-format.ts'
import { BatchBuilder, stampBatch } from '../../../../src/kafka/records/batch-builder.ts'
import { decodeRecords } from '../../../../src/kafka/records/decode-records.ts'
import { scanBatches } from '../../../../src/kafka/records/record-batch.ts'
import type { RecordBatch } from '../../../../src/kafka/records/record-batch.ts'
import { ATTRIBUTES } from '../../../../src/kafka/records/batch-format.ts'
import { crc32c } from '../../../../src/kafka/records/crc32c.ts'

export interface AbortedTransaction {
  readonly producerId: bigint
  readonly firstOffset: number
  /** Of its marker. */
  readonly lastOffset: number
}

/** The log of one partition, as all its replicas have it: batches, the epochs of their leaders, transactions. */
export class SimLog {
  #batches: RecordBatch[] = []
  #startOffset = 0
  #endOffset = 0
  /** First offset of each leader epoch that has written. */
  #epochs: { readonly epoch: number; readonly startOffset: number }[] = []
  /** First offsets of open transactions, by producer. */
  readonly #open = new Map<bigint, number>()
  #aborted: AbortedTransaction[] = []

  get startOffset(): number {
    return this.#startOffset
  }

  /** High watermark too: replicas are always in sync. */
  get endOffset(): number {
    return this.#endOffset
  }

  get lastStableOffset(): number {
    return Math.min(this.#endOffset, ...this.#open.values())
  }

  get batches(): readonly RecordBatch[] {
    return this.#batches
  }

  /** Appends a batch that was checked; returns its base offset. */
  append(given: Buffer, leaderEpoch: number): RecordBatch {
    const bytes = Buffer.from(given)
    const baseOffset = this.#endOffset
    bytes.writeBigInt64BE(BigInt(baseOffset), BATCH.baseOffset)
    bytes.writeInt32BE(leaderEpoch, BATCH.leaderEpoch)
    const [batch] = scanBatches(bytes)
    if (batch === undefined) throw new Error('no batch')
    this.#batches.push(batch)
    this.#endOffset = batch.lastOffset + 1
    if (this.#epochs.at(-1)?.epoch !== leaderEpoch) this.#epochs.push({ epoch: leaderEpoch, startOffset: baseOffset })
    if (batch.isTransactional && !batch.isControl && !this.#open.has(batch.producerId)) {
      this.#open.set(batch.producerId, baseOffset)
    }
    return batch
  }

  /** Ends a producer's transaction here. */
  appendMarker(producerId: bigint, producerEpoch: number, isCommit: boolean, leaderEpoch: number, now: number): void {
    const batch = this.append(markerBatch(producerId, producerEpoch, isCommit, now), leaderEpoch)
    const firstOffset = this.#open.get(producerId)
    this.#open.delete(producerId)
    if (isCommit || firstOffset === undefined) return
    this.#aborted.push({ producerId, firstOffset, lastOffset: batch.baseOffset })
  }

  /** Whole batches from the one with `offset` on; at least one, then as many as `maxBytes` allows. */
  read(offset: number, maxBytes: number, until: number): Buffer {
    const parts: Buffer[] = []
    let size = 0
    for (const batch of this.#batches) {
      if (batch.lastOffset < offset) continue
      if (batch.baseOffset >= until || (parts.length > 0 && size + batch.bytes.length > maxBytes)) break
      parts.push(batch.bytes)
      size += batch.bytes.length
    }
    return Buffer.concat(parts)
  }

  /** Aborted transactions that a reader of this range must know. */
  abortedWithin(from: number, until: number): readonly AbortedTransaction[] {
    return this.#aborted.filter(({ firstOffset, lastOffset }) => lastOffset >= from && firstOffset < until)
  }

  /** The last epoch up to `epoch` that has written, and where it ends (KIP-101). */
  endOfEpoch(epoch: number): { readonly epoch: number; readonly endOffset: number } {
    const index = this.#epochs.findLastIndex((each) => each.epoch <= epoch)
    if (index === -1) return { epoch: -1, endOffset: -1 }
    return {
      epoch: this.#epochs[index]?.epoch ?? -1,
      endOffset: this.#epochs[index + 1]?.startOffset ?? this.#endOffset,
    }
  }

  epochAt(offset: number): number {
    return this.#epochs.findLast(({ startOffset }) => startOffset <= offset)?.epoch ?? -1
  }

  /** The first record that is not older; undefined if there is none. */
  findTime(timestamp: number): { readonly offset: number; readonly timestamp: number } | undefined {
    for (const batch of this.#batches) {
      if (batch.maxTimestamp < timestamp || batch.isControl) continue
      const records = batch.codec === 'none' ? decodeRecords(batch) : []
      const found = records.find((record) => record.timestamp >= timestamp)
      if (found !== undefined) return { offset: found.offset, timestamp: found.timestamp }
      if (batch.codec !== 'none') return { offset: batch.baseOffset, timestamp: batch.maxTimestamp }
    }
    return undefined
  }

  /** Retention: everything before `offset` is deleted, in whole batches. */
  deleteBefore(offset: number): void {
    this.#startOffset = Math.max(this.#startOffset, Math.min(offset, this.#endOffset))
    this.#batches = this.#batches.filter(({ lastOffset }) => lastOffset >= this.#startOffset)
  }

  /** What an unclean election does: everything from `offset` on was never written. */
  truncate(offset: number): void {
    this.#batches = this.#batches.filter(({ lastOffset }) => lastOffset < offset)
    this.#endOffset = Math.min(
      this.#endOffset,
      this.#batches.at(-1) === undefined ? this.#startOffset : (this.#batches.at(-1)?.lastOffset ?? -1) + 1,
    )
    this.#epochs = this.#epochs.filter(({ startOffset }) => startOffset < this.#endOffset)
    this.#aborted = this.#aborted.filter(({ lastOffset }) => lastOffset < this.#endOffset)
    for (const [producerId, first] of this.#open) if (first >= this.#endOffset) this.#open.delete(producerId)
  }
}

/** The control batch that ends a transaction. */
function markerBatch(producerId: bigint, producerEpoch: number, isCommit: boolean, now: number): Buffer {
  const builder = new BatchBuilder(Buffer.alloc(256))
  const key = Buffer.from([0, 0, 0, isCommit ? 1 : 0])
  builder.append(key, Buffer.alloc(6), Math.floor(now))
  const batch = builder.seal()
  stampBatch(batch, { producerId, producerEpoch, baseSequence: -1, isTransactional: true })
  batch.writeInt16BE(ATTRIBUTES.transactional | ATTRIBUTES.control, BATCH.attributes)
  batch.writeUInt32BE(crc32c(batch, BATCH.attributes), BATCH.crc)
  return batch
}
