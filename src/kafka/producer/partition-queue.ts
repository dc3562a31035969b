// Over 250 lines: the numbering of one partition, whose states are not to be changed from two places.
import { errorFromBroker, KafkaError } from '../errors.ts'
import type { WriteOutcome } from '../errors.ts'
import { withOutcome } from '../network/connection-errors.ts'

/** What the sender has to know about a batch. Records may be added to it until it is sent for the first time. */
export interface OutgoingBatch {
  readonly count: number
  /** Bytes. */
  readonly size: number
  /** When it is given up. */
  readonly deadline: number
  /** Not sent before, unless another batch waits behind it. */
  readonly readyAt: number
}

export interface Identity {
  readonly producerId: bigint
  readonly producerEpoch: number
}

/** What a broker said about one batch. */
export interface BatchAnswer {
  readonly errorCode: number
  readonly baseOffset: number
  readonly logAppendTimeMs: number
  readonly errorMessage: string | null
}

/** A batch is in the log. */
export interface Confirmation {
  /** Of its first record; -1 if the broker didn't say. */
  readonly baseOffset: number
  /** -1 unless the topic's timestamps are set by the broker. */
  readonly logAppendTimeMs: number
}

/**
 * A batch that has been given sequence numbers.
 *
 * - `returned`: to be sent again.
 * - `refused`: out of order, though nothing before it is unresolved. If it is in the log, so is a later one.
 * - `tooLarge`: to be halved, once nothing of the partition is in flight.
 * - `splitting`: its halves are being made.
 * - `done`: in the log. It keeps its place until everything before it is resolved.
 * - `gap`: settled as failed; the log may have it.
 * - `missing`: settled as failed; the log does not have it, so no broker takes what has later numbers.
 */
type EntryState = 'inFlight' | 'returned' | 'refused' | 'tooLarge' | 'splitting' | 'done' | 'gap' | 'missing'

export interface Entry<B extends OutgoingBatch> {
  readonly batch: B
  baseSequence: number
  state: EntryState
  /** The round of its last sending. */
  round: number
  /** Some sending may have reached a broker. */
  wasWritten: boolean
  /** Some sending may have been applied. */
  isInDoubt: boolean
  /** Some sending ended without an answer: the broker may still be about to read it. */
  isUnanswered: boolean
}

export interface QueueSettings {
  readonly isIdempotent: boolean
  readonly isTransactional: boolean
}

/** How many batches of one producer a broker remembers for each partition. */
const REMEMBERED = 5
/** After this long a broker may have forgotten the producer, and then it accepts any sequence. */
const IDLE_MS = 1_000

const OUT_OF_ORDER = 45
const DUPLICATE = 46
const INVALID_PRODUCER_EPOCH = 47
const UNKNOWN_PRODUCER_ID = 59
const TOO_LARGE: ReadonlySet<number> = new Set([10, 18])
/** What may be wrong with one record of many: the batch is halved until that record is alone. */
const DIVISIBLE: ReadonlySet<number> = new Set([...TOO_LARGE, 32, 87])

const NO_IDENTITY: Identity = { producerId: -1n, producerEpoch: -1 }
const OFFSET_UNKNOWN: Confirmation = { baseOffset: -1, logAppendTimeMs: -1 }

export type Settle<B extends OutgoingBatch> = (batch: B, result: Confirmation | KafkaError) => void

/** What an answer means beyond the batch itself. */
export interface Verdict {
  /** The partition's batches have been returned because of this error; they go again after a pause. */
  readonly retry?: KafkaError
  /** The broker knows a newer epoch of this producer id. */
  readonly needsNewId?: boolean
  /** More bytes than the topic takes in one batch. */
  readonly tooLarge?: number
}

const NOTHING: Verdict = {}

/**
 * The batches of one partition, from the moment they are opened until they are settled. It decides which one may be sent next, and what
 * an answer says about it and the others, so that the log has each confirmed batch once, in order. Pure.
 */
