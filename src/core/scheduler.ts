import { Queue } from './queue.ts'
import { Lane } from './work.ts'
import type { Work } from './work.ts'

/** What order is kept: see `ConsumeOptions.order`. */
export type Order = 'key' | 'strict' | 'none'

/**
 * Decides which delivery may run next. Deliveries of one key form a lane; whoever takes from a lane holds it, and nobody
 * else gets anything of it until all that was taken has left. Knows nothing of handlers or brokers.
 */
export class Scheduler {
  readonly #order: Order
  readonly #lanes = new Map<string, Lane>()
  readonly #ready = new Queue<Work>()

  constructor(order: Order) {
    this.#order = order
  }

  /** Takes a delivery in. False when its key is on its way back to the broker: then this one must be released as well. */
  add(work: Work): boolean {
    const key = this.#order === 'key' ? work.delivery.message.key : this.#order === 'strict' ? '' : undefined
    if (key === undefined) {
      this.#ready.push(work)
      return true
    }
    const lane = this.#lanes.get(key)
    if (lane === undefined) {
      work.lane = new Lane(key)
      this.#lanes.set(key, work.lane)
      this.#ready.push(work)
      return true
    }
    work.lane = lane
    if (lane.returning > 0) {
      lane.held++
      return false
    }
    lane.waiting.push(work)
    return true
  }

  /** The next one to run, or undefined. Passes over those that were lost or released meanwhile. */
  next(): Work | undefined {
    for (let work = this.#ready.shift(); work !== undefined; work = this.#ready.shift())
      if (work.state === 'queued') return work
    return undefined
  }

  /** One more of a lane that the caller holds already, in order: for a batch. */
  following(lane: Lane): Work | undefined {
    const work = lane.waiting.shift()
    if (work !== undefined) lane.held++
    return work
  }

  /** Undoes `following`: they wait again, before everything else of their lane. */
  putBack(lane: Lane, works: readonly Work[]): void {
    for (const work of works) work.state = 'queued'
    lane.waiting.unshift(...works)
    lane.held -= works.length
    if (lane.held === 0) this.#advance(lane)
  }

  /** A retry of something that still holds its lane (or has none) is due. */
  again(work: Work): void {
    work.state = 'queued'
    this.#ready.push(work)
  }

  /** Done with this one. When nothing of its lane is held any more, the next of the key may run. */
  leave(work: Work): void {
    const { lane } = work
    if (lane === undefined) return
    work.lane = undefined
    if (--lane.held === 0) this.#advance(lane)
  }

  /** Nobody holds the lane: its next one may run. */
  #advance(lane: Lane): void {
    const next = lane.waiting.shift()
    if (next === undefined) this.#lanes.delete(lane.key)
    else {
      lane.held = 1
      this.#ready.push(next)
    }
  }

  /** What waits in the lane of this one, to go back to the broker with it. */
  behind(work: Work): readonly Work[] {
    return [...(work.lane?.waiting ?? [])]
  }

  /**
   * This one goes back to the broker. Until everything of its lane that does has `returned`, `add` refuses what still
   * arrives of the key: it may be later than what the broker does not have yet.
   */
  sendBack(work: Work): void {
    const { lane } = work
    if (lane === undefined) return
    const at = lane.waiting.indexOf(work)
    if (at >= 0) {
      lane.waiting.splice(at, 1)
      lane.held++
    }
    lane.returning++
  }

  /** The broker has it: when it has them all, what arrives of the key from now on comes in order again. */
  returned(work: Work): void {
    if (work.lane !== undefined) work.lane.returning--
    this.leave(work)
  }

  /** One that has not started is taken out: it was lost, or its order does not matter. Its lane goes on without it. */
  remove(work: Work): void {
    work.state = 'gone'
    const { lane } = work
    if (lane === undefined) return
    const at = lane.waiting.indexOf(work)
    if (at < 0) {
      this.leave(work)
      return
    }
    lane.waiting.splice(at, 1)
    work.lane = undefined
  }
}
