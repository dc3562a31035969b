const SIZE = 8_192

/**
 * Sequences of the most recently acked messages. Adding one is a store into an array; they are searched only after a
 * fault, when a server that was killed redelivers something it had not yet recorded as acked.
 */
export class RecentAcks {
  #ring: Float64Array | undefined
  #at = 0
  #highest = 0

  add(seq: number): void {
    if (seq > this.#highest) this.#highest = seq
    const ring = (this.#ring ??= new Float64Array(SIZE))
    ring[this.#at] = seq
    this.#at = (this.#at + 1) % SIZE
  }

  has(seq: number): boolean {
    return seq <= this.#highest && (this.#ring?.includes(seq) ?? false)
  }

  clear(): void {
    this.#ring?.fill(0)
    this.#highest = 0
  }
}
