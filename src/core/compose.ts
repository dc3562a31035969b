import type { Handler, Middleware } from './handler.ts'

/** Wraps the handler once; the first middleware is the outermost. */
export function compose(middleware: readonly Middleware[], handler: Handler): Handler {
  return middleware.reduceRight((next, wrap) => wrap(next), handler)
}
