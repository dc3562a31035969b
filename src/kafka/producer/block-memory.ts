import { BlockPool } from '../records/block-pool.ts'

/** The memory that batches may use together. */
export class BlockMemory {
  readonly maxBytes: number
  readonly #pool: BlockPool
  #usedBytes = 0

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes
    this.#pool = new BlockPool(maxBytes)
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  /** A block of at least `size` bytes; undefined if there is no room for it. */
  take(size: number): Buffer | undefined {
    if (this.#usedBytes + size > this.maxBytes) return undefined
    const block = this.takeAnyway(size)
    if (this.#usedBytes <= this.maxBytes) return block
    this.give(block)
    return undefined
  }

  /** For what must go on, as the halves of a batch: a little more than there is room for. */
  takeAnyway(size: number): Buffer {
    const block = this.#pool.take(size)
    this.#usedBytes += block.length
    return block
  }

  /** Nothing may read the block any more. */
  give(block: Buffer): void {
    this.#usedBytes -= block.length
    // What is kept for reuse counts as well.
    if (this.#usedBytes + this.#pool.freeBytes + block.length <= this.maxBytes) this.#pool.give(block)
  }

  /** For a block that something may still read: it is left to the garbage collector. */
  drop(block: Buffer): void {
    this.#usedBytes -= block.length
  }
}
