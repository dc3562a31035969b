const BITS = 14

/** Where four bytes were last seen, by their hash: places in the input, plus `base`. One table serves all calls. */
export class MatchTable {
  readonly places: Int32Array = new Int32Array(1 << BITS)
  #base = 0

  /** Empties the table for an input of `size` bytes. What is in it from earlier inputs is below the base that this returns. */
  start(size: number): number {
    if (this.#base + size > 0x3fff_ffff) {
      this.places.fill(0)
      this.#base = 0
    }
    const base = this.#base + 1
    this.#base = base + size
    return base
  }
}

export function hashOf(word: number): number {
  return Math.imul(word, 0x9e3779b1) >>> (32 - BITS)
}

/** How many bytes at `a` and `b` (which is later) are equal, at most up to `end`. */
export function matchLength(view: DataView, a: number, b: number, end: number): number {
  let length = 0
  while (b + length + 4 <= end && view.getInt32(a + length, true) === view.getInt32(b + length, true)) length += 4
  while (b + length < end && view.getUint8(a + length) === view.getUint8(b + length)) length++
  return length
}

export function viewOf(data: Uint8Array): DataView {
  return new DataView(data.buffer, data.byteOffset, data.length)
}

/** Up to here a loop costs less than a call into C++. */
const SHORT = 64

/** Copies bytes from one buffer to another. */
export function copyBytes(from: Buffer, start: number, size: number, to: Buffer, at: number): void {
  if (size > SHORT) from.copy(to, at, start, start + size)
  else for (let index = 0; index < size; index++) to[at + index] = from[start + index] as number
}

/** A buffer that is decompressed into, four bytes at a time where that is safe. */
export class MatchWriter {
  readonly #buffer: Buffer
  readonly #view: DataView
  /** From here on, four bytes might be more than there is room for. */
  readonly #slackEnd: number

  constructor(buffer: Buffer) {
    this.#buffer = buffer
    this.#view = viewOf(buffer)
    this.#slackEnd = buffer.length - 4
  }

  /** Repeats `size` bytes from `distance` back; what it writes may be part of what it repeats. */
  repeat(at: number, distance: number, size: number): void {
    const from = at - distance
    if (distance >= 4 && size <= SHORT && at + size <= this.#slackEnd) {
      // What this writes past the end is written again by what follows.
      for (let index = 0; index < size; index += 4) {
        this.#view.setInt32(at + index, this.#view.getInt32(from + index))
      }
    } else if (size > SHORT && distance >= size) this.#buffer.copyWithin(at, from, from + size)
    else for (let index = 0; index < size; index++) this.#buffer[at + index] = this.#buffer[from + index] as number
  }
}
