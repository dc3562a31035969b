import type { AttemptHost, ContextPublisher } from './attempt.ts'
import { BatchRunner } from './batch-runner.ts'
import type { ConsumerHandle, ConsumerHealth, ConsumerStats } from './bus-types.ts'
import type { Clock } from './clock.ts'
import type { CodecRegistry } from './codec.ts'
import type { ResolvedConsumeOptions } from './consume-options.ts'
import { ConsumerCounters } from './consumer-stats.ts'
import { makeDeadLetter } from './dead-letter.ts'
import type { Deadlines } from './deadlines.ts'
import type { AnyEventDefinition } from './define.ts'
import { SettlementError, StateError, TimeoutError } from './errors.ts'
import type { BusEventMap, BusEvents, DeadLetterReason } from './events.ts'
import type { BatchHandler, ConsumerControl, Handler } from './handler.ts'
import { IncomingMessage } from './incoming-message.ts'
import { LeaseKeeper } from './lease-keeper.ts'
import { LinkedList } from './linked-list.ts'
import { isPattern } from './topic.ts'
import { backoffMs, RetryPolicy } from './retry.ts'
import type { Runner, RunnerHost } from './runner.ts'
import { Scheduler } from './scheduler.ts'
import { Settler } from './settler.ts'
import type { SettlerHost } from './settler.ts'
import { SingleRunner } from './single-runner.ts'
import type { Delivery, DeliverySink, Outcome, StartFrom, Transport, TransportSubscription } from './transport.ts'
import { Watchdog } from './watchdog.ts'
import { Work } from './work.ts'
import type { Lane } from './work.ts'

export interface ConsumerParts {
  readonly transportName: string
  readonly transport: Transport
  readonly topic: string
  readonly group: string
  readonly consumerId: string
  /** Names the dead-letter topic: the group, but for a group that ends with its only member. */
  readonly deadLetterGroup: string
  readonly from: StartFrom
  readonly definition: AnyEventDefinition | undefined
  /** Composed with its middleware already; a batch handler when the options say `batch`. */
  readonly handler: Handler | BatchHandler
  readonly options: ResolvedConsumeOptions
  readonly codecs: CodecRegistry
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly events: BusEvents
  readonly publisher: ContextPublisher
}

/** A dead letter that can't be published is tried again like this; its source stays unsettled, and its key waits. */
const DEAD_LETTER_BACKOFF = { backoff: 'exponential', baseMs: 200, maxMs: 30_000 } as const
/** What arrives of a key that is on its way back must not come again at once, in a circle. */
const RETURN_DELAY_MS = 50

type State = 'idle' | 'starting' | 'running' | 'draining' | 'closed' | 'failed'

/**
 * The consume loop, the same for all transports: takes deliveries, keeps their order, runs the handler, and settles each
 * delivery exactly once.
 */
