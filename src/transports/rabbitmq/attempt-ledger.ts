import type { RabbitMqDelivery } from './delivery.ts'

/** What became of one delivery of a message, or that it is about to be tried. */
export interface AttemptNote {
  /** Of the message: see `attemptKey`. */
  readonly key: string
  /** The broker's count of returns, as it came with the delivery. */
  readonly count: number
  /** Attempts that are used up, this one included. */
  readonly used: number
  /** The member that made the note. */
  readonly by: string
  /** The attempt has begun, and how it ended is not known. */
  readonly begun: boolean
}

const MOST = 20_000
/**
 * The loss of a connection is not the fault of the messages on it, and uses no attempt up. But for one that is there each time
 * it well may be: its handler may block the process for so long that the broker gives it up.
 */
const FREE_LOSSES = 20
const REDRIVES = 'busbar-redrives'

/** Tells a message from its copies: a delayed retry begins with the attempts so far, a redriven dead letter anew. */
export function attemptKey({ message, base }: RabbitMqDelivery): string {
  const redrives = message.headers[REDRIVES]
  return base === 0 && redrives === undefined ? message.id : `${message.id}#${base}#${redrives ?? ''}`
}

/**
 * What one member knows about the attempts of messages that are delivered more than once. The broker counts every return
 * of a message, be it a crash, a failure, a lost connection or an untouched hand-back, and keeps no note of ours with it.
 */
export class AttemptLedger {
  readonly #me: string
  readonly #notes = new Map<string, AttemptNote>()
  readonly #losses = new Map<string, number>()

  constructor(me: string) {
    this.#me = me
  }

  /** What is known of the delivery before this one. */
  before(delivery: RabbitMqDelivery): AttemptNote | undefined {
    const note = this.#notes.get(attemptKey(delivery))
    // Classic queues do not count. Elsewhere a note that is not older is about another life of the same id.
    return note !== undefined && (!delivery.isCounted || note.count < delivery.count) ? note : undefined
  }

  /** How this delivery ended, or that it begins. */
  note(delivery: RabbitMqDelivery, used: number, begun: boolean): AttemptNote {
    const note = { key: attemptKey(delivery), count: delivery.count, used, by: this.#me, begun }
    this.#set(note)
    return note
  }

  /** The connection that it came by is gone. */
  lost(delivery: RabbitMqDelivery): AttemptNote {
    const key = attemptKey(delivery)
    const losses = (this.#losses.get(key) ?? 0) + 1
    this.#losses.delete(key)
    this.#losses.set(key, losses)
    trim(this.#losses)
    return this.note(delivery, losses > FREE_LOSSES ? delivery.attempt : delivery.attempt - 1, false)
  }

  /** Takes over notes from the broker, in the order in which they were made. */
  learn(notes: readonly AttemptNote[]): void {
    for (const note of notes) {
      const known = this.#notes.get(note.key)
      if (known === undefined || note.count > known.count) this.#set(note)
      else if (note.count === known.count && note.by !== this.#me && (note.by === known.by || note.used > known.used))
        this.#set(note)
    }
  }

  forget(delivery: RabbitMqDelivery): void {
    if (this.#notes.size === 0 && this.#losses.size === 0) return
    const key = attemptKey(delivery)
    this.#notes.delete(key)
    this.#losses.delete(key)
  }

  #set(note: AttemptNote): void {
    this.#notes.delete(note.key)
    this.#notes.set(note.key, note)
    trim(this.#notes)
  }
}

function trim(map: Map<string, unknown>): void {
  if (map.size <= MOST) return
  const [oldest] = map.keys()
  map.delete(oldest as string)
}
