import type { Clock, Timer } from '../../../core/clock.ts'
import { growingDelay } from '../../../core/util/backoff.ts'

/** A process at rest sends one request every two seconds, however many groups it has. */
const PER_REQUEST_MS = 2_000
/** Besides the bindings: the channel opens and closes. */
const MORE_REQUESTS = 2
const MIN_MS = 5_000
/** Pauses while one group after another fails: a broker that refuses needs someone to act. */
const AFTER_FAILURE = { minMs: MIN_MS, maxMs: 300_000 } as const

export interface Renewable {
  /** Binds its queues again; resolves with the number of requests. */
  renewBindings(): Promise<number>
}

/**
 * Declares again what all groups share, and binds the queues of all groups, one group after another. AMQP does not report
 * that a binding or an exchange was removed, or that another process has made the exchange again: without its bindings, a
 * group would miss messages forever.
 */
export class BindingRenewal {
  readonly #clock: Clock
  readonly #groups: () => Iterable<Renewable>
  readonly #failed: (error: unknown) => void
  readonly #done = new Set<Renewable>()
  #timer: Timer | undefined
  /** Failures in a row. */
  #failures = 0
  #isStopped = false

  constructor(clock: Clock, groups: () => Iterable<Renewable>, failed: (error: unknown) => void) {
    this.#clock = clock
    this.#groups = groups
    this.#failed = failed
  }

  /** Starts, unless it runs already. */
  start(): void {
    if (this.#timer === undefined && !this.#isStopped) this.#next(MIN_MS)
  }

  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
  }

  #next(ms: number): void {
    this.#timer = this.#clock.setTimer(ms, () => void this.#renew())
  }

  async #renew(): Promise<void> {
    let pauseMs = MIN_MS
    try {
      const count = (await this.#take()?.renewBindings()) ?? 0
      this.#failures = 0
      if (count > 0) pauseMs = (count + MORE_REQUESTS) * PER_REQUEST_MS
    } catch (error) {
      this.#failed(error)
      pauseMs = growingDelay(AFTER_FAILURE, this.#failures++)
    }
    if (!this.#isStopped) this.#next(pauseMs)
  }

  /** The next group of this round. */
  #take(): Renewable | undefined {
    const groups = [...this.#groups()]
    const group = groups.find((each) => !this.#done.has(each)) ?? groups[0]
    if (group === undefined || this.#done.has(group)) this.#done.clear()
    if (group !== undefined) this.#done.add(group)
    return group
  }
}
