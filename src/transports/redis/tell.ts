import { AuthorizationError } from '../../core/errors.ts'
import { isAuthorizationFailure, LostReplyError, messageOf, NotSentError } from './errors.ts'
import type { TransportHost } from '../../core/transport.ts'

/** Tells an error that nobody waits for. Without a connection there is nothing to tell that the connection does not tell itself. */
export function tellError(host: TransportHost, error: unknown, doing: string): void {
  if (error instanceof LostReplyError || error instanceof NotSentError) return
  host.events.emit('error', { transport: host.name, error: toTold(error), doing })
}

/** A permission that is missing is told as what it is. */
function toTold(error: unknown): unknown {
  return isAuthorizationFailure(error)
    ? new AuthorizationError(`Redis does not allow it: ${messageOf(error)}`, { cause: error })
    : error
}
