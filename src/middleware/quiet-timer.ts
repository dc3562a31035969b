import { systemClock } from '../core/clock.ts'
import type { Clock, Timer } from '../core/clock.ts'

/** Longest delay of a quiet timer, in ms: Node's own limit. */
export const MAX_QUIET_DELAY_MS: number = 2 ** 31 - 1

/**
 * A timer that does not keep the process alive. A bus does so while it is open; what its middleware has in mind for later
 * must not do it any longer than that, and a middleware is not told when its bus closes.
 */
export function setQuietTimer(clock: Clock, delayMs: number, fire: () => void): Timer {
  if (clock !== systemClock) return clock.setTimer(delayMs, fire)
  const handle = setTimeout(fire, delayMs)
  handle.unref()
  return { cancel: () => clearTimeout(handle) }
}
