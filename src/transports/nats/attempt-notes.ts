import type { JetStreamApi } from './jetstream-api.ts'
import type { AttemptNote, NatsDelivery } from './delivery.ts'
import { JetStreamError } from './errors.ts'
import type { Session } from './session.ts'
import type { StateRecords } from './state-records.ts'
import type { Topology } from './topology.ts'

/**
 * Where attempts are noted that the server's count of deliveries does not show: attempts made in the process (inline), and
 * deliveries that were handed back untouched. Read for messages that come a second time, and for them alone.
 */
export class AttemptNotes {
  readonly #session: Session
  readonly #api: JetStreamApi
  readonly #topology: Topology
  readonly #records: StateRecords

  constructor(session: Session, api: JetStreamApi, topology: Topology, records: StateRecords) {
    this.#session = session
    this.#api = api
    this.#topology = topology
    this.#records = records
  }

  /** Never rejects: without its note a message counts its deliveries. */
  async read(consumer: string, seq: number): Promise<AttemptNote | undefined> {
    try {
      const record = await this.#api.lastRecord(this.#topology.state, this.#records.noteSubject(consumer, seq))
      if (record === undefined || record.text === '') return undefined
      const { delivered, next } = JSON.parse(record.text) as AttemptNote
      return Number.isInteger(delivered) && Number.isInteger(next) ? { delivered, next } : undefined
    } catch (error) {
      this.#session.error(error, `reading how often message ${seq} was tried`)
      return undefined
    }
  }

  /** Rejects when it can't be noted. */
  async write(delivery: NatsDelivery, next: number): Promise<void> {
    const note: AttemptNote = { delivered: delivery.delivered, next }
    await this.#records.write(this.#records.noteSubject(delivery.lane.consumer, delivery.seq), JSON.stringify(note))
    delivery.note = note
  }

  /** The message is settled for ever, and its note of no use. Nothing depends on it. */
  forget(delivery: NatsDelivery): void {
    if (delivery.note === undefined) return
    const subject = this.#records.noteSubject(delivery.lane.consumer, delivery.seq)
    this.#api.purge(this.#topology.state, subject).catch((error: unknown) => {
      if (error instanceof JetStreamError) this.#session.error(error, 'forgetting a note')
    })
  }
}
