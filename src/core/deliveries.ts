import type { ConsumerParts } from './consumer-parts.ts'
import { ConsumerCounters } from './consumer-stats.ts'
import type { Clock } from './clock.ts'
import type { ResolvedConsumeOptions } from './consume-options.ts'
import { makeDeadLetter } from './dead-letter.ts'
import type { Failure } from './dead-letter.ts'
import { PublishError, SettlementError, StateError, TimeoutError } from './errors.ts'
import type { BusEventMap, BusEvents, DeadLetterReason } from './events.ts'
import { IncomingMessage } from './incoming-message.ts'
import { LinkedList } from './linked-list.ts'
import { backoffMs, RetryPolicy } from './retry.ts'
import type { Runner, RunnerHost } from './runner.ts'
import { Scheduler } from './scheduler.ts'
import { Settler } from './settler.ts'
import type { SettlerHost } from './settler.ts'
import type { Delivery, DeliverySink, Outcome, TransportSubscription } from './transport.ts'
import { Work } from './work.ts'
import type { Lane } from './work.ts'

/** A dead letter that can't be published is tried again like this; its source stays unsettled, and its key waits. */
const DEAD_LETTER_BACKOFF = { backoff: 'exponential', baseMs: 200, maxMs: 30_000 } as const
/** What arrives of a key that is on its way back must not come again at once, in a circle. */
const RETURN_DELAY_MS = 50

/**
 * The deliveries that one consumer holds: takes them in, keeps their order, hears from the runner what became of them, and
 * settles each exactly once. What stops and starts a consumer stands in `Consumer`.
 *
 * (Longer than most files: arrival, outcome and settlement of a delivery have to agree with each other line by line.)
 */
export class Deliveries implements DeliverySink, RunnerHost, SettlerHost {
  readonly scheduler: Scheduler
  readonly clock: Clock
  /** Lowered and raised by the consumer. */
  maxConcurrency: number
  /** `draining`: nothing starts any more. `closed`: nothing is settled any more. */
  phase: 'open' | 'draining' | 'closed' = 'open'
  readonly counters: ConsumerCounters = new ConsumerCounters()
  /** Unsettled, in order of arrival; a dead letter until it is through. */
  readonly outstanding: LinkedList<Work> = new LinkedList()
  bufferedBytes = 0
  /** Those that wait for an inline retry. */
  parked = 0
  /** Goes up with everything that happens. */
  progress = 0
  readonly #parts: ConsumerParts
  readonly #identity: Omit<BusEventMap['lost'], 'count' | 'reason'>
  readonly #events: BusEvents
  readonly #options: ResolvedConsumeOptions
  readonly #retry: RetryPolicy
  #runner: Runner | undefined
  #subscription: TransportSubscription | undefined
  #settler: Settler | undefined
  #quiet: (() => void)[] = []

  constructor(parts: ConsumerParts, identity: Omit<BusEventMap['lost'], 'count' | 'reason'>) {
    this.#parts = parts
    this.#identity = identity
    this.#events = parts.events
    this.#options = parts.options
    this.#retry = new RetryPolicy(parts.options.retry, parts.clock)
    this.scheduler = new Scheduler(parts.options.order)
    this.clock = parts.clock
    this.maxConcurrency = parts.options.concurrency
  }

  /** Before the first delivery. */
  attach(subscription: TransportSubscription, runner: Runner): void {
    this.#subscription = subscription
    this.#runner = runner
    this.#settler = new Settler(subscription, this)
  }

  /** Hands back everything that has not started. */
  releaseAll(): void {
    this.#runner?.flush()
    for (const work of this.outstanding.toArray()) {
      if (work.state === 'queued' || work.state === 'parked') this.#release(work, 0)
    }
  }

