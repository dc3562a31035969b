// Longer than most files: the buffer's size, the order of its entries and their deadlines must agree at every step.
import { outsideHandlers } from '../causality.ts'
import { formatMs } from '../clock.ts'
import type { Clock } from '../clock.ts'
import { Deadline } from '../util/deadlines.ts'
import type { Deadlines } from '../util/deadlines.ts'
import { PublishError, StateError, TimeoutError, UnsupportedError } from '../errors.ts'
import type { PublishFailure } from '../errors.ts'
import type { BusEvents } from '../events.ts'
import type { EncodedMessage, OutgoingMessage, Position } from '../message.ts'
import { messageBytes } from '../message.ts'
import type { Observers } from '../observers.ts'
import { PublishCounts } from './publish-counts.ts'
import { PublishSequence } from './publish-sequence.ts'
import { Queue } from '../util/queue.ts'
import { tooLarge } from './size-limit.ts'
import { identityOf } from '../transport-identity.ts'
import type { PublishOutcome, Transport, TransportIdentity } from '../transport.ts'

export interface ResolvedPublisherOptions {
  readonly deliveryTimeoutMs: number
  readonly maxBufferedBytes: number
  readonly maxBatchSize: number
}

export const PUBLISHER_DEFAULTS: ResolvedPublisherOptions = Object.freeze({
  deliveryTimeoutMs: 30_000,
  maxBufferedBytes: 67_108_864,
  maxBatchSize: 1_000,
})

/** Messages of one call that wait for their outcomes: one for `publish`, up to a batch for `publishMany`. */
class Entry {
  readonly messages: readonly OutgoingMessage[]
  readonly bytes: number
  readonly deadlineAt: number
  readonly settle: (index: number, position: Position | undefined, error: PublishError | undefined) => void
  state: 'waiting' | 'sent' | 'settled' = 'waiting'
  /** The batch in which it was passed to the transport. */
  batch: Batch | undefined
  /** Set when its caller no longer waits: the error it fails with unless the transport knows that it was not sent. */
  givenUp: PublishError | undefined
  /** Number of messages the transport has answered, in order. All of them have their outcome, except those in `late`. */
  answered = 0
  /** Indexes of messages whose outcome is a pending promise. */
  late: Set<number> | undefined

  constructor(messages: readonly OutgoingMessage[], bytes: number, deadlineAt: number, settle: Entry['settle']) {
    this.messages = messages
    this.bytes = bytes
    this.deadlineAt = deadlineAt
    this.settle = settle
  }

  /** Fails all messages without an outcome, and reports each. */
  fail(error: PublishError, report: (message: OutgoingMessage, error: PublishError) => void): void {
    if (this.state === 'settled') return
    this.state = 'settled'
    for (let index = 0; index < this.messages.length; index++) {
      if (index < this.answered && this.late?.has(index) !== true) continue
      this.batch?.failures?.set(this.messages[index] as OutgoingMessage, error)
      report(this.messages[index] as OutgoingMessage, error)
      this.settle(index, undefined, error)
    }
  }
}

/** Results of the messages of one topic in one batch. */
interface Tally {
  count: number
  failed: number
  bytes: number
}

/** What the transport gets in one call. */
interface Batch {
  readonly entries: readonly Entry[]
  readonly controller: AbortController
  readonly deadline: Deadline
  /** By topic; only if there is a listener for `published`. */
  readonly tallies: Map<string, Tally> | undefined
  /** Failed messages; only with an observer. */
  failures: Map<EncodedMessage, PublishError> | undefined
  /** Set when some of its entries were given up: why the last of them was. */
  givenUp: { readonly reason: unknown } | undefined
}

const NO_FAILURES: ReadonlyMap<EncodedMessage, PublishError> = new Map()

/** Entries of one batch whose deadlines are this close together are given up together. */
const SAME_DEADLINE_MS = 20

/**
 * Sends all messages of one transport. Calls in one turn of the event loop become one batch, without a timer. Unconfirmed bytes
 * are bounded, and every message is settled by its deadline, whatever the transport does.
 */
