import { outsideHandlers } from './causality.ts'

/** A timer that was set on a `Clock`. */
export interface Timer {
  /** Stops the timer. Safe to call twice, and after it fired. */
  cancel(): void
  /** Lets the process end before the timer fires. Absent on a clock whose timers don't keep the process alive. */
  unref?(): void
}

/**
 * The only source of time in Busbar, so that tests can control it (`manualClock` in `busbar/testing`). `now` is wall-clock
 * time, for timestamps that leave the process. Durations are measured with `monotonic`, which never goes backwards: a clock
 * that is set back must neither stall a retry nor keep a lease forever.
 */
export interface Clock {
  /** Milliseconds since 1970-01-01 UTC. May jump. */
  now(): number
  /** Milliseconds since a fixed time in this process, with fractions. Never goes backwards. */
  monotonic(): number
  /** Calls `fire` once, after at least `delayMs`. The timer keeps the process alive: a bus runs until it is closed. */
  setTimer(delayMs: number, fire: () => void): Timer
}

// For a longer delay, setTimeout fires at once.
const MAX_DELAY_MS = 2 ** 31 - 1

class SystemTimer implements Timer {
  #handle: NodeJS.Timeout

  constructor(delayMs: number, fire: () => void) {
    // A timer that is set in a handler and again each time it fires would keep that handler's message alive.
    this.#handle = outsideHandlers(() => setTimeout(fire, Math.max(0, delayMs)))
  }

  cancel(): void {
    clearTimeout(this.#handle)
  }

  unref(): void {
    this.#handle.unref()
  }
}

class LongTimer implements Timer {
  #leg: Timer
  #quiet = false

  constructor(delayMs: number, fire: () => void) {
    this.#leg = new SystemTimer(MAX_DELAY_MS, () => {
      this.#leg = setSystemTimer(delayMs - MAX_DELAY_MS, fire)
      if (this.#quiet) this.#leg.unref?.()
    })
  }

  cancel(): void {
    this.#leg.cancel()
  }

  unref(): void {
    this.#quiet = true
    this.#leg.unref?.()
  }
}

function setSystemTimer(delayMs: number, fire: () => void): Timer {
  return delayMs > MAX_DELAY_MS ? new LongTimer(delayMs, fire) : new SystemTimer(delayMs, fire)
}

/** The system clock. Its timers fire outside of the handler that set them: what they publish continues no message. */
export const systemClock: Clock = Object.freeze({
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimer: setSystemTimer,
})

/** `10,000 ms`, for texts. */
export function formatMs(ms: number): string {
  return `${Math.round(ms).toLocaleString('en-US')} ms`
}

/**
 * Resolves after at least `delayMs`, or rejects with the signal's reason as soon as it aborts. Releases the timer and the
 * listener either way.
 */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason)
      return
    }
    const onAbort = (): void => {
      timer.cancel()
      reject(signal?.reason)
    }
    const timer = clock.setTimer(delayMs, () => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}
