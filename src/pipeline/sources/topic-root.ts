import type { Attempt } from '../../core/consume/attempt.ts'
import type { KeyQueue, PendingDelivery } from '../../core/consume/pending-delivery.ts'
import type { Message } from '../../core/message.ts'
import { Root } from '../engine/root.ts'
import type { RootContext, RootOwner } from '../engine/root.ts'

/** The messages of one key in the pipeline, in order. They are settled in this order. */
export interface EntryLane {
  readonly queue: KeyQueue
  readonly roots: TopicRoot[]
  /** Takes no more until it is empty: the next one has to be prepared, or earlier ones are handled again. */
  isClosed: boolean
  /** Its first is to be handled again, as soon as nothing runs for the others. */
  isRestarting: boolean
  isTaking: boolean
}

/** A delivery in the pipeline. */
export class TopicRoot extends Root {
  readonly pending: PendingDelivery
  readonly attempts: Attempt
  readonly lane: EntryLane | undefined
  isComplete = false
  /** Its code ignored its deadline and the grace after it, and may still run. */
  isAbandoned = false
  /** What is to be done when no user code runs for it any more. For one that is dead. */
  whenQuiet: (() => void) | undefined = undefined

  constructor(owner: RootOwner, pending: PendingDelivery, attempts: Attempt, lane: EntryLane | undefined) {
    super(owner, new TopicContext(pending, attempts), pending.delivery.bytes)
    this.pending = pending
    this.attempts = attempts
    this.lane = lane
  }

  override get isAbandonable(): boolean {
    return true
  }
}

class TopicContext implements RootContext {
  readonly message: Message
  readonly publish: RootContext['publish']
  readonly #attempts: Attempt

  constructor({ message }: PendingDelivery, attempts: Attempt) {
    this.message = message
    this.#attempts = attempts
    this.publish = (target, data, options) => attempts.publish(target, data, options)
  }

  get id(): string {
    return this.message.id
  }

  get attempt(): number {
    return this.#attempts.attempt
  }

  get aborted(): boolean {
    return this.#attempts.aborted
  }

  get signal(): AbortSignal {
    return this.#attempts.signal
  }
}
