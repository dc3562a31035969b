import type { Handler, HandlerContext } from '../core/handler.ts'
import type { Message } from '../core/message.ts'
import { isPromiseLike } from '../core/util/is-promise-like.ts'

/** Notified once when a handler ends. */
export interface Observer {
  succeeded(): void
  failed(error: unknown): void
}

/**
 * Runs the rest of a chain and reports how it ended, without changing the result. A synchronous handler stays synchronous and
 * costs no microtask.
 */
export function observe(next: Handler, message: Message, ctx: HandlerContext, observer: Observer): unknown {
  let result: unknown
  try {
    result = next(message, ctx)
  } catch (error) {
    observer.failed(error)
    throw error
  }
  if (!isPromiseLike(result)) {
    observer.succeeded()
    return result
  }
  return result.then(
    (value) => {
      observer.succeeded()
      return value
    },
    (error: unknown) => {
      observer.failed(error)
      throw error
    },
  )
}
