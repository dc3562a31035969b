import type { RawChannel } from '../connection/amqp.ts'

const FRAME_END = 0xce
const SLAB_BYTES = 65_536

/** Size of a frame without its payload, in bytes. */
export const FRAME_OVERHEAD = 8

/**
 * Frames of one channel, encoded one after another into a large buffer and passed to the socket in one piece. Callers
 * must reserve room first: nothing here checks for it.
 */
export class FrameBuffer {
  readonly #channel: RawChannel
  #slab: Buffer = Buffer.allocUnsafeSlow(SLAB_BYTES)
  /** Everything before this position was passed to the socket. */
  #start = 0
  #at = 0

  constructor(channel: RawChannel) {
    this.#channel = channel
  }

  get frameMax(): number {
    return this.#channel.frameMax
  }

  get position(): number {
    return this.#at
  }

  /** Returns to an earlier position, without a `reserve` in between. */
  rollback(position: number): void {
    this.#at = position
  }

  flush(): void {
    if (this.#at === this.#start) return
    const bytes = this.#slab.subarray(this.#start, this.#at)
    this.#start = this.#at
    this.#channel.send(bytes)
  }

  reserve(bytes: number): void {
    if (this.#at + bytes <= this.#slab.length) return
    this.flush()
    this.#slab = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, bytes))
    this.#start = 0
    this.#at = 0
  }

  /** Begins a frame; pass the result to `end`. */
  begin(type: number): number {
    const begin = this.#at
    const { number } = this.#channel
    this.#slab[begin] = type
    this.#slab[begin + 1] = number >>> 8
    this.#slab[begin + 2] = number & 0xff
    this.#at = begin + 7
    return begin
  }

  end(begin: number): void {
    this.#slab.writeUInt32BE(this.#at - begin - 7, begin + 3)
    this.#slab[this.#at++] = FRAME_END
  }

  /** Leaves room for a number that is known later. */
  skip(bytes: number): number {
    const at = this.#at
    this.#at += bytes
    return at
  }

  setShort(value: number, at: number): void {
    this.#slab.writeUInt16BE(value, at)
  }

  /** Writes the number of bytes since then into the 32 bits that were skipped. */
  setLength(at: number): void {
    this.#slab.writeUInt32BE(this.#at - at - 4, at)
  }

  byte(value: number): void {
    this.#slab[this.#at++] = value
  }

  short(value: number): void {
    this.#slab[this.#at++] = value >>> 8
    this.#slab[this.#at++] = value & 0xff
  }

  int(value: number): void {
    this.#at = this.#slab.writeInt32BE(value, this.#at)
  }

  /** Writes 64 bits of an integer that is safe as a double. */
  long(value: number): void {
    const high = Math.floor(value / 0x1_0000_0000)
    this.#slab.writeInt32BE(high | 0, this.#at)
    this.#slab.writeUInt32BE(value - high * 0x1_0000_0000, this.#at + 4)
    this.#at += 8
  }

  double(value: number): void {
    this.#at = this.#slab.writeDoubleBE(value, this.#at)
  }

  bytes(bytes: Uint8Array): void {
    this.#slab.set(bytes, this.#at)
    this.#at += bytes.length
  }

  longText(text: string): void {
    const lengthAt = this.#at
    this.#at += 4
    this.#slab.writeUInt32BE(this.#text(text), lengthAt)
  }

  /** False, with nothing written, when it takes more than `most` bytes (255 at most). */
  shortText(text: string, most: number): boolean {
    const lengthAt = this.#at++
    const length = this.#text(text)
    if (length > most) {
      this.#at = lengthAt
      return false
    }
    this.#slab[lengthAt] = length
    return true
  }

  /** Returns how many bytes it took. Short ASCII text, which nearly all of it is, is written in plain JavaScript. */
  #text(text: string): number {
    const { length } = text
    const slab = this.#slab
    const at = this.#at
    if (length <= 48) {
      let index = 0
      for (; index < length; index++) {
        const code = text.charCodeAt(index)
        if (code > 0x7f) break
        slab[at + index] = code
      }
      if (index === length) {
        this.#at = at + length
        return length
      }
    }
    const bytes = slab.write(text, at, 'utf8')
    this.#at = at + bytes
    return bytes
  }
}
