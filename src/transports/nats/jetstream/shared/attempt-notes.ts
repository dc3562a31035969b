import { ConnectionError } from '../../../../core/errors.ts'
import type { JetStreamApi } from '../server/jetstream-api.ts'
import type { NatsDelivery, StoredNote } from './delivery.ts'
import { JetStreamError } from '../../errors.ts'
import type { Session, SessionPart } from '../../connection/session.ts'
import type { StateRecords } from '../server/state-records.ts'
import type { Topology } from '../server/topology.ts'

/** Maximum number of notes that wait for the connection. Beyond it the oldest is dropped: such notes are best effort. */
const MAX_WAITING = 8_192

interface Waiting {
  readonly note: StoredNote
  /** Sequence of the record that it replaces. If there is another one, another member has the message by now. */
  readonly replaces: number
}

/**
 * Stores notes about attempts: those used, one that is running, and how long the next one must wait. Read only for
 * messages that come a second time.
 */
export class AttemptNotes implements SessionPart {
  readonly #session: Session
  readonly #api: JetStreamApi
  readonly #topology: Topology
  readonly #records: StateRecords
  /** The last write in progress, by subject. */
  readonly #writing = new Map<string, Promise<void>>()
  /** Notes about lost deliveries, to be written when the connection is back, by subject. */
  readonly #waiting = new Map<string, Waiting>()

  constructor(session: Session, api: JetStreamApi, topology: Topology, records: StateRecords) {
    this.#session = session
    this.#api = api
    this.#topology = topology
    this.#records = records
  }

  /** Never rejects: a message without its note counts as one with unknown history. */
  async read(consumer: string, seq: number): Promise<StoredNote | undefined> {
    const subject = this.#records.noteSubject(consumer, seq)
    try {
      await this.#writing.get(subject)?.catch(() => undefined)
      const waiting = this.#waiting.get(subject)
      if (waiting !== undefined) return waiting.note
      const record = await this.#api.lastRecord(this.#topology.state, subject)
      return record === undefined || record.text === '' ? undefined : parseNote(record.text)
    } catch (error) {
      this.#session.error(error, `reading how often message ${seq} was tried`)
      return undefined
    }
  }

  /** Rejects when it can't be stored. Notes about one message are stored in the order of the calls. */
  async write(delivery: NatsDelivery, note: StoredNote): Promise<void> {
    if (!this.#session.ready) throw new ConnectionError('The attempts could not be noted: the server is out of reach')
    const subject = this.#records.noteSubject(delivery.consumer.name, delivery.seq)
    delivery.note = note
    await this.#inOrder(subject, async () => {
      delivery.noteSeq = await this.#records.write(subject, JSON.stringify(note))
    })
  }

  /**
   * Takes back the note that a handler is running, for a delivery that was lost; later, if there is no connection. Does
   * nothing when another member has written a note meanwhile. Never rejects.
   */
  async retract(delivery: NatsDelivery, note: StoredNote): Promise<void> {
    const subject = this.#records.noteSubject(delivery.consumer.name, delivery.seq)
    await this.#writing.get(subject)?.catch(() => undefined)
    const replaces = delivery.noteSeq
    if (replaces === undefined) return
    const oldest = this.#waiting.keys().next()
    if (this.#waiting.size >= MAX_WAITING && oldest.done !== true) this.#waiting.delete(oldest.value)
    this.#waiting.set(subject, { note, replaces })
    if (this.#session.ready) await this.#writeWaiting(subject)
  }

  async #writeWaiting(subject: string): Promise<void> {
    const waiting = this.#waiting.get(subject)
    if (waiting === undefined) return
    try {
      await this.#inOrder(subject, async () => {
        await this.#records.write(subject, JSON.stringify(waiting.note), waiting.replaces)
      })
      if (this.#waiting.get(subject) === waiting) this.#waiting.delete(subject)
    } catch (error) {
      // Without a connection it continues to wait.
      if (!this.#session.ready) return
      this.#waiting.delete(subject)
      this.#session.error(error, 'noting that lost attempts do not count')
    }
  }

  async #inOrder(subject: string, write: () => Promise<void>): Promise<void> {
    const before = this.#writing.get(subject)
    const writing = (async () => {
      if (before !== undefined) await before.catch(() => undefined)
      await write()
    })()
    this.#writing.set(subject, writing)
    try {
      await writing
    } finally {
      if (this.#writing.get(subject) === writing) this.#writing.delete(subject)
    }
  }

  /** The message is settled for good and its note useless. Nothing depends on the deletion. */
  forget(delivery: NatsDelivery): void {
    if (delivery.note === undefined) return
    const subject = this.#records.noteSubject(delivery.consumer.name, delivery.seq)
    this.#waiting.delete(subject)
    const purge = async (): Promise<void> => {
      // Notes and deletions take different paths through the server: a pending note would arrive after the deletion.
      await this.#writing.get(subject)?.catch(() => undefined)
      await this.#api.purge(this.#topology.state, subject)
    }
    purge().catch((error: unknown) => {
      if (error instanceof JetStreamError) this.#session.error(error, 'forgetting a note')
    })
  }

  down(): void {}

  up(): void {
    for (const subject of this.#waiting.keys()) void this.#writeWaiting(subject)
  }
}

function parseNote(text: string): StoredNote | undefined {
  const note = JSON.parse(text) as StoredNote
  return Number.isInteger(note.used) && Number.isInteger(note.delivered) ? note : undefined
}
