import { eventFiltersOf } from '../event-set.ts'
import type { AttemptHost } from './attempt.ts'
import type { CloseOptions, ConsumerHandle } from '../bus-types.ts'
import { formatMs } from '../clock.ts'
import { maxPerKeyOf } from './consume-options.ts'
import type { ResolvedConsumeOptions } from './consume-options.ts'
import type { ConsumerParts } from './consumer-parts.ts'
import type { ConsumerStats } from './consumer-stats.ts'
import { DeliveryTracker } from './delivery-tracker.ts'
import { ConfigurationError, StateError, TimeoutError } from '../errors.ts'
import type { ConsumerControl } from '../handler.ts'
import type { ConsumerHealth } from '../health.ts'
import { LeaseKeeper } from './lease-keeper.ts'
import { Lifecycle } from './lifecycle.ts'
import { readTimeout } from '../util/options-reader.ts'
import { PartitionWatch } from './partition-watch.ts'
import type { PartitionLook } from './partition-watch.ts'
import { Preparation } from './preparation.ts'
import type { Runner } from './runner.ts'
import { isPattern } from '../topic.ts'
import type { GroupInfo, TransportSubscription } from '../transport.ts'
import { Watchdog } from './watchdog.ts'

/**
 * The consume loop, the same for all transports: subscribes, controls intake, and closes. `DeliveryTracker` handles deliveries,
 * a `Runner` calls the handler.
 */