export class Consumer implements ConsumerHandle, ConsumerControl, DeliverySink, RunnerHost, SettlerHost {
  readonly topic: string
  readonly group: string
  readonly transportName: string
  readonly ready: Promise<void>
  readonly scheduler: Scheduler
  readonly clock: Clock
  maxConcurrency: number
  readonly #parts: ConsumerParts
  readonly #events: BusEvents
  readonly #options: ResolvedConsumeOptions
  readonly #retry: RetryPolicy
  readonly #runner: Runner
  readonly #counters = new ConsumerCounters()
  readonly #outstanding = new LinkedList<Work>()
  readonly #limits = new Map<string, number>()
  readonly #identity: {
    readonly transport: string
    readonly topic: string
    readonly group: string
    readonly consumerId: string
  }
  #bufferedBytes = 0
  #parked = 0
  #progress = 0
  #state: State = 'idle'
  #failure: unknown
  #subscription: TransportSubscription | undefined
  #settler: Settler | undefined
  #leases: LeaseKeeper | undefined
  #watchdog: Watchdog | undefined
  #quiet: (() => void)[] = []
  #closing: Promise<void> | undefined
  #resolveReady: () => void = () => {}
  #rejectReady: (error: unknown) => void = () => {}

  constructor(parts: ConsumerParts) {
    this.#parts = parts
    this.topic = parts.topic
    this.group = parts.group
    this.transportName = parts.transportName
    this.clock = parts.clock
    this.#events = parts.events
    this.#options = parts.options
    this.#identity = {
      transport: parts.transportName,
      topic: parts.topic,
      group: parts.group,
      consumerId: parts.consumerId,
    }
    this.#retry = new RetryPolicy(parts.options.retry, parts.clock)
    this.scheduler = new Scheduler(parts.options.order)
    this.maxConcurrency = parts.options.concurrency
    this.ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve
      this.#rejectReady = reject
    })
    // Whoever cares awaits it; a failure is told through `start()`, the events and `health()` all the same.
    this.ready.catch(() => {})
    const attemptHost: AttemptHost = {
      group: parts.group,
      control: this,
      clock: parts.clock,
      deadlines: parts.deadlines,
      publisher: parts.publisher,
      timeoutMs: parts.options.timeoutMs,
      abandonAfterMs: parts.options.abandonAfterMs,
    }
    this.#runner =
      parts.options.batch === undefined
        ? new SingleRunner(this, attemptHost, parts.handler as Handler, parts.definition)
        : new BatchRunner(this, attemptHost, parts.handler as BatchHandler, parts.definition, parts.options.batch)
  }

  // --- lifecycle ---------------------------------------------------------------------------------------------------

  async start(): Promise<void> {
    if (this.#state !== 'idle') return this.ready
    this.#state = 'starting'
    try {
      const { transport, options } = this.#parts
      const subscription = await transport.subscribe(
        {
          topic: this.topic,
          group: this.group,
          order: options.order,
          ephemeral: options.broadcast,
          from: this.#parts.from,
          prefetch: options.prefetch,
          prefetchBytes: options.prefetchBytes,
          consumerId: this.#parts.consumerId,
          native: options.native,
        },
        this,
      )
      this.#begun(subscription)
    } catch (error) {
      this.#state = 'failed'
      this.#failure = error
      this.#rejectReady(error)
      throw error
    }
  }

  #begun(subscription: TransportSubscription): void {
    const { options, clock } = this.#parts
    this.#subscription = subscription
    this.#settler = new Settler(subscription, this)
    if (subscription.leaseMs !== undefined) {
      this.#leases = new LeaseKeeper({
        outstanding: this.#outstanding,
        subscription,
        leaseMs: subscription.leaseMs,
        clock,
        onError: (error) =>
          this.#events.emit('error', {
            transport: this.transportName,
            error,
            doing: `renewing leases of group "${this.group}"`,
          }),
      })
    }
    this.#watchdog = new Watchdog(
      {
        progress: () => this.#progress,
        waiting: () => (this.maxConcurrency === 0 ? 0 : this.#outstanding.size - this.#parked),
        lag: () => this.#readyLag(),
        stalled: (idleMs, lag) =>
          this.#events.emit('stalled', { ...this.#identity, idleMs, outstanding: this.#outstanding.size, lag }),
        recovered: () => this.#events.emit('recovered', this.#identity),
      },
      clock,
      options.stalledAfterMs,
    )
    // Closed while it was subscribing: `drain` waits for us and does the rest.
    if (this.#state === 'starting') this.#state = 'running'
    this.#resolveReady()
    if (this.#state !== 'running') return
    if (this.maxConcurrency === 0) subscription.pause()
    subscription.request(options.prefetch, options.prefetchBytes)
  }

  get closed(): boolean {
    return this.#state === 'closed'
  }

  /** It can't be started any more, so another one may take its place. */
  get over(): boolean {
    return this.#state === 'closed' || this.#state === 'failed'
  }

  pause(): void {
    this.limit('pause', 0)
    if (this.#state === 'running') this.#releaseAll()
  }

  resume(): void {
    this.limit('pause', undefined)
  }

  limit(reason: string, maxConcurrency: number | undefined): void {
    if (maxConcurrency !== undefined && !(Number.isInteger(maxConcurrency) && maxConcurrency >= 0)) {
      throw new StateError(`limit("${reason}") takes a whole number >= 0 or undefined, got ${String(maxConcurrency)}`)
    }
    if (this.#limits.get(reason) === maxConcurrency) return
    const before = this.maxConcurrency
    if (maxConcurrency === undefined) this.#limits.delete(reason)
    else this.#limits.set(reason, maxConcurrency)
    this.maxConcurrency = Math.min(this.#options.concurrency, ...this.#limits.values())
    this.#events.emit('limit', { ...this.#identity, reason, maxConcurrency })
    if (before > 0 && this.maxConcurrency === 0) {
      this.#subscription?.pause()
      this.#events.emit('pause', { ...this.#identity, reason })
    } else if (before === 0 && this.maxConcurrency > 0) {
      // A pause is no stall.
      this.#progress++
      this.#events.emit('resume', { ...this.#identity, reason })
      this.#subscription?.resume()
    }
    this.#runner.pump()
  }

  drain(): Promise<void> {
    return this.#stop(undefined)
  }

  close(): Promise<void> {
    return this.#stop(undefined)
  }

  /** As `close`, with a bound: handlers that still run when `deadline` resolves are aborted and their messages left unsettled. */
  closeWithin(deadline: Promise<unknown>): Promise<void> {
    return this.#stop(deadline)
  }

  #stop(deadline: Promise<unknown> | undefined): Promise<void> {
    this.#closing ??= this.#drainAndClose(deadline)
    // A close with a bound must end in time also when somebody else's drain without one came first.
    return deadline === undefined ? this.#closing : Promise.race([this.#closing, deadline.then(() => this.#force())])
  }

  async #drainAndClose(deadline: Promise<unknown> | undefined): Promise<void> {
    if (this.#state === 'idle') {
      this.#state = 'closed'
      this.#rejectReady(new StateError('The consumer was closed before it was started'))
      return
    }
    const failed = this.#state === 'failed'
    if (!failed) this.#state = 'draining'
    // A subscription that is just being made must not be left behind.
    await this.ready.catch(() => {})
    const subscription = this.#subscription
    if (subscription === undefined) return
    subscription.pause()
    this.#releaseAll()
    await this.#whenQuiet(deadline)
    await this.#settler?.idle()
    await this.#force(subscription)
  }

  /** Nothing runs any more, or the deadline has passed and what runs was told to stop. */
  async #whenQuiet(deadline: Promise<unknown> | undefined): Promise<void> {
    if (this.#runner.running === 0 && this.#outstanding.size === 0) return
    const quiet = new Promise<void>((resolve) => this.#quiet.push(resolve))
    if (deadline === undefined) return quiet
    const late = await Promise.race([quiet.then(() => false), deadline.then(() => true)])
    if (late) this.#runner.abort(new TimeoutError('The bus was closed and its deadline has passed'))
  }

  async #force(subscription: TransportSubscription | undefined = this.#subscription): Promise<void> {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#leases?.close()
    this.#watchdog?.close()
    this.#runner.abort(new StateError('The consumer was closed'))
    for (const work of this.#outstanding.toArray()) work.timer?.cancel()
    await subscription?.close()
  }

  #tellQuiet(): void {
    if (this.#quiet.length === 0 || this.#runner.running > 0 || this.#outstanding.size > 0) return
    const quiet = this.#quiet
    this.#quiet = []
    for (const resolve of quiet) resolve()
  }

  // --- deliveries in -----------------------------------------------------------------------------------------------

  receive(batch: readonly Delivery[]): void {
    const receivedAt = this.clock.monotonic()
    const now = this.clock.now()
    this.#progress++
    for (const delivery of batch) {
      const work = new Work(delivery, new IncomingMessage(delivery.message, this.#parts.codecs), receivedAt, now)
      this.#counters.received++
      this.#bufferedBytes += delivery.bytes
      this.#outstanding.push(work)
      if (this.#state !== 'running') this.#release(work, 0)
      else if (!this.scheduler.add(work)) this.#release(work, RETURN_DELAY_MS)
    }
    this.#runner.pump()
  }

  lost(deliveries: readonly Delivery[], reason: string): void {
    let count = 0
    let bytes = 0
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
        bytes += delivery.bytes
      }
      // One that is being settled: the transport refuses, and counts it as a failure there.
    }
    if (count === 0) return
    this.#counters.lost += count
    this.#events.emit('lost', { ...this.#identity, count, reason })
    if (running.size > 0)
      this.#runner.abort(new SettlementError(`The delivery was taken back by the broker: ${reason}`), (work) =>
        running.has(work),
      )
    if (count > running.size) this.freed(count - running.size, bytes)
    this.#runner.pump()
    this.#tellQuiet()
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
    this.#progress++
    if (this.#events.wants('delivery')) this.#events.emit('delivery', this.#ofMessage(work))
    return true
  }

  succeeded(work: Work, startedAt: number): void {
    this.#counters.handled++
    this.#progress++
    if (this.#gone(work)) return
    work.startedAt = startedAt
    this.#forget(work)
    ;(this.#settler as Settler).ack(work)
    this.scheduler.leave(work)
    this.#tellQuiet()
  }

  failed(work: Work, error: unknown): boolean {
    this.#counters.failed++
    this.#progress++
    if (this.#gone(work)) return false
    // Aborted by a forced close: nobody's fault, so no attempt is used up.
    if (this.#state === 'closed') return false
    const decision = this.#retry.decide(error, work.message, work.attempt)
    if (decision.type === 'dead-letter') {
      this.#deadLetter(work, error, decision.reason)
      return false
    }
    const mode = this.#retryMode(work)
    if (decision.countAttempt) {
      this.#counters.retried++
      if (this.#events.wants('retry'))
        this.#events.emit('retry', { ...this.#ofMessage(work), error, delayMs: decision.delayMs, mode })
    }
    if (this.#state === 'draining')
      this.#giveBack(work, decision.countAttempt ? { type: 'nack', delayMs: 0 } : { type: 'release', delayMs: 0 })
    else if (mode === 'inline') this.#park(work, decision.delayMs, decision.countAttempt)
    else
      this.#giveBack(work, { type: decision.countAttempt ? 'nack' : 'release', delayMs: Math.ceil(decision.delayMs) })
    return true
  }

  putBack(lane: Lane, works: readonly Work[]): void {
    if (!lane.returning && this.#state === 'running') {
      this.scheduler.putBack(lane, works)
      return
    }
    for (const work of works) this.#release(work, 0)
  }

  abandoned(work: Work, reason: unknown): void {
    this.#counters.abandoned++
    this.#events.emit('abandoned', this.#ofMessage(work))
    if (this.#options.batch === undefined) this.failed(work, reason)
  }

  late(work: Work): void {
    this.#counters.doubleSettled++
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
    this.#tellQuiet()
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
      this.#subscription?.noteAttempt?.(work.delivery, work.attempt).catch((error: unknown) => {
        this.#events.emit('error', {
          transport: this.transportName,
          error,
          doing: `noting attempt ${work.attempt} of message ${work.message.id}`,
        })
      })
      work.attempt++
    }
    work.state = 'parked'
    this.#parked++
    work.timer = this.clock.setTimer(delayMs, () => {
      this.#unpark(work)
      this.#progress++
      this.scheduler.again(work)
      this.#runner.pump()
    })
  }

  #unpark(work: Work): void {
    if (work.state !== 'parked') return
    this.#parked--
    work.timer?.cancel()
    work.timer = undefined
  }

  /** Back to the broker, and what waits behind it with it: otherwise the next of its key would overtake it. */
  #giveBack(work: Work, outcome: Outcome): void {
    const behind = this.#parts.transport.capabilities.orderedRedelivery ? this.scheduler.sendBack(work) : []
    this.#forget(work)
    ;(this.#settler as Settler).add(work, outcome)
    for (const later of behind) this.#release(later, 0)
    if (!this.#parts.transport.capabilities.orderedRedelivery) this.scheduler.leave(work)
  }

  #release(work: Work, delayMs: number): void {
    this.#unpark(work)
    this.#counters.released++
    this.#forget(work)
    this.scheduler.remove(work)
    if (work.delivery.lost) this.freed(1, work.delivery.bytes)
    else (this.#settler as Settler).add(work, { type: 'release', delayMs })
  }

  #releaseAll(): void {
    this.#runner.flush()
    for (const work of this.#outstanding.toArray())
      if (work.state === 'queued' || work.state === 'parked') this.#release(work, 0)
    this.#tellQuiet()
  }

  #deadLetter(work: Work, error: unknown, reason: DeadLetterReason): void {
    const failure = {
      group: this.#parts.deadLetterGroup,
      reason,
      error,
      attempts: work.attempt,
      firstAt: work.firstAt,
      lastAt: this.clock.now(),
    }
    const deadLetter = this.#options.deadLetter === 'drop' ? undefined : makeDeadLetter(work.delivery, failure)
    work.failure = { error, reason }
    // It keeps its place in the list and its lane until the broker has the dead letter.
    ;(this.#settler as Settler).add(work, { type: 'reject', deadLetter })
  }

  #forget(work: Work): void {
    this.#outstanding.remove(work)
    this.#bufferedBytes -= work.delivery.bytes
  }

  // --- what the broker answers -------------------------------------------------------------------------------------

  freed(count: number, bytes: number): void {
    if (this.#state === 'running') this.#subscription?.request(count, bytes)
  }

  settled(work: Work, outcome: Outcome): void {
    work.state = 'gone'
    switch (outcome.type) {
      case 'ack':
        this.#counters.acked++
        if (this.#events.wants('ack'))
          this.#events.emit('ack', { ...this.#ofMessage(work), durationMs: this.clock.monotonic() - work.startedAt })
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
        this.#runner.pump()
        this.#tellQuiet()
    }
  }

  settleFailed(work: Work, outcome: Outcome, error: Error): void {
    const again =
      outcome.type === 'reject' && !SettlementError.is(error) && !work.delivery.lost && this.#state !== 'closed'
    if (again) {
      // The dead letter could not be published. Its source stays ours until it is: nothing is lost, and nothing overtakes.
      this.#events.emit('error', {
        transport: this.transportName,
        error,
        doing: `dead-lettering message ${work.message.id} of "${work.message.topic}"`,
      })
      work.timer = this.clock.setTimer(backoffMs(DEAD_LETTER_BACKOFF, ++work.deadLetterTries), () => {
        work.timer = undefined
        if (this.#state !== 'closed') (this.#settler as Settler).again(work, outcome)
      })
      return
    }
    this.#counters.settleFailed++
    if (this.#events.wants('settleFailed')) this.#events.emit('settleFailed', { ...this.#ofMessage(work), error })
    work.state = 'gone'
    if (outcome.type === 'reject') {
      this.#forget(work)
      this.scheduler.leave(work)
      this.freed(1, work.delivery.bytes)
    } else if (outcome.type !== 'ack') this.#leaveReturned(work)
    this.#runner.pump()
    this.#tellQuiet()
  }

  #leaveReturned(work: Work): void {
    if (work.lane === undefined) return
    this.scheduler.returned(work)
    this.#runner.pump()
  }

  #tellRejected(work: Work, deadLetterTopic: string | undefined): void {
    const { error, reason } = work.failure as NonNullable<Work['failure']>
    if (deadLetterTopic === undefined) {
      this.#counters.dropped++
      this.#events.emit('drop', { ...this.#ofMessage(work), error, reason })
    } else {
      this.#counters.deadLettered++
      this.#events.emit('deadLetter', { ...this.#ofMessage(work), error, reason, deadLetterTopic })
    }
  }

  // --- for people --------------------------------------------------------------------------------------------------

  stats(): ConsumerStats {
    const running = this.#runner.running
    return this.#counters.snapshot({
      running,
      buffered: Math.max(0, this.#outstanding.size - running),
      bufferedBytes: this.#bufferedBytes,
    })
  }

  health(): ConsumerHealth {
    const of = { topic: this.topic, group: this.group, transport: this.transportName }
    if (this.#state === 'failed')
      return {
        ...of,
        status: 'failed',
        detail: this.#failure instanceof Error ? this.#failure.message : String(this.#failure),
      }
    if (this.#state !== 'running') return { ...of, status: 'stopped' }
    if (this.maxConcurrency === 0) return { ...of, status: 'paused', detail: [...this.#limits.keys()].join(', ') }
    if (this.#watchdog?.stalled)
      return {
        ...of,
        status: 'stalled',
        detail: `no progress for ${this.#options.stalledAfterMs} ms with ${this.#outstanding.size} messages here`,
      }
    return { ...of, status: 'ok' }
  }

  async #readyLag(): Promise<number | undefined> {
    const { admin, capabilities } = this.#parts.transport
    if (admin === undefined || !capabilities.lag || this.maxConcurrency === 0 || isPattern(this.topic)) return undefined
    const mine = (await admin.groups(this.topic)).find((info) => info.group === this.group)
    if (mine === undefined) return undefined
    return mine.ready ?? (mine.lag === undefined ? undefined : mine.lag - (mine.inFlight ?? 0))
  }

  #ofMessage(work: Work): BusEventMap['delivery'] {
    return { ...this.#identity, topic: work.message.topic, message: work.delivery.message, attempt: work.attempt }
  }
}
