import type { Clock, Timer } from '../core/clock.ts'

/** Longest delay that middleware accepts, in ms. A longer one is a mistake in units. */
export const MAX_QUIET_DELAY_MS: number = 2 ** 31 - 1

/**
 * Sets a timer that does not keep the process alive. An open bus does; timers of its middleware must not outlast it, and
 * middleware is not notified when the bus closes.
 */
export function setQuietTimer(clock: Clock, delayMs: number, fire: () => void): Timer {
  const timer = clock.setTimer(delayMs, fire)
  timer.unref?.()
  return timer
}
