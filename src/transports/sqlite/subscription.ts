import { SettlementError } from '../../core/errors.ts'
import type { EncodedMessage, OutgoingMessage } from '../../core/message.ts'
import { tooLarge } from '../../core/publish/size-limit.ts'
import type {
  AttemptNote,
  DeliverySink,
  Outcome,
  Settlement,
  SettlementFailure,
  TransportSubscription,
} from '../../core/transport.ts'
import { CreditBalance } from '../../core/util/credit-balance.ts'
import { SqliteDelivery } from './delivery.ts'
import { toNoteError, toPublishError, toSettlementError } from './errors.ts'
import { KeyCounts } from './key-counts.ts'
import { StoredReader, toColumns } from './mapping.ts'
import { OUTCOME } from './protocol.ts'
import type { StoredColumns, SubscribeSpec } from './protocol.ts'
import { ThreadGoneError, ThreadRefusedError } from './thread.ts'
import type { DatabaseThread } from './thread.ts'

const NO_MESSAGES: readonly OutgoingMessage[] = Object.freeze([])
const NO_FAILURES: readonly SettlementFailure[] = Object.freeze([])

export interface SubscriptionHost {
  readonly path: string
  readonly maxMessageBytes: number
  readonly thread: DatabaseThread | undefined
  /** The subscription is closed for good. */
  ended(subscription: SqliteSubscription): void
}

/**
 * One member of a group, on the main thread. It has no lease to renew: the database thread renews it for as long as
 * this thread answers its pings.
 */
