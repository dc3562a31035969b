import { SettlementError } from '../../core/errors.ts'
import type { OutgoingMessage } from '../../core/message.ts'
import type {
  DeliverySink,
  Outcome,
  Settlement,
  SettlementFailure,
  TransportSubscription,
} from '../../core/transport.ts'
import { SqliteDelivery } from './delivery.ts'
import { toPublishError, toSettlementError } from './errors.ts'
import { StoredReader, toColumns } from './mapping.ts'
import { OUTCOME } from './protocol.ts'
import type { StoredColumns, SubscribeSpec } from './protocol.ts'
import { ThreadGoneError, ThreadRefusedError } from './thread.ts'
import type { DatabaseThread } from './thread.ts'
import { DEAD_LETTER_ROOM, tooLarge } from './too-large.ts'

const NO_FAILURES: readonly SettlementFailure[] = Object.freeze([])

export interface SubscriptionHost {
  readonly path: string
  readonly maxMessageBytes: number
  readonly thread: DatabaseThread | undefined
  /** The subscription is closed for good. */
  ended(subscription: SqliteSubscription): void
}

/**
 * One member of a group, on the side of the handlers. There is no lease to renew here: the database thread renews it for
 * as long as this thread answers it.
 */
export class SqliteSubscription implements TransportSubscription {
  readonly sub: number
  readonly spec: SubscribeSpec
  readonly #host: SubscriptionHost
  readonly #sink: DeliverySink
  readonly #outstanding = new Map<number, SqliteDelivery>()
  /** Requested and not yet delivered. */
  #credit = 0
  #creditBytes = 0
  #paused = false
  #stopped = false
  #closing: Promise<void> | undefined

  constructor(sub: number, spec: SubscribeSpec, sink: DeliverySink, host: SubscriptionHost) {
    this.sub = sub
    this.spec = spec
    this.#sink = sink
    this.#host = host
  }

  // --- for the runtime ---------------------------------------------------------------------------------------------

  request(credit: number, bytes: number): void {
    if (this.#stopped) return
    this.#credit += credit
    this.#creditBytes += bytes
    this.#host.thread?.send({ kind: 'credit', sub: this.sub, count: credit, bytes })
  }

  pause(): void {
    this.#flow(true)
  }

  resume(): void {
    this.#flow(false)
  }

  #flow(paused: boolean): void {
    if (this.#paused === paused) return
    this.#paused = paused
    this.#host.thread?.send({ kind: 'flow', sub: this.sub, paused })
  }

  async settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    const ours: SqliteDelivery[] = []
    const indexes: number[] = []
    const failures: SettlementFailure[] = []
    const { maxMessageBytes, path, thread } = this.#host
    for (let index = 0; index < batch.length; index++) {
      const { delivery, outcome } = batch[index] as Settlement & { readonly delivery: SqliteDelivery }
      if (!this.#outstanding.has(delivery.token)) {
        failures.push({ index, error: delivery.lost ? toSettlementError(undefined, path) : settledBefore() })
        continue
      }
      const letter = outcome.type === 'reject' ? outcome.deadLetter : undefined
      const error = letter === undefined ? undefined : tooLarge(letter, maxMessageBytes + DEAD_LETTER_ROOM)
      if (error !== undefined) {
        failures.push({ index, error })
        continue
      }
      this.#outstanding.delete(delivery.token)
      ours.push(delivery)
      indexes.push(index)
    }
    if (ours.length === 0) return failures
    if (thread === undefined) {
      for (const index of indexes) failures.push({ index, error: threadGone(undefined) })
      return failures
    }
    try {
      const taken = await this.#settleOurs(thread, batch, ours, indexes)
      return failures.length === 0 ? taken : [...failures, ...taken]
    } catch (error) {
      for (const index of indexes) failures.push({ index, error: threadGone(error) })
      return failures
    }
  }

