import type { OutgoingMessage } from '../../../../core/message.ts'
import type { PublishOutcome } from '../../../../core/transport.ts'
import { notConfirmed } from '../../errors.ts'
import type { NumberedReply } from '../../connection/write-buffer.ts'

const WAITING = 0
/** To be sent again, although the server may have it already. */
const REWOUND = 1
const SENT = 2
const SETTLED = 3

/** The messages of one call in progress, without an object for each. */
export class PublishBatch {
  readonly id: number
  /** Where confirmations go. */
  readonly reply: NumberedReply
  readonly messages: readonly OutgoingMessage[]
  /** Set when the ids are not derived from the messages. */
  readonly messageIds: readonly string[] | undefined
  /** Number of messages without an outcome. */
  open: number
  /** When the message that waits longest for its answer was sent (monotonic ms); Infinity when none waits. */
  oldestSentAt: number = Infinity
  readonly #outcomes: PublishOutcome[]
  readonly #states: Uint8Array
  readonly #done: (outcomes: readonly PublishOutcome[]) => void
  #next = 0
  #stopWatching: (() => void) | undefined

  constructor(
    id: number,
    inbox: string,
    messages: readonly OutgoingMessage[],
    messageIds: readonly string[] | undefined,
    done: (outcomes: readonly PublishOutcome[]) => void,
  ) {
    this.id = id
    this.reply = { start: Buffer.from(`${inbox}.${id}.`), number: 0 }
    this.messages = messages
    this.messageIds = messageIds
    this.open = messages.length
    this.#outcomes = Array.from({ length: messages.length })
    this.#states = new Uint8Array(messages.length)
    this.#done = done
  }

  /** Index of the next message to send; undefined when all that may be sent are sent or settled. */
  nextUnsent(mayBeSent: (message: OutgoingMessage) => boolean): number | undefined {
    while (this.#next < this.messages.length) {
      const state = this.#states[this.#next] as number
      if (state <= REWOUND && mayBeSent(this.messages[this.#next] as OutgoingMessage)) return this.#next
      this.#next++
    }
    return undefined
  }

  /** What could not be sent may be sent now. */
  restart(): void {
    this.#next = 0
  }

  sent(index: number, at: number): void {
    this.#states[index] = SENT
    if (this.oldestSentAt === Infinity) this.oldestSentAt = at
  }

  isSent(index: number): boolean {
    return this.#states[index] === SENT
  }

  settle(index: number, outcome: PublishOutcome): void {
    if (this.#states[index] === SETTLED) return
    this.#states[index] = SETTLED
    this.#outcomes[index] = outcome
    if (--this.open === 0) this.#finish()
  }

  /** Everything without an answer must be sent again. */
  rewind(): void {
    this.restart()
    this.oldestSentAt = Infinity
    for (let index = 0; index < this.#states.length; index++)
      if (this.#states[index] === SENT) this.#states[index] = REWOUND
  }

  /** An aborted signal ends the wait. `released` gets the messages that had been sent and are no longer waited for. */
  watch(signal: AbortSignal, released: (gone: readonly OutgoingMessage[]) => void): void {
    const abort = (): void => released(this.failRest('the wait for the confirmation was aborted', signal.reason))
    if (signal.aborted) return abort()
    signal.addEventListener('abort', abort, { once: true })
    this.#stopWatching = () => signal.removeEventListener('abort', abort)
  }

  /** Settles what has no outcome yet; returns the messages that were in progress. */
  failRest(why: string, cause?: unknown): OutgoingMessage[] {
    const onTheWay: OutgoingMessage[] = []
    for (let index = 0; index < this.messages.length && this.open > 0; index++) {
      const state = this.#states[index] as number
      if (state === SETTLED) continue
      const message = this.messages[index] as OutgoingMessage
      if (state === SENT) onTheWay.push(message)
      this.settle(index, { error: notConfirmed(message.topic, why, state === WAITING ? 'not-sent' : 'unknown', cause) })
    }
    return onTheWay
  }

  #finish(): void {
    this.#stopWatching?.()
    this.#done(this.#outcomes)
  }
}
