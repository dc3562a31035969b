import type { RecordBytes } from '../records/batch-builder.ts'
import { partitionOfKey } from '../records/murmur2.ts'

/** What a partitioner may look at. */
export interface PartitionChoice {
  readonly topic: string
  readonly key: RecordBytes
  readonly value: RecordBytes
  /** How many partitions the topic has. */
  readonly partitions: number
}

/** Chooses a partition, from 0 to `partitions` - 1; undefined leaves the choice to the default, by the key if there is one. */
export type Partitioner = (choice: PartitionChoice) => number | undefined

/**
 * The partition to which Java's clients, and this one, send a key of a topic with so many partitions (murmur2). Strings are UTF-8.
 *
 * ```ts
 * partitionForKey('ord-1', 12) // the same for everybody, until partitions are added
 * ```
 */
export function partitionForKey(key: Uint8Array | string, partitions: number): number {
  return partitionOfKey(typeof key === 'string' ? Buffer.from(key) : key, partitions)
}

const SCRATCH_BYTES = 1_024

/** The partition that Java's default partitioner gives a key: strings as UTF-8. */
export class KeyPartitioner {
  readonly #scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES)

  partitionOf(key: Uint8Array | string, partitions: number): number {
    if (typeof key !== 'string') return partitionOfKey(key, partitions)
    // UTF-8 needs three bytes for one unit of UTF-16 at most.
    if (3 * key.length > SCRATCH_BYTES) return partitionOfKey(Buffer.from(key), partitions)
    return partitionOfKey(this.#scratch, partitions, this.#scratch.write(key, 0, 'utf8'))
  }
}

/**
 * Records without a key stay on one partition until it has got so many bytes, then go to another one at random: batches are full, and
 * every partition gets as much as the others, however slow its broker is (KIP-480, KIP-794).
 */
export class StickyPartition {
  readonly #bytesPerTurn: number
  readonly #random: () => number
  #current = -1
  #bytes = 0

  constructor(bytesPerTurn: number, random: () => number) {
    this.#bytesPerTurn = bytesPerTurn
    this.#random = random
  }

  /** `isAvailable` says whether a partition has a leader; those without are avoided while there are others. */
  partitionOf(partitions: number, isAvailable: (partition: number) => boolean): number {
    if (this.#current < 0 || this.#current >= partitions || this.#bytes >= this.#bytesPerTurn) {
      this.#current = this.#choose(partitions, isAvailable)
      this.#bytes = 0
    }
    return this.#current
  }

  appended(bytes: number): void {
    this.#bytes += bytes
  }

  #choose(partitions: number, isAvailable: (partition: number) => boolean): number {
    const start = Math.floor(this.#random() * partitions)
    for (let step = 0; step < partitions; step++) {
      const partition = (start + step) % partitions
      if (isAvailable(partition) && (partition !== this.#current || partitions === 1)) return partition
    }
    return this.#current >= 0 && this.#current < partitions ? this.#current : start
  }
}
