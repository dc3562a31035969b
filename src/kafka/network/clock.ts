import { MAX_MS } from '../options-reader.ts'

/** Time, as it is given to everything that waits. */
export interface Clock {
  /** Milliseconds since any moment; never goes back. */
  now(): number
  /** Calls `run` once, `delayMs` from now, never with Infinity; the result cancels it. */
  setTimer(run: () => void, delayMs: number): () => void
}

export const systemClock: Clock = {
  now: () => performance.now(),
  setTimer: (run, delayMs) => {
    if (delayMs === Infinity) return () => {}
    // Node makes 1 ms of what is longer than it can wait, and warns of what is due already.
    const timer = setTimeout(run, Math.min(MAX_MS, Math.max(0, Math.ceil(delayMs))))
    return () => clearTimeout(timer)
  },
}
