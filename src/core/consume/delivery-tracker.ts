// Longer than most files: arrival, outcome and settlement of a delivery must agree line by line.
import type { ConsumerParts } from './consumer-parts.ts'
import { ConsumerCounters } from './consumer-stats.ts'
import type { Clock } from '../clock.ts'
import type { ResolvedConsumeOptions } from './consume-options.ts'
import { DeliveryReports } from './delivery-reports.ts'
import type { ConsumerIdentity } from './delivery-reports.ts'
import { makeDeadLetter } from '../dead-letters/dead-letter.ts'
import type { Failure } from '../dead-letters/dead-letter.ts'
import { SettlementError, StateError, TimeoutError } from '../errors.ts'
import { skipsOf } from '../event-set.ts'
import type { DeadLetterReason } from '../events.ts'
import { HandledMessages } from './handled-messages.ts'
import { IncomingMessage } from './incoming-message.ts'
import type { Lifecycle } from './lifecycle.ts'
import type { EncodedMessage, OutgoingMessage } from '../message.ts'
import { LinkedList } from '../util/linked-list.ts'
import { ParkedKeys } from '../dead-letters/parked-keys.ts'
import { PendingDelivery } from './pending-delivery.ts'
import type { KeyQueue } from './pending-delivery.ts'
import { RefusedOutcomes } from './refused-outcomes.ts'
import { RetryPolicy } from './retry.ts'
import type { Runner, RunnerHost } from './runner.ts'
import { RunningNotes } from './running-notes.ts'
import type { RunningNotesHost } from './running-notes.ts'
import { Scheduler } from './scheduler.ts'
import { Settler } from './settler.ts'
import type { SettlerHost } from './settler.ts'
import { StartGate } from './start-gate.ts'
import type { StartGateHost } from './start-gate.ts'
import type { Delivery, DeliverySink, Outcome, TransportSubscription } from '../transport.ts'

const NOTHING: readonly OutgoingMessage[] = Object.freeze([])

/** Delay for messages that arrive while their key is being returned, so that they don't loop. */
const RETURN_DELAY_MS = 50
/** Delay before preparing a message again after that failed (the broker did not answer). */
const PREPARE_AGAIN_MS = 1_000

/**
 * Tracks the deliveries that one consumer holds: accepts them, keeps their order, gets their outcomes from the runner, and
 * settles each exactly once. A delivery leaves in one of three ways: its outcome is settled, it is returned to the broker, or
 * the broker takes it back. `Consumer` starts and stops the consumer.
 */
export class DeliveryTracker implements DeliverySink, RunnerHost, SettlerHost, StartGateHost, RunningNotesHost {
  readonly scheduler: Scheduler
  readonly clock: Clock
  readonly counters: ConsumerCounters = new ConsumerCounters()
  /** Unsettled deliveries, in order of arrival. A rejected one stays until its dead letter is stored. */
  readonly outstanding: LinkedList<PendingDelivery> = new LinkedList()
  bufferedBytes = 0
  /** Messages with a handler. */
  runningMessages = 0
  /** Incremented whenever something happens. */
  progress = 0
  readonly #parts: ConsumerParts
  readonly #lifecycle: Lifecycle
  readonly #maxConcurrency: () => number
  readonly #reports: DeliveryReports
  readonly #options: ResolvedConsumeOptions
  readonly #retry: RetryPolicy
  /** Undefined for a consumer that takes every message. */
  readonly #skips: ((message: EncodedMessage) => boolean) | undefined
  readonly #handled = new HandledMessages()
  #runner: Runner | undefined
  #subscription: TransportSubscription | undefined
  #settler: Settler | undefined
  #gate: StartGate | undefined
  #notes: RunningNotes | undefined
  readonly #refused: RefusedOutcomes
  #quiet: (() => void)[] = []
  /** What handlers have published, and that waits for their acks. */
  #heldBytes = 0

