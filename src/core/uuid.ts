import { randomFillSync } from 'node:crypto'

// Two hex digits of every byte: string joins of these are several times faster than toString(16) of numbers.
const HEX: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))
const VARIANT: readonly string[] = Array.from({ length: 256 }, (_, byte) => HEX[0x80 | (byte & 0x3f)] ?? '')

const POOL_BYTES = 8 * 512

/**
 * Makes UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then a counter of 12 bits (method 1 of section 6.2), then 62
 * random bits. Ids of one generator sort in the order in which they were made, also when the clock is set back.
 */
export class UuidGenerator {
  readonly #now: () => number
  readonly #pool = new Uint8Array(POOL_BYTES)
  #at = POOL_BYTES
  #ms = 0
  #counter = 0
  /** `018f3b2c-1d2e-7`, made once per millisecond. */
  #prefix = ''

  constructor(now: () => number = Date.now) {
    this.#now = now
  }

  next(): string {
    const now = this.#now()
    if (now > this.#ms) this.#startMillisecond(now)
    else if (++this.#counter > 0xfff) this.#startMillisecond(this.#ms + 1)
    if (this.#at === POOL_BYTES) {
      randomFillSync(this.#pool)
      this.#at = 0
    }
    const pool = this.#pool
    const at = this.#at
    this.#at = at + 8
    const counter = this.#counter
    return (
      this.#prefix +
      (HEX[counter >> 4] as string) +
      (HEX[counter & 15] as string)[1] +
      '-' +
      VARIANT[pool[at] as number] +
      HEX[pool[at + 1] as number] +
      '-' +
      HEX[pool[at + 2] as number] +
      HEX[pool[at + 3] as number] +
      HEX[pool[at + 4] as number] +
      HEX[pool[at + 5] as number] +
      HEX[pool[at + 6] as number] +
      HEX[pool[at + 7] as number]
    )
  }

  #startMillisecond(ms: number): void {
    this.#ms = ms
    this.#counter = 0
    const hex = ms.toString(16).padStart(12, '0')
    this.#prefix = `${hex.slice(0, 8)}-${hex.slice(8)}-7`
  }
}