export class Consumer implements ConsumerHandle, ConsumerControl {
  readonly topic: string
  readonly group: string
  readonly id: string
  readonly transportName: string
  readonly ready: Promise<void>
  readonly #parts: ConsumerParts
  readonly #lifecycle = new Lifecycle()
  readonly #tracker: DeliveryTracker
  readonly #runner: Runner
  readonly #limits = new Map<string, number>()
  #maxConcurrency: number
  readonly #identity: {
    readonly transport: string
    readonly topic: string
    readonly group: string
    readonly consumerId: string
  }
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
    this.id = parts.consumerId
    this.transportName = parts.transportName
    this.#identity = {
      transport: parts.transportName,
      topic: parts.topic,
      group: parts.group,
      consumerId: parts.consumerId,
    }
    this.#maxConcurrency = parts.options.concurrency
    this.#tracker = new DeliveryTracker(parts, this.#identity, this.#lifecycle, () => this.#maxConcurrency)
    this.ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve
      this.#rejectReady = reject
    })
    // No unhandled rejection when the caller does not await it: failures are also reported by `start()`, events and `health()`.
    this.ready.catch(() => {})
    const { holdMessages } = parts
    const attemptHost: AttemptHost = {
      owner: parts.owner,
      group: parts.group,
      control: this,
      clock: parts.clock,
      deadlines: parts.deadlines,
      publisher: parts.publisher,
      holdMessages: holdMessages && ((pending) => holdMessages((bytes) => this.#tracker.held(pending, bytes))),
      observers: parts.observers,
      transport: parts.identity,
      timeoutMs: parts.options.timeoutMs,
      abandonAfterMs: parts.options.abandonAfterMs,
    }
    const preparation = new Preparation(parts.definition, parts.codecs.hasAsync, parts.options.where?.ofData)
    this.#runner = parts.makeRunner(this.#tracker, attemptHost, preparation)
  }

  // --- lifecycle ---------------------------------------------------------------------------------------------------

  async start(): Promise<void> {
    if (this.#lifecycle.state !== 'idle') return this.ready
    this.#lifecycle.state = 'starting'
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
          concurrency: options.concurrency * (options.batch?.size ?? 1),
          attempts: options.retry.attempts,
          maxPerKey: maxPerKeyOf(options.prefetch),
          events: eventFiltersOf(this.#parts.definition),
          consumerId: this.#parts.consumerId,
          guarantee: options.guarantee === 'exactly-once' ? options.guarantee : undefined,
          native: options.native,
        },
        this.#tracker,
      )
      this.#subscription = subscription
      // A close with a deadline did not wait for the subscription.
      if (this.closed) await subscription.close()
      else this.#begun(subscription)
      this.#resolveReady()
    } catch (error) {
      if (!this.closed) this.#lifecycle.state = 'failed'
      this.#failure = error
      this.#rejectReady(error)
      throw error
    }
  }

  #begun(subscription: TransportSubscription): void {
    const { options, clock } = this.#parts
    this.#tracker.attach(subscription, this.#runner)
    if (subscription.leaseMs !== undefined) {
      this.#leases = new LeaseKeeper({
        outstanding: this.#tracker.outstanding,
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
    const { outstanding } = this.#tracker
    const partitions = new PartitionWatch(this.id)
    this.#watchdog = new Watchdog(
      {
        progress: () => this.#tracker.progress,
        mayStart: () => this.#maxConcurrency > 0,
        outstanding,
        unanswered: () => this.#tracker.unanswered(),
        subscription: () => subscription.state?.(),
        lag: () => this.#readyLag(subscription),
        lookAtPartitions: () => this.#lookAtPartitions(partitions),
        stuck: (pending, ageMs) => this.#tracker.reportStuck(pending, ageMs),
        stalled: (idleMs, lag, reason) =>
          this.#parts.events.emit('stalled', {
            ...this.#identity,
            idleMs,
            outstanding: outstanding.size,
            lag,
            reason,
          }),
        recovered: () => this.#parts.events.emit('recovered', this.#identity),
      },
      clock,
      options.stalledAfterMs,
    )
    // If closed while subscribing: `drain` waits for the subscription and does the rest.
    if (this.#lifecycle.state === 'starting') this.#lifecycle.state = 'running'
    if (this.#lifecycle.state !== 'running') return
    if (this.#maxConcurrency === 0) subscription.pause()
    subscription.request(options.prefetch, options.prefetchBytes)
  }

  get options(): ResolvedConsumeOptions {
    return this.#parts.options
  }

  get closed(): boolean {
    return this.#lifecycle.isClosed
  }

  /** It can't be started again, so another consumer may take its place. */
  get hasEnded(): boolean {
    return this.#lifecycle.hasEnded
  }

  pause(): void {
    this.#lifecycle.isPaused = true
    this.limit('pause', 0)
    // A listener may have resumed it, or started to close it.
    if (this.#lifecycle.isPaused && this.#lifecycle.state === 'running') this.#tracker.releaseAll()
  }

  resume(): void {
    this.#lifecycle.isPaused = false
    this.limit('pause', undefined)
  }

  limit(reason: string, maxConcurrency: number | undefined): void {
    if (maxConcurrency !== undefined && !(Number.isInteger(maxConcurrency) && maxConcurrency >= 0)) {
      throw new StateError(`limit("${reason}") takes a whole number >= 0 or undefined, got ${String(maxConcurrency)}`)
    }
    if (this.#limits.get(reason) === maxConcurrency) return
    const before = this.#maxConcurrency
    if (maxConcurrency === undefined) this.#limits.delete(reason)
    else this.#limits.set(reason, maxConcurrency)
    this.#maxConcurrency = Math.min(this.#parts.options.concurrency, ...this.#limits.values())
    this.#parts.events.emit('limit', { ...this.#identity, reason, maxConcurrency })
    // Draining stops intake for good; lifting a cap must not start it again.
    if (this.#lifecycle.state === 'draining' || this.#lifecycle.state === 'closed') return
    if (before > 0 && this.#maxConcurrency === 0) {
      this.#subscription?.pause()
      this.#parts.events.emit('pause', { ...this.#identity, reason })
    } else if (before === 0 && this.#maxConcurrency > 0) {
      // A pause does not count as a stall.
      this.#tracker.progress++
      this.#parts.events.emit('resume', { ...this.#identity, reason })
      // A listener may have paused it again, or started to close it.
      if (this.#maxConcurrency > 0 && this.#lifecycle.isOpen) {
        // What the pause returned must not be overtaken by a later message of its key.
        this.#tracker.flushOutcomes()
        this.#subscription?.resume()
      }
    }
    this.#runner.pump()
  }

  drain(): Promise<void> {
    return this.#stop(undefined)
  }

  close(options: CloseOptions = {}): Promise<void> {
    const timeoutMs = readTimeout(`close() of the consumer of "${this.topic}"`, options)
    if (timeoutMs instanceof ConfigurationError) return Promise.reject(timeoutMs)
    if (timeoutMs === undefined) return this.#stop(undefined)
    const deadline = Promise.withResolvers<number>()
    const timer = this.#parts.clock.setTimer(timeoutMs, () => deadline.resolve(timeoutMs))
    return this.closeWithin(deadline.promise).finally(() => timer.cancel())
  }

  /**
   * Same as `close`, but when `deadline` resolves (with its limit, in ms), running handlers are aborted and their messages
   * returned.
   */
  closeWithin(deadline: Promise<number>): Promise<void> {
    return this.#stop(deadline)
  }

  #stop(deadline: Promise<number> | undefined): Promise<void> {
    this.#closing ??= this.#drainAndClose()
    // A close with a deadline must end in time even after a drain without one.
    return deadline === undefined
      ? this.#closing
      : Promise.race([this.#closing, deadline.then((limitMs) => this.#force(limitMs))])
  }

  async #drainAndClose(): Promise<void> {
    if (this.#lifecycle.state === 'idle') {
      this.#lifecycle.state = 'closed'
      this.#rejectReady(new StateError('The consumer was closed before it was started'))
      return
    }
    if (this.#lifecycle.state !== 'failed') this.#lifecycle.state = 'draining'
    // Release at once: a handler that ends meanwhile must not start another message.
    this.#subscription?.pause()
    this.#tracker.releaseAll()
    this.#tracker.settleRest()
    // A subscription in progress must not be left behind.
    await this.ready.catch(() => {})
    if (this.#subscription === undefined) return
    await this.#tracker.whenQuiet()
    await this.#tracker.whenSettled()
    await this.#force()
  }

  /** Closes now. Aborts handlers that still run after `limitMs`, and returns their messages without using an attempt. */
  async #force(limitMs = 0): Promise<void> {
    if (this.#lifecycle.state === 'closed') return
    this.#lifecycle.state = 'closed'
    this.#leases?.close()
    this.#watchdog?.close()
    if (this.#runner.running > 0) this.#giveUpHandlers(limitMs)
    this.#tracker.releaseRunning()
    this.#tracker.close()
    await this.#subscription?.close()
  }

  #giveUpHandlers(limitMs: number): void {
    const { running } = this.#runner
    const handlers = running === 1 ? '1 handler was' : `${running} handlers were`
    const first = this.#tracker.runningDeliveries()[0]?.message.id
    const closed = `consumer of "${this.topic}" (group "${this.group}") was closed`
    this.#parts.events.emit('warning', {
      transport: this.transportName,
      code: 'close-timeout',
      detail: `the ${closed} after waiting ${formatMs(limitMs)} while ${handlers} running, the first with message ${first}: their messages are not settled, and their outcomes are ignored`,
    })
    this.#runner.abort(new TimeoutError(`The ${closed}, and the handler did not end within ${formatMs(limitMs)}`))
  }

  // --- for people --------------------------------------------------------------------------------------------------

  stats(): ConsumerStats {
    const { outstanding, runningMessages, bufferedBytes, counters } = this.#tracker
    return counters.snapshot({
      running: this.#runner.running,
      buffered: outstanding.size - runningMessages,
      unsettled: outstanding.size,
      bufferedBytes,
    })
  }

  health(): ConsumerHealth {
    const of = { topic: this.topic, group: this.group, transport: this.transportName }
    const { state } = this.#lifecycle
    if (state === 'failed') return { ...of, status: 'failed', detail: textOf(this.#failure) }
    if (state === 'draining')
      return { ...of, status: 'draining', detail: `${this.#tracker.outstanding.size} unsettled` }
    if (state === 'closed') return { ...of, status: 'stopped' }
    if (state !== 'running') return { ...of, status: 'starting' }
    if (this.#maxConcurrency === 0) return { ...of, status: 'paused', detail: [...this.#limits.keys()].join(', ') }
    const subscription = this.#subscription?.state?.()
    const stalled = subscription?.trouble ?? this.#watchdog?.stalled
    if (stalled !== undefined) return { ...of, status: 'stalled', detail: stalled }
    const stuck = this.#watchdog?.stuck ?? []
    const [oldest] = stuck
    if (oldest !== undefined) {
      const { id, key } = oldest.message
      const behind = this.#tracker.scheduler.queuedBehind(oldest).length
      const which = key === undefined ? id : `${id} (key "${key}", ${behind} behind it)`
      const more = stuck.length > 1 ? `, and ${stuck.length - 1} more` : ''
      const unhandled = oldest.state === 'settling' ? 'could not be settled' : 'has not been handled'
      const what = oldest.failure === undefined ? unhandled : 'could not be dead-lettered'
      const detail = `message ${which} ${what} for ${this.#parts.options.stalledAfterMs} ms${more}`
      return { ...of, status: 'stuck', detail }
    }
    const standing = this.#watchdog?.standing
    if (standing !== undefined) return { ...of, status: 'stuck', detail: standing }
    return subscription?.standby === true ? { ...of, status: 'standby' } : { ...of, status: 'ok' }
  }

  async #readyLag(subscription: TransportSubscription): Promise<number | string | undefined> {
    if (this.#maxConcurrency === 0) return undefined
    if (subscription.readyHere !== undefined) return subscription.readyHere()
    if (!this.#canAskForGroup()) return undefined
    const mine = await this.#groupInfo()
    if (mine === undefined) return `group "${this.group}" of topic "${this.topic}" is not on the broker any more`
    return mine.ready ?? (mine.lag === undefined ? undefined : mine.lag - (mine.inFlight ?? 0))
  }

  async #lookAtPartitions(watch: PartitionWatch): Promise<PartitionLook> {
    // During a pause nothing advances, and without a log there are no positions.
    const mayAsk =
      this.#maxConcurrency > 0 && this.#parts.transport.capabilities.replay.length > 0 && this.#canAskForGroup()
    return watch.look(mayAsk ? ((await this.#groupInfo())?.partitions ?? []) : [])
  }

  #canAskForGroup(): boolean {
    const { admin, capabilities } = this.#parts.transport
    return admin !== undefined && capabilities.lag && !isPattern(this.topic)
  }

  async #groupInfo(): Promise<GroupInfo | undefined> {
    const groups = await this.#parts.transport.admin?.groups(this.topic, this.group)
    return groups?.find((info) => info.group === this.group)
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
