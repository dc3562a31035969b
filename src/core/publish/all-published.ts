import { PublishError } from '../errors.ts'
import type { PublishReceipt, PublishResult } from './publish-options.ts'

/** The receipts of a `publishMany`. Throws a `PublishError` if some messages were not published. */
export function allPublished(topic: string, results: readonly PublishResult[]): readonly PublishReceipt[] {
  // Most calls succeed: one look at each result, and no list.
  if (!results.some(hasFailed)) return results as readonly PublishReceipt[]
  const errors = results.flatMap(({ error }) => (error === undefined ? [] : [error]))
  const isUnknown = errors.some((error) => PublishError.is(error) && error.outcome === 'unknown')
  throw new PublishError(
    `${errors.length} of ${results.length} messages for "${topic}" were not published; the first: ${errors[0]?.message}. ` +
      'Pass { allowFailures: true } to publishMany to get the result of each message instead.',
    {
      outcome: isUnknown ? 'unknown' : 'not-sent',
      retryable: errors.every((error) => PublishError.is(error) && error.retryable),
      cause: errors.length === 1 ? errors[0] : new AggregateError(errors),
    },
  )
}

function hasFailed({ error }: PublishResult): boolean {
  return error !== undefined
}
