import type { AttemptHost } from './attempt.ts'
import { BatchRunner } from './batch-runner.ts'
import type { ConsumerHandle, ConsumerHealth, ConsumerStats } from './bus-types.ts'
import type { ConsumerParts } from './consumer-parts.ts'
import { Deliveries } from './deliveries.ts'
import { StateError } from './errors.ts'
import type { BatchHandler, ConsumerControl, Handler } from './handler.ts'
import { LeaseKeeper } from './lease-keeper.ts'
import type { Runner } from './runner.ts'
import { SingleRunner } from './single-runner.ts'
import { isPattern } from './topic.ts'
import type { TransportSubscription } from './transport.ts'
import { Watchdog } from './watchdog.ts'

type State = 'idle' | 'starting' | 'running' | 'draining' | 'closed' | 'failed'

/**
 * The consume loop, the same for all transports: subscribes, steers intake, and ends. `Deliveries` deals with the messages,
 * a `Runner` with the handler.
 */
export class Consumer implements ConsumerHandle, ConsumerControl {
  readonly topic: string
  readonly group: string
  readonly transportName: string
  readonly ready: Promise<void>
  readonly #parts: ConsumerParts
  readonly #deliveries: Deliveries
  readonly #runner: Runner
  readonly #limits = new Map<string, number>()
  readonly #identity: {
    readonly transport: string
    readonly topic: string
    readonly group: string
    readonly consumerId: string
  }
  #state: State = 'idle'
  #failure: unknown
  #subscription: TransportSubscription | undefined
  #leases: LeaseKeeper | undefined
  #watchdog: Watchdog | undefined
  #closing: Promise<void> | undefined
  #resolveReady: () => void = () => {}
  #rejectReady: (error: unknown) => void = () => {}

  constructor(parts: ConsumerParts) {
    this.#parts = parts
    this.topic = parts.topic
    this.group = parts.group
    this.transportName = parts.transportName
    this.#identity = {
      transport: parts.transportName,
      topic: parts.topic,
      group: parts.group,
      consumerId: parts.consumerId,
    }
    this.#deliveries = new Deliveries(parts, this.#identity)
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
        ? new SingleRunner(this.#deliveries, attemptHost, parts.handler as Handler, parts.definition)
        : new BatchRunner(
            this.#deliveries,
            attemptHost,
            parts.handler as BatchHandler,
            parts.definition,
            parts.options.batch,
          )
  }

  // --- lifecycle ---------------------------------------------------------------------------------------------------

  async start(): Promise<void> {
    if (this.#state !== 'idle') return this.ready
    this.#state = 'starting'
    try {
      const { subscribe, options } = this.#parts
      const subscription = await subscribe(
        {
          topic: this.topic,
          group: this.group,
          order: options.order,
          ephemeral: options.broadcast,
          from: this.#parts.from,
          prefetch: options.prefetch,
          prefetchBytes: options.prefetchBytes,
          maxPerKey: Math.max(1, Math.ceil(options.prefetch / 8)),
          consumerId: this.#parts.consumerId,
          native: options.native,
        },
        this.#deliveries,
      )
      this.#subscription = subscription
      // A close with a deadline has not waited for us.
      if (this.closed) await subscription.close()
      else this.#begun(subscription)
      this.#resolveReady()
    } catch (error) {
      if (!this.closed) this.#state = 'failed'
      this.#failure = error
      this.#rejectReady(error)
      throw error
    }
  }

  #begun(subscription: TransportSubscription): void {
    const { options, clock } = this.#parts
    this.#deliveries.attach(subscription, this.#runner)
    if (subscription.leaseMs !== undefined) {
      this.#leases = new LeaseKeeper({
        outstanding: this.#deliveries.outstanding,
        subscription,
        leaseMs: subscription.leaseMs,
        clock,
        onError: (error) =>
          this.#parts.events.emit('error', {
            transport: this.transportName,
            error,
            doing: `renewing leases of group "${this.group}"`,
          }),
      })
    }
    this.#watchdog = new Watchdog(
      {
        progress: () => this.#deliveries.progress,
        waiting: () =>
          this.#deliveries.maxConcurrency === 0 ? 0 : this.#deliveries.outstanding.size - this.#deliveries.parked,
        lag: () => this.#readyLag(),
        stalled: (idleMs, lag) =>
          this.#parts.events.emit('stalled', {
            ...this.#identity,
            idleMs,
            outstanding: this.#deliveries.outstanding.size,
            lag,
          }),
        recovered: () => this.#parts.events.emit('recovered', this.#identity),
      },
      clock,
      options.stalledAfterMs,
    )
    // Closed while it was subscribing: `drain` waits for us and does the rest.
    if (this.#state === 'starting') this.#state = 'running'
    if (this.#state !== 'running') return
    if (this.#deliveries.maxConcurrency === 0) subscription.pause()
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
    if (this.#state === 'running') this.#deliveries.releaseAll()
  }

  resume(): void {
    this.limit('pause', undefined)
  }

  limit(reason: string, maxConcurrency: number | undefined): void {
    if (maxConcurrency !== undefined && !(Number.isInteger(maxConcurrency) && maxConcurrency >= 0)) {
      throw new StateError(`limit("${reason}") takes a whole number >= 0 or undefined, got ${String(maxConcurrency)}`)
    }
    if (this.#limits.get(reason) === maxConcurrency) return
    const before = this.#deliveries.maxConcurrency
    if (maxConcurrency === undefined) this.#limits.delete(reason)
    else this.#limits.set(reason, maxConcurrency)
    this.#deliveries.maxConcurrency = Math.min(this.#parts.options.concurrency, ...this.#limits.values())
    this.#parts.events.emit('limit', { ...this.#identity, reason, maxConcurrency })
    // Whoever drains has stopped intake for good; lifting a cap must not start it again.
    if (this.#state === 'draining' || this.#state === 'closed') return
    if (before > 0 && this.#deliveries.maxConcurrency === 0) {
      this.#subscription?.pause()
      this.#parts.events.emit('pause', { ...this.#identity, reason })
    } else if (before === 0 && this.#deliveries.maxConcurrency > 0) {
      // A pause is no stall.
      this.#deliveries.progress++
      this.#parts.events.emit('resume', { ...this.#identity, reason })
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
    this.#deliveries.phase = 'draining'
    // At once: a handler that ends meanwhile must find nothing more to start.
    this.#subscription?.pause()
    this.#deliveries.releaseAll()
    // A subscription that is just being made must not be left behind.
    await this.ready.catch(() => {})
    const subscription = this.#subscription
    if (subscription === undefined) return
    await this.#whenQuiet(deadline)
    await this.#deliveries.whenSettled()
    await this.#force(subscription)
  }

  /** Nothing runs any more, or the deadline has passed and what runs was told to stop. */
  async #whenQuiet(deadline: Promise<unknown> | undefined): Promise<void> {
    const quiet = this.#deliveries.whenQuiet()
    if (deadline === undefined) return quiet
    const late = await Promise.race([quiet.then(() => false), deadline.then(() => true)])
    if (late) this.#runner.abort(new StateError('The bus was closed and its deadline has passed'))
  }

  async #force(subscription: TransportSubscription | undefined = this.#subscription): Promise<void> {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#leases?.close()
    this.#watchdog?.close()
    this.#runner.abort(new StateError('The consumer was closed'))
    this.#deliveries.close()
    await subscription?.close()
  }

  // --- for people --------------------------------------------------------------------------------------------------

  stats(): ConsumerStats {
    const running = this.#runner.running
    return this.#deliveries.counters.snapshot({
      running,
      buffered: Math.max(0, this.#deliveries.outstanding.size - running),
      bufferedBytes: this.#deliveries.bufferedBytes,
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
    if (this.#state === 'draining') return { ...of, status: 'draining' }
    if (this.#state === 'closed') return { ...of, status: 'stopped' }
    if (this.#state !== 'running') return { ...of, status: 'starting' }
    if (this.#deliveries.maxConcurrency === 0)
      return { ...of, status: 'paused', detail: [...this.#limits.keys()].join(', ') }
    if (this.#watchdog?.stalled)
      return {
        ...of,
        status: 'stalled',
        detail: `no progress for ${this.#parts.options.stalledAfterMs} ms with ${this.#deliveries.outstanding.size} messages here`,
      }
    return { ...of, status: 'ok' }
  }

  async #readyLag(): Promise<number | undefined> {
    const { admin, capabilities } = this.#parts.transport
    if (admin === undefined || !capabilities.lag || this.#deliveries.maxConcurrency === 0 || isPattern(this.topic))
      return undefined
    const mine = (await admin.groups(this.topic)).find((info) => info.group === this.group)
    if (mine === undefined) return undefined
    return mine.ready ?? (mine.lag === undefined ? undefined : mine.lag - (mine.inFlight ?? 0))
  }
}
