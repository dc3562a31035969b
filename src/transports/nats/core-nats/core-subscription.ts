import { randomUUID } from 'node:crypto'
import type { Subscription } from '@nats-io/transport-node'
import { LinkedList } from '../../../core/util/linked-list.ts'
import { PublishError, SettlementError } from '../../../core/errors.ts'
import type { EncodedMessage, OutgoingMessage, Position } from '../../../core/message.ts'
import { Queue } from '../../../core/util/queue.ts'
import { compilePattern } from '../../../core/topic.ts'
import type {
  Delivery,
  DeliverySink,
  Settlement,
  SettlementFailure,
  SubscriptionSpec,
  TransportSubscription,
} from '../../../core/transport.ts'
import { CreditBalance } from '../../../core/util/credit-balance.ts'
import type { CorePublisher } from './core-publisher.ts'
import type { Incoming } from '../connection/incoming.ts'
import { Mapping } from '../wire/mapping.ts'
import type { Unsaid } from '../wire/mapping.ts'
import type { Session, SessionPart } from '../connection/session.ts'
import type { Subjects } from '../wire/subjects.ts'

const NO_FAILURES: readonly SettlementFailure[] = Object.freeze([])

class CoreDelivery implements Delivery {
  previous: CoreDelivery | undefined = undefined
  next: CoreDelivery | undefined = undefined
  readonly message: EncodedMessage
  readonly destination: string
  readonly bytes: number
  attempt = 1
  readonly history = 'new'
  settled = false
  lost = false
  runtime: unknown = undefined

  constructor(message: EncodedMessage, destination: string, bytes: number) {
    this.message = message
    this.destination = destination
    this.bytes = bytes
  }

  get position(): Position {
    return { topic: this.message.topic, id: this.message.id }
  }
}

/**
 * One member of a queue group. The server pushes messages unasked and stores nothing: what the consumer has no room for
 * waits here, up to a limit; beyond it messages are lost and reported.
 */
export class CoreSubscription implements TransportSubscription, SessionPart {
  readonly #session: Session
  readonly #subjects: Subjects
  readonly #publisher: CorePublisher
  readonly #spec: SubscriptionSpec
  readonly #sink: DeliverySink
  readonly #onClosed: (subscription: CoreSubscription) => void
  readonly #mapping = new Mapping()
  readonly #matches: (topic: string) => boolean
  readonly #unsaid: Unsaid = { id: () => randomUUID(), time: () => this.#session.host.clock.now() }
  /** Subject of the last message: most have the same, and the reader returns the same string for it. */
  #subject = ''
  #topic = ''
  #isOurs = false
  readonly #backlog = new Queue<CoreDelivery>()
  /** Released deliveries: they come before the backlog. */
  #returned: CoreDelivery[] = []
  readonly #outstanding = new LinkedList<CoreDelivery>()
  #subscriptions: Subscription[] = []
  readonly #credit = new CreditBalance()
  #overflow = 0
  #paused = false
  #drained = false
  #awake = false
  #closing: Promise<void> | undefined

  constructor(
    session: Session,
    subjects: Subjects,
    publisher: CorePublisher,
    spec: SubscriptionSpec,
    sink: DeliverySink,
    onClosed: (subscription: CoreSubscription) => void,
  ) {
    this.#session = session
    this.#subjects = subjects
    this.#publisher = publisher
    this.#spec = spec
    this.#sink = sink
    this.#onClosed = onClosed
    this.#matches = compilePattern(spec.topic)
  }