  /** Resolves when nothing runs and nothing is unsettled. */
  whenQuiet(): Promise<void> {
    if (this.#isQuiet()) return Promise.resolve()
    return new Promise((resolve) => this.#quiet.push(resolve))
  }

  /** Resolves when the broker has answered everything that was settled so far. */
  async whenSettled(): Promise<void> {
    await this.#settler?.idle()
  }

  /** Nothing of it happens any more: what is unsettled is the broker's again. */
  close(): void {
    // What is decided is told while there is somebody to tell it to.
    this.#settler?.flush()
    this.phase = 'closed'
    for (const work of this.outstanding.toArray()) work.timer?.cancel()
  }

  #isQuiet(): boolean {
    return (this.#runner?.running ?? 0) === 0 && this.outstanding.size === 0
  }

  #tellQuiet(): void {
    if (this.#quiet.length === 0 || !this.#isQuiet()) return
    const quiet = this.#quiet
    this.#quiet = []
    for (const resolve of quiet) resolve()
  }

  // --- deliveries in -----------------------------------------------------------------------------------------------

  receive(batch: readonly Delivery[]): void {
    const receivedAt = this.clock.monotonic()
    const now = this.clock.now()
    this.progress++
    for (const delivery of batch) {
      const work = new Work(delivery, new IncomingMessage(delivery.message, this.#parts.codecs), receivedAt, now)
      this.counters.received++
      this.bufferedBytes += delivery.bytes
      this.outstanding.push(work)
      if (this.phase !== 'open') this.#release(work, 0)
      else if (!this.scheduler.add(work)) this.#release(work, RETURN_DELAY_MS)
    }
    this.#runner?.pump()
  }

  lost(deliveries: readonly Delivery[], reason: string): void {
    let count = 0
    let freed = 0
    let freedBytes = 0
    const running = new Set<Work>()
    for (const delivery of deliveries) {
      const work = delivery.runtime as Work | undefined
      if (work === undefined || work.state === 'gone') continue
      count++
      if (work.state === 'running') running.add(work)
      else if (work.state === 'queued' || work.state === 'parked') {
        this.#unpark(work)
        this.#forget(work)
        this.scheduler.remove(work)
        freed++
        freedBytes += delivery.bytes
      }
      // One that is being settled gives its credit back there: the transport refuses it, which counts as a failure.
    }
    if (count === 0) return
    this.counters.lost += count
    this.#events.emit('lost', { ...this.#identity, count, reason })
    if (running.size > 0)
      this.#runner?.abort(new SettlementError(`The delivery was taken back by the broker: ${reason}`), (work) =>
        running.has(work),
      )
    if (freed > 0) this.freed(freed, freedBytes)
    this.#runner?.pump()
  }

  // --- what the runner reports -------------------------------------------------------------------------------------

  begin(work: Work): boolean {
    const { message } = work.delivery
    if (work.delivery.attempt > this.#retry.attempts) {
      // Handed out that often and never settled: whoever handled it died of it, most likely.
      const error = new StateError(
        `The message was handed out ${work.delivery.attempt - 1} times and never settled; its handler may have ended the process`,
      )
      work.attempt = work.delivery.attempt - 1
      this.#deadLetter(work, error, 'exhausted')
      return false
    }
    if (message.expiresAt !== undefined && message.expiresAt <= this.clock.now()) {
      this.#deadLetter(
        work,
        new TimeoutError(`The message expired at ${new Date(message.expiresAt).toISOString()}`),
        'expired',
      )
      return false
    }
    work.state = 'running'
    this.progress++
    // The time of a handler is read only for those who listen.
    if (this.#events.wants('ack')) work.startedAt = this.clock.monotonic()
    if (this.#events.wants('delivery')) this.#events.emit('delivery', this.#ofMessage(work))
    return true
  }

  succeeded(work: Work): void {
    this.counters.handled++
    this.progress++
    if (this.#gone(work)) return
    this.#forget(work)
    ;(this.#settler as Settler).ack(work)
    this.scheduler.leave(work)
  }

  failed(work: Work, error: unknown): boolean {
    this.counters.failed++
    this.progress++
    if (this.#gone(work)) return false
    // Aborted by a forced close: nobody's fault, so no attempt is used up. The broker has it again.
    if (this.phase === 'closed') return true
    const decision = this.#retry.decide(error, work.message, work.attempt)
    if (decision.type === 'dead-letter') {
      this.#deadLetter(work, error, decision.reason)
      return false
    }
    const mode = this.#retryMode(work)
    if (decision.countAttempt) {
      this.counters.retried++
      if (this.#events.wants('retry'))
        this.#events.emit('retry', { ...this.#ofMessage(work), error, delayMs: decision.delayMs, mode })
    }
    const type = decision.countAttempt ? 'nack' : 'release'
    if (this.phase === 'draining') this.#giveBack(work, { type, delayMs: 0 })
    else if (mode === 'inline') this.#park(work, decision.delayMs, decision.countAttempt)
    else {
      this.#giveBack(work, { type, delayMs: Math.ceil(decision.delayMs) })
      // It comes back behind them whatever becomes of them.
      return this.#parts.transport.capabilities.orderedRedelivery
    }
    return true
  }

  putBack(lane: Lane, works: readonly Work[]): void {
    if (this.phase === 'closed') return
    const ours = works.filter(({ delivery }) => !delivery.lost)
    if (lane.returning === 0 && this.phase === 'open') this.scheduler.putBack(lane, ours)
    else for (const work of ours) this.#release(work, 0)
    for (const work of works) this.#gone(work)
  }

  abandoned(work: Work, reason: unknown): void {
    this.counters.abandoned++
    this.#events.emit('abandoned', this.#ofMessage(work))
    if (this.#options.batch === undefined) this.failed(work, reason)
  }

  late(work: Work): void {
    this.counters.doubleSettled++
    if (this.#events.wants('doubleSettle')) this.#events.emit('doubleSettle', this.#ofMessage(work))
  }

  // --- outcomes ----------------------------------------------------------------------------------------------------

  /** It was lost while it ran: the broker has it again, so its outcome is nobody's business any more. */
  #gone(work: Work): boolean {
    if (!work.delivery.lost) return false
    this.#forget(work)
    this.scheduler.leave(work)
    work.state = 'gone'
    this.freed(1, work.delivery.bytes)
    return true
  }

  #retryMode(work: Work): 'inline' | 'delayed' {
    const { mode } = this.#options.retry
    const { capabilities } = this.#parts.transport
    if (mode !== 'auto') return mode
    if (!capabilities.redelivery || capabilities.delay === 'none') return 'inline'
    return work.lane === undefined || capabilities.orderedRedelivery ? 'delayed' : 'inline'
  }

  #park(work: Work, delayMs: number, countAttempt: boolean): void {
    if (countAttempt) {
      const note = {
        delivery: work.delivery,
        used: work.attempt,
        running: false,
        notBefore: this.clock.now() + delayMs,
      }
      this.#subscription?.noteAttempts?.([note]).catch((error: unknown) => {
        this.#events.emit('error', {
          transport: this.#parts.transportName,
          error,
          doing: `noting attempt ${note.used} of message ${work.message.id}`,
        })
      })
      work.attempt++
      work.delivery.attempt = work.attempt
    }
    work.state = 'parked'
    this.parked++
    work.timer = this.clock.setTimer(delayMs, () => {
      this.#unpark(work)
      this.progress++
      this.scheduler.again(work)
      this.#runner?.pump()
    })
  }

  #unpark(work: Work): void {
    if (work.state !== 'parked') return
    this.parked--
    work.timer?.cancel()
    work.timer = undefined
  }

  /** Back to the broker, and what waits behind it with it: otherwise the next of its key would overtake it. */
  #giveBack(work: Work, outcome: Outcome): void {
    const ordered = this.#parts.transport.capabilities.orderedRedelivery
    const behind = ordered ? this.scheduler.behind(work) : []
    this.#forget(work)
    if (ordered) this.scheduler.sendBack(work)
    else this.scheduler.leave(work)
    ;(this.#settler as Settler).add(work, outcome)
    for (const later of behind) this.#release(later, 0)
  }

  #release(work: Work, delayMs: number): void {
    this.#unpark(work)
    this.counters.released++
    this.#forget(work)
    // A broker that keeps the order needs to have it before anything that is later.
    if (this.#parts.transport.capabilities.orderedRedelivery) this.scheduler.sendBack(work)
    else this.scheduler.remove(work)
    ;(this.#settler as Settler).add(work, { type: 'release', delayMs })
  }

  #deadLetter(work: Work, error: unknown, reason: DeadLetterReason): void {
    work.failure = {
      group: this.#parts.deadLetterGroup,
      reason,
      error,
      attempts: work.attempt,
      firstAt: work.firstAt,
      lastAt: this.clock.now(),
    }
    // It keeps its place in the list and its lane until the broker has the dead letter.
    ;(this.#settler as Settler).add(work, this.#rejection(work, false))
  }

  #rejection(work: Work, slim: boolean): Outcome {
    if (this.#options.deadLetter === 'drop') return { type: 'reject', deadLetter: undefined }
    return { type: 'reject', deadLetter: makeDeadLetter(work.delivery, { ...(work.failure as Failure), slim }) }
  }

  #forget(work: Work): void {
    this.outstanding.remove(work)
    this.bufferedBytes -= work.delivery.bytes
    this.#tellQuiet()
  }

  // --- what the broker answers -------------------------------------------------------------------------------------

  freed(count: number, bytes: number): void {
    if (this.phase === 'open') this.#subscription?.request(count, bytes)
  }

  settled(work: Work, outcome: Outcome): void {
    work.state = 'gone'
    switch (outcome.type) {
      case 'ack':
        this.counters.acked++
        if (this.#events.wants('ack'))
          this.#events.emit('ack', { ...this.#ofMessage(work), durationMs: this.#since(work.startedAt) })
        return
      case 'nack':
      case 'release':
        this.#leaveReturned(work)
        return
      case 'reject':
        this.#forget(work)
        this.scheduler.leave(work)
        this.freed(1, work.delivery.bytes)
        this.#tellRejected(work, outcome.deadLetter?.topic)
        this.#runner?.pump()
    }
  }

  settleFailed(work: Work, outcome: Outcome, error: Error): void {
    // On the way down the source stays unsettled instead, and comes again.
    if (outcome.type === 'reject' && !SettlementError.is(error) && !work.delivery.lost && this.phase === 'open') {
      this.#deadLetterAgain(work, error)
      return
    }
    this.counters.settleFailed++
    if (this.#events.wants('settleFailed')) this.#events.emit('settleFailed', { ...this.#ofMessage(work), error })
    work.state = 'gone'
    if (outcome.type === 'reject') {
      this.#forget(work)
      this.scheduler.leave(work)
      this.freed(1, work.delivery.bytes)
    } else if (outcome.type !== 'ack') this.#leaveReturned(work)
    this.#runner?.pump()
  }

  /** The dead letter could not be published. Its source stays ours until it is: nothing is lost, and nothing overtakes. */
  #deadLetterAgain(work: Work, error: Error): void {
    this.#events.emit('error', {
      transport: this.#parts.transportName,
      error,
      doing: `dead-lettering message ${work.message.id} of "${work.message.topic}"`,
    })
    // One that will never be taken as it is may be too large by what we put on top.
    const slim = PublishError.is(error) && !error.retryable
    work.timer = this.clock.setTimer(backoffMs(DEAD_LETTER_BACKOFF, ++work.deadLetterTries), () => {
      work.timer = undefined
      if (this.phase !== 'closed') (this.#settler as Settler).again(work, this.#rejection(work, slim))
    })
  }

  #leaveReturned(work: Work): void {
    if (work.lane === undefined) return
    this.scheduler.returned(work)
    this.#runner?.pump()
  }

  #tellRejected(work: Work, deadLetterTopic: string | undefined): void {
    const { error, reason } = work.failure as Failure
    if (deadLetterTopic === undefined) {
      this.counters.dropped++
      this.#events.emit('drop', { ...this.#ofMessage(work), error, reason })
    } else {
      this.counters.deadLettered++
      this.#events.emit('deadLetter', { ...this.#ofMessage(work), error, reason, deadLetterTopic })
    }
  }

  /** A listener that came in the middle finds no start. */
  #since(startedAt: number): number {
    return startedAt === 0 ? 0 : this.clock.monotonic() - startedAt
  }

  #ofMessage(work: Work): BusEventMap['delivery'] {
    return { ...this.#identity, topic: work.message.topic, message: work.delivery.message, attempt: work.attempt }
  }
}
