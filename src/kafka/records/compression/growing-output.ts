import { MalformedError } from '../../errors.ts'

/** What a decompressor writes into: it grows as it must, up to a limit. */
export class GrowingOutput {
  #buffer: Buffer
  readonly #limit: number
  pos = 0

  constructor(expected: number, limit: number) {
    this.#limit = limit
    this.#buffer = Buffer.allocUnsafe(Math.min(limit, Math.max(64, expected)))
  }

  /** The output so far; `reserve` replaces it. */
  get buffer(): Buffer {
    return this.#buffer
  }

  /** Room for `size` more bytes, in the returned buffer. */
  reserve(size: number): Buffer {
    const needed = this.pos + size
    if (needed <= this.#buffer.length) return this.#buffer
    if (needed > this.#limit) throw tooLarge(this.#limit)
    const grown = Buffer.allocUnsafe(Math.min(this.#limit, Math.max(needed, 2 * this.#buffer.length)))
    this.#buffer.copy(grown, 0, 0, this.pos)
    this.#buffer = grown
    return grown
  }

  /** The output. Not with far more memory behind it than it needs: records may be kept for long. */
  result(): Buffer {
    const { pos } = this
    return this.#buffer.length - pos > pos ? Buffer.from(this.#buffer.subarray(0, pos)) : this.#buffer.subarray(0, pos)
  }
}

export function tooLarge(limit: number): MalformedError {
  return new MalformedError('TOO_LARGE', `a batch decompresses to more than ${limit} bytes`)
}

export function badData(codec: string, what: string): MalformedError {
  return new MalformedError('DECOMPRESSION_FAILED', `${codec}: ${what}`)
}
