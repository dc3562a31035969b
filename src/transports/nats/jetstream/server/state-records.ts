import { headers as makeHeaders } from '@nats-io/transport-node'
import type { Msg } from '@nats-io/transport-node'
import type { PubAck } from './jetstream-types.ts'
import { ERR, isNoResponders, isNotFound, JetStreamError, toBusbarError } from '../../errors.ts'
import type { JetStreamApi } from './jetstream-api.ts'
import type { Session } from '../../connection/session.ts'
import type { Subjects } from '../../wire/subjects.ts'
import type { RecordWriter } from './record-writer.ts'

const WRITE_TIMEOUT_MS = 5_000

/** A record of the state stream; the last one of its subject counts. */
export interface StateRecord {
  readonly seq: number
  /** By the server's clock, in ms since 1970. */
  readonly time: number
  readonly text: string
}

/** The streams that the records are stored in. */
export interface RecordStreams {
  readonly state: string
  readonly leases: string
  /** Creates what is missing. */
  ensure(): Promise<void>
}

/** Small records: leases of processes in one stream; positions, notes of attempts, moves and known topics in another. */
export class StateRecords {
  readonly #session: Session
  readonly #api: JetStreamApi
  readonly #streams: RecordStreams
  readonly #subjects: Subjects
  readonly #writer: RecordWriter

  constructor(session: Session, api: JetStreamApi, streams: RecordStreams, subjects: Subjects, writer: RecordWriter) {
    this.#session = session
    this.#writer = writer
    this.#api = api
    this.#streams = streams
    this.#subjects = subjects
  }

  noteSubject(consumer: string, seq: number | '*'): string {
    return `${this.#subjects.state}.note.${consumer}.${seq}`
  }

  /** Where a session keeps its lease. */
  leaseSubject(sessionId: string): string {
    return `${this.#subjects.leases}.session.${sessionId}`
  }

  /** Where the group stands in a partition, and who owns it. */
  partitionSubject(groupId: string, unit: string): string {
    return `${this.#subjects.state}.at.${groupId}.${unit}`
  }

  /** The same, while the store of the first one is full. */
  spareSubject(groupId: string, unit: string): string {
    return `${this.#subjects.leases}.at.${groupId}.${unit}`
  }

  /** How a group reads its topic, and where it began. */
  groupSubject(groupId: string): string {
    return `${this.#subjects.state}.group.${groupId}`
  }

  lookSubject(consumer: string): string {
    return `${this.#subjects.state}.look.${consumer}`
  }

  moveSubject(groupId: string): string {
    return `${this.#subjects.state}.move.${groupId}`
  }

  topicSubject(topic: string): string {
    return `${this.#subjects.state}.topic.${topic}`
  }

  read(subject: string): Promise<StateRecord | undefined> {
    return this.#withStreams(() => this.#api.lastRecord(this.#streams.state, subject))
  }

  readLease(subject: string): Promise<StateRecord | undefined> {
    return this.#withStreams(() => this.#api.lastRecord(this.#streams.leases, subject))
  }

  /** Creates deleted streams again. Their subjects have no responder; servers before 2.10 answer "not found". */
  async #withStreams<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work()
    } catch (error) {
      if (!(isNoResponders(error) || isNotFound(error)) || !this.#session.ready) throw error
      await this.#streams.ensure()
      return work()
    }
  }

  /**
   * Writes a record; resolves with its sequence. `expected`: only if the last record of the subject has that sequence
   * (0: if there is none); resolves with undefined if not.
   */
  write(subject: string, text: string, expected?: number): Promise<number | undefined> {
    return this.#withStreams(() => this.#writer.write(subject, text, expected))
  }

  /** Nothing depends on how often a lease is stored; but much depends on that it is. */
  async writeLease(sessionId: string, text: string): Promise<void> {
    await this.#withStreams(() => this.#writer.write(this.leaseSubject(sessionId), text, undefined, true))
  }

  async forgetLease(sessionId: string): Promise<void> {
    await this.#api.purge(this.#streams.leases, this.leaseSubject(sessionId))
  }

  async forgetSpare(subject: string): Promise<void> {
    await this.#api.purge(this.#streams.leases, subject)
  }

  async forget(filters: readonly string[]): Promise<void> {
    for (const filter of filters) await this.#api.purge(this.#streams.state, filter)
  }

  /** Topics that were registered although nothing of them is stored. */
  async topics(): Promise<string[]> {
    const start = `${this.#subjects.state}.topic.`
    return (await this.subjects(`${start}>`)).map((subject) => subject.slice(start.length))
  }

  /** Subjects of all records that match a filter. */
  async subjects(filter: string): Promise<string[]> {
    const all: string[] = []
    for (;;) {
      const options = { subjects_filter: filter, offset: all.length }
      const { state, total = 0 } = await this.#withStreams(() => this.#api.streamInfo(this.#streams.state, options))
      const found = Object.keys(state.subjects ?? {})
      all.push(...found)
      if (found.length === 0 || all.length >= total) return all
    }
  }
}

/**
 * Like `StateRecords.write`. `undefined` may also mean that this very record was stored without an answer by a node
 * that then died.
 */
export async function writeRecord(
  session: Session,
  subject: string,
  text: string,
  expected: number | undefined,
): Promise<number | undefined> {
  const headers = makeHeaders()
  if (expected !== undefined) headers.set('Nats-Expected-Last-Subject-Sequence', String(expected))
  const options = { timeout: WRITE_TIMEOUT_MS, headers }
  let answer: Msg
  try {
    // Because of the condition the server takes at most one of several copies, and none that comes late.
    answer = await (expected === undefined
      ? session.request(subject, text, options)
      : session.requestAgain(subject, text, options))
  } catch (error) {
    throw toBusbarError(error, `Writing "${subject}"`)
  }
  const { error, seq } = answer.json<PubAck>()
  if (error === undefined) return seq
  if (error.err_code === ERR.wrongLastSequence) return undefined
  throw new JetStreamError(`Writing "${subject}"`, error.code, error.err_code ?? 0, error.description ?? '')
}
