import type { Subscription } from '@nats-io/transport-node'
import { SettlementError } from '../../core/errors.ts'
import type { NatsDelivery } from './delivery.ts'
import type { Incoming } from './incoming.ts'
import type { Lane } from './lane.ts'
import type { Session } from './session.ts'

const NO_BYTES: Uint8Array = new Uint8Array(0)
/** After that it is found out whether an answer got lost or the line is slow. */
const ANSWER_TIMEOUT_MS = 5_000
/** An ack that the server does not answer though it lives: it does not know the delivery any more. */
const MAX_TRIES = 2

/** What the server is told of a delivery that is over. */
export type Verb = 'ack' | 'term'

const PAYLOADS: Readonly<Record<Verb, Uint8Array>> = { ack: NO_BYTES, term: Buffer.from('+TERM') }

/** Some settlements that went out together. */
interface Confirmation {
  readonly id: number
  readonly deliveries: readonly NatsDelivery[]
  readonly verb: Verb
  sentAt: number
  /** Lanes that have not answered. */
  open: number
  /** How often it went out. */
  tries: number
  readonly done: (error: SettlementError | undefined) => void
}

/**
 * Sends acks and waits for the server's word. A consumer takes acks in their order, so that asking for an answer to the last
 * one of each lane is enough for all of a batch. An ack belongs to a delivery and not to a connection: what got no answer
 * before a cut is sent again after it.
 */
export class Confirmations {
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

  /** Resolves with what went wrong, for all of them: the answer of a lane stands for its whole part. */
  send(deliveries: readonly NatsDelivery[], verb: Verb): Promise<SettlementError | undefined> {
    if (!this.#session.options.confirmAcks && this.#session.ready) {
      for (const { reply } of deliveries) this.#session.outbox.publish(reply, '', PAYLOADS[verb])
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
    for (let index = 0; index < deliveries.length; index++) (deliveries[index] as NatsDelivery).lane.lastIndex = index
    const payload = PAYLOADS[verb]
    // Answers to an earlier try that come late must not be taken for those of lanes that have yet to answer this one.
    const inbox = `${this.#inbox}.${id}.${++confirmation.tries}`
    const { outbox } = this.#session
    let lanes = 0
    for (let index = 0; index < deliveries.length; index++) {
      const { lane, reply } = deliveries[index] as NatsDelivery
      const isLast = lane.lastIndex === index
      if (isLast) lanes++
      outbox.publish(reply, isLast ? inbox : '', payload)
    }
    confirmation.open = lanes
    confirmation.sentAt = this.#session.host.clock.monotonic()
  }

  #answered(message: Incoming): void {
    const { subject } = message
    const dot = subject.lastIndexOf('.')
    const confirmation = this.#open.get(Number(subject.slice(this.#inbox.length + 1, dot)))
    if (confirmation?.tries !== Number(subject.slice(dot + 1))) return
    // Nobody listens for acks there: the consumer is gone, or JetStream is for a while. It is looked into soon.
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
   * Called now and then, for answers that are overdue. `isAlive`: whether the consumer of a delivery answers at all; while
   * JetStream is away, acks wait for it.
   */
  async check(isAlive: (delivery: NatsDelivery) => Promise<boolean>): Promise<void> {
    if (this.#asking || !this.#session.ready || this.#open.size === 0) return
    const overdue = this.#session.host.clock.monotonic() - ANSWER_TIMEOUT_MS
    const late = [...this.#open.values()].filter(({ sentAt }) => sentAt <= overdue)
    const first = late[0]?.deliveries[0]
    if (first === undefined) return
    this.#asking = true
    try {
      // When the round trip is back and the answers are not, they never come.
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
      // The connection is gone; they are sent again when it is back.
    } finally {
      this.#asking = false
    }
  }

  /** True while the ack of that message is on its way: should it come again, it is done. */
  holds(lane: Lane, seq: number): boolean {
    for (const { deliveries } of this.#open.values())
      for (const delivery of deliveries) if (delivery.seq === seq && delivery.lane === lane) return true
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

  /** What waits for its answer, when the lane's consumer turned out to be another one. */
  forget(isGone: (delivery: NatsDelivery) => boolean, reason: string): void {
    for (const confirmation of this.#open.values())
      if (confirmation.deliveries.some((delivery) => isGone(delivery)))
        this.#close(confirmation, new SettlementError(reason))
  }
}
