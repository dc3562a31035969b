import type { Message } from '../../core/message.ts'
import type { PipelineMessage } from '../message.ts'

/** What user code learns of the message that an item comes from. */
export interface RootContext {
  readonly id: string
  /** Undefined for the element of an iterable. */
  readonly message: Message | undefined
  readonly publish: PipelineMessage['publish']
  readonly attempt: number
  /** Whether `signal` has aborted; cheaper than asking the signal, which is made when it is first read. */
  readonly aborted: boolean
  readonly signal: AbortSignal
}

/** Why a root failed, and in which stage. */
export interface RootFailure {
  readonly error: unknown
  readonly stage: string
}

/** Who settles a root: a source, or a batch that was made from several items. */
export interface RootOwner {
  /** Nothing of the root is open any more. Called once, for a dead root too. */
  complete(root: Root): void
  /** No user code works for it now. */
  idle(root: Root): void
}

/**
 * One message of a source in the pipeline, from its entry until everything that came from it has ended. It is settled once, after
 * its last descendant.
 */
export class Root {
  readonly owner: RootOwner
  readonly context: RootContext
  /** Rough size in memory, in bytes. */
  readonly bytes: number
  /** Descendants that have not ended. */
  open = 1
  /** Descendants that user code works on. */
  running = 0
  #isDead = false
  #waits: Set<() => void> | undefined
  /** The first failure. */
  failure: RootFailure | undefined = undefined
  /** Waits for descendants to end, so that an iterator does not make more of them than memory should hold. */
  whenFewer: (() => void) | undefined = undefined

  constructor(owner: RootOwner, context: RootContext, bytes: number) {
    this.owner = owner
    this.context = context
    this.bytes = bytes
  }

  /** Whether `abandon` may be called. */
  get isAbandonable(): boolean {
    return false
  }

  /** What waits for user code, and gives up when the message is abandoned: that code may never end. */
  get waits(): Set<() => void> {
    return (this.#waits ??= new Set())
  }

  /** Taken back by the broker, or to be handled again after an earlier one of its key: nothing of it starts any more. */
  get isDead(): boolean {
    return this.#isDead
  }

  /** User code begins for one of its items. `Engine.idle` says that it has ended. */
  begin(): void {
    this.running++
  }

  kill(): void {
    this.#isDead = true
  }

  /** Nobody waits for its code any more. */
  abandon(): void {
    this.#isDead = true
    for (const giveUp of Array.from(this.waits)) giveUp()
  }
}
