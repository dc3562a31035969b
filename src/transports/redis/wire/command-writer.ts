import type { Arg } from '../connection/given-client.ts'

const CHUNK_BYTES = 65_536
/** Larger bytes are written as they are, without a copy. */
const MAX_COPIED_BYTES = 8_192
/** Up to this length, writing character by character is faster than a call of Node. */
const MAX_SHORT = 32
const LENGTHS: readonly string[] = Array.from({ length: 1_024 }, (_, length) => `$${length}\r\n`)

/** Encodes commands, those of a turn in one piece. */
export class CommandWriter {
  #chunk: Buffer = Buffer.allocUnsafe(CHUNK_BYTES)
  /** What of the chunk has been taken, and written. */
  #taken = 0
  #at = 0
  #pieces: Buffer[] = []

  command(args: readonly Arg[]): void {
    this.text(`*${args.length}\r\n`)
    for (const arg of args) this.argument(arg)
  }

  argument(arg: Arg): void {
    if (typeof arg !== 'string') {
      this.bytes(arg)
      return
    }
    if (arg.length <= MAX_SHORT && this.#short(arg)) return
    const length = Buffer.byteLength(arg)
    this.text(LENGTHS[length] ?? `$${length}\r\n`)
    this.#reserve(length + 2)
    // Bytes and characters are the same number: all of them are ASCII.
    this.#at += this.#chunk.write(arg, this.#at, length === arg.length ? 'latin1' : 'utf8')
    this.#end()
  }

  bytes(bytes: Uint8Array): void {
    const { length } = bytes
    this.text(LENGTHS[length] ?? `$${length}\r\n`)
    if (length > MAX_COPIED_BYTES) {
      this.#cut()
      this.#pieces.push(bytes as Buffer)
      this.#reserve(2)
    } else {
      this.#reserve(length + 2)
      this.#chunk.set(bytes, this.#at)
      this.#at += length
    }
    this.#end()
  }

  /** ASCII text that is part of the protocol. */
  text(text: string): void {
    this.#reserve(text.length)
    if (text.length > MAX_SHORT) {
      this.#at += this.#chunk.write(text, this.#at, 'latin1')
      return
    }
    const chunk = this.#chunk
    for (let at = 0; at < text.length; at++) chunk[this.#at++] = text.charCodeAt(at)
  }

  /** False when it is not ASCII, with nothing written. */
  #short(arg: string): boolean {
    const { length } = arg
    const head = LENGTHS[length] as string
    this.#reserve(head.length + length + 2)
    const chunk = this.#chunk
    let to = this.#at + head.length
    for (let at = 0; at < length; at++) {
      const code = arg.charCodeAt(at)
      if (code > 0x7f) return false
      chunk[to++] = code
    }
    this.text(head)
    this.#at = to
    this.#end()
    return true
  }

  /** Bytes that were encoded before. */
  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length)
    this.#chunk.set(bytes, this.#at)
    this.#at += bytes.length
  }

  /** What has been encoded since the last call. */
  take(): readonly Buffer[] {
    this.#cut()
    const pieces = this.#pieces
    this.#pieces = []
    return pieces
  }

  #end(): void {
    this.#chunk[this.#at++] = 0x0d
    this.#chunk[this.#at++] = 0x0a
  }

  #cut(): void {
    if (this.#at > this.#taken) this.#pieces.push(this.#chunk.subarray(this.#taken, this.#at))
    this.#taken = this.#at
  }

  #reserve(length: number): void {
    if (this.#at + length <= this.#chunk.length) return
    this.#cut()
    this.#chunk = Buffer.allocUnsafe(Math.max(CHUNK_BYTES, length))
    this.#at = this.#taken = 0
  }
}
