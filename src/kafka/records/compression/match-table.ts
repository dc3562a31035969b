const BITS = 14

/** Where four bytes were last seen, by their hash. Positions are those of the input; one table serves all calls. */
export class MatchTable {
  readonly #places = new Int32Array(1 << BITS)
  /** Entries below it are of an earlier input: cheaper than to clear the table each time. */
  #base = 0

  /** Makes the table empty for an input of `size` bytes. */
  start(size: number): void {
    if (this.#base + size > 0x3fff_ffff) {
      this.#places.fill(0)
      this.#base = 0
    }
    this.#base++
  }

  /** After an input of `size` bytes. */
  finish(size: number): void {
    this.#base += size
  }

  /** Notes the place of a word and returns the last one of its hash, or -1. */
  exchange(word: number, place: number): number {
    const hash = Math.imul(word, 0x9e3779b1) >>> (32 - BITS)
    const last = (this.#places[hash] as number) - this.#base
    this.#places[hash] = place + this.#base
    return last < 0 ? -1 : last
  }
}

export function wordAt(data: Uint8Array, pos: number): number {
  return (
    (data[pos] as number) |
    ((data[pos + 1] as number) << 8) |
    ((data[pos + 2] as number) << 16) |
    ((data[pos + 3] as number) << 24)
  )
}

/** How many bytes at `a` and `b` (which is later) are equal, at most up to `end`. */
export function matchLength(data: Uint8Array, a: number, b: number, end: number): number {
  let length = 0
  while (b + length < end && data[a + length] === data[b + length]) length++
  return length
}
