import type { Incoming } from '../../connection/incoming.ts'

const DOT = 46
const ZERO = 48
const UPPER_A = 65
/** Digits of a time in ns: from 2001 to 2286. */
const TIME_DIGITS = 19

/**
 * Parses the subject that a delivery is acked on: `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer
 * sequence>. <time>.<pending>`; the newer form has domain and account hash before the stream, and a token at the end.
 * One reader is reused, so that reading allocates nothing.
 */
export class AckReply {
  /** How often the message was delivered, including this time. */
  delivered = 0
  /** Sequence of the message in its stream. */
  seq = 0
  /** Sequence of the delivery: it increases by one with each delivery of the consumer. */
  consumerSeq = 0
  /** How many more messages wait for this consumer. */
  pending = 0
  /** The part that is the same for all deliveries of the consumer, with the dot after it. */
  prefix = ''
  #reply = ''
  /** Set when the numbers were read from bytes. */
  #bytes: Buffer | undefined
  #timeAt = 0
  #at = 0

  /** Like `read`, of the reply of a message. `time` can be read as long as the message is at hand. */
  readFrom(incoming: Incoming): boolean {
    const { bytes, replyAt, replyEnd } = incoming
    const start = replyAt + this.prefix.length
    const isKnown =
      replyAt >= 0 &&
      this.prefix !== '' &&
      start < replyEnd &&
      bytes[start - 1] === DOT &&
      bytes[replyAt + 4] === UPPER_A
    if (!isKnown) return this.read(incoming.reply)
    this.#bytes = bytes
    this.#at = start
    this.delivered = this.#numberIn(bytes, replyEnd)
    this.seq = this.#numberIn(bytes, replyEnd)
    this.consumerSeq = this.#numberIn(bytes, replyEnd)
    this.#timeAt = this.#at
    this.#at += TIME_DIGITS + 1
    this.pending = this.#numberIn(bytes, replyEnd)
    return true
  }

  /** False when the subject has another form. */
  read(reply: string): boolean {
    const start = this.prefix.length
    // All deliveries of one consumer share the prefix; checking where it ends is enough.
    const isKnown = start > 0 && reply.charCodeAt(start - 1) === DOT && reply.charCodeAt(4) === UPPER_A
    if (!isKnown && !this.#findPrefix(reply)) return false
    this.#reply = reply
    this.#bytes = undefined
    this.#at = this.prefix.length
    this.delivered = this.#number(reply)
    this.seq = this.#number(reply)
    this.consumerSeq = this.#number(reply)
    this.#timeAt = this.#at
    this.#at += TIME_DIGITS + 1
    this.pending = this.#number(reply)
    return true
  }

  /** When it was stored, in ms since 1970. */
  get time(): number {
    const [start, end] = [this.#timeAt, this.#timeAt + TIME_DIGITS - 6]
    return Number(
      this.#bytes === undefined ? this.#reply.slice(start, end) : this.#bytes.toString('latin1', start, end),
    )
  }

  #findPrefix(reply: string): boolean {
    if (!reply.startsWith('$JS.ACK.')) return false
    const tokens = reply.split('.')
    // Domain and account hash came with 2.10, if enabled.
    const first = tokens.length === 9 ? 4 : 6
    if (tokens.length < 9 || tokens.length === 10) return false
    this.prefix = `${tokens.slice(0, first).join('.')}.`
    return true
  }

  #numberIn(bytes: Buffer, end: number): number {
    let value = 0
    let at = this.#at
    for (; at < end; at++) {
      const code = bytes[at] as number
      if (code === DOT) break
      value = value * 10 + (code - ZERO)
    }
    this.#at = at + 1
    return value
  }

  /** Parses the number that begins here, and moves behind the dot after it. */
  #number(reply: string): number {
    let value = 0
    let at = this.#at
    for (; at < reply.length; at++) {
      const code = reply.charCodeAt(at)
      if (code === DOT) break
      value = value * 10 + (code - ZERO)
    }
    this.#at = at + 1
    return value
  }
}
