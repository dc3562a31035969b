import type { OptionsReader } from './options-reader.ts'

/** How long pauses between attempts are, in ms. */
export interface BackoffLimits {
  readonly minMs: number
  readonly maxMs: number
}

/** The pause after so many failures: `minMs` before the first, doubled with each, up to `maxMs`. */
export function growingDelay({ minMs, maxMs }: BackoffLimits, failures: number): number {
  // Keeps the power finite, so that even an absurd number ends at the maximum.
  return Math.min(maxMs, minMs * 2 ** Math.min(failures, 1_000))
}

/** Between half of the delay and all of it: many clients spread out, and none of them comes at once. */
export function halfRandom(delayMs: number, random: () => number = Math.random): number {
  return delayMs * (0.5 + random() / 2)
}

/** Reads the option `reconnect` of a transport. A `minMs` above the default maximum raises that. */
export function readBackoffLimits(reader: OptionsReader, defaults: BackoffLimits): BackoffLimits {
  const minMs = reader.integer('minMs', defaults.minMs, { min: 1 })
  return Object.freeze({ minMs, maxMs: reader.integer('maxMs', Math.max(minMs, defaults.maxMs), { min: minMs }) })
}
