import type { Clock, Timer } from '../clock.ts'
import { LinkedList } from './linked-list.ts'

const SLOTS = 256

/**
 * Many deadlines behind one timer: a hashed wheel. Setting and clearing a deadline costs a few pointer writes, so handlers and
 * publishes need no timer of their own. A deadline fires at most one tick late, never early.
 */
export class Deadlines {
  readonly #clock: Clock
  readonly #tickMs: number
  readonly #slots: LinkedList<Deadline>[] = Array.from({ length: SLOTS }, () => new LinkedList<Deadline>())
  #count = 0
  /** The tick up to which everything has fired. */
  #tick: number
  #timer: Timer | undefined

  constructor(clock: Clock, tickMs = 10) {
    this.#clock = clock
    this.#tickMs = tickMs
    this.#tick = this.#now()
  }

  /** Calls `fire` once after `delayMs`, unless cleared. Setting it again moves it. */
  set(deadline: Deadline, delayMs: number): void {
    if (deadline.tick >= 0) this.clear(deadline)
    if (this.#count++ === 0) this.#tick = this.#now()
    // An armed timer stays: a deadline per message must not become a timer per message.
    this.#timer ??= this.#arm()
    // +1: the current tick has partly passed, and a deadline must not fire early.
    deadline.tick = Math.max(this.#tick, this.#now()) + Math.ceil(delayMs / this.#tickMs) + 1
    this.#slot(deadline.tick).push(deadline)
  }

  clear(deadline: Deadline): void {
    if (deadline.tick < 0) return
    this.#slot(deadline.tick).remove(deadline)
    deadline.tick = -1
    this.#count--
  }

  /** Forgets all deadlines and stops the timer. */
  close(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    for (const slot of this.#slots) {
      while (slot.first !== undefined) this.clear(slot.first)
    }
  }

  #arm(): Timer {
    return this.#clock.setTimer(this.#tickMs, () => this.#turn())
  }

  #turn(): void {
    this.#timer = undefined
    const now = this.#now()
    // After a long pause of the process, each slot is due at most once.
    const from = Math.max(this.#tick + 1, now - SLOTS + 1)
    this.#tick = now
    const due: Deadline[] = []
    for (let tick = from; tick <= now; tick++) {
      for (let entry = this.#slot(tick).first; entry !== undefined; entry = entry.next)
        if (entry.tick <= now) due.push(entry)
    }
    for (const deadline of due) {
      // A deadline that fired before may have cleared or moved this one.
      if (deadline.tick < 0 || deadline.tick > now) continue
      this.clear(deadline)
      deadline.fire()
    }
    if (this.#count > 0) this.#timer ??= this.#arm()
  }

  #now(): number {
    return Math.floor(this.#clock.monotonic() / this.#tickMs)
  }

  #slot(tick: number): LinkedList<Deadline> {
    return this.#slots[tick % SLOTS] as LinkedList<Deadline>
  }
}

/** A deadline. `fire` must not throw. */
export class Deadline {
  previous: Deadline | undefined = undefined
  next: Deadline | undefined = undefined
  /** The tick at which it fires; negative when not set. Written only by `Deadlines`. */
  tick = -1
  readonly fire: () => void

  constructor(fire: () => void) {
    this.fire = fire
  }
}
