import { BusbarError, ConfigurationError } from '../errors.ts'
import type { BatchHandler, BatchMiddleware, Handler, Middleware } from '../handler.ts'
import { describeError } from './describe-error.ts'
import { describe } from './options-reader.ts'

/** What is composed: the option that lists the middleware, and what each of them must return. */
export interface Composition {
  /** Subject of the error. */
  readonly subject: string
  readonly option: string
  /** `a handler, (message, ctx) => ...` */
  readonly returns: string
}

/**
 * Wraps `innermost` once in each middleware; the first is the outermost. Throws `ConfigurationError` for a middleware that does
 * not return a function: every message would fail. `around` may wrap what a middleware returned; it gets the name that errors
 * call the middleware by.
 */
export function compose<Step>(
  { subject, option, returns }: Composition,
  middleware: readonly ((next: Step) => Step)[],
  innermost: Step,
  around: (step: Step, name: string) => Step = (step) => step,
): Step {
  const called = (wrap: (next: Step) => Step): string => (wrap.name === '' ? 'it' : `"${wrap.name}"`)
  const call = (wrap: (next: Step) => Step, next: Step, index: number): unknown => {
    try {
      return wrap(next)
    } catch (error) {
      if (BusbarError.is(error)) throw error
      const problem = `${called(wrap)} threw "${describeError(error).message}" when it was called with the next handler; it must return ${returns}`
      throw new ConfigurationError(subject, [{ path: `${option}.${index}`, message: problem }], { cause: error })
    }
  }
  return middleware.reduceRight((next, wrap, index) => {
    const wrapped: unknown = call(wrap, next, index)
    if (typeof wrapped === 'function')
      return around(wrapped as Step, wrap.name === '' ? `${option}.${index}` : `"${wrap.name}" (${option}.${index})`)
    throw new ConfigurationError(subject, [
      {
        path: `${option}.${index}`,
        message: `${called(wrap)} must return ${returns}, but returned ${describe(wrapped)}`,
      },
    ])
  }, innermost)
}

export function composeHandler(subject: string, middleware: readonly Middleware[], handler: Handler): Handler {
  return compose({ subject, option: 'middleware', returns: 'a handler, (message, ctx) => ...' }, middleware, handler)
}

export function composeBatchHandler(
  subject: string,
  middleware: readonly BatchMiddleware[],
  handler: BatchHandler,
): BatchHandler {
  return compose(
    { subject, option: 'middleware', returns: 'a batch handler, (messages, ctx) => ...' },
    middleware,
    handler,
  )
}
