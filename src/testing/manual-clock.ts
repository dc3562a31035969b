import type { Clock, Timer } from '../core/clock.ts'

/** A clock that stands still until a test turns it. */
export interface ManualClock extends Clock {
  /**
   * Lets so many milliseconds pass, both clocks alike. Timers that fall due fire in the order of their time (of their
   * setting, when that is equal), each at its own instant; what they wake up runs before the next one fires, so timers
   * set on the way fire too when they are due. Resolves when all is quiet; rejects when a timer throws. Calls queue up.
   */
  advance(ms: number): Promise<void>
  /** Sets the wall clock off by so many ms, also back, as an operator or NTP would; `monotonic` and timers don't notice. */
  jump(ms: number): void
  /** Timers that are set and have not fired. */
  readonly pending: number
  /** In how many ms the next timer is due; undefined when none is set. */
  readonly nextInMs: number | undefined
}

/** Twice as many rounds of the event loop pass without a due timer before a turn ends. */
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
      // A timer that threw is told to its own caller; later calls start afresh.
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
 * Before a turn ends, what the last timers woke gets many rounds of the event loop to set its next ones: a message goes through a
 * handful on its way from a publisher to a handler, and a cascade that is cut off would go on at a wrong time.
 */
async function settled(isDue: () => boolean): Promise<void> {
  for (let round = 0; round < LAST_ROUNDS && !isDue(); round++) await quiet()
}

/** Promise chains that were woken run to their end before the event loop comes round twice. */
async function quiet(): Promise<void> {
  for (let round = 0; round < 2; round++) {
    await new Promise<void>((resolve) => {
      setImmediate(resolve)
    })
  }
}
