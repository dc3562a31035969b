import { MalformedError } from '../errors.ts'

const SIZE_BYTES = 4
/** How TLS 1.0 and later refuse what is not TLS (RFC 8446, section 5.1): content type and major version. As a size: 336 MiB. */
const TLS_ALERT = 0x1503
/**
 * A size alone can't claim more memory: the rest is taken when so much has come. What a consumer asks for by default fits, because moving it
 * to larger memory costs as much as reading it.
 */
const FIRST_STEP = 24 * 1024 * 1024

/** Smaller frames share memory with others. */
const OWN_MEMORY = 2_048

/**
 * Cuts the bytes of a connection into frames, each in a buffer of its own: chunks may be used again. What follows the first chunk of a long
 * frame can be put where it belongs, see {@link FrameSplitter.room}.
 */
export class FrameSplitter {
  readonly #maxFrameBytes: number
  readonly #sizeBytes: Buffer = Buffer.alloc(SIZE_BYTES)
  #sizeFilled = 0
  #size = 0
  #frame: Buffer | undefined
  #filled = 0

  constructor(maxFrameBytes: number) {
    this.#maxFrameBytes = maxFrameBytes
  }

  /** Where the next bytes of the frame that is under way belong: a chunk that is put there needs no copy. Undefined between frames. */
  room(): Buffer | undefined {
    return this.#frame === undefined ? undefined : this.#grown(this.#frame).subarray(this.#filled)
  }

  /** Calls `onFrame` with each frame that the chunk completes, without its size. Throws {@link MalformedError}. */
  push(chunk: Buffer, onFrame: (frame: Buffer) => void): void {
    let pos = 0
    while (pos < chunk.length) {
      if (this.#frame === undefined) {
        pos = this.#readSize(chunk, pos)
        if (this.#sizeFilled < SIZE_BYTES) return
        if (chunk.length - pos >= this.#size) {
          this.#sizeFilled = 0
          onFrame(copyOf(chunk, pos, this.#size))
          pos += this.#size
          continue
        }
        this.#frame = Buffer.allocUnsafeSlow(Math.min(this.#size, FIRST_STEP))
        this.#filled = 0
      }
      pos = this.#gather(chunk, pos, this.#frame, onFrame)
    }
  }

  #readSize(chunk: Buffer, start: number): number {
    let pos = start
    while (this.#sizeFilled < SIZE_BYTES && pos < chunk.length) {
      this.#sizeBytes[this.#sizeFilled++] = chunk[pos++] as number
    }
    if (this.#sizeFilled === SIZE_BYTES) {
      this.#size = this.#sizeBytes.readInt32BE()
      if (this.#size < SIZE_BYTES || this.#size > this.#maxFrameBytes) {
        const tooMany = `a frame of ${this.#size} bytes, at most ${this.#maxFrameBytes} may come`
        const isAlert = this.#size >>> 16 === TLS_ALERT
        const message = isAlert ? 'the port is for TLS: give the option tls, or use another port' : tooMany
        throw new MalformedError('INVALID_LENGTH', message)
      }
    }
    return pos
  }

  #gather(chunk: Buffer, pos: number, frame: Buffer, onFrame: (frame: Buffer) => void): number {
    const target = this.#grown(frame)
    const part = Math.min(target.length - this.#filled, chunk.length - pos)
    const isInPlace = chunk.buffer === target.buffer && chunk.byteOffset + pos === target.byteOffset + this.#filled
    if (!isInPlace) chunk.copy(target, this.#filled, pos, pos + part)
    this.#filled += part
    if (this.#filled === this.#size) {
      this.#frame = undefined
      this.#sizeFilled = 0
      onFrame(target)
    }
    return pos + part
  }
  /** With room for at least one byte. */
  #grown(frame: Buffer): Buffer {
    if (this.#filled < frame.length) return frame
    const grown = Buffer.allocUnsafeSlow(this.#size)
    frame.copy(grown)
    this.#frame = grown
    return grown
  }
}

function copyOf(chunk: Buffer, start: number, size: number): Buffer {
  const copy = size < OWN_MEMORY ? Buffer.allocUnsafe(size) : Buffer.allocUnsafeSlow(size)
  chunk.copy(copy, 0, start, start + size)
  return copy
}
