import type { Clock, Timer } from '../core/clock.ts'

/** Longest delay that middleware takes, in ms: beyond that it is a mistake of units. */
export const MAX_QUIET_DELAY_MS: number = 2 ** 31 - 1

/**
 * A timer that does not keep the process alive. A bus does so while it is open; what its middleware has in mind for later
 * must not do it any longer than that, and a middleware is not told when its bus closes.
 */
export function setQuietTimer(clock: Clock, delayMs: number, fire: () => void): Timer {
  const timer = clock.setTimer(delayMs, fire)
  timer.unref?.()
  return timer
}
