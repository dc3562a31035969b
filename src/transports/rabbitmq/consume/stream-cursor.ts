/**
 * Where to start reading a stream: at its oldest or newest message, at the next one published, at an offset, or at the
 * first chunk of a time.
 */
export type StreamOffset = 'first' | 'last' | 'next' | number | { readonly timeMs: number }

/**
 * The position of one reader of a stream. The broker stores none and ignores acks there, so a reader that comes back
 * after a loss continues at the first unsettled message, and skips those behind it that were settled.
 */
export class StreamCursor {
  readonly #from: StreamOffset
  /** Arrived but not settled, in the order of the stream. */
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

  /**
   * False for a message that was settled before, or that is before the start: a stream is read from the start of a
   * chunk.
   */
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
