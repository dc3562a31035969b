import type { Clock, Timer } from '../../../core/clock.ts'
import { growingDelay } from '../../../core/util/backoff.ts'

/** A process at rest sends one request every two seconds, however many groups it has. */
const PER_REQUEST_MS = 2_000
/** Besides the bindings: the channel opens and closes. */
const MORE_REQUESTS = 2
const MIN_MS = 5_000
/** Pauses of a group that fails again and again: a broker that refuses needs someone to act. */
const AFTER_FAILURE = { minMs: MIN_MS, maxMs: 300_000 } as const

export interface Renewable {
  /** Binds its queues again; resolves with the number of requests. */
  renewBindings(): Promise<number>
}

interface Failures {
  /** In a row. */
  readonly count: number
  /** In monotonic ms. */
  readonly dueAt: number
}

/**
 * Declares again what all groups share, and binds the queues of all groups, one group after another. AMQP does not report
 * that a binding or an exchange was removed, or that another process has made the exchange again: without its bindings, a
 * group would miss messages forever.
 */
export class BindingRenewal {
  readonly #clock: Clock
  readonly #groups: () => Iterable<Renewable>
  readonly #report: (error: unknown) => void
  readonly #done = new Set<Renewable>()
  #timer: Timer | undefined
  #failed = new WeakMap<Renewable, Failures>()
  #isStopped = false

  constructor(clock: Clock, groups: () => Iterable<Renewable>, report: (error: unknown) => void) {
    this.#clock = clock
    this.#groups = groups
    this.#report = report
  }

  /** There is a new connection. Starts, unless it runs already: then what failed before is due at once. */
  start(): void {
    this.#failed = new WeakMap()
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
    const group = this.#take()
    if (group !== undefined) {
      try {
        const count = await group.renewBindings()
        // Zero says nothing: there was nothing to do.
        if (count > 0) {
          this.#failed.delete(group)
          pauseMs = (count + MORE_REQUESTS) * PER_REQUEST_MS
        }
      } catch (error) {
        this.#report(error)
        this.#delay(group)
      }
    }
    if (!this.#isStopped) this.#next(pauseMs)
  }

  #delay(group: Renewable): void {
    const count = this.#failed.get(group)?.count ?? 0
    const dueAt = this.#clock.monotonic() + growingDelay(AFTER_FAILURE, count)
    this.#failed.set(group, { count: count + 1, dueAt })
  }

  /** The next group of this round, without those whose pause after a failure has not ended. */
  #take(): Renewable | undefined {
    const now = this.#clock.monotonic()
    const groups = [...this.#groups()].filter((group) => (this.#failed.get(group)?.dueAt ?? now) <= now)
    const group = groups.find((each) => !this.#done.has(each)) ?? groups[0]
    if (group === undefined || this.#done.has(group)) this.#done.clear()
    if (group !== undefined) this.#done.add(group)
    return group
  }
}