  async #settleOurs(
    thread: DatabaseThread,
    batch: readonly Settlement[],
    ours: readonly SqliteDelivery[],
    indexes: readonly number[],
  ): Promise<readonly SettlementFailure[]> {
    const count = ours.length
    const tokens = new Float64Array(count)
    const outcomes = new Uint8Array(count)
    let delays: Float64Array | undefined
    const letters: OutgoingMessage[] = []
    for (let at = 0; at < count; at++) {
      const { outcome } = batch[indexes[at] as number] as Settlement
      tokens[at] = (ours[at] as SqliteDelivery).token
      outcomes[at] = codeOf(outcome)
      if (outcome.type === 'reject') {
        if (outcome.deadLetter !== undefined) letters.push(outcome.deadLetter)
      } else if (outcome.type !== 'ack' && outcome.delayMs > 0)
        (delays ??= new Float64Array(count))[at] = outcome.delayMs
    }
    const packed = letters.length === 0 ? undefined : toColumns(letters)
    const answer = await thread.ask(
      { kind: 'settle', sub: this.sub, tokens, outcomes, delays, letters: packed?.columns },
      packed?.transfer,
    )
    const { failures } = answer as Extract<typeof answer, { kind: 'settled' }>
    if (failures.length === 0) return NO_FAILURES
    const { path } = this.#host
    return failures.map(({ index: at, error }) => {
      const delivery = ours[at] as SqliteDelivery
      const index = indexes[at] as number
      if (error === undefined || outcomes[at] !== OUTCOME.deadLetter)
        return { index, error: toSettlementError(error, path) }
      // Neither the dead letter nor the ack is in the file, so the delivery stays ours: the outcome may be given again.
      if (!delivery.lost && this.#closing === undefined) this.#outstanding.set(delivery.token, delivery)
      return { index, error: toPublishError(error, path) }
    })
  }

  async noteAttempt(delivery: SqliteDelivery, attempt: number): Promise<void> {
    if (!this.#outstanding.has(delivery.token)) return
    await this.#host.thread?.ask({ kind: 'note', sub: this.sub, token: delivery.token, attempt })
  }

  async drain(): Promise<void> {
    if (this.#stopped) return
    this.#stopped = true
    // When the thread is gone there is no intake either.
    await this.#host.thread?.ask({ kind: 'drain', sub: this.sub }).catch(() => {})
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close())
  }

  async #close(): Promise<void> {
    this.#stopped = true
    for (const delivery of this.#outstanding.values()) delivery.lost = true
    this.#outstanding.clear()
    try {
      await this.#host.thread?.ask({ kind: 'unsubscribe', sub: this.sub })
    } catch (error) {
      // With the thread gone, or the file not writable, the lease runs out instead.
      if (!(error instanceof ThreadRefusedError) && !isGone(error)) throw error
    } finally {
      this.#host.ended(this)
    }
  }

  // --- for the transport -------------------------------------------------------------------------------------------

  get ended(): boolean {
    return this.#closing !== undefined
  }

  deliver(firstToken: number, columns: StoredColumns): void {
    const reader = new StoredReader(columns)
    const { count } = reader
    if (this.#paused || this.#stopped) {
      this.#sendBack(firstToken, reader)
      return
    }
    const deliveries: SqliteDelivery[] = []
    for (let row = 0; row < count; row++) {
      const token = firstToken + row
      const delivery = new SqliteDelivery(
        reader.message(row),
        reader.number(row, 'seq'),
        token,
        reader.number(row, 'attempt'),
        reader.number(row, 'firstAt'),
        reader.number(row, 'size'),
      )
      this.#credit--
      this.#creditBytes -= delivery.bytes
      this.#outstanding.set(token, delivery)
      deliveries.push(delivery)
    }
    this.#sink.receive(deliveries)
  }

  /** It was under way when the runtime said stop: back untouched, credit included. */
  #sendBack(firstToken: number, reader: StoredReader): void {
    const { thread } = this.#host
    if (thread === undefined || this.#closing !== undefined) return
    const { count } = reader
    let bytes = 0
    for (let row = 0; row < count; row++) bytes += reader.number(row, 'size')
    const tokens = Float64Array.from({ length: count }, (_, row) => firstToken + row)
    const outcomes = new Uint8Array(count).fill(OUTCOME.release)
    // A release that fails is given back by the thread itself, later.
    thread
      .ask({ kind: 'settle', sub: this.sub, tokens, outcomes, delays: undefined, letters: undefined })
      .catch(() => {})
    thread.send({ kind: 'credit', sub: this.sub, count, bytes })
  }

  takeBack(tokens: Iterable<number>, reason: string): void {
    const lost: SqliteDelivery[] = []
    for (const token of tokens) {
      const delivery = this.#outstanding.get(token)
      if (delivery === undefined) continue
      this.#outstanding.delete(token)
      delivery.lost = true
      lost.push(delivery)
    }
    if (lost.length > 0) this.#sink.lost(lost, reason)
  }

  /** The thread is gone, and with it everything that was out. */
  takeBackAll(reason: string): void {
    this.takeBack([...this.#outstanding.keys()], reason)
  }

  /** A new thread has seated this subscription: it goes on where the old one was. */
  resumeOn(thread: DatabaseThread): void {
    thread.send({ kind: 'credit', sub: this.sub, count: this.#credit, bytes: this.#creditBytes })
    if (this.#paused) thread.send({ kind: 'flow', sub: this.sub, paused: true })
    if (this.#stopped) thread.ask({ kind: 'drain', sub: this.sub }).catch(() => {})
  }
}

function codeOf(outcome: Outcome): number {
  if (outcome.type === 'reject') return outcome.deadLetter === undefined ? OUTCOME.drop : OUTCOME.deadLetter
  return OUTCOME[outcome.type]
}

function isGone(error: unknown): boolean {
  return error instanceof ThreadGoneError
}

function settledBefore(): SettlementError {
  return new SettlementError('The delivery has been settled before')
}

function threadGone(cause: unknown): SettlementError {
  return new SettlementError(
    'The database thread ended before it took the outcome; the message may be delivered again',
    { cause },
  )
}
