import type { Clock, Timer } from '../clock.ts'

/**
 * Waits for `work`, but no longer than `limitMs`. Resolves with true when it has settled, and with false when the time was up
 * first; the work continues. Rejects when the work rejects in time; a later error is ignored. Releases its timer either way.
 */
export async function settledWithin(clock: Clock, limitMs: number, work: Promise<unknown>): Promise<boolean> {
  let timer: Timer | undefined
  const late = new Promise<false>((resolve) => {
    timer = clock.setTimer(limitMs, () => resolve(false))
  })
  try {
    return await Promise.race([work.then(() => true as const), late])
  } finally {
    timer?.cancel()
  }
}
