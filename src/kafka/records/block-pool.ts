const SMALLEST_BITS = 14
const LARGEST_BITS = 20

/**
 * Blocks for batches, 16 KiB to 1 MiB in powers of two, used again once they are given back. A block may be given back only when
 * nobody can read it any more: with the answer to its request, not when it has been written.
 */
export class BlockPool {
  readonly #free: Buffer[][] = Array.from({ length: LARGEST_BITS - SMALLEST_BITS + 1 }, () => [])
  readonly #maxFreeBytes: number
  #freeBytes = 0

  /** `maxFreeBytes`: what is kept for reuse at most. */
  constructor(maxFreeBytes: number) {
    this.#maxFreeBytes = maxFreeBytes
  }

  get freeBytes(): number {
    return this.#freeBytes
  }

  /** A block of at least `size` bytes with anything in it. Above 1 MiB it has exactly that size and is not pooled. */
  take(size: number): Buffer {
    const index = indexOf(size)
    if (index === undefined) return Buffer.allocUnsafeSlow(size)
    const block = this.#free[index]?.pop()
    if (block === undefined) return Buffer.allocUnsafeSlow(1 << (SMALLEST_BITS + index))
    this.#freeBytes -= block.length
    return block
  }

  give(block: Buffer): void {
    const index = indexOf(block.length)
    if (index === undefined || block.length !== 1 << (SMALLEST_BITS + index)) return
    if (this.#freeBytes + block.length > this.#maxFreeBytes) return
    this.#freeBytes += block.length
    this.#free[index]?.push(block)
  }
}

function indexOf(size: number): number | undefined {
  if (size > 1 << LARGEST_BITS) return undefined
  return Math.max(0, 32 - Math.clz32(Math.max(1, size) - 1) - SMALLEST_BITS)
}
