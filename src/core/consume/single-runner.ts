import { Attempt } from './attempt.ts'
import type { AttemptHost } from './attempt.ts'
import { outsideHandlers } from '../causality.ts'
import type { Handler } from '../handler.ts'
import { LinkedList } from '../util/linked-list.ts'
import type { PendingDelivery } from './pending-delivery.ts'
import type { Preparation } from './preparation.ts'
import type { Runner, RunnerHost } from './runner.ts'

/**
 * What waits for the promise of one handler, and then for that of another: callbacks of its own for each message would take more
 * memory than its context.
 */
interface Slot {
  attempt: Attempt | undefined
  readonly succeeded: () => void
  readonly failed: (error: unknown) => void
}

/** Runs a handler for single messages, with the consumer's concurrency. */
export class SingleRunner implements Runner {
  readonly #host: RunnerHost
  readonly #attemptHost: AttemptHost
  readonly #handler: Handler
  readonly #preparation: Preparation
  readonly #running = new LinkedList<Attempt>()
  readonly #onAbandon = (attempt: Attempt, reason: unknown): void => this.#abandon(attempt, reason)
  /** Slots whose promise has settled. No more than there were promises at once. */
  readonly #freeSlots: Slot[] = []
  #pumping = false

  constructor(host: RunnerHost, attemptHost: AttemptHost, preparation: Preparation, handler: Handler) {
    this.#host = host
    this.#attemptHost = attemptHost
    this.#preparation = preparation
    this.#handler = handler
  }

  get running(): number {
    return this.#running.size
  }

  pump(): void {
    outsideHandlers(this.#startAll)
  }

  readonly #startAll = (): void => {
    // A synchronous handler ends inside the loop and must not start a nested one.
    if (this.#pumping) return
    this.#pumping = true
    try {
      while (this.#running.size + this.#host.noting < this.#host.maxConcurrency) {
        const pending = this.#host.scheduler.next()
        if (pending === undefined) break
        this.#start(pending)
      }
    } finally {
      this.#pumping = false
    }
  }

  abort(reason: unknown, only?: (pending: PendingDelivery) => boolean): void {
    for (const attempt of this.#running.toArray())
      if (only === undefined || only(attempt.pending)) attempt.abort(reason)
  }

  flush(): void {}

  #start(pending: PendingDelivery): void {
    if (!this.#host.begin(pending)) return
    const attempt = new Attempt(this.#attemptHost, pending, this.#onAbandon)
    this.#running.push(attempt)
    let promise: Promise<unknown> | undefined
    try {
      const preparing = this.#preparation.run(pending)
      const result =
        preparing === undefined ? this.#handle(attempt) : preparing.then(() => this.#handlePrepared(attempt))
      // Anything but a plain promise becomes one: its `then` may do anything.
      if (isThenable(result)) promise = Promise.resolve(result)
    } catch (error) {
      this.#end(attempt, true, error)
      return
    }
    if (promise === undefined) {
      this.#end(attempt, false, undefined)
      return
    }
    this.#host.started(pending)
    const slot = this.#freeSlots.pop() ?? this.#newSlot()
    slot.attempt = attempt
    // That of the class: one of the object could call back twice, when the slot has another attempt.
    void Promise.prototype.then.call(promise, slot.succeeded, slot.failed)
  }

  #newSlot(): Slot {
    const slot: Slot = {
      attempt: undefined,
      succeeded: () => this.#promiseEnded(slot, false, undefined),
      failed: (error) => this.#promiseEnded(slot, true, error),
    }
    return slot
  }

  #promiseEnded(slot: Slot, failed: boolean, error: unknown): void {
    const attempt = slot.attempt as Attempt
    slot.attempt = undefined
    this.#freeSlots.push(slot)
    this.#end(attempt, failed, error)
    this.#startAll()
  }

  /** An attempt that was aborted meanwhile must not start its handler: the next attempt may be running. */
  #handlePrepared(attempt: Attempt): unknown {
    if (attempt.aborted) throw attempt.signal.reason
    return this.#handle(attempt)
  }

  #handle(attempt: Attempt): unknown {
    return attempt.pending.isUnwanted ? undefined : this.#handler(attempt.pending.message, attempt)
  }

  #end(attempt: Attempt, failed: boolean, error: unknown): void {
    if (attempt.isDetached) {
      this.#host.late(attempt.pending)
      return
    }
    attempt.end()
    this.#running.remove(attempt)
    attempt.observeEnd(!failed && attempt.request === undefined, failed ? error : attempt.request)
    if (failed) this.#host.failed(attempt.pending, error)
    else if (attempt.request !== undefined) this.#host.swallowed(attempt.pending, attempt.request)
    else this.#host.succeeded(attempt.pending, attempt.withAck)
  }

  #abandon(attempt: Attempt, reason: unknown): void {
    if (attempt.isDetached) return
    attempt.end()
    this.#running.remove(attempt)
    attempt.observeEnd(false, reason)
    this.#host.abandoned(attempt.pending, reason)
    this.pump()
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
}
