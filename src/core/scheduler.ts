import { KeyQueue } from './pending-delivery.ts'
import type { PendingDelivery } from './pending-delivery.ts'
import { Queue } from './queue.ts'

/** What order is kept: see `ConsumeOptions.order`. */
export type Order = 'key' | 'strict' | 'none'

/**
 * Decides which delivery may run next. Deliveries of one key form a queue; taking one from it blocks the rest of the key
 * until everything that was taken is finished. Knows nothing of handlers or brokers.
 */
export class Scheduler {
  readonly #order: Order
  readonly #queues = new Map<string, KeyQueue>()
  readonly #ready = new Queue<PendingDelivery>()
  /** Prepared, and to run before everything else: the broker has been told that they run. */
  readonly #prepared = new Queue<PendingDelivery>()

  constructor(order: Order) {
    this.#order = order
  }

  /** Takes a delivery in. False when its key is on its way back to the broker: then this one must be returned as well. */
  add(pending: PendingDelivery): boolean {
    const key = this.#order === 'key' ? pending.delivery.message.key : this.#order === 'strict' ? '' : undefined
    if (key === undefined) {
      this.#ready.push(pending)
      return true
    }
    const queue = this.#queues.get(key)
    if (queue === undefined) {
      pending.queue = new KeyQueue(key)
      this.#queues.set(key, pending.queue)
      this.#ready.push(pending)
      return true
    }
    pending.queue = queue
    if (queue.returning > 0) {
      queue.inProgress++
      return false
    }
    queue.waiting.push(pending)
    return true
  }

  /** The next one to run, or undefined. Passes over those that were lost or returned meanwhile. */
  next(): PendingDelivery | undefined {
    for (let pending = this.#take(); pending !== undefined; pending = this.#take())
      if (pending.state === 'queued') return pending
    return undefined
  }

  #take(): PendingDelivery | undefined {
    return this.#prepared.size > 0 ? this.#prepared.shift() : this.#ready.shift()
  }

  /** One more of a key that the caller has taken from already, in order: for a batch. Not one that must run alone. */
  following(queue: KeyQueue): PendingDelivery | undefined {
    if (queue.waiting[0]?.mustRunAlone === true) return undefined
    const pending = queue.waiting.shift()
    if (pending !== undefined) queue.inProgress++
    return pending
  }

  /** Undoes `following`: they wait again, before everything else of their key. */
  requeueBehind(queue: KeyQueue, deliveries: readonly PendingDelivery[]): void {
    for (const pending of deliveries) pending.state = 'queued'
    queue.waiting.unshift(...deliveries)
    queue.inProgress -= deliveries.length
    if (queue.inProgress === 0) this.#advance(queue)
  }

  /** The same for one whose start is prepared: it comes next. */
  requeueFirst(pending: PendingDelivery): void {
    pending.state = 'queued'
    this.#prepared.push(pending)
  }

  /** One that still blocks its key (or has none) may run again: its retry is due. */
  requeue(pending: PendingDelivery): void {
    pending.state = 'queued'
    this.#ready.push(pending)
  }

  /** Done with this one. When nothing of its key is in progress any more, the next one may run. */
  finish(pending: PendingDelivery): void {
    const { queue } = pending
    if (queue === undefined) return
    pending.queue = undefined
    if (--queue.inProgress === 0) this.#advance(queue)
  }

  #advance(queue: KeyQueue): void {
    const next = queue.waiting.shift()
    if (next === undefined) this.#queues.delete(queue.key)
    else {
      queue.inProgress = 1
      this.#ready.push(next)
    }
  }

  /** What waits behind this one in its key. */
  queuedBehind(pending: PendingDelivery): readonly PendingDelivery[] {
    return [...(pending.queue?.waiting ?? [])]
  }

  /**
   * This one goes back to the broker. Until that is confirmed for everything of its key that does, `add` refuses what still
   * arrives of the key: it may be later than what the broker does not have yet.
   */
  beginReturn(pending: PendingDelivery): void {
    const { queue } = pending
    if (queue === undefined) return
    const at = queue.waiting.indexOf(pending)
    if (at >= 0) {
      queue.waiting.splice(at, 1)
      queue.inProgress++
    }
    queue.returning++
  }

  /** The broker has it: when it has them all, what arrives of the key from now on is in order again. */
  confirmReturn(pending: PendingDelivery): void {
    if (pending.queue !== undefined) pending.queue.returning--
    this.finish(pending)
  }

  /** One that has not started is taken out: it was lost, or its order does not matter. Its key continues without it. */
  remove(pending: PendingDelivery): void {
    pending.state = 'settled'
    const { queue } = pending
    if (queue === undefined) return
    const at = queue.waiting.indexOf(pending)
    if (at < 0) {
      this.finish(pending)
      return
    }
    queue.waiting.splice(at, 1)
    pending.queue = undefined
  }
}
