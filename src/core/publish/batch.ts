import type { PublishError } from '../errors.ts'
import type { EncodedMessage, OutgoingMessage, Position } from '../message.ts'
import type { Deadline } from '../util/deadlines.ts'
import type { Tallies } from './publish-reports.ts'

/** Called once for each index of an entry: with a position, or with why there is none. */
export type SettleMessage = (index: number, position: Position | undefined, error: PublishError | undefined) => void

/** Messages of one call that wait for their outcomes: one for `publish`, up to a batch for `publishMany`, all of a transaction. */
export class Entry {
  readonly messages: readonly OutgoingMessage[]
  /** It is a transaction, and so a batch of its own. */
  readonly isAtomic: boolean
  readonly bytes: number
  readonly deadlineAt: number
  settle: SettleMessage
  state: 'waiting' | 'sent' | 'settled' = 'waiting'
  /** The batch in which it was passed to the transport. */
  batch: Batch | undefined
  /** Set when its caller no longer waits: the error it fails with unless the transport knows that it was not sent. */
  givenUp: PublishError | undefined
  /** Number of messages the transport has answered, in order. All of them have their outcome, except those in `late`. */
  answered = 0
  /** Indexes of messages whose outcome is a pending promise. */
  late: Set<number> | undefined

  constructor(
    messages: readonly OutgoingMessage[],
    bytes: number,
    deadlineAt: number,
    settle: SettleMessage,
    isAtomic: boolean,
  ) {
    this.messages = messages
    this.bytes = bytes
    this.deadlineAt = deadlineAt
    this.settle = settle
    this.isAtomic = isAtomic
  }

  /** All messages of a call have the same topic, except those of `sendEncoded` and of transactions: this is that of the first. */
  get topic(): string {
    return this.messages[0]?.topic ?? ''
  }

  /** Fails all messages without an outcome, and reports each. */
  fail(error: PublishError, report: (message: OutgoingMessage, error: PublishError) => void): void {
    if (this.state === 'settled') return
    this.state = 'settled'
    for (let index = 0; index < this.messages.length; index++) {
      if (index < this.answered && this.late?.has(index) !== true) continue
      this.batch?.failures?.set(this.messages[index] as OutgoingMessage, error)
      report(this.messages[index] as OutgoingMessage, error)
      this.settle(index, undefined, error)
    }
  }
}

/** What the transport gets in one call. */
export interface Batch {
  readonly entries: readonly Entry[]
  readonly controller: AbortController
  readonly deadline: Deadline
  /** By topic; only if there is a listener for `published`. */
  readonly tallies: Tallies | undefined
  /** Failed messages; only with an observer. */
  failures: Map<EncodedMessage, PublishError> | undefined
  /** Set when some of its entries were given up: why the last of them was. */
  givenUp: { readonly reason: unknown } | undefined
}
