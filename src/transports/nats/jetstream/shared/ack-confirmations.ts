import type { Subscription } from '@nats-io/transport-node'
import { SettlementError } from '../../../../core/errors.ts'
import type { NatsDelivery } from './delivery.ts'
import type { Incoming } from '../../connection/incoming.ts'
import type { PullConsumer } from './pull-consumer.ts'
import type { Session } from '../../connection/session.ts'

const NO_BYTES: Uint8Array = new Uint8Array(0)
/** After this time, checks whether an answer was lost or the connection is slow. */
const ANSWER_TIMEOUT_MS = 5_000
/** If a live server has left this many attempts unanswered, it no longer knows the delivery. */
const MAX_TRIES = 2

/** What is sent to the server for a finished delivery. */
export type Verb = 'ack' | 'term'

const PAYLOADS: Readonly<Record<Verb, Uint8Array>> = { ack: NO_BYTES, term: Buffer.from('+TERM') }

/** Settlements that were sent together. */
interface Confirmation {
  readonly id: number
  readonly deliveries: readonly NatsDelivery[]
  readonly verb: Verb
  sentAt: number
  /** Consumers that have not answered. */
  open: number
  /** Number of times it was sent. */
  tries: number
  readonly done: (error: SettlementError | undefined) => void
}

/**
 * Sends acks and waits for the server's confirmation. A consumer processes acks in order, so requesting an answer to
 * the last one of each consumer covers the whole batch. An ack belongs to a delivery, not to a connection: what got no
 * answer before a disconnect is sent again after it.
 */
export class AckConfirmations {
  readonly #session: Session
  readonly #inbox: string
  readonly #open = new Map<number, Confirmation>()
  #subscription: Subscription | undefined
  #nextId = 1
  #asking = false

  constructor(session: Session) {
    this.#session = session
    this.#inbox = session.inbox()
  }

  open(): void {
    this.#subscription = this.#session.subscribe(
      `${this.#inbox}.>`,
      (message) => this.#answered(message),
      (error) => this.#session.error(error, 'receiving the confirmations of acks'),
    )
  }

  /** Resolves with an error for each that failed: the answer of a consumer stands for its whole part. */
  send(deliveries: readonly NatsDelivery[], verb: Verb): Promise<SettlementError | undefined> {
    if (!this.#session.options.confirmAcks && this.#session.ready) {
      for (const delivery of deliveries) delivery.answer(this.#session.writeBuffer, '', PAYLOADS[verb])
      return Promise.resolve(undefined)
    }
    return new Promise((done) => {
      const confirmation: Confirmation = { id: this.#nextId++, deliveries, verb, sentAt: 0, open: 0, tries: 0, done }
      this.#open.set(confirmation.id, confirmation)
      if (this.#session.ready) this.#write(confirmation)
    })
  }

  #write(confirmation: Confirmation): void {
    const { id, deliveries, verb } = confirmation
    for (let index = 0; index < deliveries.length; index++)
      (deliveries[index] as NatsDelivery).consumer.lastIndex = index
    const payload = PAYLOADS[verb]
    // Late answers to an earlier attempt must not count for consumers that have yet to answer this one.
    const inbox = `${this.#inbox}.${id}.${++confirmation.tries}`
    const { writeBuffer } = this.#session
    let consumers = 0
    for (let index = 0; index < deliveries.length; index++) {
      const delivery = deliveries[index] as NatsDelivery
      const isLast = delivery.consumer.lastIndex === index
      if (isLast) consumers++
      delivery.answer(writeBuffer, isLast ? inbox : '', payload)
    }
    confirmation.open = consumers
    confirmation.sentAt = this.#session.host.clock.monotonic()
  }

  #answered(message: Incoming): void {
    const { subject } = message
    const dot = subject.lastIndexOf('.')
    const confirmation = this.#open.get(Number(subject.slice(this.#inbox.length + 1, dot)))
    if (confirmation?.tries !== Number(subject.slice(dot + 1))) return
    // Nothing listens for acks there: the consumer was deleted, or JetStream is unavailable for a while. A check
    // follows soon.
    if (message.status >= 300) {
      confirmation.sentAt = -Infinity
      return
    }
    if (--confirmation.open <= 0) this.#close(confirmation, undefined)
  }

  #close(confirmation: Confirmation, error: SettlementError | undefined): void {
    this.#open.delete(confirmation.id)
    confirmation.done(error)
  }

  /**
   * Called periodically, for overdue answers. `isAlive`: whether the consumer of a delivery answers at all; while
   * JetStream is unavailable, acks wait for it.
   */
  async check(isAlive: (delivery: NatsDelivery) => Promise<boolean>): Promise<void> {
    if (this.#asking || !this.#session.ready || this.#open.size === 0) return
    const overdue = this.#session.host.clock.monotonic() - ANSWER_TIMEOUT_MS
    const late = [...this.#open.values()].filter(({ sentAt }) => sentAt <= overdue)
    const first = late[0]?.deliveries[0]
    if (first === undefined) return
    this.#asking = true
    try {
      // If the round trip is complete and answers are missing, they never come.
      await this.#session.flush()
      if (!(await isAlive(first)) || !this.#session.ready) return
      for (const confirmation of late) {
        if (!this.#open.has(confirmation.id)) continue
        if (confirmation.tries < MAX_TRIES) this.#write(confirmation)
        else
          this.#close(
            confirmation,
            new SettlementError('The server did not confirm the ack; the message is delivered again'),
          )
      }
    } catch {
      // The connection is lost; they are sent again when it is back.
    } finally {
      this.#asking = false
    }
  }

  /** True while the ack of that message is in progress: should the message come again, it is done. */
  holds(consumer: PullConsumer, seq: number): boolean {
    for (const { deliveries } of this.#open.values())
      for (const delivery of deliveries) if (delivery.seq === seq && delivery.consumer === consumer) return true
    return false
  }

  /** The session is back. */
  up(): void {
    for (const confirmation of this.#open.values()) this.#write(confirmation)
  }

  close(): void {
    for (const confirmation of this.#open.values())
      this.#close(confirmation, new SettlementError('The transport was closed before the server had confirmed the ack'))
    if (!this.#session.connection.isClosed()) this.#subscription?.unsubscribe()
  }

  /** Fails what waits for an answer when the consumer on the server turned out to be another one. */
  forget(isGone: (delivery: NatsDelivery) => boolean, reason: string): void {
    for (const confirmation of this.#open.values())
      if (confirmation.deliveries.some((delivery) => isGone(delivery)))
        this.#close(confirmation, new SettlementError(reason))
  }
}
