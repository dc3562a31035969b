import { Attempt } from './attempt.ts'
import { ConfigurationError } from '../errors.ts'
import { REMEMBERS } from '../handler.ts'
import type { Handler, Middleware } from '../handler.ts'
import type { Transport } from '../transport.ts'

/** Wraps a handler: what it has published goes out, or is kept for the ack, once it has succeeded. */
export function publishingHeld(handler: Handler): Handler {
  return async (message, ctx) => {
    const attempt = Attempt.of(ctx)
    if (attempt === undefined) throw aCopy()
    const before = attempt.heldCount
    let result: unknown
    try {
      result = await handler(message, ctx)
    } catch (error) {
      // A middleware may run the handler again.
      attempt.keepHeld(before)
      throw error
    }
    await attempt.publishHeld()
    return result
  }
}

/**
 * Refuses a middleware that remembers handled messages, where messages are stored with the ack: after a crash between the two,
 * it would skip the message, and what its handler published would be lost.
 */
export function refuseMemories(
  subject: string,
  option: 'publishOnAck' | 'guarantee',
  middleware: readonly Middleware[],
  { capabilities, system }: Transport,
): void {
  if (!capabilities.publishOnAck || !middleware.some((each) => REMEMBERS in each)) return
  throw new ConfigurationError(subject, [
    {
      path: option,
      message: `can't be combined with dedupe() on ${system}: after a crash before the ack, dedupe would skip the message, and what it published would be lost. Leave dedupe out: a message whose ack is stored is never delivered again`,
    },
  ])
}

function aCopy(): ConfigurationError {
  return new ConfigurationError('A middleware', [
    {
      path: 'next',
      message:
        'must get the ctx that the middleware got, not a copy or a proxy of it: with publishOnAck, that object holds what the handler publishes until it succeeds. Keep values of your own in an AsyncLocalStorage or in a WeakMap by ctx',
    },
  ])
}
