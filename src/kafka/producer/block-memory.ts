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
    const block = this.#pool.take(size)
    this.#usedBytes += block.length
    if (this.#usedBytes <= this.maxBytes) return block
    this.give(block)
    return undefined
  }

  /** For what must go on though there is no room, as the halves of a batch; no more than that, and not for reuse. */
  takeExactly(size: number): Buffer {
    const block = Buffer.allocUnsafeSlow(size)
    this.#usedBytes += size
    return block
  }

  /** Nothing may read the block any more. */
  give(block: Buffer): void {
    this.#usedBytes -= block.length
    // What is kept for reuse counts as well.
    if (this.#usedBytes + this.#pool.freeBytes + block.length <= this.maxBytes) this.#pool.give(block)
  }
}
