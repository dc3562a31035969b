import type { RabbitMqDelivery } from './delivery.ts'

/** What is known of a message's attempts beyond the broker's count. */
export interface AttemptNote {
  /** The broker's count of returns when the note was made. The next return is accounted for in `used`. */
  readonly count: number
  /** Attempts that are used up. */
  readonly used: number
}

const MOST = 20_000

/**
 * The broker counts every return of a message to its queue, be it a crash, a failure or an untouched hand-back, and keeps
 * no note of ours with it. This remembers what really happened to those that went back, so that `attempt` counts attempts.
 */
export class AttemptLedger {
  readonly #notes = new Map<string, AttemptNote>()

  has(id: string): boolean {
    return this.#notes.has(id)
  }

  note(id: string, note: AttemptNote): void {
    const known = this.#notes.get(id)
    // Notes that come from others may be older than our own.
    if (known !== undefined && (known.count > note.count || (known.count === note.count && known.used > note.used)))
      return
    this.#notes.delete(id)
    this.#notes.set(id, note)
    if (this.#notes.size <= MOST) return
    const [oldest] = this.#notes.keys()
    this.#notes.delete(oldest as string)
  }

  forget(id: string): void {
    if (this.#notes.size > 0) this.#notes.delete(id)
  }

  /** The number of this attempt. */
  attemptOf({ message, base, count }: RabbitMqDelivery): number {
    const note = this.#notes.get(message.id)
    // A copy knows better: it was made after everything that is noted of the original.
    if (note === undefined || note.used < base) return base + count + 1
    return note.used + 1 + Math.max(0, count - note.count - 1)
  }
}