  constructor(parts: ConsumerParts, identity: ConsumerIdentity, lifecycle: Lifecycle, maxConcurrency: () => number) {
    this.#parts = parts
    this.#reports = new DeliveryReports(parts, identity)
    this.#lifecycle = lifecycle
    this.#maxConcurrency = maxConcurrency
    this.#options = parts.options
    this.#skips = skipsOf(parts.definition, parts.options.where)
    this.#retry = new RetryPolicy(parts.options.retry, parts.clock)
    this.scheduler = new Scheduler(parts.options.order)
    this.clock = parts.clock
    this.#refused = new RefusedOutcomes(
      {
        clock: parts.clock,
        settleAgain: (pending, outcome) => {
          if (!lifecycle.isClosed) (this.#settler as Settler).again(pending, outcome)
        },
        rejection: (pending, slim) => this.#rejection(pending, slim),
        giveUp: (pending, error) => this.#deadLetter(pending, error, 'exhausted'),
        freed: (count, bytes) => this.freed(count, bytes),
      },
      parts.options,
    )
  }

  get maxConcurrency(): number {
    // What is held already goes out, or is dropped, without another handler: this wait ends.
    return this.#heldBytes < this.#parts.maxHeldBytes ? this.#maxConcurrency() : 0
  }

  /** The handler of this delivery has published so many bytes that wait for its ack. */
  held(pending: PendingDelivery, bytes: number): void {
    // A handler whose delivery was returned meanwhile.
    if (pending.state !== 'running') return
    pending.heldBytes += bytes
    this.#heldBytes += bytes
  }

