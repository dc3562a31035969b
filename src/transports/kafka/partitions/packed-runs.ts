type Run = readonly [first: number, last: number]

/** Larger numbers are not packed. */
const MAX = 2 ** 31 - 2

/**
 * Runs behind `floor` as bits: for each, how far it is behind the one before, and how much longer than one, each number in Elias' gamma code:
 * as many zeros as it has further bits, and then the number. Half of what whole bytes take, or less, where runs and gaps are short: of 10,000
 * messages that end at random, there are 2,500. Undefined where a number is too large.
 */
export function packRuns(runs: readonly Run[], floor: number): Buffer | undefined {
  const bits = new BitWriter()
  let at = floor
  for (const [first, last] of runs) {
    if (first < at || first - at > MAX || last - first > MAX) return undefined
    bits.gamma(first - at + 1)
    bits.gamma(last - first + 1)
    at = last + 1
  }
  return bits.bytes()
}

/** Undefined for bytes that are not so many packed runs. */
export function unpackRuns(bytes: Buffer, count: number, floor: number): Run[] | undefined {
  // Each takes two bits at least.
  if (count > bytes.length * 4) return undefined
  const bits = new BitReader(bytes)
  const runs: Run[] = []
  let at = floor
  for (let left = count; left > 0; left--) {
    const [gap, length] = [bits.gamma(), bits.gamma()]
    if (gap === 0 || length === 0) return undefined
    const first = at + gap - 1
    at = first + length
    runs.push([first, at - 1])
  }
  return runs
}

class BitWriter {
  #bytes = Buffer.alloc(256)
  #at = 0

  /** 1 or more. */
  gamma(value: number): void {
    const further = 31 - Math.clz32(value)
    if (this.#bytes.length * 8 < this.#at + 64)
      this.#bytes = Buffer.concat([this.#bytes, Buffer.alloc(this.#bytes.length)])
    this.#at += further
    for (let bit = further; bit >= 0; bit--, this.#at++) {
      if (((value >>> bit) & 1) === 0) continue
      const index = this.#at >> 3
      this.#bytes[index] = (this.#bytes[index] as number) | (0x80 >> (this.#at & 7))
    }
  }

  bytes(): Buffer {
    return this.#bytes.subarray(0, (this.#at + 7) >> 3)
  }
}

class BitReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  /** 0 if there is none. */
  gamma(): number {
    let further = 0
    for (; this.#bit() === 0; further++) if (further > 30 || this.#at >= this.#bytes.length * 8) return 0
    let value = 1
    for (; further > 0; further--) value = value * 2 + this.#bit()
    return value
  }

  #bit(): number {
    const byte = this.#bytes[this.#at >> 3] ?? 0
    return (byte >> (7 - (this.#at++ & 7))) & 1
  }
}
