import type { Clock } from '../../../core/clock.ts'
import { LostReplyError } from '../errors.ts'

/**
 * Limits work that may never end: a server may accept a connection and then say nothing. Rejects when the time is up or
 * `outer` aborts, whatever `work` does; the signal that `work` gets aborts then, so that it can clean up.
 */
export async function withinLimit<Result>(
  clock: Clock,
  limitMs: number,
  outer: AbortSignal,
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  outer.throwIfAborted()
  const limit = new AbortController()
  const signal = AbortSignal.any([outer, limit.signal])
  const timer = clock.setTimer(limitMs, () => limit.abort(new LostReplyError(`no answer within ${limitMs} ms`)))
  const aborted = new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
  try {
    return await Promise.race([work(signal), aborted])
  } finally {
    timer.cancel()
  }
}
