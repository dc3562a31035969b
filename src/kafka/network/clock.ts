/** Time, as it is given to everything that waits. */
export interface Clock {
  /** Milliseconds since any moment; never goes back. */
  now(): number
  /** Calls `run` once, `delayMs` from now; the result cancels it. */
  setTimer(run: () => void, delayMs: number): () => void
}

export const systemClock: Clock = {
  now: () => performance.now(),
  setTimer: (run, delayMs) => {
    const timer = setTimeout(run, Math.ceil(delayMs))
    return () => clearTimeout(timer)
  },
}
