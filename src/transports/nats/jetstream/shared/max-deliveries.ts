import type { Subscription } from '@nats-io/transport-node'
import type { Timer } from '../../../../core/clock.ts'
import { makeDeadLetter } from '../../../../core/dead-letters/dead-letter.ts'
import { StateError } from '../../../../core/errors.ts'
import type { Delivery } from '../../../../core/transport.ts'
import { isNotFound } from '../../errors.ts'
import { deadLetterId, identityOf } from '../server/identity.ts'
import type { Advisory, StoredNative } from '../server/jetstream-types.ts'
import type { Incoming } from '../../connection/incoming.ts'
import { positionOf } from '../../wire/mapping.ts'
import type { SessionPart } from '../../connection/session.ts'
import { readStored } from '../server/stored-message.ts'
import { groupOfConsumer } from '../../wire/subjects.ts'
import type { SubscriptionParts } from '../subscription-parts.ts'

const NANOS = 1_000_000
const ADVISORIES = '$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES'
const CONSUMER = 'busbar'
/** After this time an unacked advisory goes to another process. */
const ACK_WAIT_MS = 30_000
/** Advisories that no process takes are deleted after this time. */
const MAX_AGE_MS = 90 * 86_400_000
const PORTION = 100
/** Interval of checks without a notice from the server, and after a failure. */
const LOOK_AGAIN_MS = 15_000
/** An advisory may be received before the stream has stored it. */
const STORED_MS = 500
/** A request without waiting is answered at once. */
const ANSWER_TIMEOUT_MS = 5_000
/** Pause before a message that could not be dead-lettered is tried again. */
const TRY_AGAIN_MS = 60_000
const TRY_AGAIN = Buffer.from(`-NAK {"delay": ${TRY_AGAIN_MS * NANOS}}`)
const DONE = new Uint8Array(0)

interface Taken {
  readonly reply: string
  readonly advisory: Advisory
}

/**
 * With the option `maxDeliver`, the server itself gives up on a message and only sends an advisory: the message is
 * dead-lettered here. Advisories are stored in a stream, in case no process is listening; of all processes, the one
 * that takes an advisory from there makes the dead letter.
 */
export class MaxDeliveries implements SessionPart {
  readonly #parts: SubscriptionParts
  readonly #stream: string
  readonly #subject: string
  readonly #inbox: string
  #subscriptions: readonly Subscription[] = []
  #running = false
  #again = false
  /** An advisory arrived since the last wait. */
  #isNews = false
  #timer: Timer | undefined
  #closed = false
  #taken: Taken[] = []
  #portionDone: (() => void) | undefined

  constructor(parts: SubscriptionParts) {
    const { session, topology } = parts
    this.#parts = parts
    this.#stream = `${topology.own}_advisories`
    this.#subject = `${ADVISORIES}.${topology.name}.*`
    this.#inbox = session.inbox()
  }

