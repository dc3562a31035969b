import type { Clock } from '../../../../src/kafka/network/clock.ts'

interface Timer {
  readonly at: number
  readonly order: number
  readonly run: () => void
  isCancelled: boolean
}

/** Virtual time: it moves only while a test runs it, from one timer to the next. */
export class SimClock implements Clock {
  #now = 1_000_000
  #order = 0
  /** A binary heap by time, then by order. */
  readonly #timers: Timer[] = []
  #live = 0

  /** Timers that are set. */
  get timers(): number {
    return this.#live
  }

  now(): number {
    return this.#now
  }

  setTimer(run: () => void, delayMs: number): () => void {
    const timer: Timer = { at: this.#now + Math.max(0, delayMs), order: this.#order++, run, isCancelled: false }
    this.#push(timer)
    this.#live++
    return () => {
      if (timer.isCancelled) return
      timer.isCancelled = true
      this.#live--
    }
  }

  wait(ms: number): Promise<void> {
    return new Promise((resolve) => void this.setTimer(resolve, ms))
  }

  /**
   * Runs what happens until `promise` is settled. Fails if nothing is left to happen, or it takes longer than `limitMs`. Await it before
   * anything else: time goes on as long as it runs.
   */
  async run<T>(promise: Promise<T>, limitMs = 3_600_000): Promise<T> {
    const end = this.#now + limitMs
    let isSettled = false
    const settled = (): void => void (isSettled = true)
    promise.then(settled, settled)
    for (;;) {
      await continuations()
      if (isSettled) return promise
      const next = this.#next()
      if (next === undefined) throw new Error('nothing is left to happen, and the promise is not settled')
      if (next.at > end) throw new Error(`not settled after ${limitMs} ms of virtual time`)
      this.#fire(next)
    }
  }

  /** Runs what happens within `ms`. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms
    for (;;) {
      await continuations()
      const next = this.#next()
      if (next === undefined || next.at > end) break
      this.#fire(next)
    }
    this.#now = end
  }

  #fire(timer: Timer): void {
    this.#pop()
    timer.isCancelled = true
    this.#live--
    this.#now = Math.max(this.#now, timer.at)
    timer.run()
  }

  #next(): Timer | undefined {
    while (this.#timers[0]?.isCancelled === true) this.#pop()
    return this.#timers[0]
  }

  #push(timer: Timer): void {
    const heap = this.#timers
    let index = heap.push(timer) - 1
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (!isBefore(timer, heap[parent] as Timer)) break
      heap[index] = heap[parent] as Timer
      index = parent
    }
    heap[index] = timer
  }

  #pop(): void {
    const heap = this.#timers
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Timer, heap[child] as Timer)) child++
      if (!isBefore(heap[child] as Timer, last)) break
      heap[index] = heap[child] as Timer
      index = child
    }
    heap[index] = last
  }
}

/** Another clock's time; counts the timers that were set here. */
export class CountedClock implements Clock {
  readonly #clock: Clock
  timers = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  now(): number {
    return this.#clock.now()
  }

  setTimer(run: () => void, delayMs: number): () => void {
    let isSet = true
    const unset = (): void => {
      if (isSet) this.timers--
      isSet = false
    }
    this.timers++
    const cancel = this.#clock.setTimer(() => {
      unset()
      run()
    }, delayMs)
    return () => {
      unset()
      cancel()
    }
  }
}

function isBefore(a: Timer, b: Timer): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}

/** Resolves when all microtasks are done, those that they start included. */
function continuations(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve))
}
