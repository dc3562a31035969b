export interface BackoffOptions {
  /** @default 50 */
  readonly minMs?: number
  /** @default 1_000 */
  readonly maxMs?: number
}

/** How far a pause is spread, so that many clients don't come back in the same moment (KIP-580). */
const JITTER = 0.2

/** The pause before attempt `failures` + 1: doubled each time, up to a bound, spread by 20 %. `random` is from 0 to 1. */
export function backoffMs(
  failures: number,
  random: number,
  { minMs = 50, maxMs = 1_000 }: BackoffOptions = {},
): number {
  if (failures <= 0) return 0
  const pause = Math.min(maxMs, minMs * 2 ** Math.min(failures - 1, 30))
  return pause * (1 - JITTER + 2 * JITTER * random)
}