  async open(): Promise<void> {
    const { session } = this.#parts
    await this.restore()
    const failed = (error: Error): void => session.error(error, 'listening for messages that were delivered too often')
    this.#subscriptions = [
      session.subscribe(this.#inbox, (message) => this.#receive(message), failed),
      // The stream stores it too; this is only a prompt notice.
      session.subscribe(this.#subject, () => this.#heard(), failed),
    ]
    session.add(this)
  }

  /** Creates stream and consumer if they are missing. */
  async restore(): Promise<void> {
    const { api, topology } = this.#parts
    await topology.ensureStream({
      name: this.#stream,
      subjects: [this.#subject],
      description: 'What JetStream said of messages that were delivered too often, for Busbar',
      retention: 'workqueue',
      max_age: MAX_AGE_MS * NANOS,
    })
    try {
      await api.consumerInfo(this.#stream, CONSUMER)
      return
    } catch (error) {
      if (!isNotFound(error)) throw error
    }
    await api.createConsumer(this.#stream, CONSUMER, {
      name: CONSUMER,
      durable_name: CONSUMER,
      deliver_policy: 'all',
      ack_policy: 'explicit',
      ack_wait: ACK_WAIT_MS * NANOS,
      replay_policy: 'instant',
      filter_subject: this.#subject,
    })
  }

  down(): void {
    this.#timer?.cancel()
    this.#portionDone?.()
  }

  up(): void {
    this.#look()
  }

  close(): void {
    this.#closed = true
    this.down()
    const { session } = this.#parts
    session.remove(this)
    if (!session.connection.isClosed()) for (const subscription of this.#subscriptions) subscription.unsubscribe()
  }

  #heard(): void {
    this.#isNews = true
    this.#look()
  }

  /** Takes all available advisories; one run at a time. */
  #look(): void {
    this.#again = true
    if (this.#running) return
    this.#running = true
    this.#takeAll()
      .catch((error: unknown) => this.#parts.session.error(error, 'dead-lettering what was delivered too often'))
      .finally(() => {
        this.#running = false
        this.#timer?.cancel()
        const { session } = this.#parts
        const delayMs = this.#isNews ? STORED_MS : LOOK_AGAIN_MS
        this.#isNews = false
        if (!this.#closed && session.ready) this.#timer = session.host.clock.setTimer(delayMs, () => this.#look())
      })
  }

  async #takeAll(): Promise<void> {
    const { session } = this.#parts
    while (this.#again && session.ready && !this.#closed) {
      this.#again = false
      const taken = await this.#portion()
      if (taken.length === PORTION) this.#again = true
      for (const { reply, advisory } of taken) {
        const isBuried = await this.#tryToBury(advisory)
        // Without a connection, the rest of the batch comes again when its ack wait is over.
        if (!session.ready || this.#closed) return
        session.writeBuffer.publish(reply, '', isBuried ? DONE : TRY_AGAIN)
      }
    }
  }

  /** One message that can't be dead-lettered does not hold up others. */
  async #tryToBury(advisory: Advisory): Promise<boolean> {
    try {
      await this.#bury(advisory)
      return true
    } catch (error) {
      const { stream_seq: seq, stream, deliveries } = advisory
      this.#parts.session.error(
        error,
        `dead-lettering message ${seq} of stream "${stream}", which was delivered ${deliveries} times`,
      )
      return false
    }
  }

  #portion(): Promise<readonly Taken[]> {
    const { session, api } = this.#parts
    return new Promise((resolve) => {
      this.#taken = []
      const timer = session.host.clock.setTimer(ANSWER_TIMEOUT_MS, () => this.#portionDone?.())
      this.#portionDone = () => {
        this.#portionDone = undefined
        timer.cancel()
        resolve(this.#taken)
      }
      const request = Buffer.from(`{"batch":${PORTION},"no_wait":true}`)
      session.writeBuffer.publish(api.nextSubject(this.#stream, CONSUMER), this.#inbox, request)
    })
  }

  #receive(message: Incoming): void {
    // End of the batch: there are no more.
    if (message.status > 0) return this.#portionDone?.()
    const advisory = parseAdvisory(message.text)
    if (advisory === undefined) this.#parts.session.writeBuffer.publish(message.reply, '', DONE)
    else if (this.#taken.push({ reply: message.reply, advisory }) >= PORTION) this.#portionDone?.()
  }

  /** Rejects when the dead letter could not be stored; the advisory comes again then. */
  async #bury({ stream, consumer, stream_seq: seq, deliveries }: Advisory): Promise<void> {
    const { api, publisher, session } = this.#parts
    const group = groupOfConsumer(consumer)
    if (group === undefined) return
    const stored = await api.message(stream, { seq })
    if (stored === undefined) {
      session.warning(
        'nats-max-deliveries',
        `message ${seq} was delivered ${deliveries} times to the group "${group}" and never settled; it was deleted before it could be dead-lettered`,
      )
      return
    }
    const delivery = this.#deliveryOf(stored, stream, deliveries, group)
    if (delivery === undefined) return
    const error = new StateError(
      `The message was delivered ${deliveries} times and never settled: the limit maxDeliver of its consumer is reached`,
    )
    const now = session.host.clock.now()
    const attempts = deliveries
    const failure = {
      group,
      reason: 'exhausted',
      error,
      attempts,
      firstAt: Date.parse(stored.time),
      lastAt: now,
    } as const
    const deadLetter = makeDeadLetter(delivery, failure)
    const [outcome] = await publisher.publish([deadLetter], undefined, [
      // Same id as from a member that rejects the message, so that it is stored only once.
      deadLetterId(deadLetter, seq, await this.#identityOf(stream, consumer)),
    ])
    if (outcome?.error !== undefined) throw outcome.error
    session.host.events.emit('deadLetter', {
      transport: session.host.name,
      topic: delivery.message.topic,
      group,
      consumerId: consumer,
      message: delivery.message,
      attempt: deliveries,
      error,
      reason: 'exhausted',
      deadLetterTopic: deadLetter.topic,
    })
  }

  /** Empty when the consumer was deleted meanwhile. */
  async #identityOf(stream: string, consumer: string): Promise<string> {
    try {
      return identityOf(await this.#parts.api.consumerInfo(stream, consumer))
    } catch (error) {
      if (isNotFound(error)) return ''
      throw error
    }
  }

  /** Undefined for a message that was meant for another group. */
  #deliveryOf(stored: StoredNative, stream: string, attempt: number, own: string): Delivery | undefined {
    const { mapping, subjects } = this.#parts
    const { message, group, bytes } = readStored(stored, stream, subjects.topicOf(stored.subject), mapping)
    if (group !== undefined && group !== own) return undefined
    const position = positionOf(stream, stored.seq)
    return { message, attempt, history: 'returned', position, bytes, lost: false, runtime: undefined }
  }
}

function parseAdvisory(text: string): Advisory | undefined {
  try {
    const advisory = JSON.parse(text) as Advisory
    return typeof advisory.consumer === 'string' && Number.isInteger(advisory.stream_seq) ? advisory : undefined
  } catch {
    return undefined
  }
}
