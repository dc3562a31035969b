import type { Clock, Timer } from '../clock.ts'
import type { LinkedList } from '../util/linked-list.ts'
import type { PartitionLook } from './partition-watch.ts'
import type { PendingDelivery, PendingState } from './pending-delivery.ts'
import type { SubscriptionState } from '../transport.ts'

export interface WatchdogHost {
  /** Incremented whenever something arrives, starts or ends. */
  progress(): number
  /** False while a pause keeps handlers from starting. */
  mayStart(): boolean
  /** Unsettled deliveries, in order of arrival. */
  readonly outstanding: LinkedList<PendingDelivery>
  /** The first delivery of each batch of outcomes that the broker has not answered. */
  unanswered(): readonly PendingDelivery[]
  /** State of the subscription; undefined when it does not report one. */
  subscription(): SubscriptionState | undefined
  /**
   * Number of messages this member could get, asked when it holds none. Undefined when unknown; a reason when it can't get any.
   */
  lag(): Promise<number | string | undefined>
  /** Looks for partitions that stand still although they have messages. */
  lookAtPartitions(): Promise<PartitionLook>
  stuck(pending: PendingDelivery, ageMs: number): void
  stalled(idleMs: number, lag: number | undefined, reason: string): void
  recovered(): void
}

const CHECKS_PER_WINDOW = 4
/** Asking about partitions costs the broker something: a consumer that gets nothing asks only so often. */
const IDLE_WINDOWS = 5
/** A few deliveries are enough to identify a batch that hangs. */
const MAX_REPORTED = 10

/**
 * Detects lack of progress: of the whole consumer while there is work, of one delivery while others flow, and of a subscription
 * that gets nothing although it should.
 */
export class Watchdog {
  readonly #host: WatchdogHost
  readonly #clock: Clock
  readonly #windowMs: number
  #timer: Timer | undefined
  #seen = -1
  #since: number
  /** When the lag was last requested. */
  #askedAt = -Infinity
  /** Messages waited at the last check that asked. */
  #waited = false
  #hadTrouble = false
  /** When the partitions were last looked at, and the progress then. */
  #lookedAt: number
  #progressThen = 0
  #standing: string | undefined
  #isSuspicious = false
  #stalled: string | undefined
  #stuck: readonly PendingDelivery[] = []
  /** Whether all was well at the last check. */
  #wasWell = true
  #closed = false

  constructor(host: WatchdogHost, clock: Clock, windowMs: number) {
    this.#host = host
    this.#clock = clock
    this.#windowMs = windowMs
    this.#since = clock.monotonic()
    this.#lookedAt = this.#since
    this.#arm()
  }

  /** Why the consumer is stalled, or undefined. */
  get stalled(): string | undefined {
    return this.#stalled
  }

  /** Which partition does not advance although others may, or undefined. */
  get standing(): string | undefined {
    return this.#standing
  }

  /** Deliveries that were stuck at the last check and still are, in order of arrival. */
  get stuck(): readonly PendingDelivery[] {
    if (this.#stuck.length > 0) this.#stuck = this.#stuck.filter((pending) => pending.watch?.state === stateOf(pending))
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
        // The lag could not be read; the transport reports its own problems.
        () => this.#arm(),
      )
    })
  }

  async #check(): Promise<void> {
    const wasWell = this.#wasWell
    this.#stuck = this.#findStuck()
    for (const pending of this.#stuck.slice(0, MAX_REPORTED)) this.#reportStuck(pending)
    await this.#checkStall()
    await this.#checkPartitions()
    this.#wasWell = this.#stalled === undefined && this.#stuck.length === 0 && this.#standing === undefined
    if (!wasWell && this.#wasWell && !this.#closed) this.#host.recovered()
  }

  /**
   * Deliveries that have been in their state for longer than the window, and that only the broker or a handler can move on. The
   * time counts from the first check that sees the state.
   */
  #findStuck(): readonly PendingDelivery[] {
    const now = this.#clock.monotonic()
    const stuck: PendingDelivery[] = []
    const look = (pending: PendingDelivery): void => {
      const state = stateOf(pending)
      if (!mayHang(pending, state) || pending.watch?.state !== state)
        pending.watch = { state, since: now, isStuck: false }
      else if (now - pending.watch.since >= this.#windowMs) stuck.push(pending)
    }
    for (let pending = this.#host.outstanding.first; pending !== undefined; pending = pending.next) look(pending)
    for (const pending of this.#host.unanswered()) look(pending)
    return stuck
  }

  #reportStuck(pending: PendingDelivery): void {
    const { watch } = pending
    if (watch === undefined || watch.isStuck) return
    watch.isStuck = true
    this.#host.stuck(pending, this.#clock.monotonic() - watch.since)
  }

  /**
   * Number of deliveries that should make progress. Excludes those that wait for a retry. None during a pause, or while every
   * running handler has a deadline.
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
      // Report at the second check: a brief problem is not reported.
      if (this.#hadTrouble && this.#stalled !== trouble) this.#stall(trouble, idleMs, undefined)
      this.#hadTrouble = true
      return
    }
    if (moved || this.#hadTrouble || state?.standby === true) {
      this.#hadTrouble = this.#waited = false
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
    // An idle consumer asks once per window, not at each check: a thousand consumers would be a load.
    if (!this.#waited && now - this.#askedAt < this.#windowMs) return
    this.#askedAt = now
    const lag = await this.#host.lag()
    if (this.#closed || this.#host.progress() !== this.#seen) return
    // They may have come this moment: they wait if they are still there at the next check.
    const waited = this.#waited
    this.#waited = !waited && typeof lag === 'number' && lag > 0
    if (this.#waited) return
    if (lag === undefined || lag === 0) this.#stalled = undefined
    else if (this.#stalled !== undefined) return
    else if (typeof lag === 'string') this.#stall(lag, idleMs, undefined)
    else
      this.#stall(`nothing has arrived for ${this.#windowMs} ms, and ${lag} messages wait at the broker`, idleMs, lag)
  }

  /** A partition may stand still while others flow, which nothing here would show. */
  async #checkPartitions(): Promise<void> {
    const now = this.#clock.monotonic()
    const progress = this.#host.progress()
    const windows = progress === this.#progressThen ? IDLE_WINDOWS : 1
    if (!this.#isSuspicious && now - this.#lookedAt < this.#windowMs * windows) return
    this.#lookedAt = now
    this.#progressThen = progress
    const { isSuspicious, reason } = await this.#host.lookAtPartitions()
    if (this.#closed) return
    this.#isSuspicious = isSuspicious
    if (reason !== undefined && this.#standing === undefined) this.#host.stalled(now - this.#since, undefined, reason)
    this.#standing = reason
  }

  #stall(reason: string, idleMs: number, lag: number | undefined): void {
    this.#stalled = reason
    this.#host.stalled(idleMs, lag, reason)
  }
}

/** State of a delivery. One whose preparation will be retried still counts as `preparing`. */
function stateOf({ state, isAsking }: PendingDelivery): PendingState {
  return isAsking && state === 'waitingForRetry' ? 'preparing' : state
}

/** A wait to run alone, or for the note about its start, ends by itself. */
function mayHang({ hasDeadline, isAsking }: PendingDelivery, state: PendingState): boolean {
  if (state === 'running') return !hasDeadline
  return state === 'settling' || (state === 'preparing' && isAsking)
}
