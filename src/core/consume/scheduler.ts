import { KeyQueue } from './pending-delivery.ts'
import type { PendingDelivery } from './pending-delivery.ts'
import { Queue } from '../util/queue.ts'

/** Which order is kept: see `ConsumeOptions.order`. */
export type Order = 'key' | 'strict' | 'none'

/**
 * Decides which delivery may run next. Deliveries of one key form a queue; taking one blocks the rest of the key until
 * everything taken is finished. Knows nothing about handlers or brokers.
 */
export class Scheduler {
  readonly #order: Order
  readonly #queues = new Map<string, KeyQueue>()
  readonly #ready = new Queue<PendingDelivery>()
  /** Prepared deliveries. They run before everything else, because the broker has a note that they run. */
  readonly #prepared = new Queue<PendingDelivery>()

  constructor(order: Order) {
    this.#order = order
  }

  /** Adds a delivery. False when its key is being returned to the broker: then this delivery must be returned too. */
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

  /** The next delivery to run, or undefined. Skips those that were lost or returned meanwhile. */
  next(): PendingDelivery | undefined {
    for (let pending = this.#take(); pending !== undefined; pending = this.#take())
      if (pending.state === 'queued') return pending
    return undefined
  }

  #take(): PendingDelivery | undefined {
    return this.#prepared.size > 0 ? this.#prepared.shift() : this.#ready.shift()
  }

  /** The next delivery of a key that the caller already took from, for a batch; never one that must run alone. */
  following(queue: KeyQueue): PendingDelivery | undefined {
    if (queue.waiting[0]?.mustRunAlone === true) return undefined
    const pending = queue.waiting.shift()
    if (pending !== undefined) queue.inProgress++
    return pending
  }

  /** Undoes `following`: the deliveries wait again, before everything else of their key. */
  requeueBehind(queue: KeyQueue, deliveries: readonly PendingDelivery[]): void {
    for (const pending of deliveries) pending.state = 'queued'
    queue.waiting.unshift(...deliveries)
    queue.inProgress -= deliveries.length
    if (queue.inProgress === 0) this.#advance(queue)
  }

  /** Requeues a prepared delivery: it runs next. */
  requeueFirst(pending: PendingDelivery): void {
    pending.state = 'queued'
    this.#prepared.push(pending)
  }

  /** Requeues a delivery that still blocks its key (or has none): its retry is due. */
  requeue(pending: PendingDelivery): void {
    pending.state = 'queued'
    this.#ready.push(pending)
  }

  /** Finishes a delivery. When nothing of its key is in progress, the next one may run. */
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

  /** The deliveries that wait behind this one in its key. */
  queuedBehind(pending: PendingDelivery): readonly PendingDelivery[] {
    return [...(pending.queue?.waiting ?? [])]
  }

  /**
   * Marks a delivery as being returned to the broker. Until the broker has confirmed all returns of its key, `add` refuses new
   * deliveries of the key: they may be later than what the broker does not have yet.
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

  /** The broker has it. Once it has all returned deliveries of the key, new ones are in order again. */
  confirmReturn(pending: PendingDelivery): void {
    if (pending.queue !== undefined) pending.queue.returning--
    this.finish(pending)
  }

  /** Removes a delivery that has not started: it was lost, or its order does not matter. Its key continues without it. */
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
