import { outsideHandlers } from '../causality.ts'
import type { Clock } from '../clock.ts'
import { ConfigurationError, UnsupportedError } from '../errors.ts'
import type { PublishError } from '../errors.ts'
import type { BusEvents } from '../events.ts'
import type { OutgoingMessage } from '../message.ts'
import { messageBytes } from '../message.ts'
import type { Observers } from '../observers.ts'
import { identityOf } from '../transport-identity.ts'
import type { Transport, TransportIdentity } from '../transport.ts'
import { Deadline } from '../util/deadlines.ts'
import type { Deadlines } from '../util/deadlines.ts'
import { Queue } from '../util/queue.ts'
import { Entry } from './batch.ts'
import type { SettleMessage } from './batch.ts'
import { InFlight } from './in-flight.ts'
import type { PublishCounts } from './publish-counts.ts'
import { abortedError, closedError, noRoomError } from './publish-errors.ts'
import { PublishReports } from './publish-reports.ts'
import { PublishSequence } from './publish-sequence.ts'
import { tooLarge } from './size-limit.ts'

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

/**
 * A call of this many messages is a batch of its own. Those of a batch are answered together: in one with others, each call would
 * wait for the messages of all, and then all would send their next ones at once, while the broker has had nothing to do.
 */
const ALONE_FROM = 100

/**
 * Sends all messages of one transport. Small calls in one turn of the event loop share a batch, without a timer. Unconfirmed bytes
 * are bounded: above the limit, calls wait here, in their order, until there is room or their deadline has passed.
 */
