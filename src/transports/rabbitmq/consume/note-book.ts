import { noteKey } from './attempt-notes.ts'
import type { Note } from './attempt-notes.ts'
import type { RabbitMqDelivery } from './delivery.ts'

/** Of how many messages notes are kept. */
export const MAX_NOTES = 20_000

/** What this member knows of messages that it, or another one, had before: the latest note about each. */
export class NoteBook {
  readonly #me: string
  readonly #notes = new Map<string, Note>()

  constructor(me: string) {
    this.#me = me
  }

  /** The latest note about deliveries before this one. */
  before(delivery: RabbitMqDelivery): Note | undefined {
    const note = this.#notes.get(noteKey(delivery))
    // Where the queue counts, a note that is not older is about a former message with the same id.
    return note !== undefined && (delivery.count === undefined || note.generation < delivery.count) ? note : undefined
  }

  /** True when the latest note about the delivery right before this one is our own: no other member can add anything. */
  explains(delivery: RabbitMqDelivery): boolean {
    const note = this.before(delivery)
    return note?.by === this.#me && delivery.count !== undefined && note.generation + 1 === delivery.count
  }

  /** False when a later note about the message has come, or there is nothing to know of it any more. */
  isLatest(note: Note): boolean {
    return this.#notes.get(note.key) === note
  }

  set(note: Note): void {
    this.#notes.delete(note.key)
    this.#notes.set(note.key, note)
    if (this.#notes.size <= MAX_NOTES) return
    const [oldest] = this.#notes.keys()
    this.#notes.delete(oldest as string)
  }

  /** Adds notes from the broker, in the order in which they were written. What we know of our own deliveries is newer. */
  learn(notes: readonly Note[]): void {
    for (const note of notes) {
      const known = this.#notes.get(note.key)
      if (known === undefined || note.generation > known.generation) this.set(note)
      else if (note.generation === known.generation && known.by !== this.#me) this.set(note)
    }
  }

  forget(delivery: RabbitMqDelivery): void {
    if (this.#notes.size > 0) this.#notes.delete(noteKey(delivery))
  }
}
