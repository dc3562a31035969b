export type BackoffType = 'stop' | 'exponential' | 'random' | 'random-exponential'

export interface BackoffOptions {
  readonly type: BackoffType
  readonly minMs: number
  readonly maxMs: number
}

/** While nobody answers at all, a try costs a packet or two, and whoever waits wants to know soon. */
const ABSENT_MAX_MS = 2_000
/** The first try after a loss: most cuts are only that. A little apart, so that a fleet does not come back as one. */
const FIRST_MAX_MS = 100

/**
 * How long to wait before the next try to connect, in ms; undefined for never again.
 *
 * @param attempt 1 for the first try after the loss.
 * @param refusals How many tries in a row found somebody who was busy or said no; 0 when the last one found nobody.
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
  const exponential = Math.min(maxMs, minMs * 2 ** Math.min((absent ? attempt - 1 : refusals) - 1, 30))
  const delay =
    type === 'exponential'
      ? exponential
      : type === 'random'
        ? minMs + random() * (maxMs - minMs)
        : minMs + random() * (exponential - minMs)
  return absent ? Math.min(delay, Math.max(minMs, ABSENT_MAX_MS)) : delay
}
