import { bodyOf } from '../../../core/message.ts'
import { tooLarge } from '../../../core/publish/size-limit.ts'
import type { OutgoingMessage } from '../../../core/message.ts'
import type { PublishOutcome } from '../../../core/transport.ts'
import { notConfirmed } from '../errors.ts'
import { Mapping } from '../wire/mapping.ts'
import type { NumberedReply } from '../connection/write-buffer.ts'
import type { Session, SessionPart } from '../connection/session.ts'
import type { Subjects } from '../wire/subjects.ts'

const NO_RESPONDERS = 503
const SENT: PublishOutcome = Object.freeze({ position: undefined })

/**
 * Publishes over core NATS. The only confirmation is the server's answer to a ping after the batch: it has passed the
 * messages on to the current subscribers.
 */
export class CorePublisher implements SessionPart {
  readonly #session: Session
  readonly #subjects: Subjects
  readonly #mapping: Mapping
  /** Batches that wait for the connection. */
  readonly #waiting = new Set<() => void>()
  #closed = false

  constructor(session: Session, subjects: Subjects) {
    this.#session = session
    this.#subjects = subjects
    this.#mapping = new Mapping(session.options.envelope)
  }

  async publish(
    batch: readonly OutgoingMessage[],
    signal: AbortSignal | undefined,
  ): Promise<readonly PublishOutcome[]> {
    if (!(await this.#connected(signal)))
      return batch.map(({ topic }) => ({
        error: notConfirmed(topic, 'there was no connection', 'not-sent', signal?.reason),
      }))
    const outcomes = batch.map((message) => this.#write(message, undefined))
    const failure = await this.#flushed(signal)
    if (failure === undefined) return outcomes
    return outcomes.map((outcome, index) =>
      outcome.error === undefined
        ? { error: notConfirmed((batch[index] as OutgoingMessage).topic, failure.why, 'unknown', failure.cause) }
        : outcome,
    )
  }

  #write(message: OutgoingMessage, reply: NumberedReply | undefined): PublishOutcome {
    const { writeBuffer, maxPayload, options } = this.#session
    const error = tooLarge(message, options.maxMessageBytes, 'nats')
    if (error !== undefined) return { error }
    // Core NATS keeps no order among the members of a group, so keys need no partitions.
    const target = this.#subjects.target(message.topic, undefined)
    const [common, rest] = [this.#mapping.common(message), this.#mapping.rest(message, '')]
    const bytes = writeBuffer.publishBlock(target, reply, common, rest, bodyOf(message), maxPayload)
    if (bytes > maxPayload)
      return {
        error: notConfirmed(
          message.topic,
          `it takes ${bytes} bytes, headers included, and ${maxPayload} are allowed (max_payload of the server)`,
          'not-sent',
        ),
      }
    return SENT
  }

  /** Publishes one message; resolves with whether anyone was subscribed, or with the error. */
  async publishToSubscriber(message: OutgoingMessage): Promise<'taken' | 'none' | Error> {
    const inbox = this.#session.inbox()
    let isTaken = true
    const subscription = this.#session.subscribe(
      `${inbox}.0`,
      (answer) => {
        if (answer.status === NO_RESPONDERS) isTaken = false
      },
      (error) => this.#session.error(error, `listening whether anybody takes a message for "${message.topic}"`),
    )
    try {
      const outcome = this.#write(message, { start: Buffer.from(`${inbox}.`), number: 0 })
      if (outcome.error !== undefined) return outcome.error
      // "No responders" comes before the answer to the ping.
      await this.#session.flush()
      return isTaken ? 'taken' : 'none'
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error))
    } finally {
      if (!subscription.isClosed() && !this.#session.connection.isClosed()) subscription.unsubscribe()
    }
  }

  #flushed(signal: AbortSignal | undefined): Promise<{ why: string; cause: unknown } | undefined> {
    return new Promise((resolve) => {
      const abort = (): void => resolve({ why: 'the wait for the server was aborted', cause: signal?.reason })
      signal?.addEventListener('abort', abort, { once: true })
      const end = (result: { why: string; cause: unknown } | undefined): void => {
        signal?.removeEventListener('abort', abort)
        resolve(result)
      }
      this.#session.flush().then(
        () => end(undefined),
        (cause: unknown) => end({ why: 'the connection was lost', cause }),
      )
    })
  }

  /** False when the wait was aborted, or the transport closed. */
  async #connected(signal: AbortSignal | undefined): Promise<boolean> {
    for (;;) {
      if (this.#closed || signal?.aborted === true) return false
      if (this.#session.ready) return true
      await this.#change(signal)
    }
  }

  #change(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const go = (): void => {
        this.#waiting.delete(go)
        signal?.removeEventListener('abort', go)
        resolve()
      }
      this.#waiting.add(go)
      signal?.addEventListener('abort', go, { once: true })
    })
  }

  down(): void {}

  up(): void {
    for (const go of this.#waiting) go()
  }

  close(): void {
    this.#closed = true
    this.up()
  }
}
