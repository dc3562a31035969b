const DOT = 46
const ZERO = 48

/**
 * Reads the subject that a delivery is acked on: `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer sequence>.
 * <time>.<pending>`, with domain and account hash before the stream (and a token at the end) in the newer form. One reader
 * is used again and again, so that reading allocates nothing.
 */
export class AckReply {
  /** How often the message was delivered, this time included. */
  delivered = 0
  /** Of the message in its stream. */
  seq = 0
  /** Of the delivery: each delivery of a consumer has the next one. */
  consumerSeq = 0
  /** When it was stored, in ms since 1970. */
  time = 0
  /** How many more wait for this consumer. */
  pending = 0
  /** Where the part ends that is the same for all deliveries of the consumer. */
  prefixEnd = 0
  readonly #dots: number[] = Array.from({ length: 12 }, () => 0)

  /** False when the subject is none of that kind. */
  read(reply: string): boolean {
    const dots = this.#dots
    let count = 0
    for (let index = 0; index < reply.length && count < dots.length; index++)
      if (reply.charCodeAt(index) === DOT) dots[count++] = index
    if (count < 8 || !reply.startsWith('$JS.ACK.')) return false
    // The dot before "delivered".
    const first = count === 8 ? 3 : 5
    if (count > 8 && count < 10) return false
    const at = (dot: number): number => dots[dot] ?? reply.length
    const end = count > first + 5 ? at(first + 5) : reply.length
    this.prefixEnd = at(first)
    this.delivered = digits(reply, at(first) + 1, at(first + 1))
    this.seq = digits(reply, at(first + 1) + 1, at(first + 2))
    this.consumerSeq = digits(reply, at(first + 2) + 1, at(first + 3))
    // Nanoseconds.
    this.time = digits(reply, at(first + 3) + 1, at(first + 4) - 6)
    this.pending = digits(reply, at(first + 4) + 1, end)
    return true
  }
}

function digits(text: string, start: number, end: number): number {
  let value = 0
  for (let index = start; index < end; index++) value = value * 10 + (text.charCodeAt(index) - ZERO)
  return value
}