  /** Resolves when the server knows the subscription: from then on nothing is missed. */
  async open(): Promise<void> {
    const { topic, group, ephemeral } = this.#spec
    this.#subscriptions = this.#subjects.coreFilters(topic).map((filter) =>
      this.#session.subscribe(
        filter,
        (message) => this.#receive(message),
        (error) => this.#session.error(error, `subscribing to "${topic}"`),
        ephemeral ? undefined : group,
      ),
    )
    await this.#session.flush()
    this.#session.add(this)
  }

  /** Messages published while the connection is down, or in transit when it was lost, are not stored anywhere. */
  down(reason: string): void {
    if (this.#drained || this.#session.closing) return
    this.#reportLoss(this.#spec.topic, undefined, `${reason}; core NATS stores nothing for those who are not there`)
  }

  up(): void {}

  request(credit: number, bytes: number): void {
    this.#credit.add(credit, bytes)
    this.#wake()
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#wake()
  }

  // --- in ----------------------------------------------------------------------------------------------------------

  #receive(native: Incoming): void {
    if (native.subject !== this.#subject) {
      this.#subject = native.subject
      this.#topic = this.#subjects.topicOf(native.subject)
      // Our wildcards don't match dead letters, but those of NATS may.
      this.#isOurs = this.#matches(this.#topic)
    }
    if (!this.#isOurs) return
    const { message, group } = this.#mapping.decode(native, this.#topic, this.#unsaid)
    if (group !== undefined && group !== this.#spec.group) return
    if (this.#backlog.size >= this.#session.options.maxCoreBacklog) this.#overflow++
    else this.#backlog.push(new CoreDelivery(message, native.subject, native.size))
    this.#wake()
  }

  #wake(): void {
    if (this.#awake) return
    this.#awake = true
    queueMicrotask(() => {
      this.#awake = false
      this.#distribute()
      this.#reportOverflow()
    })
  }

  #distribute(): void {
    if (this.#paused || this.#drained) return
    const batch: CoreDelivery[] = []
    while (this.#credit.isLeft) {
      const delivery = this.#returned.shift() ?? this.#backlog.shift()
      if (delivery === undefined) break
      this.#credit.spend(delivery.bytes)
      this.#outstanding.push(delivery)
      batch.push(delivery)
    }
    if (batch.length > 0) this.#sink.receive(batch)
  }

  #reportOverflow(): void {
    if (this.#overflow === 0) return
    const count = this.#overflow
    this.#overflow = 0
    this.#reportLoss(
      this.#spec.topic,
      count,
      'the consumer is slower than the topic, and core NATS stores nothing (maxCoreBacklog)',
    )
  }

  #reportLoss(topic: string, count: number | undefined, reason: string): void {
    const { name, events } = this.#session.host
    events.emit('loss', { transport: name, topic, group: this.#spec.group, count, position: undefined, reason })
  }

  // --- settling ----------------------------------------------------------------------------------------------------

  async settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    let failures: SettlementFailure[] | undefined
    for (let index = 0; index < batch.length; index++) {
      const { delivery: given, outcome } = batch[index] as Settlement
      const delivery = given as CoreDelivery
      if (delivery.settled || delivery.lost) {
        ;(failures ??= []).push({ index, error: new SettlementError('The delivery has been settled before') })
        continue
      }
      delivery.settled = true
      const error =
        outcome.type === 'reject' && outcome.deadLetter !== undefined
          ? await this.#deadLetter(outcome.deadLetter)
          : undefined
      if (error !== undefined) {
        delivery.settled = false
        ;(failures ??= []).push({ index, error })
        continue
      }
      this.#outstanding.remove(delivery)
      if (outcome.type === 'nack' || outcome.type === 'release') this.#takeBack(delivery)
    }
    return failures ?? NO_FAILURES
  }

  /**
   * The server takes nothing back: the delivery waits here again, in its place, or is lost if the subscription is
   * ending.
   */
  #takeBack(delivery: CoreDelivery): void {
    if (this.#drained) {
      this.#reportLoss(
        delivery.message.topic,
        1,
        'the consumer was closed with messages in hand, and core NATS takes none back',
      )
      return
    }
    this.#returned.push(new CoreDelivery(delivery.message, delivery.destination, delivery.bytes))
    this.#wake()
  }

  /** On core NATS a dead letter is not stored either: it only reaches current subscribers. */
  async #deadLetter(message: OutgoingMessage): Promise<PublishError | undefined> {
    const result = await this.#publisher.publishToSubscriber(message)
    if (result === 'none')
      this.#reportLoss(message.topic, 1, 'nothing is subscribed to these dead letters, and core NATS stores nothing')
    if (!(result instanceof Error)) return undefined
    return PublishError.is(result)
      ? result
      : new PublishError(`The dead letter for "${message.topic}" could not be sent: ${result.message}`, {
          outcome: 'unknown',
          retryable: true,
          cause: result,
        })
  }

  // --- the end -----------------------------------------------------------------------------------------------------

  async drain(): Promise<void> {
    this.#drained = true
    const subscriptions = this.#subscriptions
    this.#subscriptions = []
    if (this.#session.connection.isClosed()) return
    await Promise.all(subscriptions.map((subscription) => subscription.drain().catch(() => undefined)))
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#session.remove(this)
    await this.drain()
    for (const delivery of this.#outstanding.toArray()) delivery.lost = true
    const count = this.#outstanding.size + this.#backlog.size + this.#returned.length
    this.#backlog.drain()
    this.#returned = []
    if (count > 0)
      this.#reportLoss(
        this.#spec.topic,
        count,
        'the consumer was closed with messages in hand, and core NATS takes none back',
      )
    this.#onClosed(this)
  }
}
