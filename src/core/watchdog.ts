import type { Clock, Timer } from './clock.ts'
import type { PendingDelivery } from './pending-delivery.ts'
import type { SubscriptionState } from './transport.ts'

export interface WatchdogHost {
  /** Goes up whenever something arrives, starts or ends. */
  progress(): number
  /** Deliveries here that ought to move: not those that wait for a retry or a pause. */
  waiting(): number
  /** Deliveries that have been with a handler, or on their way to the dead letters, for longer than that. */
  findStuck(windowMs: number): readonly PendingDelivery[]
  /** How the subscription stands; undefined when it does not say. */
  subscription(): SubscriptionState | undefined
  /** What this member could be given, asked when nothing is here; undefined when unknown, a text when it can't get anything. */
  lag(): Promise<number | string | undefined>
  stuck(pending: PendingDelivery): void
  stalled(idleMs: number, lag: number | undefined, reason: string): void
  recovered(): void
}

const CHECKS_PER_WINDOW = 4
/** Of a batch that hangs, a few are enough to know which it is. */
const MAX_REPORTED = 10

/**
 * Notices what stands still: the whole consumer while there is work for it, a single delivery while others flow, and a
 * subscription that gets nothing although it should.
 */
export class Watchdog {
  readonly #host: WatchdogHost
  readonly #clock: Clock
  readonly #windowMs: number
  #timer: Timer | undefined
  #seen = -1
  #since: number
  /** When the lag was asked for last. */
  #askedAt = -Infinity
  #hadTrouble = false
  #stalled: string | undefined
  #stuck: readonly PendingDelivery[] = []
  /** At the last check. */
  #wasWell = true
  #closed = false

  constructor(host: WatchdogHost, clock: Clock, windowMs: number) {
    this.#host = host
    this.#clock = clock
    this.#windowMs = windowMs
    this.#since = clock.monotonic()
    this.#arm()
  }

  /** Why the consumer is stalled, or undefined. */
  get stalled(): string | undefined {
    return this.#stalled
  }

  /** Deliveries that were stuck at the last check, and still are, in order of arrival. */
  get stuck(): readonly PendingDelivery[] {
    if (this.#stuck.length > 0) this.#stuck = this.#stuck.filter((pending) => pending.watchedState === pending.state)
    return this.#stuck
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  #arm(): void {
    if (this.#closed) return
    this.#timer = this.#clock.setTimer(this.#windowMs / CHECKS_PER_WINDOW, () => {
      this.#check().then(
        () => this.#arm(),
        // Lag could not be asked for; the transport reports its own trouble.
        () => this.#arm(),
      )
    })
  }

  async #check(): Promise<void> {
    const wasWell = this.#wasWell
    this.#stuck = this.#host.findStuck(this.#windowMs)
    for (const pending of this.#stuck.slice(0, MAX_REPORTED)) this.#host.stuck(pending)
    await this.#checkStall()
    this.#wasWell = this.#stalled === undefined && this.#stuck.length === 0
    if (!wasWell && this.#wasWell && !this.#closed) this.#host.recovered()
  }

  async #checkStall(): Promise<void> {
    const state = this.#host.subscription()
    const now = this.#clock.monotonic()
    const progress = this.#host.progress()
    const moved = progress !== this.#seen
    if (moved) {
      this.#seen = progress
      this.#since = now
    }
    const idleMs = now - this.#since
    const trouble = state?.trouble
    if (trouble !== undefined) {
      // At the second look: what lasts only for a moment is not reported.
      if (this.#hadTrouble && this.#stalled !== trouble) this.#stall(trouble, idleMs, undefined)
      this.#hadTrouble = true
      return
    }
    if (moved || this.#hadTrouble || state?.standby === true) {
      this.#hadTrouble = false
      this.#stalled = undefined
      return
    }
    if (idleMs < this.#windowMs) return
    if (this.#host.waiting() > 0) {
      if (this.#stalled === undefined)
        this.#stall(
          `no progress for ${this.#windowMs} ms with ${this.#host.waiting()} unsettled here`,
          idleMs,
          undefined,
        )
      return
    }
    // An idle consumer asks once in a window, not at each check: a thousand of them would be a load.
    if (now - this.#askedAt < this.#windowMs) return
    this.#askedAt = now
    const lag = await this.#host.lag()
    if (this.#closed || this.#host.progress() !== this.#seen) return
    if (lag === undefined || lag === 0) this.#stalled = undefined
    else if (this.#stalled !== undefined) return
    else if (typeof lag === 'string') this.#stall(lag, idleMs, undefined)
    else
      this.#stall(`nothing has arrived for ${this.#windowMs} ms, and ${lag} messages wait at the broker`, idleMs, lag)
  }

  #stall(reason: string, idleMs: number, lag: number | undefined): void {
    this.#stalled = reason
    this.#host.stalled(idleMs, lag, reason)
  }
}
