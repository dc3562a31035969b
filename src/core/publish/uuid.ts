import { randomFillSync } from 'node:crypto'

/** ASCII codes of the two hex digits of each byte. */
const HIGH: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) => (byte >> 4).toString(16).charCodeAt(0))
const LOW: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) => (byte & 15).toString(16).charCodeAt(0))

const POOL_BYTES = 8 * 4096

const DASH = 45
const SEVEN = 55
const ZERO = 48
const NINE = 57
const LOWER_A = 97
const LOWER_F = 102

/**
 * Makes UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, a 12-bit counter (method 1 of section 6.2), and 62 random bits. Ids of
 * one generator sort in the order of creation, even when the clock is set back.
 */
export class UuidGenerator {
  readonly #pool = new Uint8Array(POOL_BYTES)
  /** The time, as text. */
  readonly #time = Buffer.from('00000000-0000', 'latin1')
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
    const at = this.#at
    this.#at = at + 8
    return textOf(this.#time, this.#counter, this.#pool, at)
  }

  #startMillisecond(ms: number): void {
    this.#ms = ms
    this.#counter = 0
    const hex = ms.toString(16).padStart(12, '0')
    this.#time.write(`${hex.slice(0, 8)}-${hex.slice(8)}`, 0, 'latin1')
  }
}

/**
 * The id of a time, a counter and the eight random bytes at `at`. From its character codes in one call: that makes one flat string
 * without leaving compiled code. Joined pieces would keep a tree of strings behind each id.
 */
function textOf(time: Uint8Array, counter: number, random: Uint8Array, at: number): string {
  const t = (index: number): number => time[index] as number
  const high = (index: number): number => HIGH[random[at + index] as number] as number
  const low = (index: number): number => LOW[random[at + index] as number] as number
  const variant = HIGH[0x80 | ((random[at] as number) & 0x3f)] as number
  const c0 = LOW[counter >> 8] as number
  const c1 = HIGH[counter & 0xff] as number
  const c2 = LOW[counter & 0xff] as number
  // prettier-ignore
  return String.fromCharCode(
    t(0), t(1), t(2), t(3), t(4), t(5), t(6), t(7), DASH, t(9), t(10), t(11), t(12), DASH, SEVEN, c0, c1, c2, DASH,
    variant, low(0), high(1), low(1), DASH, high(2), low(2), high(3), low(3), high(4), low(4), high(5), low(5),
    high(6), low(6), high(7), low(7),
  )
}

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