export class Publisher {
  readonly #name: string
  readonly #transport: Transport
  /** Null data is sent as a message without a body. */
  readonly hasTombstones: boolean
  readonly #options: ResolvedPublisherOptions
  readonly #clock: Clock
  readonly #events: BusEvents
  readonly #observers: Observers
  readonly identity: TransportIdentity
  readonly #deadlines: Deadlines
  /** Not yet passed to the transport, in order of the calls. Above the byte limit they wait here. */
  readonly #queue = new Queue<Entry>()
  readonly #queueDeadline: Deadline
  /** Earliest deadline in the queue. Not always that of the head: a call that waited for a schema started earlier. */
  #queueDueAt = Infinity
  /** Calls that are with a schema or a middleware: their own, or that of an earlier call for their topic. */
  readonly sequence: PublishSequence
  readonly counts: PublishCounts = new PublishCounts()
  #bufferedBytes = 0
  /** Batches that the transport has not answered. */
  readonly #sent = new Set<Batch>()
  readonly #reportFailed = (message: OutgoingMessage, error: PublishError): void => {
    this.counts.of(message.topic).failed++
    if (this.#events.wants('publishFailed'))
      this.#events.emit('publishFailed', { transport: this.#name, message, error })
  }
  readonly #scheduleFlush = (): void => process.nextTick(() => this.#flush())
  #flushing = false
  #full = false
  #closed = false
  #idle: (() => void)[] = []

  constructor(parts: {
    name: string
    transport: Transport
    options: ResolvedPublisherOptions
    clock: Clock
    events: BusEvents
    observers: Observers
    deadlines: Deadlines
  }) {
    this.#name = parts.name
    this.#transport = parts.transport
    this.hasTombstones = parts.transport.capabilities.tombstones
    this.#options = parts.options
    this.#clock = parts.clock
    this.#events = parts.events
    this.#observers = parts.observers
    this.identity = identityOf(parts.name, parts.transport)
    this.#deadlines = parts.deadlines
    this.#queueDeadline = new Deadline(() => this.#expireQueue())
    this.sequence = new PublishSequence(() => this.#notifyIdle())
  }

  /** Bytes passed to the transport and not yet confirmed. */
  get bufferedBytes(): number {
    return this.#bufferedBytes
  }

  /** The message, or throws why the transport can't carry it. */
  readonly accept = (message: OutgoingMessage): OutgoingMessage => {
    const refusal = this.#refusalOf(message)
    if (refusal !== undefined) throw refusal
    return message
  }

  /**
   * Why the transport can't carry the message, before anything is sent: `PublishError` when it is too large, `UnsupportedError`
   * when it has a delay and the transport can't delay, or no body and the transport can't do without. Undefined when it can.
   */
  #refusalOf(message: OutgoingMessage): PublishError | UnsupportedError | undefined {
    const { capabilities, system } = this.#transport
    if (message.deliverAt !== undefined && capabilities.delay === 'none')
      return new UnsupportedError(
        `${system} can't delay messages: publish to "${message.topic}" when it is due, or use another transport`,
      )
    if (message.body === null && !capabilities.tombstones)
      return new UnsupportedError(
        `${system} can't carry a message without a body (a tombstone), as the one for "${message.topic}" is: publish null data, which it sends as the codec writes it, or use another transport`,
      )
    return tooLarge(message, capabilities.maxMessageBytes, system)
  }

