import type { Middleware } from '../core/handler.ts'
import { OptionsReader } from '../core/options.ts'

export interface TimeoutOptions {
  /** Deadline of one attempt, counted from the moment it gets here, in ms. Required. */
  readonly ms: number
}

/**
 * Gives every attempt a deadline: when it passes, `ctx.signal` aborts with a `TimeoutError`. A handler that passes the
 * signal on fails with it, and is retried like after any other failure. One that does not end within the consumer's
 * `abandonAfterMs` is no longer waited for, and has failed as well.
 *
 * It is `ctx.extend(ms)` at the start of the attempt and nothing more: this deadline and that of the consumer
 * (`timeoutMs`) are the same one, whoever sets it last decides, and the handler may still move it with `ctx.extend`.
 *
 *     bus.consume(OrderPlaced, charge, { middleware: [timeout({ ms: 5_000 })] })
 *
 * Throws `ConfigurationError`.
 */
export function timeout(options: TimeoutOptions): Middleware {
  const reader = new OptionsReader('timeout()', options)
  if (!reader.has('ms')) reader.problem('ms', 'is required: the deadline of one attempt, in ms')
  const ms = reader.integer('ms', 1, { min: 1 })
  reader.done()
  return (next) => (message, ctx) => {
    ctx.extend(ms)
    return next(message, ctx)
  }
}
