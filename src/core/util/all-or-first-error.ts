import { BusbarError } from '../errors.ts'

/**
 * Waits for all promises, so that a first error leaves nothing half-open, and rejects with the error that explains the others:
 * attempts that were given up because of another failure are not the reason.
 */
export async function allOrFirstError(promises: readonly Promise<unknown>[]): Promise<void> {
  const results = await Promise.allSettled(promises)
  const failures = results.filter((result) => result.status === 'rejected').map(({ reason }) => reason as unknown)
  if (failures.length > 0) throw failures.find((error) => !BusbarError.is(error) || !error.retryable) ?? failures[0]
}
