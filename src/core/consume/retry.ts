import type { Clock } from '../clock.ts'
import type { ResolvedRetry } from './consume-options.ts'
import { RejectError } from '../errors.ts'
import type { DeadLetterReason } from '../events.ts'
import { growingDelay } from '../util/backoff.ts'
import type { IncomingMessage } from './incoming-message.ts'

const retryRequestBrand = Symbol.for('busbar.retry-request')

/** What `ctx.retry()` throws. It is not a failure itself, but its `cause` is. */
export class RetryRequest extends Error {
  readonly delayMs: number | undefined
  readonly countAttempt: boolean

  constructor(options: {
    readonly delayMs?: number | undefined
    readonly countAttempt?: boolean | undefined
    readonly cause?: unknown
  }) {
    super('The handler asked for a retry', { cause: options.cause })
    this.name = 'RetryRequest'
    this.delayMs = options.delayMs
    this.countAttempt = options.countAttempt ?? true
    Object.defineProperty(this, retryRequestBrand, { value: true })
  }

  static is(this: void, value: unknown): value is RetryRequest {
    return typeof value === 'object' && value !== null && retryRequestBrand in value
  }
}

/** What to do with a message whose handler failed. */
export type FailureDecision =
  | { readonly type: 'dead-letter'; readonly reason: DeadLetterReason }
  | { readonly type: 'retry'; readonly delayMs: number; readonly countAttempt: boolean }

/** Delay after `attempt` failed attempts, in ms. Pure, except for `random`. */
export function backoffMs(
  policy: Pick<ResolvedRetry, 'backoff' | 'baseMs' | 'maxMs'>,
  attempt: number,
  random: () => number = Math.random,
): number {
  if (policy.backoff === 'fixed') return Math.min(policy.baseMs, policy.maxMs)
  const exponential = growingDelay({ minMs: policy.baseMs, maxMs: policy.maxMs }, attempt - 1)
  return policy.backoff === 'exponential' ? exponential : Math.ceil(random() * exponential)
}

/** Applies the consumer's retry policy to failures, and keeps its retry budget. One per consumer. */
export class RetryPolicy {
  readonly #policy: ResolvedRetry
  readonly #clock: Clock
  readonly #budget: RetryBudget | undefined

  constructor(policy: ResolvedRetry, clock: Clock) {
    this.#policy = policy
    this.#clock = clock
    this.#budget = policy.budgetPerMinute === undefined ? undefined : new RetryBudget(policy.budgetPerMinute)
  }

  get attempts(): number {
    return this.#policy.attempts
  }

  decide(error: unknown, message: IncomingMessage, attempt: number): FailureDecision {
    if (RetryRequest.is(error) && !error.countAttempt) {
      return { type: 'retry', delayMs: error.delayMs ?? backoffMs(this.#policy, 1), countAttempt: false }
    }
    if (message.decodeError !== undefined && error === message.decodeError)
      return { type: 'dead-letter', reason: 'undecodable' }
    if (message.invalidError !== undefined && error === message.invalidError)
      return { type: 'dead-letter', reason: 'invalid' }
    if (RejectError.is(error) && error.code === 'BUSBAR_REJECT') return { type: 'dead-letter', reason: 'rejected' }
    if (attempt >= this.#policy.attempts) return { type: 'dead-letter', reason: 'exhausted' }
    const request = RetryRequest.is(error) ? error : undefined
    if (request === undefined && !this.#wantsRetry(error, message, attempt))
      return { type: 'dead-letter', reason: 'rejected' }
    const delayMs = request?.delayMs ?? backoffMs(this.#policy, attempt)
    return {
      type: 'retry',
      delayMs: Math.max(delayMs, this.#budget?.take(this.#clock.monotonic()) ?? 0),
      countAttempt: true,
    }
  }

  #wantsRetry(error: unknown, message: IncomingMessage, attempt: number): boolean {
    const { retryIf } = this.#policy
    if (retryIf === undefined) return true
    try {
      return retryIf(error, message, attempt)
    } catch {
      // If the predicate throws, retry: that loses nothing.
      return true
    }
  }
}

/** Limits the retries in any minute; retries above the limit are delayed until there is room. */
class RetryBudget {
  readonly #perMinute: number
  /** Times of the last `perMinute` retries, as a ring. */
  readonly #slots: number[] = []
  #at = 0

  constructor(perMinute: number) {
    this.#perMinute = perMinute
  }

  /** Books one retry; returns how long it must wait, in ms. */
  take(now: number): number {
    const previous = this.#slots[this.#at] ?? -Infinity
    const runAt = Math.max(now, previous + 60_000)
    this.#slots[this.#at] = runAt
    this.#at = (this.#at + 1) % this.#perMinute
    return runAt - now
  }
}