  /**
   * Sends messages in order; calls `settle` once for each index. An aborted signal ends the wait: `not-sent` for messages still
   * in this process, `unknown` for those the transport has, unless it knows that they were not sent. `startedAt` is when a call
   * that had to wait its turn was made (`clock.monotonic()`): its deadline counts from there.
   */
  send(
    messages: readonly OutgoingMessage[],
    signal: AbortSignal | undefined,
    settle: Entry['settle'],
    startedAt: number = this.#clock.monotonic(),
  ): void {
    const size = this.#options.maxBatchSize
    for (let start = 0; start < messages.length; start += size) {
      const chunk = start === 0 && messages.length <= size ? messages : messages.slice(start, start + size)
      this.#enqueue(
        chunk,
        signal,
        startedAt,
        start === 0 ? settle : (index, position, error) => settle(start + index, position, error),
      )
    }
  }

  #enqueue(
    messages: readonly OutgoingMessage[],
    signal: AbortSignal | undefined,
    startedAt: number,
    settle: Entry['settle'],
  ): void {
    let bytes = 0
    for (const message of messages) bytes += messageBytes(message)
    const entry = new Entry(messages, bytes, startedAt + this.#options.deliveryTimeoutMs, settle)
    if (this.#closed) return entry.fail(closedError('not-sent'), this.#reportFailed)
    if (signal !== undefined && !this.#watch(entry, signal)) return
    this.#queue.push(entry)
    this.#queueDueAt = Math.min(this.#queueDueAt, entry.deadlineAt)
    if (this.#flushing) return
    this.#flushing = true
    // Runs after the microtasks of this turn, so that their publish calls still join the batch.
    outsideHandlers(this.#scheduleFlush)
  }

  #watch(entry: Entry, signal: AbortSignal): boolean {
    const abort = (): void => {
      const outcome = entry.state === 'waiting' ? 'not-sent' : 'unknown'
      const error = new PublishError(`Publishing to "${topicOf(entry)}" was aborted (${outcome})`, {
        outcome,
        cause: signal.reason,
      })
      if (entry.batch === undefined) entry.fail(error, this.#reportFailed)
      else this.#giveUp(entry.batch, [entry], () => error, signal.reason)
    }
    if (signal.aborted) {
      abort()
      return false
    }
    signal.addEventListener('abort', abort, { once: true })
    let open = entry.messages.length
    const settle = entry.settle
    ;(entry as { settle: Entry['settle'] }).settle = (index, position, error) => {
      if (--open === 0) signal.removeEventListener('abort', abort)
      settle(index, position, error)
    }
    return true
  }

  #flush(): void {
    this.#flushing = false
    const { maxBatchSize, maxBufferedBytes } = this.#options
    while (this.#queue.size > 0) {
      const entries: Entry[] = []
      let count = 0
      let bytes = 0
      let deadlineAt = Infinity
      for (let entry = this.#queue.peek(); entry !== undefined; entry = this.#queue.peek()) {
        if (entry.state === 'settled') {
          this.#queue.shift()
          continue
        }
        if (count > 0 && count + entry.messages.length > maxBatchSize) break
        // A single entry always fits when nothing else is buffered, however large it is.
        if (this.#bufferedBytes + bytes > 0 && this.#bufferedBytes + bytes + entry.bytes > maxBufferedBytes) break
        this.#queue.shift()
        entry.state = 'sent'
        entries.push(entry)
        count += entry.messages.length
        bytes += entry.bytes
        deadlineAt = Math.min(deadlineAt, entry.deadlineAt)
      }
      if (entries.length === 0) break
      this.#dispatch(entries, bytes, deadlineAt)
    }
    this.#watchQueue()
  }

  /** Reports entries that wait for room, and gives them up at their deadline. */
  #watchQueue(): void {
    const full = this.#queue.size > 0
    if (full && !this.#full) {
      this.#events.emit('bufferFull', {
        transport: this.#name,
        bufferedBytes: this.#bufferedBytes,
        maxBufferedBytes: this.#options.maxBufferedBytes,
      })
    }
    this.#full = full
    if (full) this.#deadlines.set(this.#queueDeadline, Math.max(0, this.#queueDueAt - this.#clock.monotonic()))
    else {
      this.#queueDueAt = Infinity
      this.#deadlines.clear(this.#queueDeadline)
      this.#notifyIdle()
    }
  }

  #expireQueue(): void {
    const now = this.#clock.monotonic()
    const expired: Entry[] = []
    this.#queueDueAt = Infinity
    for (const entry of this.#queue) {
      if (entry.state === 'settled') continue
      if (entry.deadlineAt <= now) expired.push(entry)
      else this.#queueDueAt = Math.min(this.#queueDueAt, entry.deadlineAt)
    }
    for (const entry of expired)
      entry.fail(
        new PublishError(
          `Publishing to "${topicOf(entry)}" found no room for ${this.#options.deliveryTimeoutMs} ms: ${this.#bufferedBytes} bytes wait for transport "${this.#name}". It was not sent.`,
          { outcome: 'not-sent', retryable: true },
        ),
        this.#reportFailed,
      )
    this.#flush()
  }

  #dispatch(entries: readonly Entry[], bytes: number, deadlineAt: number): void {
    const messages = entries.length === 1 ? (entries[0] as Entry).messages : messagesOf(entries)
    this.#bufferedBytes += bytes
    const startedAt = this.#clock.monotonic()
    const batch: Batch = {
      entries,
      controller: new AbortController(),
      deadline: new Deadline(() => this.#expireSent(batch)),
      tallies: this.#events.wants('published') ? new Map() : undefined,
      failures: undefined,
      givenUp: undefined,
    }
    const observation = this.#observers.start('publish', { transport: this.identity, messages })
    if (observation !== undefined) batch.failures = new Map()
    for (const entry of entries) entry.batch = batch
    this.#sent.add(batch)
    this.#deadlines.set(batch.deadline, Math.max(0, deadlineAt - startedAt))
    const finish = (): void => {
      this.#deadlines.clear(batch.deadline)
      this.#bufferedBytes -= bytes
      this.#sent.delete(batch)
      if (observation !== undefined)
        this.#observers.end(observation, {
          durationMs: this.#clock.monotonic() - startedAt,
          failures: batch.failures ?? NO_FAILURES,
        })
      if (batch.tallies !== undefined) this.#reportPublished(batch.tallies, this.#clock.monotonic() - startedAt)
      if (this.#queue.size > 0 && !this.#flushing) this.#flush()
      else this.#notifyIdle()
    }
    this.#publish(messages, batch).then(finish, (error: unknown) => {
      // Only a broken transport rejects; then no outcome of the batch is certain.
      for (const entry of entries) entry.fail(brokenTransport(this.#name, error), this.#reportFailed)
      finish()
    })
  }

  /** Settles each message as soon as the transport reports its outcome; resolves when all are settled. */
  async #publish(messages: readonly OutgoingMessage[], batch: Batch): Promise<void> {
    const outcomes = await this.#transport.publish(messages, { signal: batch.controller.signal })
    let late: Promise<void>[] | undefined
    let at = 0
    for (const entry of batch.entries) {
      const first = at
      at += entry.messages.length
      for (let index = 0; index < entry.messages.length; index++) {
        // Its deadline or its signal came first.
        if (entry.state === 'settled') {
          this.#count(batch, entry.messages[index] as OutgoingMessage, false)
          continue
        }
        entry.answered = index + 1
        const outcome = outcomes[first + index]
        if (outcome instanceof Promise) (late ??= []).push(this.#settleLate(batch, entry, index, outcome))
        else this.#settleOne(batch, entry, index, outcome, undefined)
      }
      if (entry.late === undefined) entry.state = 'settled'
    }
    if (late === undefined) return
    this.#endIfOver(batch)
    await Promise.all(late)
  }

  async #settleLate(batch: Batch, entry: Entry, index: number, pending: Promise<PublishOutcome>): Promise<void> {
    const open = (entry.late ??= new Set())
    open.add(index)
    let outcome: PublishOutcome | undefined
    let failure: unknown
    try {
      outcome = await pending
    } catch (error) {
      failure = error
    }
    if (entry.state === 'settled') return this.#count(batch, entry.messages[index] as OutgoingMessage, false)
    open.delete(index)
    if (open.size === 0) entry.state = 'settled'
    this.#settleOne(batch, entry, index, outcome, failure)
    this.#endIfOver(batch)
  }

  #settleOne(batch: Batch, entry: Entry, index: number, outcome: PublishOutcome | undefined, failure: unknown): void {
    let error = outcome === undefined ? brokenTransport(this.#name, failure) : outcome.error
    if (error?.outcome === 'unknown') error = entry.givenUp ?? error
    else if (error !== undefined && this.#isLate(entry) && !this.#transport.health().connected)
      error = this.#expired(entry, 'not-sent', error)
    const message = entry.messages[index] as OutgoingMessage
    if (batch.tallies !== undefined) this.#count(batch, message, error === undefined)
    if (error === undefined) this.counts.of(message.topic).confirmed++
    else {
      batch.failures?.set(message, error)
      this.#reportFailed(message, error)
    }
    entry.settle(index, outcome?.position, error)
  }

  #count({ tallies }: Batch, message: OutgoingMessage, confirmed: boolean): void {
    if (tallies === undefined) return
    let tally = tallies.get(message.topic)
    if (tally === undefined) tallies.set(message.topic, (tally = { count: 0, failed: 0, bytes: 0 }))
    if (confirmed) {
      tally.count++
      tally.bytes += messageBytes(message)
    } else tally.failed++
  }

  #reportPublished(tallies: ReadonlyMap<string, Tally>, durationMs: number): void {
    for (const [topic, { count, failed, bytes }] of tallies)
      if (count > 0) this.#events.emit('published', { transport: this.#name, topic, count, failed, bytes, durationMs })
  }

  /** Gives up entries that the transport still has, but whose deadline has passed. */
  #expireSent(batch: Batch): void {
    const { entries, deadline } = batch
    const now = this.#clock.monotonic()
    let [next, last] = [Infinity, 0]
    for (const entry of entries) {
      if (entry.state === 'settled') continue
      if (entry.deadlineAt > now) next = Math.min(next, entry.deadlineAt)
      last = Math.max(last, entry.deadlineAt)
    }
    if (next < Infinity && last - now <= SAME_DEADLINE_MS) {
      this.#deadlines.set(deadline, last - now)
      return
    }
    const late = entries.filter(({ deadlineAt }) => deadlineAt <= now)
    const reason = `The delivery timeout of ${this.#options.deliveryTimeoutMs} ms has passed`
    this.#giveUp(batch, late, (entry) => this.#expired(entry, 'unknown'), new TimeoutError(reason))
    if (next < Infinity) this.#deadlines.set(deadline, next - now)
  }

  #isLate({ givenUp, deadlineAt }: Entry): boolean {
    return givenUp !== undefined && deadlineAt <= this.#clock.monotonic()
  }

  #expired(entry: Entry, outcome: PublishFailure, cause?: PublishError): PublishError {
    const { connected, detail } = this.#transport.health()
    const reason = connected ? 'got no answer' : `is not connected${detail === undefined ? '' : `, ${detail}`}`
    return new PublishError(
      `Publishing to "${topicOf(entry)}" was not confirmed within ${formatMs(this.#options.deliveryTimeoutMs)} (publish.deliveryTimeoutMs): transport "${this.#name}" (${this.#transport.system}) ${reason}. ${outcome === 'not-sent' ? 'It was not sent.' : 'The broker may have it.'}`,
      { outcome, retryable: true, cause },
    )
  }

  /**
   * Ends the wait for these entries. The transport is notified when no caller waits for the batch any more, and has the rest of
   * the turn to report what it certainly did not send. A transport that reports nothing delays no caller.
   */
  #giveUp(batch: Batch, late: readonly Entry[], errorOf: (entry: Entry) => PublishError, reason: unknown): void {
    for (const entry of late) entry.givenUp ??= errorOf(entry)
    batch.givenUp = { reason }
    if (this.#endIfOver(batch)) return
    setImmediate(() => {
      // The batch is over since: that has given the transport its time.
      if (!batch.controller.signal.aborted) this.#failGivenUp(batch)
    })
  }

  /** True when no caller waits for the batch any more, at least one because it was given up. */
  #endIfOver(batch: Batch): boolean {
    const { controller, entries, givenUp } = batch
    if (givenUp === undefined) return false
    if (controller.signal.aborted) return true
    if (entries.some((entry) => entry.state !== 'settled' && entry.givenUp === undefined)) return false
    controller.abort(givenUp.reason)
    setImmediate(() => this.#failGivenUp(batch))
    return true
  }

  #failGivenUp({ entries }: Batch): void {
    for (const entry of entries) if (entry.givenUp !== undefined) entry.fail(entry.givenUp, this.#reportFailed)
  }

  /** Resolves when no message waits. The deadlines guarantee that it does. */
  flush(): Promise<void> {
    if (this.#isIdle) return Promise.resolve()
    return new Promise((resolve) => this.#idle.push(resolve))
  }

  /** Refuses new messages and fails all unconfirmed ones; call `flush` first to leave none. Resolves when all have failed. */
  async close(): Promise<void> {
    this.#closed = true
    this.#deadlines.clear(this.#queueDeadline)
    for (const entry of this.#queue.drain()) entry.fail(closedError('not-sent'), this.#reportFailed)
    if (!this.#isIdle) {
      for (const batch of this.#sent)
        this.#giveUp(batch, batch.entries, () => closedError('unknown'), closedError('unknown'))
      // Runs after the callbacks of `giveUp`, and after middleware that only had to pass on what became of its messages.
      await new Promise((resolve) => {
        setImmediate(resolve)
      })
      this.sequence.close()
    }
    this.#notifyIdle()
  }

  get #isIdle(): boolean {
    return this.#sent.size === 0 && this.#queue.size === 0 && this.sequence.isIdle
  }

  #notifyIdle(): void {
    if (!this.#isIdle) return
    const idle = this.#idle
    this.#idle = []
    for (const resolve of idle) resolve()
  }
}

function messagesOf(entries: readonly Entry[]): OutgoingMessage[] {
  // Not flatMap: with a thousand calls of one message each, it takes several times as long.
  const all: OutgoingMessage[] = []
  for (const { messages } of entries) for (const message of messages) all.push(message)
  return all
}

function topicOf(entry: Entry): string {
  return entry.messages[0]?.topic ?? ''
}

export function closedError(outcome: PublishFailure): PublishError {
  const fate =
    outcome === 'not-sent' ? 'before the message was sent' : 'before the broker confirmed the message; it may have it'
  return new PublishError(`The bus was closed ${fate}`, { outcome, cause: new StateError('The bus is closed') })
}

/** A transport whose `publish` rejects, or returns too few outcomes, breaks the contract; its messages must not hang. */
function brokenTransport(name: string, failure: unknown): PublishError {
  if (failure instanceof PublishError) return failure
  const detail = failure instanceof Error ? failure.message : 'it gave no outcome for the message'
  return new PublishError(`Transport "${name}" failed while publishing: ${detail}`, {
    outcome: 'unknown',
    cause: failure,
  })
}
