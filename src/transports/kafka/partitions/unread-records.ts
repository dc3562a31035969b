import type { KafkaRecord } from '../../../kafka/index.ts'

/** Records as the client delivered them; those before `at` have been looked at. */
interface Batch {
  readonly records: readonly KafkaRecord[]
  readonly nextOffset: number
  readonly leaderEpoch: number
  at: number
}

/** Records of a partition that have come and were not looked at yet, in order. */
export class UnreadRecords {
  #batches: Batch[] = []
  #count = 0
  #bytes = 0
  readonly #pass: (nextOffset: number, leaderEpoch: number) => void

  /** `pass`: everything below an offset was looked at, or has never existed. */
  constructor(pass: (nextOffset: number, leaderEpoch: number) => void) {
    this.#pass = pass
  }

  get count(): number {
    return this.#count
  }

  get bytes(): number {
    return this.#bytes
  }

  get isEmpty(): boolean {
    return this.#batches.length === 0
  }

  /** Undefined also at the end of what was delivered together. */
  get next(): KafkaRecord | undefined {
    const [batch] = this.#batches
    return batch?.records[batch.at]
  }

  push(records: readonly KafkaRecord[], nextOffset: number, leaderEpoch: number): void {
    this.#batches.push({ records, nextOffset, leaderEpoch, at: 0 })
    this.#count += records.length
    for (const record of records) this.#bytes += sizeOf(record)
  }

  /** The next one, when what is before it has been passed; undefined when there is none. It stays the next until `take`. */
  peek(): KafkaRecord | undefined {
    for (;;) {
      const [batch] = this.#batches
      if (batch === undefined) return undefined
      const record = batch.records[batch.at]
      if (record !== undefined) return record
      this.#batches.shift()
      this.#pass(batch.nextOffset, batch.leaderEpoch)
    }
  }

  /** The record that `peek` returned has been looked at. */
  take(record: KafkaRecord): void {
    const batch = this.#batches[0] as Batch
    batch.at++
    this.#count--
    this.#bytes -= sizeOf(record)
    this.#pass(record.offset + 1, batch.leaderEpoch)
  }

  clear(): void {
    this.#batches = []
    this.#count = 0
    this.#bytes = 0
  }
}

function sizeOf({ keySize, valueSize }: KafkaRecord): number {
  return Math.max(0, keySize) + Math.max(0, valueSize)
}
