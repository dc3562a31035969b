import { PublishError } from '../errors.ts'
import type { StateError } from '../errors.ts'
import { messageBytes } from '../message.ts'
import type { OutgoingMessage } from '../message.ts'
import type { PublishReceipt } from './publish-options.ts'

export interface StagedMessagesParts {
  /** Limit of their total size. */
  readonly maxBytes: number
  /** What to say about one that exceeds it. */
  readonly tooMuch: (maxBytes: number) => string
  /** The error for a message that comes after the end. */
  readonly tooLate: (topic: string) => StateError
  /** Called with the size of each message that is held, and with its negative when the message is dropped before the end. */
  readonly onHeld?: ((bytes: number) => void) | undefined
}

/** A message in the order of the calls; undefined while it is being made, or when that failed. */
interface Slot {
  readonly transport: string
  message: OutgoingMessage | undefined
  isDropped: boolean
}

/** Messages that are made now and sent later, together, or never: in the order of the calls, and bounded. */
export class StagedMessages {
  readonly #parts: StagedMessagesParts
  readonly #slots: Slot[] = []
  /** Messages that are being made; their caller may not have waited for them. */
  readonly #making = new Set<Promise<unknown>>()
  #bytes = 0
  #isOver = false

  constructor(parts: StagedMessagesParts) {
    this.#parts = parts
  }

  /** Resolves when the message is made and held. */
  add(transport: string, topic: string, make: () => Promise<OutgoingMessage>): Promise<PublishReceipt> {
    if (this.#isOver) return Promise.reject(this.#parts.tooLate(topic))
    const slot: Slot = { transport, message: undefined, isDropped: false }
    this.#slots.push(slot)
    const held = make().then((message) => {
      this.#hold(slot, message)
      return { id: message.id, position: undefined }
    })
    this.#making.add(held)
    const made = (): boolean => this.#making.delete(held)
    held.then(made, made)
    return held
  }

  #hold(slot: Slot, message: OutgoingMessage): void {
    const { maxBytes, tooMuch, tooLate, onHeld } = this.#parts
    if (this.#isOver) throw tooLate(message.topic)
    if (slot.isDropped) return
    const bytes = messageBytes(message)
    this.#bytes += bytes
    if (this.#bytes > maxBytes) throw new PublishError(tooMuch(maxBytes), { outcome: 'not-sent' })
    slot.message = message
    onHeld?.(bytes)
  }

  /** Number of messages, with those that are being made. */
  get count(): number {
    return this.#slots.length
  }

  get isOver(): boolean {
    return this.#isOver
  }

  /** Drops all messages but the first. */
  keepFirst(count: number): void {
    for (const slot of this.#slots.splice(count)) {
      slot.isDropped = true
      if (slot.message === undefined) continue
      const bytes = messageBytes(slot.message)
      this.#bytes -= bytes
      this.#parts.onHeld?.(-bytes)
    }
  }

  /** Nothing is held from now on. */
  end(): void {
    this.#isOver = true
  }

  /** Resolves when all of them are made, or have failed to be; nothing is held from then on. */
  async finish(): Promise<void> {
    while (this.#making.size > 0) await Promise.allSettled(this.#making)
    this.#isOver = true
  }

  /** Those that could be made, with the names of their transports. */
  *made(): Iterable<readonly [transport: string, message: OutgoingMessage]> {
    for (const { transport, message } of this.#slots) if (message !== undefined) yield [transport, message]
  }
}