  #dropHeld(pending: PendingDelivery): void {
    this.#heldBytes -= pending.heldBytes
    pending.heldBytes = 0
  }

  get noting(): number {
    return this.#gate?.noting ?? 0
  }

  /** Must be called before the first delivery. */
  attach(subscription: TransportSubscription, runner: Runner): void {
    this.#subscription = subscription
    this.#runner = runner
    this.#settler = new Settler(subscription, this, (batch) => this.#reports.settling(batch))
    this.#notes = new RunningNotes(subscription, this)
    const { admin } = this.#parts.transport
    const parks = this.#options.onDeadLetter === 'park-key' && admin !== undefined
    this.#gate = new StartGate(
      this,
      this.#notes,
      parks ? new ParkedKeys(admin, this.#parts.deadLetterGroup, this.clock) : undefined,
    )
  }

  /** Returns everything that has not started. Messages that wait for a retry keep their delay. */
  releaseAll(): void {
    this.#runner?.flush()
    for (const pending of this.outstanding.toArray())
      if (pending.state !== 'running' && pending.state !== 'settling') this.#release(pending, 0)
  }

  /** Makes a last attempt, at once, to settle the outcomes that the broker did not accept. For a close, which waits for them. */
  settleRest(): void {
    this.#refused.sendAll()
  }

  /** Messages with a handler, in order of arrival. */
  runningDeliveries(): readonly PendingDelivery[] {
    const running: PendingDelivery[] = []
    // They are near the front of what may be a long list.
    let pending = this.outstanding.first
    for (; pending !== undefined && running.length < this.runningMessages; pending = pending.next)
      if (pending.state === 'running') running.push(pending)
    return running
  }

  /** Returns messages with a handler; their outcome comes too late. */
  releaseRunning(): void {
    for (const pending of this.runningDeliveries()) this.#release(pending, 0)
  }

  /** Resolves when nothing runs and nothing is unsettled, or when the consumer is closed. */
  whenQuiet(): Promise<void> {
    if (this.#lifecycle.isClosed || this.#isQuiet()) return Promise.resolve()
    return new Promise((resolve) => this.#quiet.push(resolve))
  }

  /** Resolves when the broker has answered everything that was settled so far. */
  async whenSettled(): Promise<void> {
    await this.#settler?.idle()
  }

  /** Sends the pending outcomes while the subscription still accepts them. Nothing is settled after that. */
  close(): void {
    this.#settler?.flush()
    this.#notes?.close()
    for (const pending of this.outstanding.toArray()) pending.timer?.cancel()
    this.#resolveQuiet()
  }

  #isQuiet(): boolean {
    return (this.#runner?.running ?? 0) === 0 && this.outstanding.size === 0
  }

  #reportQuiet(): void {
    if (this.#quiet.length > 0 && this.#isQuiet()) this.#resolveQuiet()
  }

  #resolveQuiet(): void {
    const quiet = this.#quiet
    this.#quiet = []
    for (const resolve of quiet) resolve()
  }

  // --- deliveries in -----------------------------------------------------------------------------------------------

  receive(batch: readonly Delivery[]): void {
    const receivedAt = this.clock.monotonic()
    const { codecs } = this.#parts
    this.progress++
    this.counters.received += batch.length
    for (const delivery of batch) {
      const pending = new PendingDelivery(delivery, new IncomingMessage(delivery.message, codecs), receivedAt)
      this.bufferedBytes += delivery.bytes
      this.outstanding.push(pending)
      if (delivery.history === 'new') this.#handled.forget(delivery)
      if (!this.#lifecycle.isOpen) this.#release(pending, 0)
      else if (!this.scheduler.add(pending)) this.#release(pending, RETURN_DELAY_MS)
    }
    this.#runner?.pump()
  }

  lost(deliveries: readonly Delivery[], reason: string): void {
    let count = 0
    let freed = 0
    let freedBytes = 0
    const running = new Set<PendingDelivery>()
    /** Includes those that were about to start. */
    const noted: PendingDelivery[] = []
    for (const delivery of deliveries) {
      const pending = delivery.runtime as PendingDelivery | undefined
      if (pending === undefined || pending.state === 'settled') continue
      count++
      if (pending.isNoted && pending.state !== 'settling') noted.push(pending)
      if (pending.state === 'running') running.add(pending)
      else if (pending.state !== 'settling') {
        this.#endWait(pending)
        this.#forget(pending)
        this.scheduler.remove(pending)
        freed++
        freedBytes += delivery.bytes
      }
      // A delivery that is being settled returns its credit there: the transport refuses it, which counts as a failure. But its
      // message may arrive again before that.
      else {
        this.#ackLost(pending)
        this.#refused.sendNow(pending)
      }
    }
    if (count === 0) return
    this.counters.lost += count
    this.#reports.lost(count, reason)
    this.#notes?.takeBack(noted)
    if (running.size > 0) {
      this.#runner?.abort(new SettlementError(`The delivery was taken back by the broker: ${reason}`), (pending) =>
        running.has(pending),
      )
    }
    if (freed > 0) this.freed(freed, freedBytes)
    this.#runner?.pump()
  }

  recall(deliveries: readonly Delivery[]): void {
    for (const delivery of deliveries) {
      const pending = delivery.runtime as PendingDelivery | undefined
      if (pending?.state === 'queued') this.#release(pending, 0)
    }
  }

  // --- what the runner reports -------------------------------------------------------------------------------------

  begin(pending: PendingDelivery): boolean {
    const { delivery } = pending
    if (delivery.history !== 'new' && !pending.wasHandled && this.#handled.beginAck(delivery)) {
      this.#ack(pending, 'earlier')
      return false
    }
    if (this.#skips?.(delivery.message) === true) {
      this.counters.skipped++
      this.#ack(pending, undefined)
      return false
    }
    if (delivery.attempt > this.#retry.attempts) {
      const used = delivery.attempt - 1
      this.#deadLetter(
        pending,
        new StateError(
          `The message was handed to a handler ${used} times and never settled: the handler may have ended its process each time`,
        ),
        'exhausted',
        used,
      )
      return false
    }
    const { expiresAt } = delivery.message
    if (expiresAt !== undefined && expiresAt <= this.clock.now()) {
      const error = new TimeoutError(`The message expired at ${new Date(expiresAt).toISOString()}`)
      this.#deadLetter(pending, error, 'expired')
      return false
    }
    const dueInMs = this.#msUntilDue(pending)
    if (dueInMs > 0) {
      this.#wait(pending, dueInMs)
      return false
    }
    if (!(this.#gate as StartGate).pass(pending)) return false
    if (pending.wasHandled) {
      // A handler may have changed the data.
      pending.message.decodeAgain()
      pending.isValidated = false
    }
    pending.wasHandled = true
    pending.hasDeadline = this.#options.timeoutMs !== undefined
    pending.state = 'running'
    pending.noteAtTick = 0
    this.runningMessages++
    this.progress++
    this.#reports.begins(pending)
    return true
  }

  needsPreparing(pending: PendingDelivery): boolean {
    return this.#msUntilDue(pending) > 0 || (this.#gate as StartGate).needsPreparing(pending)
  }

  started(pending: PendingDelivery): void {
    this.#notes?.started(pending)
  }

  succeeded(pending: PendingDelivery, withAck: readonly OutgoingMessage[] = NOTHING): void {
    if (!this.#ended(pending)) return
    if (pending.isUnwanted) this.counters.skipped++
    else this.counters.handled++
    if (pending.delivery.lost) {
      // Its messages are not published, so its handler must run again.
      if (withAck.length === 0) this.#handled.add(pending.delivery)
      this.#dropIfLost(pending)
    } else if (withAck.length > 0)
      // It stays in the list and blocks its key until the broker has the messages.
      (this.#settler as Settler).add(pending, { type: 'ack', publish: withAck })
    else this.#ack(pending, 'this')
  }

  failed(pending: PendingDelivery, error: unknown): boolean {
    if (!this.#ended(pending)) return false
    this.counters.failed++
    this.#dropHeld(pending)
    if (pending.delivery.lost) {
      this.#dropIfLost(pending)
      return false
    }
    // A group that is set back while a handler runs gets the message again before that handler ends.
    if (pending.delivery.history === 'new') this.#handled.forget(pending.delivery)
    const decision = this.#retry.decide(error, pending.message, pending.attempt)
    if (decision.type === 'dead-letter') {
      this.#deadLetter(pending, error, decision.reason)
      return false
    }
    const mode = this.#retryMode(pending)
    if (decision.countAttempt) {
      this.counters.retried++
      this.#reports.retried(pending, error, decision.delayMs, mode)
    }
    const type = decision.countAttempt ? 'nack' : 'release'
    if (!this.#mayWaitHere) this.#return(pending, type, decision.delayMs, true)
    else if (mode === 'inline') this.#retryHere(pending, decision.delayMs, decision.countAttempt)
    else {
      this.#return(pending, type, decision.delayMs, false)
      // It comes back behind later messages of its key, whatever happens to them.
      return this.#keepsOrder
    }
    return true
  }

  swallowed(pending: PendingDelivery, request: Error): void {
    this.#reports.swallowed(request)
    this.failed(pending, request)
  }

  requeueBehind(queue: KeyQueue, deliveries: readonly PendingDelivery[]): void {
    if (this.#lifecycle.isClosed) return
    const ours: PendingDelivery[] = []
    for (const pending of deliveries) {
      if (!this.#ended(pending)) continue
      if (pending.delivery.lost) this.#dropIfLost(pending)
      else ours.push(pending)
    }
    if (queue.returning === 0 && this.#mayWaitHere) {
      this.#notes?.takeBack(ours.filter(({ isNoted }) => isNoted))
      this.scheduler.requeueBehind(queue, ours)
    } else for (const pending of ours) this.#release(pending, 0)
  }

  notStarted(queue: KeyQueue, deliveries: readonly PendingDelivery[]): void {
    const ours = deliveries.filter(({ state }) => state === 'queued')
    if (queue.returning === 0 && this.#mayWaitHere) this.scheduler.requeueBehind(queue, ours)
    else for (const pending of ours) this.#release(pending, 0)
  }

  abandoned(pending: PendingDelivery, reason: unknown): void {
    this.counters.abandoned++
    this.#reports.abandoned(pending)
    if (this.#options.batch === undefined) this.failed(pending, reason)
  }

  late(pending: PendingDelivery): void {
    this.counters.doubleSettled++
    this.#reports.late(pending)
  }

  // --- what the gate and the notes report --------------------------------------------------------------------------

  prepared(pending: PendingDelivery): void {
    pending.isPrepared = true
    this.scheduler.requeueFirst(pending)
    this.#runner?.pump()
  }

  parked(pending: PendingDelivery, blocker: string): void {
    const { key } = pending.delivery.message
    this.#deadLetter(
      pending,
      new StateError(
        `Message ${blocker} of the same key ("${String(key)}") is in the dead letters, and this consumer parks such keys. Redrive both to handle them in order`,
      ),
      'prior-failed',
      pending.attempt - 1,
    )
    this.#runner?.pump()
  }

  prepareFailed(pending: PendingDelivery, error: unknown): void {
    this.#reports.error(error, `asking whether message ${pending.message.id} may start`)
    if (pending.state === 'preparing') this.#wait(pending, PREPARE_AGAIN_MS)
    this.#runner?.pump()
  }

  noteFailed(error: unknown, doing: string): void {
    if (!this.#lifecycle.isClosed) this.#reports.error(error, doing)
  }

  flushOutcomes(): void {
    this.#settler?.flush()
  }

  // --- outcomes ----------------------------------------------------------------------------------------------------

  get #keepsOrder(): boolean {
    return this.#parts.transport.capabilities.orderedRedelivery
  }

  /**
   * True when a message may wait in this process to be handled again. During a pause only if the broker has no redelivery, and
   * would lose returned messages.
   */
  get #mayWaitHere(): boolean {
    const { isOpen, isPaused } = this.#lifecycle
    return isOpen && !(isPaused && this.#parts.transport.capabilities.redelivery)
  }

  /** False for a handler whose message already has its outcome, because a forced close returned it. */
  #ended(pending: PendingDelivery): boolean {
    this.progress++
    if (pending.state !== 'running') return false
    this.runningMessages--
    pending.state = 'settling'
    this.#reports.ended(pending)
    this.#gate?.ended(pending)
    return true
  }

  /** `of`: the delivery whose handler has succeeded; undefined when the message needs none. */
  #ack(pending: PendingDelivery, of: 'this' | 'earlier' | undefined): void {
    pending.ackOf = of
    this.#forget(pending)
    ;(this.#settler as Settler).ack(pending)
    this.scheduler.finish(pending)
  }

  /** The message will come again, although it has been handled. */
  #ackLost(pending: PendingDelivery): void {
    if (pending.ackOf === 'this') this.#handled.add(pending.delivery)
    else if (pending.ackOf === 'earlier') this.#handled.notAcked(pending.delivery)
    pending.ackOf = undefined
  }

  /** The broker took it back while its handler ran, so the outcome is ignored. */
  #dropIfLost(pending: PendingDelivery): void {
    this.#forget(pending)
    this.scheduler.finish(pending)
    pending.state = 'settled'
    this.freed(1, pending.delivery.bytes)
  }

  #retryMode(pending: PendingDelivery): 'inline' | 'delayed' {
    const { mode } = this.#options.retry
    const { capabilities } = this.#parts.transport
    if (mode !== 'auto') return mode
    if (!capabilities.redelivery || capabilities.delay === 'none') return 'inline'
    return pending.queue === undefined || capabilities.orderedRedelivery ? 'delayed' : 'inline'
  }

  #retryHere(pending: PendingDelivery, delayMs: number, countAttempt: boolean): void {
    const notBefore = this.clock.now() + delayMs
    let noted: Promise<void> | undefined
    if (countAttempt) {
      noted = this.#notes?.retrying(pending, pending.attempt, notBefore)
      this.#countAttempt(pending)
    } else if (pending.isNoted) noted = this.#notes?.retrying(pending, pending.attempt - 1, notBefore)
    this.#wait(pending, delayMs, noted)
  }

  #countAttempt({ delivery, attempt }: PendingDelivery): void {
    if (Reflect.set(delivery, 'attempt', attempt + 1)) return
    const { transportName, transport } = this.#parts
    throw new StateError(
      `The transport "${transportName}" (${transport.system}) breaks its contract: Delivery.attempt must be writable, because the runtime counts the attempts that it makes in this process`,
    )
  }

  /** Waits for its time, and then for `noted`. */
  #wait(pending: PendingDelivery, delayMs: number, noted?: Promise<void>): void {
    pending.state = 'waitingForRetry'
    pending.retryAt = this.clock.now() + delayMs
    pending.timer = this.clock.setTimer(delayMs, () => {
      if (noted === undefined) this.#retryNow(pending)
      else void noted.then(() => this.#retryNow(pending))
    })
  }

  #retryNow(pending: PendingDelivery): void {
    // Returned or lost while it waited for its note.
    if (pending.state !== 'waitingForRetry') return
    this.#endWait(pending)
    // A message that keeps asking the broker makes no progress.
    if (!pending.isAsking) this.progress++
    this.scheduler.requeue(pending)
    this.#runner?.pump()
  }

  #endWait(pending: PendingDelivery): void {
    if (pending.state !== 'waitingForRetry') return
    pending.timer?.cancel()
    pending.timer = undefined
  }

  /**
   * Returns a failed message to the broker. Where the broker keeps the order, messages that wait behind it go too: otherwise
   * the next one of its key would overtake it.
   */
  #return(pending: PendingDelivery, type: 'nack' | 'release', delayMs: number, inOrder: boolean): void {
    const ordered = this.#keepsOrder
    const behind = ordered ? this.scheduler.queuedBehind(pending) : []
    const hasKey = pending.queue !== undefined
    this.#forget(pending)
    if (ordered) this.scheduler.beginReturn(pending)
    else this.scheduler.finish(pending)
    const outcome = { type, delayMs: Math.ceil(delayMs), inOrder: (inOrder && hasKey) || undefined }
    ;(this.#settler as Settler).add(pending, outcome)
    for (const later of behind) this.#release(later, 0)
  }

  /** Returns a message to the broker without an outcome. It is delivered again no sooner than its next attempt is due. */
  #release(pending: PendingDelivery, minDelayMs: number): void {
    const delayMs = Math.max(minDelayMs, this.#msUntilDue(pending))
    if (pending.state === 'running') this.runningMessages--
    this.#endWait(pending)
    this.counters.released++
    this.#forget(pending)
    const inOrder = pending.queue !== undefined || undefined
    // A broker that keeps the order must get it back before any later message.
    if (this.#keepsOrder) this.scheduler.beginReturn(pending)
    else this.scheduler.remove(pending)
    ;(this.#settler as Settler).add(pending, { type: 'release', delayMs: Math.ceil(delayMs), inOrder })
  }

  #msUntilDue({ state, retryAt, wasHandled, delivery }: PendingDelivery): number {
    if (state === 'waitingForRetry') return retryAt - this.clock.now()
    return wasHandled || delivery.notBefore === undefined ? 0 : delivery.notBefore - this.clock.now()
  }

  #deadLetter(
    pending: PendingDelivery,
    error: unknown,
    reason: DeadLetterReason,
    attempts: number = pending.attempt,
  ): void {
    const lastAt = this.clock.now()
    const { delivery, receivedAt } = pending
    const firstAt = delivery.firstDeliveredAt ?? Math.round(lastAt - (this.clock.monotonic() - receivedAt))
    pending.failure = { group: this.#parts.deadLetterGroup, reason, error, attempts, firstAt, lastAt }
    // It stays in the list and blocks its key until the broker has the dead letter.
    ;(this.#settler as Settler).add(pending, this.#rejection(pending, false))
  }

  #rejection(pending: PendingDelivery, slim: boolean): Outcome {
    if (this.#options.deadLetter === 'drop') return { type: 'reject', deadLetter: undefined }
    return { type: 'reject', deadLetter: makeDeadLetter(pending.delivery, { ...(pending.failure as Failure), slim }) }
  }

  #forget(pending: PendingDelivery): void {
    this.outstanding.remove(pending)
    this.bufferedBytes -= pending.delivery.bytes
    if (pending.heldBytes > 0) this.#dropHeld(pending)
    this.#gate?.ended(pending)
    this.#reportQuiet()
  }

  // --- what the broker answers -------------------------------------------------------------------------------------

  freed(count: number, bytes: number): void {
    if (this.#lifecycle.isOpen) this.#subscription?.request(count, bytes)
  }

  settled(pending: PendingDelivery, outcome: Outcome): void {
    pending.state = 'settled'
    switch (outcome.type) {
      case 'ack':
        this.counters.acked++
        if (outcome.publish !== undefined) this.#leave(pending)
        if (pending.ackOf === 'earlier') this.#handled.acked(pending.delivery)
        this.#reports.acked(pending)
        return
      case 'nack':
      case 'release':
        this.#confirmReturn(pending)
        return
      case 'reject':
        if (outcome.deadLetter !== undefined) this.#gate?.deadLettered(pending)
        this.#leave(pending)
        this.#reportRejected(pending, outcome.deadLetter?.topic)
        this.#runner?.pump()
    }
  }

  settleFailed(pending: PendingDelivery, outcome: Outcome, error: Error): void {
    // During a close the source stays unsettled instead, and comes again.
    if (!SettlementError.is(error) && !pending.delivery.lost && this.#lifecycle.isOpen) {
      if (outcome.type === 'reject') return this.#deadLetterRefused(pending, error)
      if (outcome.type === 'ack' && outcome.publish !== undefined) return this.#ackRefused(pending, outcome, error)
    }
    this.counters.settleFailed++
    this.#reports.settleFailed(pending, error)
    pending.state = 'settled'
    if (outcome.type === 'ack') {
      if (outcome.publish === undefined) this.#ackLost(pending)
      else this.#leave(pending)
    } else if (outcome.type === 'reject') {
      // The dead letter may be stored although the broker has not settled its source.
      if (outcome.deadLetter !== undefined) this.#gate?.deadLettered(pending)
      this.#leave(pending)
    } else this.#confirmReturn(pending)
    this.#runner?.pump()
  }

  #deadLetterRefused(pending: PendingDelivery, error: Error): void {
    this.#reports.error(error, `dead-lettering message ${pending.message.id} of "${pending.message.topic}"`)
    this.#refused.deadLetter(pending, error)
  }

  #ackRefused(pending: PendingDelivery, outcome: Outcome, error: Error): void {
    this.#reports.error(error, `publishing with the ack of message ${pending.message.id} of "${pending.message.topic}"`)
    this.#refused.ack(pending, outcome, error)
  }

  /** It was held until the broker had answered, and so was its key. */
  #leave(pending: PendingDelivery): void {
    this.#forget(pending)
    this.scheduler.finish(pending)
    this.#refused.leave(pending)
    this.#runner?.pump()
  }

  #confirmReturn(pending: PendingDelivery): void {
    if (pending.queue === undefined) return
    this.scheduler.confirmReturn(pending)
    this.#runner?.pump()
  }

  /** The first delivery of each batch of outcomes that the broker has not answered. */
  unanswered(): readonly PendingDelivery[] {
    return this.#settler?.unanswered() ?? []
  }

  reportStuck(pending: PendingDelivery, ageMs: number): void {
    this.#reports.stuck(pending, ageMs, this.scheduler.queuedBehind(pending).length)
  }

  #reportRejected(pending: PendingDelivery, deadLetterTopic: string | undefined): void {
    if (deadLetterTopic === undefined) this.counters.dropped++
    else this.counters.deadLettered++
    this.#reports.rejected(pending, deadLetterTopic)
  }
}
