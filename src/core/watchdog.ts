import type { Clock, Timer } from './clock.ts'
import type { LinkedList } from './linked-list.ts'
import type { PendingDelivery, PendingState } from './pending-delivery.ts'
import type { SubscriptionState } from './transport.ts'

export interface WatchdogHost {
  /** Goes up whenever something arrives, starts or ends. */
  progress(): number
  /** False while a pause keeps what is here from starting. */
  mayStart(): boolean
  /** What is here, in order of arrival. */
  readonly outstanding: LinkedList<PendingDelivery>
  /** The first of each batch of outcomes that the broker has not answered. */
  unanswered(): readonly PendingDelivery[]
  /** How the subscription stands; undefined when it does not say. */
  subscription(): SubscriptionState | undefined
  /** What this member could be given, asked when nothing is here; undefined when unknown, a text when it can't get anything. */
  lag(): Promise<number | string | undefined>
  stuck(pending: PendingDelivery, ageMs: number): void
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
    if (this.#stuck.length > 0) this.#stuck = this.#stuck.filter((pending) => pending.watchedState === stateOf(pending))
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
    this.#stuck = this.#findStuck()
    for (const pending of this.#stuck.slice(0, MAX_REPORTED)) this.#reportStuck(pending)
    await this.#checkStall()
    this.#wasWell = this.#stalled === undefined && this.#stuck.length === 0
    if (!wasWell && this.#wasWell && !this.#closed) this.#host.recovered()
  }

  /**
   * Those that have been where they are for longer than the window, and nothing but the broker or a handler can move them. The
   * first check that sees one there counts as the beginning.
   */
  #findStuck(): readonly PendingDelivery[] {
    const now = this.#clock.monotonic()
    const stuck: PendingDelivery[] = []
    const look = (pending: PendingDelivery): void => {
      const state = stateOf(pending)
      if (!mayHang(pending, state) || pending.watchedState !== state) {
        pending.watchedState = state
        pending.watchedSince = now
        pending.isStuck = false
      } else if (now - pending.watchedSince >= this.#windowMs) stuck.push(pending)
    }
    for (let pending = this.#host.outstanding.first; pending !== undefined; pending = pending.next) look(pending)
    for (const pending of this.#host.unanswered()) look(pending)
    return stuck
  }

  #reportStuck(pending: PendingDelivery): void {
    if (pending.isStuck) return
    pending.isStuck = true
    this.#host.stuck(pending, this.#clock.monotonic() - pending.watchedSince)
  }

  /**
   * How many ought to move: not those that wait for their retry, and nothing during a pause, or while every handler that runs
   * has a deadline, which ends it.
   */
  #waiting(): number {
    if (!this.#host.mayStart()) return 0
    let waiting = 0
    let running = 0
    let endless = 0
    for (let pending = this.#host.outstanding.first; pending !== undefined; pending = pending.next) {
      const state = stateOf(pending)
      if (state !== 'waitingForRetry') waiting++
      if (state !== 'running') continue
      running++
      if (!pending.hasDeadline) endless++
    }
    return running > 0 && endless === 0 ? 0 : waiting
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
    const waiting = this.#waiting()
    if (waiting > 0) {
      if (this.#stalled === undefined)
        this.#stall(`no progress for ${this.#windowMs} ms with ${waiting} unsettled here`, idleMs, undefined)
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

/** What it is doing. One that could not be prepared and is tried again later is still being prepared. */
function stateOf({ state, isAsking }: PendingDelivery): PendingState {
  return isAsking && state === 'waitingForRetry' ? 'preparing' : state
}

/** Waiting to run alone, or for the note about its start, ends by itself. */
function mayHang({ hasDeadline, isAsking }: PendingDelivery, state: PendingState): boolean {
  if (state === 'running') return !hasDeadline
  return state === 'settling' || (state === 'preparing' && isAsking)
}
