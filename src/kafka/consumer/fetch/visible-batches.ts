import { MalformedError } from '../../errors.ts'
import { readControlRecord } from '../../records/control-record.ts'
import { readRecords } from '../../records/read-records.ts'
import type { RecordBatch } from '../../records/record-batch.ts'

export interface AbortedTransaction {
  readonly producerId: bigint
  readonly firstOffset: number
}

/**
 * The batches of an answer that hold records for a reader: no markers of transactions, and, for one that reads what is committed, nothing of
 * transactions that were aborted. The others only move the position.
 */
export function visibleBatches(
  batches: readonly RecordBatch[],
  aborted: readonly AbortedTransaction[] | null,
): readonly RecordBatch[] {
  if (aborted === null || aborted.length === 0) return batches.filter(({ isControl }) => !isControl)
  const pending = aborted.toSorted((a, b) => a.firstOffset - b.firstOffset)
  const producers = new Set<bigint>()
  let next = 0
  return batches.filter((batch) => {
    for (let each = pending[next]; each !== undefined && each.firstOffset <= batch.lastOffset; each = pending[++next]) {
      producers.add(each.producerId)
    }
    if (batch.isControl) {
      // The producer's next transaction begins behind the marker.
      if (isAbort(batch)) producers.delete(batch.producerId)
      return false
    }
    return !batch.isTransactional || !producers.has(batch.producerId)
  })
}

function isAbort(batch: RecordBatch): boolean {
  const records = readRecords(batch)
  if (records instanceof Promise) throw new MalformedError('CORRUPT_BATCH', 'a marker of a transaction is compressed')
  return records.some((record) => readControlRecord(record).type === 'abort')
}
