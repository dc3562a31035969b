import { randomUUID } from 'node:crypto'
import { BusbarError, TimeoutError } from '../core/errors.ts'
import type { ErrorCode } from '../core/errors.ts'
import type { Handler, HandlerContext } from '../core/handler.ts'
import type { Message } from '../core/message.ts'
import { OptionsReader } from '../core/util/options-reader.ts'
import { isPromiseLike } from '../core/util/is-promise-like.ts'
import { notify } from '../core/util/notify.ts'
import { Circuit } from './circuit.ts'
import type { CallResult, CircuitMember, CircuitState } from './circuit.ts'
import type { FailureLimit } from './failure-window.ts'
import { isNotNow } from './not-now.ts'
import { MAX_QUIET_DELAY_MS } from './quiet-timer.ts'

/** Options of `circuitBreaker`. */
export interface CircuitBreakerOptions {
  /**
   * Name of the guarded dependency: `payment-api`. It is part of the reason of `limit` events (`circuit-breaker:payment-api`),
   * so two breakers of one consumer must have different names. Default: a random name.
   */
  readonly name?: string | undefined
  /**
   * Number of failures within `windowMs` that opens the circuit, regardless of successes in between. Can't be combined with
   * `failureRate`. Default 5.
   */
  readonly failureThreshold?: number | undefined
  /**
   * Instead of `failureThreshold`: share of failures among the results within `windowMs` that opens the circuit, above 0 up to
   * 1.
   */
  readonly failureRate?: number | undefined
  /** With `failureRate`: minimum number of results before the circuit can open. Default 10. */
  readonly minimum?: number | undefined
  /** How far back results count, in ms. Default 10,000. */
  readonly windowMs?: number | undefined
  /** How long intake stays paused before a trial message is let through, in ms. Default 30,000. */
  readonly resetTimeoutMs?: number | undefined
  /** How many messages are let through while half-open, across all consumers of the breaker. Default 1. */
  readonly halfOpenPermits?: number | undefined
  /**
   * Return false for errors that say nothing about the dependency; they count as neither failure nor success. Default: every
   * error is a failure except `ctx.retry({ countAttempt: false })` and errors about the message itself (`RejectError`,
   * `CodecError`, `ValidationError`). If it throws, the error is a failure.
   */
  readonly isFailure?: ((error: unknown) => boolean) | undefined
  /** Called when the circuit opens, closes, or is tried again. What it throws is reported as a warning of the process. */
  readonly onStateChange?: ((change: CircuitStateChange) => void) | undefined
}

/** What `onStateChange` is called with. */
export interface CircuitStateChange {
  readonly name: string
  readonly from: CircuitState
  readonly to: CircuitState
}

/** A middleware. Consumers that share one instance open and close together. */
export interface CircuitBreaker {
  (next: Handler): Handler
  readonly name: string
  readonly state: CircuitState
}

const CIRCUIT_BREAKER_DEFAULTS = {
  failureThreshold: 5,
  minimum: 10,
  windowMs: 10_000,
  resetTimeoutMs: 30_000,
  halfOpenPermits: 1,
} as const

interface ResolvedCircuitBreaker {
  readonly name: string
  readonly limit: FailureLimit
  readonly resetTimeoutMs: number
  readonly permits: number
  readonly isFailure: (error: unknown) => boolean
  readonly onStateChange: ((change: CircuitStateChange) => void) | undefined
}

function resolve(options: CircuitBreakerOptions): ResolvedCircuitBreaker {
  const reader = new OptionsReader('circuitBreaker()', options, 'circuitBreaker()')
  const windowMs = reader.integer('windowMs', CIRCUIT_BREAKER_DEFAULTS.windowMs, { min: 1 })
  const failures = reader.integer('failureThreshold', CIRCUIT_BREAKER_DEFAULTS.failureThreshold, {
    min: 1,
    max: 100_000,
  })
  const rate = reader.number('failureRate', undefined, { min: 0.000001, max: 1 })
  const minimum = reader.integer('minimum', CIRCUIT_BREAKER_DEFAULTS.minimum, { min: 1 })
  if (reader.has('failureRate') && reader.has('failureThreshold'))
    reader.problem('failureRate', 'and failureThreshold exclude each other: choose one')
  if (reader.has('minimum') && !reader.has('failureRate'))
    reader.problem('minimum', 'has no meaning without failureRate')
  const resolved: ResolvedCircuitBreaker = {
    name: reader.string('name', undefined) ?? randomUUID().slice(0, 8),
    limit: rate === undefined ? { windowMs, failures } : { windowMs, rate, minimum },
    resetTimeoutMs: reader.integer('resetTimeoutMs', CIRCUIT_BREAKER_DEFAULTS.resetTimeoutMs, {
      min: 1,
      max: MAX_QUIET_DELAY_MS,
    }),
    permits: reader.integer('halfOpenPermits', CIRCUIT_BREAKER_DEFAULTS.halfOpenPermits, { min: 1, max: 100_000 }),
    isFailure: reader.callable<(error: unknown) => boolean>('isFailure') ?? isFailureByDefault,
    onStateChange: reader.callable<(change: CircuitStateChange) => void>('onStateChange'),
  }
  reader.done()
  return Object.freeze(resolved)
}