export class PartitionQueue<B extends OutgoingBatch> {
  readonly topic: string
  readonly partition: number
  readonly #settings: QueueSettings
  readonly #settle: Settle<B>
  readonly #what: string
  #window: Entry<B>[] = []
  #unsent: B[] = []
  #identity: Identity = NO_IDENTITY
  #nextSequence = 0
  #inFlight = 0
  /** Where the batches in flight are. */
  #broker = -1
  /** Increases with each failure: an answer to an earlier round says nothing about this one. */
  #round = 0
  /** Why something had to be repeated, since the last success. */
  #lastError: KafkaError | undefined
  /** A batch of this round has succeeded: several may be in flight. */
  #isProven = false
  #provenAt = -Infinity
  /** Everything fails for this reason, until nothing is in flight. */
  #abandoned: KafkaError | undefined
  /** The topic is another one than that of the batches in flight. */
  #isNewLog = false
  failures = 0
  retryAt: number = -Infinity

  constructor(topic: string, partition: number, settings: QueueSettings, settle: Settle<B>) {
    this.topic = topic
    this.partition = partition
    this.#settings = settings
    this.#settle = settle
    this.#what = `Produce to ${topic}[${partition}]`
  }

  get inFlight(): number {
    return this.#inFlight
  }

  get identity(): Identity {
    return this.#identity
  }

  /** Nothing is left to settle. */
  get isEmpty(): boolean {
    return this.#unsent.length === 0 && this.#window.every(isSettled)
  }

  /** The batch that has the oldest deadline of those that can be given up now; Infinity if there is none. */
  get deadline(): number {
    let deadline = this.#unsent[0]?.deadline ?? Infinity
    for (const { state, batch } of this.#window) {
      if (isWaiting(state)) deadline = Math.min(deadline, batch.deadline)
    }
    return deadline
  }

  /** When the oldest batch that has not been sent may go; Infinity if there is none. */
  get readyAt(): number {
    const first = this.#unsent[0]
    return first === undefined ? Infinity : this.#unsent.length > 1 ? -Infinity : first.readyAt
  }

  add(batch: B): void {
    this.#unsent.push(batch)
  }

