import { RetryRequest } from '../core/consume/retry.ts'

/** True for what `ctx.retry({ countAttempt: false })` throws: it means "not now", which is not a failure. */
export function isNotNow(error: unknown): boolean {
  return RetryRequest.is(error) && !error.countAttempt
}