/**
 * Stops calling a dependency that keeps failing. After too many failures the circuit opens: intake of its consumers is paused
 * (the broker keeps the messages, and none loses an attempt). After `resetTimeoutMs` it is half-open and lets one message
 * through (or `halfOpenPermits`). Success closes the circuit, failure opens it again, and any other outcome lets the next
 * message through.
 *
 * - When the circuit opens, messages already on their way are returned with `ctx.retry({ countAttempt: false })`. Running
 *   handlers may finish; their outcome no longer affects the circuit.
 * - An attempt that exceeds its deadline fails at that moment, even if the handler never ends.
 * - One instance is one circuit. Create one per dependency, and give it to all consumers that call this dependency. Use it once
 *   per consumer.
 *
 *     const payments = circuitBreaker({ name: 'payment-api', failureThreshold: 5, resetTimeoutMs: 10_000 })
 *     bus.consume(OrderPlaced, charge, { middleware: [payments] })
 *
 * Throws `ConfigurationError` for invalid options.
 */
export function circuitBreaker(options: CircuitBreakerOptions = {}): CircuitBreaker {
  const { name, limit, resetTimeoutMs, permits, isFailure, onStateChange } = resolve(options)
  const circuit = new Circuit({
    reason: `circuit-breaker:${name}`,
    limit,
    resetTimeoutMs,
    permits,
    changed(to, from) {
      if (onStateChange !== undefined)
        notify('onStateChange of circuitBreaker()', () => onStateChange({ name, from, to }))
    },
  })
  const resultOf = (error: unknown): CallResult => {
    let failure = true
    notify('isFailure of circuitBreaker()', () => {
      failure = isFailure(error)
    })
    return failure ? 'failure' : 'neutral'
  }
  const middleware = (next: Handler): Handler => {
    let member: CircuitMember | undefined
    return (message, ctx) => {
      member ??= circuit.join(ctx.consumer)
      const generation = circuit.enter(member)
      if (generation === undefined) return ctx.retry({ delayMs: circuit.putOffMs(ctx.clock), countAttempt: false })
      return new GuardedCall(circuit, member, generation, resultOf).run(next, message, ctx)
    }
  }
  Object.defineProperties(middleware, {
    name: { value: name },
    state: { get: () => circuit.state, enumerable: true },
  })
  return middleware as CircuitBreaker
}

const ABOUT_THE_MESSAGE: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'BUSBAR_REJECT',
  'BUSBAR_CODEC',
  'BUSBAR_VALIDATION',
])

function isFailureByDefault(error: unknown): boolean {
  return !isNotNow(error) && !(BusbarError.is(error) && ABOUT_THE_MESSAGE.has(error.code))
}

/** One call that the circuit let through. Reports its result to the circuit once. */
class GuardedCall {
  readonly #circuit: Circuit
  readonly #member: CircuitMember
  readonly #generation: number
  readonly #resultOf: (error: unknown) => CallResult
  #ended = false

  constructor(circuit: Circuit, member: CircuitMember, generation: number, resultOf: (error: unknown) => CallResult) {
    this.#circuit = circuit
    this.#member = member
    this.#generation = generation
    this.#resultOf = resultOf
  }

  run(next: Handler, message: Message, ctx: HandlerContext): unknown {
    let result: unknown
    try {
      result = next(message, ctx)
    } catch (error) {
      this.#fail(error, ctx)
      throw error
    }
    if (!isPromiseLike(result)) {
      this.#end('success', ctx)
      return result
    }
    return this.#watch(result, ctx)
  }

  #watch(result: PromiseLike<unknown>, ctx: HandlerContext): PromiseLike<unknown> {
    const { signal } = ctx
    // A handler that hangs may never end, but its deadline is a result too, and a trial call must return its permit.
    const onAbort = (): void => this.#abort(signal.reason, ctx)
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
    return result.then(
      (value) => {
        signal.removeEventListener('abort', onAbort)
        this.#end('success', ctx)
        return value
      },
      (error: unknown) => {
        signal.removeEventListener('abort', onAbort)
        this.#fail(error, ctx)
        throw error
      },
    )
  }

  /** A lost delivery or a closing bus says nothing about the dependency; a missed deadline does. */
  #abort(reason: unknown, ctx: HandlerContext): void {
    if (TimeoutError.is(reason)) this.#fail(reason, ctx)
    else this.#end('neutral', ctx)
  }

  #fail(error: unknown, ctx: HandlerContext): void {
    if (!this.#ended) this.#end(this.#resultOf(error), ctx)
  }

  #end(result: CallResult, ctx: HandlerContext): void {
    if (this.#ended) return
    this.#ended = true
    this.#circuit.leave(this.#member, this.#generation, result, ctx.clock)
  }
}
