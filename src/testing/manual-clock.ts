import type { Clock, Timer } from '../core/clock.ts'

/** A clock that stands still until a test advances it. */
export interface ManualClock extends Clock {
  /**
   * Moves both clocks forward by `ms`. Due timers fire in the order of their time (then of their creation), each at its
   * own time. What one wakes up runs before the next one fires, so timers set on the way fire too when they are due.
   * Resolves when everything is quiet; rejects when a timer throws. Concurrent calls are queued.
   */
  advance(ms: number): Promise<void>
  /** Moves the wall clock by `ms`, forward or back, as an operator or NTP would; `monotonic` and timers are unaffected. */
  jump(ms: number): void
  /** Number of timers that are set and have not fired. */
  readonly pending: number
  /** How many ms until the next timer is due; undefined when none is set. */
  readonly nextInMs: number | undefined
}

/** A turn ends after twice this many rounds of the event loop without a due timer. */
const LAST_ROUNDS = 4

interface Entry {
  readonly dueAt: number
  readonly fire: () => void
}

/** Makes a manual clock. `now` is the wall-clock time at which it starts, in ms since 1970. */
export function manualClock(options: { readonly now?: number } = {}): ManualClock {
  const startedAt = options.now ?? Date.UTC(2030, 0, 1)
  let elapsed = 0
  let skew = 0
  let timers: Entry[] = []
  let turning: Promise<void> = Promise.resolve()

  const insert = (entry: Entry): void => {
    const before = timers.findIndex((other) => other.dueAt > entry.dueAt)
    timers.splice(before < 0 ? timers.length : before, 0, entry)
  }

  const isDue = (target: number): boolean => timers[0] !== undefined && timers[0].dueAt <= target

  const turn = async (ms: number): Promise<void> => {
    const target = elapsed + ms
    let fired = false
    for (;;) {
      await quiet()
      if (fired && !isDue(target)) await settled(() => isDue(target))
      const next = timers[0]
      if (next === undefined || next.dueAt > target) break
      timers.shift()
      elapsed = Math.max(elapsed, next.dueAt)
      fired = true
      next.fire()
    }
    elapsed = target
  }

  return {
    now: () => Math.floor(startedAt + skew + elapsed),
    monotonic: () => elapsed,
    setTimer(delayMs, fire): Timer {
      const entry: Entry = { dueAt: elapsed + Math.max(0, delayMs), fire }
      insert(entry)
      return {
        cancel: () => {
          timers = timers.filter((other) => other !== entry)
        },
      }
    },
    advance(ms) {
      if (!(ms >= 0)) throw new RangeError(`A clock is advanced by 0 ms or more, got ${ms}; use jump() to set it back`)
      const turned = turning.then(() => turn(ms))
      // A timer's error is reported to the caller whose turn it was; later calls start clean.
      turning = turned.catch(() => undefined)
      return turned
    },
    jump(ms) {
      skew += ms
    },
    get pending() {
      return timers.length
    },
    get nextInMs() {
      return timers[0] === undefined ? undefined : Math.max(0, timers[0].dueAt - elapsed)
    },
  }
}

/**
 * Before a turn ends, what the last timers woke gets many rounds of the event loop to set its next ones: a message
 * needs a handful of them from publisher to handler, and a cascade that is cut off would continue at a wrong time.
 */
async function settled(isDue: () => boolean): Promise<void> {
  for (let round = 0; round < LAST_ROUNDS && !isDue(); round++) await quiet()
}

/** Promise chains that were woken finish within two rounds of the event loop. */
async function quiet(): Promise<void> {
  for (let round = 0; round < 2; round++) {
    await new Promise<void>((resolve) => {
      setImmediate(resolve)
    })
  }
}