export class Publisher {
  readonly #transport: Transport
  /** Null data is sent as a message without a body. */
  readonly hasTombstones: boolean
  readonly #options: ResolvedPublisherOptions
  readonly #clock: Clock
  readonly identity: TransportIdentity
  readonly #deadlines: Deadlines
  readonly #reports: PublishReports
  readonly #inFlight: InFlight
  /** Calls that are with a schema or a middleware: their own, or that of an earlier call for their topic. */
  readonly sequence: PublishSequence
  /** Not yet passed to the transport, in order of the calls. */
  readonly #queue = new Queue<Entry>()
  readonly #queueDeadline: Deadline
  /** Earliest deadline in the queue. Not always that of the head: a call that waited for a schema started earlier. */
  #queueDueAt = Infinity
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
    const { transport, options, clock, observers, deadlines } = parts
    this.#transport = transport
    this.hasTombstones = transport.capabilities.tombstones
    this.#options = options
    this.#clock = clock
    this.identity = identityOf(parts.name, transport)
    this.#deadlines = deadlines
    const reports = new PublishReports(parts.name, parts.events)
    this.#reports = reports
    this.#inFlight = new InFlight({
      transport,
      identity: this.identity,
      deliveryTimeoutMs: options.deliveryTimeoutMs,
      clock,
      deadlines,
      observers,
      reports,
      ended: () => {
        if (this.#queue.size > 0 && !this.#flushing) this.#flush()
        else this.#notifyIdle()
      },
    })
    this.#queueDeadline = new Deadline(() => this.#expireQueue())
    this.sequence = new PublishSequence(() => this.#notifyIdle())
  }

  get counts(): PublishCounts {
    return this.#reports.counts
  }

  /** Bytes passed to the transport and not yet confirmed. */
  get bufferedBytes(): number {
    return this.#inFlight.bytes
  }

  /** The message, or throws why the transport can't carry it. */
  readonly accept = (message: OutgoingMessage): OutgoingMessage => {
    if (message.native !== undefined) this.#checkNative(message.native)
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

  /** They would be ignored silently. */
  #checkNative(native: unknown): void {
    if (this.#transport.checkPublishOptions !== undefined) return this.#transport.checkPublishOptions(native)
    const message = `must be left out: a message has no options of its own on ${this.#transport.system}`
    throw new ConfigurationError('publish', [{ path: 'native', message }])
  }

  /**
   * Sends messages in order; calls `settle` once for each index. An aborted signal ends the wait: `not-sent` for messages still
   * in this process, `unknown` for those the transport has, unless it knows that they were not sent. `startedAt` is when a call
   * that had to wait its turn was made (`clock.monotonic()`): its deadline counts from there.
   */
  send(
    messages: readonly OutgoingMessage[],
    signal: AbortSignal | undefined,
    settle: SettleMessage,
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
        false,
      )
    }
  }

  /** Throws `UnsupportedError` unless the transport has transactions. */
  requireTransactions(): void {
    const { capabilities, system } = this.#transport
    if (capabilities.transactions) return
    throw new UnsupportedError(
      `${system} has no transactions: use bus.publishMany, which says for each message whether it was stored, or a transport with the capability "transactions"`,
    )
  }

  /** Sends messages of any topics so that all of them are stored, or none. Otherwise like `send`; all have the same error. */
  sendAtomically(messages: readonly OutgoingMessage[], signal: AbortSignal | undefined, settle: SettleMessage): void {
    this.#enqueue(messages, signal, this.#clock.monotonic(), settle, true)
  }

  #enqueue(
    messages: readonly OutgoingMessage[],
    signal: AbortSignal | undefined,
    startedAt: number,
    settle: SettleMessage,
    isAtomic: boolean,
  ): void {
    let bytes = 0
    for (const message of messages) bytes += messageBytes(message)
    const entry = new Entry(messages, bytes, startedAt + this.#options.deliveryTimeoutMs, settle, isAtomic)
    if (this.#closed) return entry.fail(closedError('not-sent'), this.#reports.failed)
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
      const error = abortedError(entry.topic, entry.state === 'waiting' ? 'not-sent' : 'unknown', signal.reason)
      if (entry.batch === undefined) entry.fail(error, this.#reports.failed)
      else this.#inFlight.giveUp(entry.batch, [entry], () => error, signal.reason)
    }
    if (signal.aborted) {
      abort()
      return false
    }
    signal.addEventListener('abort', abort, { once: true })
    let open = entry.messages.length
    const { settle } = entry
    entry.settle = (index, position, error) => {
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
      let bytes = this.#inFlight.bytes
      let deadlineAt = Infinity
      for (let entry = this.#queue.peek(); entry !== undefined; entry = this.#queue.peek()) {
        if (entry.state === 'settled') {
          this.#queue.shift()
          continue
        }
        const { length } = entry.messages
        const isAlone = entry.isAtomic || length >= ALONE_FROM
        if (count > 0 && (isAlone || count + length > maxBatchSize)) break
        // A single entry always fits when nothing else is buffered, however large it is.
        if (bytes > 0 && bytes + entry.bytes > maxBufferedBytes) break
        this.#queue.shift()
        entry.state = 'sent'
        entries.push(entry)
        count += length
        bytes += entry.bytes
        deadlineAt = Math.min(deadlineAt, entry.deadlineAt)
        if (isAlone) break
      }
      if (entries.length === 0) break
      this.#inFlight.send(entries, bytes - this.#inFlight.bytes, deadlineAt)
    }
    this.#watchQueue()
  }

  /** Reports entries that wait for room, and gives them up at their deadline. */
  #watchQueue(): void {
    const full = this.#queue.size > 0
    if (full && !this.#full) this.#reports.bufferFull(this.bufferedBytes, this.#options.maxBufferedBytes)
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
    const { deliveryTimeoutMs } = this.#options
    for (const entry of expired)
      entry.fail(
        noRoomError(entry.topic, deliveryTimeoutMs, this.bufferedBytes, this.identity.name),
        this.#reports.failed,
      )
    this.#flush()
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
    for (const entry of this.#queue.drain()) entry.fail(closedError('not-sent'), this.#reports.failed)
    if (!this.#isIdle) {
      this.#inFlight.giveUpAll(() => closedError('unknown'))
      // Runs after the callbacks of `giveUp`, and after middleware that only had to pass on what became of its messages.
      await new Promise((resolve) => {
        setImmediate(resolve)
      })
      this.sequence.close()
    }
    this.#notifyIdle()
  }

  get #isIdle(): boolean {
    return this.#inFlight.isEmpty && this.#queue.size === 0 && this.sequence.isIdle
  }

  #notifyIdle(): void {
    if (!this.#isIdle) return
    const idle = this.#idle
    this.#idle = []
    for (const resolve of idle) resolve()
  }
}
