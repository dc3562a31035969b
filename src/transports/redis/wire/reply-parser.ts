const CR = 0x0d
const [STRING, ERROR, NUMBER, BULK, ARRAY] = [0x2b, 0x2d, 0x3a, 0x24, 0x2a]
const EMPTY = Buffer.alloc(0)
/** The names of the two fields of our entries: always the same bytes, so that each entry needs none of its own. */
export const ENVELOPE_NAME: Buffer = Buffer.from('ce')
export const BODY_NAME: Buffer = Buffer.from('data')

/** An array of which elements are still to come. */
interface Frame {
  readonly items: unknown[]
  readonly count: number
}

/**
 * Parses replies of the protocol's version 2 as they arrive: strings as bytes, errors as `Error`. What is incomplete waits
 * for its rest without being parsed or copied again and again.
 */
export class ReplyParser {
  readonly #onReply: (reply: unknown) => void
  readonly #frames: Frame[] = []
  #rest: Buffer[] = []
  #restBytes = 0
  /** Nothing can be parsed before that many bytes are there. */
  #needed = 0

  constructor(onReply: (reply: unknown) => void) {
    this.#onReply = onReply
  }

  /** Throws when the server speaks another protocol. */
  push(chunk: Buffer): void {
    let bytes = chunk
    if (this.#restBytes > 0) {
      this.#rest.push(chunk)
      this.#restBytes += chunk.length
      if (this.#restBytes < this.#needed) return
      bytes = Buffer.concat(this.#rest, this.#restBytes)
    }
    const at = this.#parse(bytes)
    this.#rest = at < bytes.length ? [bytes.subarray(at)] : []
    this.#restBytes = bytes.length - at
    this.#needed = Math.max(0, this.#needed - at)
  }

  /** Parses all that is complete; returns where the rest begins. */
  #parse(bytes: Buffer): number {
    let at = 0
    this.#needed = 0
    while (at < bytes.length) {
      const type = bytes[at]
      if (type === STRING || type === ERROR) {
        const end = bytes.indexOf(CR, at + 1)
        if (end < 0 || end + 2 > bytes.length) return at
        const text = bytes.toString('utf8', at + 1, end)
        at = end + 2
        this.#deliver(type === STRING ? text : new Error(text))
        continue
      }
      if (type !== BULK && type !== ARRAY && type !== NUMBER)
        throw new Error(
          `the server sent something that is no reply of Redis: ${JSON.stringify(bytes.toString('latin1', at, at + 20))}`,
        )
      let digit = at + 1
      const isNegative = bytes[digit] === ERROR
      if (isNegative) digit++
      let value = 0
      for (; digit < bytes.length && bytes[digit] !== CR; digit++) value = value * 10 + (bytes[digit] as number) - 0x30
      if (digit + 2 > bytes.length) return at
      const next = digit + 2
      if (type === NUMBER) this.#deliver(isNegative ? -value : value)
      else if (isNegative) this.#deliver(null)
      else if (type === ARRAY) {
        if (value === 0) this.#deliver([])
        else this.#frames.push({ items: [], count: value })
      } else {
        const end = next + value
        if (end + 2 > bytes.length) {
          this.#needed = end + 2
          return at
        }
        at = end + 2
        this.#deliver(value <= 4 ? shortOf(bytes, next, value) : bytes.subarray(next, end))
        continue
      }
      at = next
    }
    return at
  }

  #deliver(reply: unknown): void {
    let value = reply
    for (;;) {
      const frame = this.#frames.at(-1)
      if (frame === undefined) {
        this.#onReply(value)
        return
      }
      frame.items.push(value)
      if (frame.items.length < frame.count) return
      this.#frames.pop()
      value = frame.items
    }
  }
}

function shortOf(bytes: Buffer, at: number, length: number): Buffer {
  if (length === 0) return EMPTY
  if (length === 2 && bytes[at] === 0x63 && bytes[at + 1] === 0x65) return ENVELOPE_NAME
  const isBody =
    length === 4 && bytes[at] === 0x64 && bytes[at + 1] === 0x61 && bytes[at + 2] === 0x74 && bytes[at + 3] === 0x61
  return isBody ? BODY_NAME : bytes.subarray(at, at + length)
}
