const SIZE = 8_192

/**
 * Sequences of the messages that were acked last. Writing one is a store into an array; they are searched only after a
 * fault, when a server that was killed sends something again that it had not yet noted as acked.
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
