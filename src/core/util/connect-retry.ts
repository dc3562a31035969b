import { sleep } from '../clock.ts'
import type { Clock } from '../clock.ts'
import { BusbarError } from '../errors.ts'
import { growingDelay, halfRandom } from './backoff.ts'
import type { BackoffLimits } from './backoff.ts'

const PAUSE: BackoffLimits = { minMs: 100, maxMs: 5_000 }

/** A failed attempt that will be retried. */
export interface ConnectWait {
  readonly attempt: number
  readonly error: Error
  readonly delayMs: number
  readonly giveUpInMs: number
}

/**
 * Calls `connect` until it succeeds, with growing delays. Rejects with the last error when it is not retryable, or when
 * `endsAt` (`clock.monotonic()`) has passed, and when the signal aborts.
 */
export async function connectWithRetry<Result>(
  connect: (attempt: number) => Promise<Result>,
  until: { readonly clock: Clock; readonly endsAt: number; readonly signal: AbortSignal },
  onWait: (wait: ConnectWait) => void,
): Promise<Result> {
  const { clock, endsAt, signal } = until
  for (let attempt = 1; ; attempt++) {
    try {
      return await connect(attempt)
    } catch (error) {
      const leftMs = endsAt - clock.monotonic()
      if (!BusbarError.is(error) || !error.retryable || leftMs <= 0 || signal.aborted) throw error
      const delayMs = Math.min(leftMs, Math.round(halfRandom(growingDelay(PAUSE, attempt - 1))))
      onWait({ attempt, error, delayMs, giveUpInMs: leftMs })
      await sleep(clock, delayMs, signal)
    }
  }
}
