import type {
  AttemptNote,
  DeliverySink,
  Settlement,
  SettlementFailure,
  SubscriptionSpec,
  SubscriptionState,
  TransportSubscription,
} from '../../../core/transport.ts'
import { CreditBalance } from '../../../core/util/credit-balance.ts'
import type { RabbitMqDelivery } from './delivery.ts'

/** The queues that a topic shares with the other topics of its group. */
export interface SharedQueues {
  /** A topic pauses, continues, or ends. */
  changed(): void
  /** A topic has asked for messages. */
  requested(topic: TopicSubscription): void
  settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]>
  noteAttempts(notes: readonly AttemptNote[]): Promise<void>
  state(): SubscriptionState
  /** Messages that could be delivered to that topic here now, as far as that can be known. */
  readyHere(topic: TopicSubscription): Promise<number | undefined>
  /** The topic is not consumed here any more. */
  leave(topic: TopicSubscription): Promise<void>
}

/** One topic of a group whose topics share its queues (`queues: 'per-group'`): what the runtime sees of them. */
export class TopicSubscription implements TransportSubscription {
  readonly spec: SubscriptionSpec
  readonly sink: DeliverySink
  readonly #queues: SharedQueues
  readonly #credit = new CreditBalance()
  /** Number of messages that had arrived in the queues at its last look. */
  seen = 0
  #batch: RabbitMqDelivery[] = []
  #wasAsked = false
  #isPaused = false
  #isDrained = false
  #closed: Promise<void> | undefined

  constructor(spec: SubscriptionSpec, sink: DeliverySink, queues: SharedQueues) {
    this.spec = spec
    this.sink = sink
    this.#queues = queues
  }

  get topic(): string {
    return this.spec.topic
  }

  /** False when it will never take a message again. */
  get isOpen(): boolean {
    return !this.#isDrained
  }

  get isWanted(): boolean {
    return this.#wasAsked && !this.#isPaused && !this.#isDrained
  }

  get hasCredit(): boolean {
    return this.isWanted && this.#credit.isLeft
  }

  /** The next delivery is its own. */
  take(delivery: RabbitMqDelivery): void {
    this.#credit.spend(delivery.bytes)
    this.#batch.push(delivery)
  }

  deliver(): void {
    const batch = this.#batch
    this.#batch = []
    this.sink.receive(batch)
  }

  request(credit: number, bytes: number): void {
    this.#credit.add(credit, bytes)
    this.#wasAsked = true
    this.#queues.requested(this)
  }

  pause(): void {
    this.#isPaused = true
    this.#queues.changed()
  }

  resume(): void {
    this.#isPaused = false
    this.#queues.changed()
  }

  drain(): Promise<void> {
    this.#isDrained = true
    this.#queues.changed()
    return Promise.resolve()
  }

  close(): Promise<void> {
    this.#isDrained = true
    this.#closed ??= this.#queues.leave(this)
    return this.#closed
  }

  settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    return this.#queues.settle(batch)
  }

  noteAttempts(notes: readonly AttemptNote[]): Promise<void> {
    return this.#queues.noteAttempts(notes)
  }

  state(): SubscriptionState {
    return this.#queues.state()
  }

  readyHere(): Promise<number | undefined> {
    return this.#queues.readyHere(this)
  }
}
