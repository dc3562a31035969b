import { randomFillSync } from 'node:crypto'

/** ASCII codes of the two hex digits of each byte. */
const HIGH: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) => (byte >> 4).toString(16).charCodeAt(0))
const LOW: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) => (byte & 15).toString(16).charCodeAt(0))

const POOL_BYTES = 8 * 4096
/** Offsets of the eight random bytes in the text. */
const RANDOM_AT: readonly number[] = [19, 21, 24, 26, 28, 30, 32, 34]

/**
 * Makes UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, a 12-bit counter (method 1 of section 6.2), and 62 random bits. Ids of
 * one generator sort in the order of creation, even when the clock is set back.
 */
export class UuidGenerator {
  readonly #pool = new Uint8Array(POOL_BYTES)
  // Written in place and read as one flat string: joining pieces would keep a tree of strings behind each id.
  readonly #text = Buffer.from('00000000-0000-7000-0000-000000000000', 'latin1')
  #at = POOL_BYTES
  #ms = 0
  #counter = 0

  /** `now` in ms since 1970. */
  next(now: number): string {
    if (now > this.#ms) this.#startMillisecond(now)
    else if (++this.#counter > 0xfff) this.#startMillisecond(this.#ms + 1)
    if (this.#at === POOL_BYTES) {
      randomFillSync(this.#pool)
      this.#at = 0
    }
    const text = this.#text
    const counter = this.#counter
    text[15] = LOW[counter >> 8] as number
    text[16] = HIGH[counter & 0xff] as number
    text[17] = LOW[counter & 0xff] as number
    const at = this.#at
    this.#at = at + 8
    for (let index = 0; index < 8; index++) {
      const byte = this.#pool[at + index] as number
      const place = RANDOM_AT[index] as number
      text[place] = HIGH[index === 0 ? 0x80 | (byte & 0x3f) : byte] as number
      text[place + 1] = LOW[byte] as number
    }
    return text.toString('latin1')
  }

  #startMillisecond(ms: number): void {
    this.#ms = ms
    this.#counter = 0
    const hex = ms.toString(16).padStart(12, '0')
    this.#text.write(`${hex.slice(0, 8)}-${hex.slice(8)}`, 0, 'latin1')
  }
}

const DASH = 45
const SEVEN = 55
const ZERO = 48
const NINE = 57
const LOWER_A = 97
const LOWER_F = 102

/** The time inside a UUIDv7 in lower case, in ms since 1970; undefined for any other text. */
export function uuidTime(id: string): number | undefined {
  if (id.length !== 36 || id.charCodeAt(8) !== DASH || id.charCodeAt(13) !== DASH || id.charCodeAt(14) !== SEVEN)
    return undefined
  if (id.charCodeAt(18) !== DASH || id.charCodeAt(23) !== DASH) return undefined
  let ms = 0
  for (let at = 0; at < 13; at++) {
    if (at === 8) continue
    const code = id.charCodeAt(at)
    if (code >= ZERO && code <= NINE) ms = ms * 16 + code - ZERO
    else if (code >= LOWER_A && code <= LOWER_F) ms = ms * 16 + code - LOWER_A + 10
    else return undefined
  }
  return ms
}
