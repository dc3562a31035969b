import type { Clock, Timer } from '../clock.ts'
import { DueHeap } from '../util/due-heap.ts'
import type { DelayedMessage, HeldPartition } from './held-partition.ts'

/** Longest time that a timer waits: the clock may be set meanwhile. */
const MAX_WAIT_MS = 30_000
/** Number of entries of partitions that were lost, besides as many as there are wanted ones. */
const MAX_UNWANTED = 1_000

export interface DelayEntry<Owner extends HeldPartition<Owner>> {
  readonly partition: Owner
  readonly delayed: DelayedMessage<Owner>
  readonly dueAt: number
}

/** The delayed messages of several partitions, in the order of their times, behind one timer. */
export class DelayQueue<Owner extends HeldPartition<Owner>> {
  readonly #clock: Clock
  readonly #due: () => void
  readonly #heap = new DueHeap<DelayEntry<Owner>>()
  /** Number of entries when all were wanted. */
  #wanted = 0
  /** Size of the bodies that are kept. */
  bytes = 0
  #timer: Timer | undefined
  #isClosed = false

  /** `due`: something may be due, and is to be taken. */
  constructor(clock: Clock, due: () => void) {
    this.#clock = clock
    this.#due = due
  }

  /** Number of entries, including those of partitions that were lost. */
  get size(): number {
    return this.#heap.size
  }

  add(partition: Owner, delayed: DelayedMessage<Owner>): void {
    const entry = { partition, delayed, dueAt: delayed.dueAt }
    this.bytes += delayed.delivery?.bytes ?? 0
    this.#heap.push(entry)
    if (this.size > 2 * this.#wanted + MAX_UNWANTED) this.forget()
    if (this.#heap.first === entry) this.arm()
  }

  /** The next one that is due; undefined when none is any more, and then `due` will be called in time. */
  take(): DelayEntry<Owner> | undefined {
    const now = this.#clock.now()
    for (;;) {
      const { first } = this.#heap
      if (first === undefined) return undefined
      if (first.dueAt > now) {
        this.arm()
        return undefined
      }
      this.#heap.shift()
      if (!this.isWanted(first)) continue
      this.bytes -= first.delayed.delivery?.bytes ?? 0
      return first
    }
  }

  /** The partition may have been lost, and the message may be another member's. */
  isWanted({ partition, delayed }: DelayEntry<Owner>): boolean {
    return partition.mine && partition.delayed.get(delayed.place) === delayed
  }

  /** Drops what belongs to partitions that were lost. */
  forget(): void {
    const partitions = new Set<Owner>()
    this.#heap.keep((entry) => {
      if (!this.isWanted(entry)) return false
      partitions.add(entry.partition)
      return true
    })
    this.#wanted = this.size
    this.bytes = 0
    for (const { delayedBytes } of partitions) this.bytes += delayedBytes
  }

  /** Sets the timer for the first. */
  arm(): void {
    this.#timer?.cancel()
    const { first } = this.#heap
    if (first === undefined || this.#isClosed) return
    const waitMs = first.dueAt - this.#clock.now()
    this.#timer = this.#clock.setTimer(Math.min(MAX_WAIT_MS, Math.max(0, waitMs)), this.#due)
  }

  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
  }
}
