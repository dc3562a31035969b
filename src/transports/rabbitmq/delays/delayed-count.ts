import type { Clock } from '../../../core/clock.ts'
import type { OutgoingMessage } from '../../../core/message.ts'

/** Maximum number of due times remembered for one topic and group. */
const MOST = 100_000

/**
 * How many of this process's messages are delayed, for each topic and group: meanwhile they are in none of the group's
 * queues, but count as lag.
 */
export class DelayedCount {
  readonly #clock: Clock
  /** Due times, in no order. */
  readonly #due = new Map<string, number[]>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  add({ topic, group, deliverAt }: OutgoingMessage): void {
    const key = keyOf(topic, group)
    const due = this.#due.get(key)
    if (due === undefined) this.#due.set(key, [deliverAt as number])
    else {
      if (due.length % 1_000 === 999) this.#prune(key, due)
      if (due.length < MOST) due.push(deliverAt as number)
    }
  }

  /** Messages of the topic for all groups, and for that group alone. */
  count(topic: string, group: string): number {
    return this.#waiting(keyOf(topic, undefined)) + this.#waiting(keyOf(topic, group))
  }

  #waiting(key: string): number {
    const due = this.#due.get(key)
    return due === undefined ? 0 : this.#prune(key, due)
  }

  #prune(key: string, due: number[]): number {
    const now = this.#clock.now()
    const left = due.filter((at) => at > now)
    if (left.length === 0) this.#due.delete(key)
    else if (left.length < due.length) this.#due.set(key, left)
    return left.length
  }
}

function keyOf(topic: string, group: string | undefined): string {
  return group === undefined ? topic : `${topic}:${group}`
}