  /**
   * Whether a batch may be sent to `leader` now. What was sent to another broker must be answered first, or its connection ended:
   * otherwise the new leader could see a later batch before an earlier one.
   */
  canSend(leader: number, now: number, current: Identity | undefined): boolean {
    if (this.#inFlight > 0 && this.#broker !== leader) return false
    if (now < this.retryAt || this.#abandoned !== undefined) return false
    if (this.#inFlight >= (this.#isProven ? REMEMBERED : 1)) return false
    if (this.#isSplitting || (this.#isMissing && !this.#isDrained)) return false
    const again = this.#window.findIndex(({ state }) => state === 'returned')
    if (again >= 0) return again - this.#firstUnsettled < REMEMBERED
    if (this.readyAt > now) return false
    if (!this.#settings.isIdempotent) return true
    if (this.#isDrained && this.#identity !== current) return current !== undefined
    // A number that may be missing: the next one shows whether it is.
    if (this.#inFlight > 0 && this.#has('gap')) return false
    return this.#window.length - this.#firstUnsettled < REMEMBERED && !this.#has('refused')
  }

  /** The next batch, after `canSend`. `close` ends its growth before it gets its numbers. */
  send(broker: number, now: number, current: Identity | undefined, close: (batch: B) => void): Entry<B> {
    const entry = this.#window.find(({ state }) => state === 'returned') ?? this.#number(now, current, close)
    entry.state = 'inFlight'
    entry.round = this.#round
    entry.wasWritten = true
    this.#inFlight++
    this.#broker = broker
    return entry
  }

  #number(now: number, current: Identity | undefined, close: (batch: B) => void): Entry<B> {
    const batch = this.#unsent.shift()
    if (batch === undefined) throw new Error(`${this.#what}: nothing to send`)
    close(batch)
    if (this.#isDrained && this.#identity !== current && current !== undefined) this.#restart(current)
    if (this.#window.length === 0 && now - this.#provenAt > IDLE_MS) this.#isProven = false
    const entry = entryOf(batch, this.#nextSequence)
    this.#nextSequence = sequenceAfter(this.#nextSequence, batch.count)
    this.#window.push(entry)
    return entry
  }

  answered(entry: Entry<B>, answer: BatchAnswer, now: number): Verdict {
    this.#inFlight--
    const verdict = this.#apply(entry, answer, now)
    this.#afterAnswer()
    return verdict
  }

  #apply(entry: Entry<B>, answer: BatchAnswer, now: number): Verdict {
    const { errorCode } = answer
    if (errorCode === 0) return this.#succeeded(entry, answer, now)
    if (errorCode === DUPLICATE) return this.#succeeded(entry, OFFSET_UNKNOWN, now)
    const error = errorFromBroker(errorCode, this.#what, answer.errorMessage)
    if (this.#abandoned !== undefined) return this.#fail(entry, this.#abandoned, outcomeOf(entry, error))
    const { isTransactional } = this.#settings
    const isOfProducer = error.action === 'fenced' || error.action === 'abort'
    if (isSequenceError(errorCode) && !(isTransactional && isOfProducer)) {
      if (!this.#isNext(entry)) return this.#return(entry, error, now)
      if (isTransactional) return this.#fail(entry, error, outcomeOf(entry, error))
      entry.state = 'refused'
      return errorCode === INVALID_PRODUCER_EPOCH ? { needsNewId: true } : NOTHING
    }
    if (DIVISIBLE.has(errorCode) && entry.batch.count > 1) {
      entry.state = 'tooLarge'
      if (entry.batch.deadline <= now) this.#expire(entry)
      return TOO_LARGE.has(errorCode) ? { tooLarge: entry.batch.size } : NOTHING
    }
    if (!error.retriable) return this.#fail(entry, error, outcomeOf(entry, error))
    if (error.outcome === 'unknown') entry.isInDoubt = true
    return this.#return(entry, error, now)
  }

  /** The request ended without an answer. */
  lost(entry: Entry<B>, error: KafkaError, now: number): Verdict {
    this.#inFlight--
    let verdict = NOTHING
    if (error.outcome === 'not-sent') {
      // What was never written needs no answer; the wish to write it says nothing.
      entry.wasWritten = entry.isInDoubt || entry.isUnanswered
    } else entry.isInDoubt = entry.isUnanswered = true
    if (this.#abandoned !== undefined) this.#fail(entry, this.#abandoned, outcomeOf(entry, error))
    else if (error.action === 'fatal') this.#fail(entry, error, outcomeOf(entry, error))
    else verdict = this.#return(entry, error, now)
    this.#unnumber()
    this.#afterAnswer()
    return verdict
  }

  /** The batch that is to be halved now; `split` or `notSplit` must follow. */
  takeToSplit(): Entry<B> | undefined {
    if (this.#inFlight > 0) return undefined
    const entry = this.#window.find(({ state }) => state === 'tooLarge')
    if (entry !== undefined) entry.state = 'splitting'
    return entry
  }

  /** The halves have the numbers of the whole. */
  split(entry: Entry<B>, halves: readonly B[]): void {
    let sequence = entry.baseSequence
    const entries = halves.map((batch): Entry<B> => {
      const half = { ...entry, batch, baseSequence: sequence, state: 'returned' as const }
      sequence = sequenceAfter(sequence, batch.count)
      return half
    })
    this.#window.splice(this.#window.indexOf(entry), 1, ...entries)
    if (this.#abandoned !== undefined) this.abandon(this.#abandoned)
  }

  /** It can't be halved, so it fails as a whole. */
  notSplit(entry: Entry<B>, error: KafkaError): void {
    this.#fail(entry, this.#abandoned ?? error, outcomeOf(entry, undefined))
    this.#afterAnswer()
  }

  /** Whether the next number, or one that waits, would be refused. Nothing can be sent before `renumber`. */
  get hasGap(): boolean {
    const { isIdempotent, isTransactional } = this.#settings
    if (!isIdempotent || isTransactional || this.#inFlight > 0 || this.#isSplitting) return false
    return this.#isMissing || (this.#has('refused') && !this.#has('returned'))
  }

  /**
   * Numbers everything again, from 0, for a new epoch. What may still be applied under its old number ends as `unknown`: with a new
   * one it could be in the log twice.
   */
  renumber(identity: Identity): void {
    const isSafe = this.#isMissing
    const entries = this.#window.filter((entry) => !isSettled(entry))
    this.#restart(identity)
    for (const { batch, isUnanswered } of entries) {
      if (isUnanswered && !isSafe) {
        this.#settle(batch, withOutcome(errorFromBroker(OUT_OF_ORDER, this.#what), 'unknown'))
        continue
      }
      this.#window.push({ ...entryOf(batch, this.#nextSequence), state: 'returned' })
      this.#nextSequence = sequenceAfter(this.#nextSequence, batch.count)
    }
  }

  /** Gives up what is past its deadline. */
  expire(now: number): void {
    for (const entry of this.#window) {
      if (isWaiting(entry.state) && entry.batch.deadline <= now) this.#expire(entry)
    }
    this.#trim()
    while ((this.#unsent[0]?.deadline ?? Infinity) <= now) {
      const batch = this.#unsent.shift()
      if (batch !== undefined) this.#settle(batch, timedOut(this.#what, 'not-sent', this.#lastError))
    }
  }

  /** The topic has been deleted and made again: everything fails, and the numbers start again. */
  abandonLog(error: KafkaError): void {
    this.#isNewLog = true
    this.abandon(error)
  }

  /**
   * Fails everything: what is in flight when its request ends, the rest at once. The numbers go on: with those that were used already, the
   * broker would take what comes next for a repetition.
   */
  abandon(error: KafkaError): void {
    this.#abandoned = error
    for (const entry of this.#window) {
      if (entry.state === 'inFlight' || entry.state === 'splitting' || isSettled(entry)) continue
      this.#fail(entry, error, outcomeOf(entry, undefined))
    }
    for (const batch of this.#unsent.splice(0)) this.#settle(batch, withOutcome(error, 'not-sent'))
    this.#afterAnswer()
  }

  get #isDrained(): boolean {
    return this.#inFlight === 0 && this.#window.every(isSettled)
  }

  /** Brokers remember what follows it: what is before it is not sent again. */
  get #firstUnsettled(): number {
    const first = this.#window.findIndex((entry) => !isSettled(entry))
    return first < 0 ? this.#window.length : first
  }

  /** A number before everything unsettled is missing for sure. */
  get #isMissing(): boolean {
    const missing = this.#window.findIndex(({ state }) => state === 'missing')
    return missing >= 0 && missing < this.#firstUnsettled
  }

  get #isSplitting(): boolean {
    return this.#has('tooLarge') || this.#has('splitting')
  }

  #has(state: EntryState): boolean {
    return this.#window.some((entry) => entry.state === state)
  }

  /** Nothing before it is unresolved. */
  #isNext(entry: Entry<B>): boolean {
    for (const earlier of this.#window) {
      if (earlier === entry) return true
      if (!isSettled(earlier) && earlier.state !== 'refused') return false
    }
    return true
  }

  #succeeded(entry: Entry<B>, confirmation: Confirmation, now: number): Verdict {
    entry.state = 'done'
    this.#lastError = undefined
    for (const earlier of this.#window) {
      if (earlier === entry) break
      this.#resolveEarlier(earlier)
    }
    if (entry.round === this.#round) {
      // Without numbers, the order is kept only by one batch at a time.
      this.#isProven = this.#settings.isIdempotent
      this.#provenAt = now
      this.failures = 0
    }
    this.#settle(entry.batch, confirmation)
    return NOTHING
  }

  /**
   * A later batch is in the log. A broker takes a number only after the one before it, so what was on the wire just before it is there
   * too: its answer said that the replicas were late. What has been refused since may be there, and the broker has forgotten it; or the
   * broker has forgotten everything, and takes any number.
   */
  #resolveEarlier(entry: Entry<B>): void {
    if (entry.state === 'returned' && entry.isInDoubt) this.#settle(entry.batch, OFFSET_UNKNOWN)
    else if (entry.state === 'refused') this.#failRefused(entry)
    else if (entry.state !== 'gap' && entry.state !== 'missing') return
    entry.state = 'done'
  }

  #failRefused({ batch, isInDoubt }: Entry<B>): void {
    const error = errorFromBroker(OUT_OF_ORDER, this.#what)
    this.#settle(batch, isInDoubt ? withOutcome(error, 'unknown') : error)
  }

  #return(entry: Entry<B>, error: KafkaError, now: number): Verdict {
    entry.state = 'returned'
    this.#lastError = error
    const isFirst = entry.round === this.#round
    if (isFirst) {
      this.#round++
      this.#isProven = false
    }
    if (entry.batch.deadline <= now) this.#expire(entry)
    return isFirst ? { retry: error } : NOTHING
  }

  #expire(entry: Entry<B>): void {
    this.#fail(entry, timedOut(this.#what, 'unknown', this.#lastError), outcomeOf(entry, undefined))
  }

  #fail(entry: Entry<B>, error: KafkaError, outcome: WriteOutcome): Verdict {
    entry.state = outcome === 'unknown' ? 'gap' : 'missing'
    this.#settle(entry.batch, error.outcome === outcome ? error : withOutcome(error, outcome))
    if (entry.state === 'missing' && this.#window.at(-1) === entry) {
      // Nothing with later numbers was sent: the next batch takes these.
      this.#window.pop()
      this.#nextSequence = entry.baseSequence
    }
    return NOTHING
  }

  /** Takes back the numbers of what was never written: it is as if it had not been sent. */
  #unnumber(): void {
    for (;;) {
      const last = this.#window.at(-1)
      if (last === undefined || last.state !== 'returned' || last.wasWritten) return
      this.#window.pop()
      this.#nextSequence = last.baseSequence
      this.#unsent.unshift(last.batch)
    }
  }

  #afterAnswer(): void {
    this.#trim()
    if (this.#abandoned === undefined || this.#inFlight > 0 || this.#has('splitting')) return
    this.#abandoned = undefined
    if (this.#isNewLog) this.#restart(this.#identity)
    this.#isNewLog = false
  }

  #trim(): void {
    const { isIdempotent } = this.#settings
    const first = this.#window.findIndex((entry) => (isIdempotent ? entry.state !== 'done' : !isSettled(entry)))
    this.#window.splice(0, first < 0 ? this.#window.length : first)
  }

  #restart(identity: Identity): void {
    this.#identity = identity
    this.#window = []
    this.#nextSequence = 0
    this.#isProven = false
    this.#round++
  }
}

/** 31 bits, then from 0 again. */
function sequenceAfter(sequence: number, count: number): number {
  return (sequence + count) % 2_147_483_648
}

function entryOf<B extends OutgoingBatch>(batch: B, baseSequence: number): Entry<B> {
  return { batch, baseSequence, state: 'inFlight', round: 0, wasWritten: false, isInDoubt: false, isUnanswered: false }
}

function isSettled({ state }: Entry<OutgoingBatch>): boolean {
  return state === 'done' || state === 'gap' || state === 'missing'
}

/** Can be given up at once. */
function isWaiting(state: EntryState): boolean {
  return state === 'returned' || state === 'refused' || state === 'tooLarge'
}

function isSequenceError(code: number): boolean {
  return code === OUT_OF_ORDER || code === UNKNOWN_PRODUCER_ID || code === INVALID_PRODUCER_EPOCH
}

/** A doubt about an earlier sending outlives what is known about the last one. */
function outcomeOf(entry: Entry<OutgoingBatch>, error: KafkaError | undefined): WriteOutcome {
  if (entry.isInDoubt || error?.outcome === 'unknown') return 'unknown'
  return entry.wasWritten ? 'rejected' : 'not-sent'
}

/** `last`: why it had to be repeated. */
function timedOut(what: string, outcome: WriteOutcome, last: KafkaError | undefined): KafkaError {
  const why = last === undefined ? '' : `; the last error: ${last.message}`
  const message = `${what} was not confirmed within the delivery timeout${why}`
  return new KafkaError(message, { code: 'DELIVERY_TIMEOUT', action: 'retry', outcome, cause: last })
}
