import { ConfigurationError } from './errors.ts'
import type { Handler, Middleware } from './handler.ts'
import { describe } from './options.ts'

/**
 * Wraps the handler once; the first middleware is the outermost. Throws `ConfigurationError` for a middleware that does not
 * return a function: every message would fail.
 */
export function compose(subject: string, middleware: readonly Middleware[], handler: Handler): Handler {
  return middleware.reduceRight((next, wrap, index) => {
    const wrapped: unknown = wrap(next)
    if (typeof wrapped === 'function') return wrapped as Handler
    throw new ConfigurationError(subject, [
      {
        path: `middleware.${index}`,
        message: `${wrap.name === '' ? 'it' : `"${wrap.name}"`} must return a handler, (message, ctx) => ..., but returned ${describe(wrapped)}`,
      },
    ])
  }, handler)
}
