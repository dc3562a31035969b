import { PublishError } from '../../../core/errors.ts'
import type { OutgoingMessage } from '../../../core/message.ts'
import type { PublishOutcome } from '../../../core/transport.ts'
import type { CarriedProperties } from '../wire/carried-properties.ts'

/** Shared by all confirmed messages: AMQP has no positions. */
export const CONFIRMED: PublishOutcome = Object.freeze({ position: undefined })

/** What the copy of a delivery passes on for its group. */
export interface CopyNotes {
  readonly attempts: number
  readonly firstAt: number | undefined
  readonly carried?: CarriedProperties | undefined
  /** The queue that a copy goes to. */
  readonly queue?: string | undefined
  /** For a dead letter: the first queue of its group, where topic and group don't say it. */
  readonly groupQueue?: string | undefined
}

/** The messages of one call of `publish`, and their outcomes. */
export class PublishJob {
  readonly messages: readonly OutgoingMessage[]
  readonly notes: readonly (CopyNotes | undefined)[] | undefined
  /** Index of the first message that was not sent. */
  next = 0
  /** When its last message was sent, in monotonic ms. */
  sentAt = 0
  /** The connection on which everything the messages need has been prepared. */
  preparedFor: unknown = undefined
  readonly #outcomes: PublishOutcome[]
  readonly #signal: AbortSignal | undefined
  readonly #resolve: (outcomes: readonly PublishOutcome[]) => void
  #open: number
  #returned: Set<number> | undefined
  readonly #onAbort = (): void => this.fail('The wait for the broker was ended', this.#signal?.reason)

  constructor(
    messages: readonly OutgoingMessage[],
    notes: readonly (CopyNotes | undefined)[] | undefined,
    signal: AbortSignal | undefined,
    resolve: (outcomes: readonly PublishOutcome[]) => void,
  ) {
    this.messages = messages
    this.notes = notes
    this.#outcomes = []
    this.#open = messages.length
    this.#signal = signal
    this.#resolve = resolve
    if (this.#open === 0) resolve(this.#outcomes)
    else if (signal?.aborted) this.#onAbort()
    else signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  get isSettled(): boolean {
    return this.#open === 0
  }

  isDone(index: number): boolean {
    return this.#outcomes[index] !== undefined
  }

  settle(index: number, outcome: PublishOutcome): void {
    if (this.#outcomes[index] !== undefined) return
    this.#outcomes[index] = outcome
    if (--this.#open > 0) return
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#resolve(this.#outcomes)
  }

  /** The broker returned that message: no queue takes it. Its confirmation follows. */
  markReturned(index: number): void {
    ;(this.#returned ??= new Set()).add(index)
  }

  wasReturned(index: number): boolean {
    return this.#returned?.has(index) === true
  }

  /** Settles all open messages: `unknown` for those that were sent, `not-sent` for the rest. */
  fail(message: string, cause: unknown): void {
    const { next } = this
    const unknown = new PublishError(`${message} before the broker confirmed. It may have the message.`, {
      outcome: 'unknown',
      retryable: true,
      cause,
    })
    const notSent = new PublishError(`${message}. The message was not sent.`, {
      outcome: 'not-sent',
      retryable: true,
      cause,
    })
    for (let index = 0; index < this.messages.length; index++)
      this.settle(index, { error: index < next ? unknown : notSent })
  }
}
