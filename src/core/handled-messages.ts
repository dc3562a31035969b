import type { EncodedMessage } from './message.ts'

/** Of a process that handles on and on while its connection flaps. Beyond it the oldest is forgotten, and may be handled twice. */
const MAX_REMEMBERED = 10_000
const REDRIVES = 'busbar-redrives'

/**
 * Messages whose handler succeeded here, but whose ack the broker did not take: its connection or lease was lost first. When
 * they come again to this process, they are acked without a second call.
 */
export class HandledMessages {
  /** How often each was handled: two messages may have one id. */
  readonly #counts = new Map<string, number>()

  add(message: EncodedMessage): void {
    const id = identityOf(message)
    const count = this.#counts.get(id) ?? 0
    this.#counts.delete(id)
    this.#counts.set(id, count + 1)
    if (this.#counts.size <= MAX_REMEMBERED) return
    const [oldest] = this.#counts.keys()
    this.#counts.delete(oldest as string)
  }

  /** True when the message was handled; the next one of this id is asked for separately. */
  take(message: EncodedMessage): boolean {
    if (this.#counts.size === 0) return false
    const id = identityOf(message)
    const count = this.#counts.get(id)
    if (count === undefined) return false
    if (count === 1) this.#counts.delete(id)
    else this.#counts.set(id, count - 1)
    return true
  }
}

/** A redriven copy has the id of its dead letter, and is to be handled. */
function identityOf({ id, topic, headers }: EncodedMessage): string {
  return `${topic} ${id} ${headers[REDRIVES] ?? ''}`
}
