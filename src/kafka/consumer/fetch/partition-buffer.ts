import type { RecordBatch } from '../../records/record-batch.ts'
import type { FetchBudget } from './fetch-budget.ts'

/** The records of one answer, of all partitions: their memory is freed together. */
export class AnswerBytes {
  readonly #budget: FetchBudget
  readonly #onFree: () => void
  readonly bytes: number
  #users = 0

  constructor(bytes: number, budget: FetchBudget, onFree: () => void) {
    this.bytes = bytes
    this.#budget = budget
    this.#onFree = onFree
    budget.take(bytes)
  }

  use(): void {
    this.#users++
  }

  done(): void {
    if (--this.#users > 0) return
    this.#budget.release(this.bytes)
    this.#onFree()
  }
}

/** What one answer has brought of one partition. */
export interface Chunk {
  /** Those with records for the reader. */
  batches: readonly RecordBatch[]
  /** Of the batches that are left. */
  bytes: number
  /** Records before it come with the first batch, and were not asked for. */
  readonly fromOffset: number
  /** Behind the last batch of the answer, visible or not. */
  readonly nextOffset: number
  readonly lastEpoch: number
  /** Undefined for a chunk in memory of its own, which counts by itself. */
  answer: AnswerBytes | undefined
}

/** What has been fetched of a partition and not been delivered. */
export class PartitionBuffer {
  readonly #budget: FetchBudget
  readonly #chunks: Chunk[] = []
  #bytes = 0

  constructor(budget: FetchBudget) {
    this.#budget = budget
  }

  get chunks(): number {
    return this.#chunks.length
  }

  get bytes(): number {
    return this.#bytes
  }

  get first(): Chunk | undefined {
    return this.#chunks[0]
  }

  add(chunk: Chunk): void {
    chunk.answer?.use()
    this.#bytes += chunk.bytes
    this.#chunks.push(chunk)
  }

  /** Takes batches of the first chunk until there are `maxRecords`, at least one; and the chunk itself when nothing is left of it. */
  take(maxRecords: number): {
    readonly batches: readonly RecordBatch[]
    readonly chunk: Chunk
    readonly isLast: boolean
  } {
    const chunk = this.#chunks[0]
    if (chunk === undefined) throw new Error('nothing is buffered')
    let count = 0
    let records = 0
    let bytes = 0
    while (count < chunk.batches.length && (count === 0 || records < maxRecords)) {
      const batch = chunk.batches[count++] as RecordBatch
      records += Math.max(1, batch.count)
      bytes += batch.bytes.length
    }
    const batches = chunk.batches.slice(0, count)
    chunk.batches = chunk.batches.slice(count)
    const isLast = chunk.batches.length === 0
    if (isLast) this.#chunks.shift()
    this.#bytes -= bytes
    chunk.bytes -= bytes
    if (chunk.answer === undefined) this.#budget.release(bytes)
    else if (isLast) chunk.answer.done()
    return { batches, chunk, isLast }
  }

  /** Copies what is left of other answers than `except`, so that a slow partition does not hold up the memory of all. */
  detach(except: AnswerBytes | undefined): void {
    for (const chunk of this.#chunks) {
      const { answer } = chunk
      if (answer === undefined || answer === except) continue
      chunk.batches = chunk.batches.map((batch) => ({ ...batch, bytes: Buffer.from(batch.bytes) }))
      chunk.answer = undefined
      this.#budget.take(chunk.bytes)
      answer.done()
    }
  }

  clear(): void {
    for (const chunk of this.#chunks.splice(0)) {
      if (chunk.answer === undefined) this.#budget.release(chunk.bytes)
      else chunk.answer.done()
    }
    this.#bytes = 0
  }
}
