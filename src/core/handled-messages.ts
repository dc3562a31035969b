import type { EncodedMessage } from './message.ts'

/** Of a process that handles on and on while its connection flaps. Beyond it the oldest is forgotten, and may be handled twice. */
const MAX_REMEMBERED = 10_000
const REDRIVES = 'busbar-redrives'

/**
 * Messages whose handler succeeded here, but whose ack the broker did not take: its connection or lease was lost first. When
 * they come again to this process, they are acked without a second call.
 */
export class HandledMessages {
  /** How often each was handled (two messages may have one id), and how many of those are being acked now. */
  readonly #handled = new Map<string, { count: number; acking: number }>()

  add(message: EncodedMessage): void {
    const id = identityOf(message)
    const known = this.#handled.get(id)
    if (known !== undefined) {
      known.count++
      return
    }
    this.#handled.set(id, { count: 1, acking: 0 })
    if (this.#handled.size <= MAX_REMEMBERED) return
    const [oldest] = this.#handled.keys()
    this.#handled.delete(oldest as string)
  }

  /** True when this delivery is of a message that was handled: it is to be acked, and `acked` or `notAcked` called after. */
  beginAck(message: EncodedMessage): boolean {
    if (this.#handled.size === 0) return false
    const known = this.#handled.get(identityOf(message))
    if (known === undefined || known.acking >= known.count) return false
    known.acking++
    return true
  }

  /** The broker has the ack now. */
  acked(message: EncodedMessage): void {
    const id = identityOf(message)
    const known = this.#handled.get(id)
    if (known === undefined) return
    known.acking--
    if (--known.count === 0) this.#handled.delete(id)
  }

  /** It has not, and delivers the message again. */
  notAcked(message: EncodedMessage): void {
    const known = this.#handled.get(identityOf(message))
    if (known !== undefined) known.acking--
  }
}

/** A redriven copy has the id of its dead letter, and is to be handled. */
function identityOf({ id, topic, headers }: EncodedMessage): string {
  return `${topic} ${id} ${headers[REDRIVES] ?? ''}`
}
