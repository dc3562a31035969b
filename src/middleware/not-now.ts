import { RetryRequest } from '../core/retry.ts'

/** True for what `ctx.retry({ countAttempt: false })` throws: the attempt says "not now", which is no failure. */
export function isNotNow(error: unknown): boolean {
  return RetryRequest.is(error) && !error.countAttempt
}
