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

  append(from: Buffer, start: number, size: number): void {
    const buffer = this.reserve(size)
    if (size < 16) for (let index = 0; index < size; index++) buffer[this.pos + index] = from[start + index] as number
    else buffer.set(from.subarray(start, start + size), this.pos)
    this.pos += size
  }

  /** Repeats `size` bytes from `distance` back; what it writes may be part of what it repeats. */
  repeat(distance: number, size: number): void {
    const buffer = this.reserve(size)
    const { pos } = this
    const from = pos - distance
    if (distance >= size && size >= 32) buffer.copyWithin(pos, from, from + size)
    else for (let index = 0; index < size; index++) buffer[pos + index] = buffer[from + index] as number
    this.pos = pos + size
  }

  result(): Buffer {
    return this.#buffer.subarray(0, this.pos)
  }
}

export function tooLarge(limit: number): MalformedError {
  return new MalformedError('TOO_LARGE', `a batch decompresses to more than ${limit} bytes`)
}

export function badData(codec: string, what: string): MalformedError {
  return new MalformedError('DECOMPRESSION_FAILED', `${codec}: ${what}`)
}
