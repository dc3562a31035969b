/** Where a stream is read from: its oldest or newest message, what comes next, an offset, or the first chunk of an instant. */
export type StreamOffset = 'first' | 'last' | 'next' | number | { readonly timeMs: number }

/**
 * The place of one reader of a stream. The broker keeps none and counts no acks there, so a reader that comes back after
 * a loss goes on at the first message that was not settled, and passes over those behind it that were.
 */
export class StreamCursor {
  readonly #from: StreamOffset
  /** Came and not settled, in the order of the stream. */
  readonly #open = new Set<number>()
  #last: number | undefined

  constructor(from: StreamOffset) {
    this.#from = from
  }

  /** For `x-stream-offset`. */
  get start(): unknown {
    if (this.#last === undefined)
      return typeof this.#from === 'object'
        ? { '!': 'timestamp', value: Math.floor(this.#from.timeMs / 1000) }
        : this.#from
    for (const first of this.#open) return first
    return this.#last + 1
  }

  /** False for one that was settled before, or that lies before the start: a stream is read from the start of a chunk. */
  came(offset: number): boolean {
    if (this.#last === undefined && typeof this.#from === 'number' && offset < this.#from) return false
    if (this.#last !== undefined && offset <= this.#last) return this.#open.has(offset)
    this.#last = offset
    this.#open.add(offset)
    return true
  }

  settled(offset: number): void {
    this.#open.delete(offset)
  }
}