export class SqliteSubscription implements TransportSubscription {
  readonly sub: number
  readonly spec: SubscribeSpec
  readonly #host: SubscriptionHost
  readonly #sink: DeliverySink
  readonly #outstanding = new Map<number, SqliteDelivery>()
  /**
   * Keys with messages on their way back to the file. Messages of these keys that the database thread had sent before
   * must not be handled: they would overtake.
   */
  readonly #returning = new KeyCounts()
  /**
   * The thread where it has its seats. Undefined until a new thread has seated it, which then gets the whole state at
   * once.
   */
  #thread: DatabaseThread | undefined
  /** Requested but not yet delivered. */
  readonly #credit = new CreditBalance()
  /** Number of database threads before this one. */
  #generation = 0
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
    this.#credit.add(credit, bytes)
    this.#thread?.send({ kind: 'credit', sub: this.sub, count: credit, bytes })
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
    this.#thread?.send({ kind: 'flow', sub: this.sub, paused })
  }

  async settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    const ours: SqliteDelivery[] = []
    const indexes: number[] = []
    const failures: SettlementFailure[] = []
    const { maxMessageBytes, path, thread } = this.#host
    for (let index = 0; index < batch.length; index++) {
      const { delivery, outcome } = batch[index] as Settlement & { readonly delivery: SqliteDelivery }
      // Another thread may have given the same token to another delivery.
      if (this.#outstanding.get(delivery.token) !== delivery) {
        failures.push({ index, error: delivery.lost ? toSettlementError(undefined, path) : settledBefore() })
        continue
      }
      const letter = outcome.type === 'reject' ? outcome.deadLetter : undefined
      const error = letter === undefined ? undefined : tooLarge(letter, maxMessageBytes, 'sqlite')
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
    let used: Float64Array | undefined
    const messages: OutgoingMessage[] = []
    let messageCounts: Uint32Array<ArrayBuffer> | undefined
    const returning: string[] = []
    for (let at = 0; at < count; at++) {
      const { outcome } = batch[indexes[at] as number] as Settlement
      const delivery = ours[at] as SqliteDelivery
      tokens[at] = delivery.token
      outcomes[at] = codeOf(outcome)
      const stored = storedWith(outcome)
      if (stored.length > 0) {
        for (const message of stored) messages.push(message)
        ;(messageCounts ??= new Uint32Array(count))[at] = stored.length
      }
      if (outcome.type === 'nack' || outcome.type === 'release') {
        used ??= new Float64Array(count)
        used[at] = outcome.type === 'nack' ? delivery.attempt : delivery.attempt - 1
        if (outcome.delayMs > 0) (delays ??= new Float64Array(count))[at] = outcome.delayMs
        const key = this.#keyOf(delivery.message)
        if (key !== undefined) returning.push(key)
      }
    }
    const packed = messages.length === 0 ? undefined : toColumns(messages)
    for (const key of returning) this.#returning.add(key)
    const answer = await thread.ask(
      { kind: 'settle', sub: this.sub, tokens, outcomes, delays, used, messages: packed?.columns, messageCounts },
      packed?.transfer,
      () => this.#returned(returning),
    )
    const { failures } = answer as Extract<typeof answer, { kind: 'settled' }>
    if (failures.length === 0) return NO_FAILURES
    const { path } = this.#host
    return failures.map(({ index: at, error }) => {
      const delivery = ours[at] as SqliteDelivery
      const index = indexes[at] as number
      if (error === undefined || (messageCounts?.[at] ?? 0) === 0)
        return { index, error: toSettlementError(error, path) }
      // Neither the messages nor the ack are in the file, so the delivery stays ours: the outcome may be given again.
      if (!delivery.lost && this.#closing === undefined) this.#outstanding.set(delivery.token, delivery)
      return { index, error: toPublishError(error, path) }
    })
  }

  async noteAttempts(notes: readonly AttemptNote[]): Promise<void> {
    const { thread } = this.#host
    // What is settled needs no note; what a lost thread held was given back without an attempt.
    const known = notes.filter(({ delivery }) => {
      const { token, lost, generation } = delivery as SqliteDelivery
      return lost ? generation === this.#generation : this.#outstanding.has(token)
    })
    if (known.length === 0) return
    if (thread === undefined) throw threadGone(undefined)
    const tokens = new Float64Array(known.length)
    const used = new Float64Array(known.length)
    const running = new Uint8Array(known.length)
    const notBefore = new Float64Array(known.length).fill(Number.NaN)
    for (const [index, note] of known.entries()) {
      tokens[index] = (note.delivery as SqliteDelivery).token
      used[index] = note.used
      running[index] = note.running ? 1 : 0
      if (note.notBefore !== undefined) notBefore[index] = note.notBefore
    }
    try {
      await thread.ask({ kind: 'note', sub: this.sub, tokens, used, running, notBefore })
    } catch (error) {
      throw error instanceof ThreadRefusedError ? toNoteError(error.thread, this.#host.path) : threadGone(error)
    }
  }

  async drain(): Promise<void> {
    if (this.#stopped) return
    this.#stopped = true
    // Without a thread there are no deliveries either.
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
      // If the thread is lost or the file not writable, the lease expires instead.
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
    const deliveries: SqliteDelivery[] = []
    const unwanted: SqliteDelivery[] = []
    for (let row = 0; row < count; row++) {
      const delivery = new SqliteDelivery(reader.message(row), {
        seq: reader.number(row, 'seq'),
        token: firstToken + row,
        generation: this.#generation,
        attempt: reader.number(row, 'attempt'),
        history: reader.number(row, 'history'),
        firstAt: reader.number(row, 'firstAt'),
        bytes: reader.number(row, 'size'),
      })
      if (this.#paused || this.#stopped || this.#mustNotPass(delivery.message)) {
        unwanted.push(delivery)
        continue
      }
      this.#credit.spend(delivery.bytes)
      this.#outstanding.set(delivery.token, delivery)
      deliveries.push(delivery)
    }
    if (unwanted.length > 0) this.#release(unwanted)
    if (deliveries.length > 0) this.#sink.receive(deliveries)
  }

  /** The scope of a message's order for this member. */
  #keyOf(message: EncodedMessage): string | undefined {
    const { order } = this.spec
    return order === 'key' ? message.key : order === 'strict' ? '' : undefined
  }

  #mustNotPass(message: EncodedMessage): boolean {
    const key = this.#keyOf(message)
    return key !== undefined && this.#returning.has(key)
  }

  /** The thread knows now: what it sends from now on is in order again. */
  #returned(keys: readonly string[]): void {
    for (const key of keys) this.#returning.remove(key)
  }

  /** Deliveries that were in transit when it was decided to return them: returned untouched, with their credit. */
  #release(unwanted: readonly SqliteDelivery[]): void {
    const { thread } = this.#host
    if (thread === undefined || this.#closing !== undefined) return
    const tokens = Float64Array.from(unwanted, ({ token }) => token)
    const outcomes = new Uint8Array(unwanted.length).fill(OUTCOME.unseen)
    const keys = unwanted.map(({ message }) => this.#keyOf(message)).filter((key) => key !== undefined)
    const bytes = unwanted.reduce((sum, delivery) => sum + delivery.bytes, 0)
    for (const key of keys) this.#returning.add(key)
    // If a release fails, the thread itself gives the message back later.
    const none = { delays: undefined, used: undefined, messages: undefined, messageCounts: undefined }
    thread
      .ask({ kind: 'settle', sub: this.sub, tokens, outcomes, ...none }, [], () => this.#returned(keys))
      .catch(() => {})
    thread.send({ kind: 'credit', sub: this.sub, count: unwanted.length, bytes })
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

  /** The thread is lost, and all deliveries in flight with it. */
  takeBackAll(reason: string): void {
    this.#thread = undefined
    this.#generation++
    this.takeBack([...this.#outstanding.keys()], reason)
  }

  /** A thread has seated this subscription: it continues from the previous thread's state. */
  seatedOn(thread: DatabaseThread): void {
    this.#thread = thread
    const { messages: count, bytes } = this.#credit
    thread.send({ kind: 'credit', sub: this.sub, count, bytes })
    if (this.#paused) thread.send({ kind: 'flow', sub: this.sub, paused: true })
    if (this.#stopped) thread.ask({ kind: 'drain', sub: this.sub }).catch(() => {})
  }
}

function codeOf(outcome: Outcome): number {
  if (outcome.type === 'reject') return outcome.deadLetter === undefined ? OUTCOME.drop : OUTCOME.deadLetter
  return OUTCOME[outcome.type]
}

/** Messages that are stored in one transaction with the outcome. */
function storedWith(outcome: Outcome): readonly OutgoingMessage[] {
  if (outcome.type === 'ack') return outcome.publish ?? NO_MESSAGES
  return outcome.type === 'reject' && outcome.deadLetter !== undefined ? [outcome.deadLetter] : NO_MESSAGES
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
