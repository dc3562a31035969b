import { growingDelay } from '../../../core/util/backoff.ts'

/** How the pause between attempts to reconnect grows; `stop`: there are none. */
export type BackoffType = 'stop' | 'exponential' | 'random' | 'random-exponential'

export interface BackoffOptions {
  readonly type: BackoffType
  readonly minMs: number
  readonly maxMs: number
}

/** While the broker is unreachable, an attempt costs only a packet or two, and callers want to know soon. */
const ABSENT_MAX_MS = 2_000
/**
 * Limit of the pause before the first attempt after a loss: most losses are short. The pause is random so that many
 * clients do not reconnect at once.
 */
const FIRST_MAX_MS = 100

/**
 * How long to wait before the next attempt to connect, in ms; undefined to stop.
 *
 * @param attempt 1 for the first attempt after the loss.
 * @param refusals Number of consecutive attempts that reached a broker that was busy or refused; 0 when the last one
 * reached none.
 */
export function backoffDelay(
  { type, minMs, maxMs }: BackoffOptions,
  attempt: number,
  refusals: number,
  random: () => number = Math.random,
): number | undefined {
  if (type === 'stop') return undefined
  if (attempt === 1) return Math.min(FIRST_MAX_MS, minMs) * random()
  const absent = refusals === 0
  const exponential = growingDelay({ minMs, maxMs }, (absent ? attempt - 1 : refusals) - 1)
  const delay =
    type === 'exponential'
      ? exponential
      : type === 'random'
        ? minMs + random() * (maxMs - minMs)
        : minMs + random() * (exponential - minMs)
  return absent ? Math.min(delay, Math.max(minMs, ABSENT_MAX_MS)) : delay
}
