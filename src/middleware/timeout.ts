import type { Middleware } from '../core/handler.ts'
import { OptionsReader } from '../core/util/options-reader.ts'

/** Options of `timeout`. */
export interface TimeoutOptions {
  /** Deadline of one attempt, counted from when it reaches this middleware, in ms. Required. */
  readonly ms: number
}

/**
 * Gives every attempt a deadline. When it passes, `ctx.signal` aborts with a `TimeoutError`. A handler that passes the signal
 * on fails with it, and is retried as after any other failure. A handler that does not end within the consumer's
 * `abandonAfterMs` is abandoned, and has failed too.
 *
 * It only calls `ctx.extend(ms)` at the start of the attempt. An attempt has one deadline: this middleware overrides the
 * consumer's `timeoutMs`, and the handler can still move the deadline with `ctx.extend`.
 *
 *     bus.consume(OrderPlaced, charge, { middleware: [timeout({ ms: 5_000 })] })
 *
 * Throws `ConfigurationError` for invalid options.
 */
export function timeout(options: TimeoutOptions): Middleware {
  const reader = new OptionsReader('timeout()', options, 'timeout({ ms: 5_000 })')
  if (!reader.has('ms')) reader.problem('ms', 'is required: the deadline of one attempt, in ms')
  const ms = reader.integer('ms', 1, { min: 1 })
  reader.done()
  return (next) => (message, ctx) => {
    ctx.extend(ms)
    return next(message, ctx)
  }
}
