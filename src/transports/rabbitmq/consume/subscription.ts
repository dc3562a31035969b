// Longer than most files: the whole life of a delivery, between its queue and the runtime, is one state.
import type { ConsumeMessage } from 'amqplib'
import { sleep } from '../../../core/clock.ts'
import { SettlementError } from '../../../core/errors.ts'
import { messageBytes } from '../../../core/message.ts'
import { settledWithin } from '../../../core/util/settled-within.ts'
import type {
  AttemptNote,
  DeliverySink,
  Outcome,
  Settlement,
  SettlementFailure,
  SubscriptionSpec,
  SubscriptionState,
  TransportSubscription,
} from '../../../core/transport.ts'
import type { AttemptNotes } from './attempt-notes.ts'
import type { IncomingMessage } from '../wire/incoming-message.ts'
import type { Taker } from './hand-out.ts'
import { SingleTaker } from './single-taker.ts'
import { Attempts } from './attempts.ts'
import { BodyBudget } from './body-budget.ts'
import { isMisplaced } from '../partitions/key-bucket.ts'
import type { ResolvedConsumerOptions } from './consumer-options.ts'
import { DeclareChannel } from '../topology/declare-channel.ts'
import { RabbitMqDelivery } from './delivery.ts'
import { shareOf } from './queue-share.ts'
import type { DeliveryReader } from './delivery.ts'
import { lostError } from '../errors.ts'
import { ForeignIds } from './foreign-ids.ts'
import { HandOut } from './hand-out.ts'
import type { QueueAssignment, AssignedQueue } from '../partitions/queue-assignment.ts'
import { withMetadata } from './amqp-metadata.ts'
import type { LiveConnection } from '../connection/live-connection.ts'
import type { LostDeliveries, QueueConsumer, ConsumerEnd, QueueConsumerHost } from './queue-consumer.ts'
import { Republisher } from '../publish/republisher.ts'
import type { Pending } from '../publish/republisher.ts'
import { StreamCursor } from './stream-cursor.ts'
import type { LiveSubscription, QueueNature, SubscriptionContext } from './subscription-context.ts'
import { TimeoutGuard } from './timeout-guard.ts'
import { TopicFilter } from './topic-filter.ts'
import { TurnOvers } from './turn-overs.ts'

const NO_FAILURES: readonly SettlementFailure[] = Object.freeze([])
const CLOSE_MS = 2_000
const ACK_MIN_MS = 15
const ACK_MAX_MS = 250
const TIMEOUT = 'given back before the broker takes it away (consumer timeout)'

/**
 * One member of a group: takes from its queues what the runtime asks for, and settles it. `QueueAssignment` decides which queues
 * these are.
 */
export class RabbitMqSubscription implements TransportSubscription, LiveSubscription, QueueConsumerHost {
  readonly spec: SubscriptionSpec
  readonly nature: QueueNature
  readonly assignment: QueueAssignment
  readonly lostQueues: Set<string> = new Set()
  readonly bodies: BodyBudget
  readonly #context: SubscriptionContext
  readonly #options: ResolvedConsumerOptions
  readonly #sink: DeliverySink
  readonly #topics: Pick<TopicFilter, 'topicOf'>
  readonly #attempts: Attempts
  readonly #republisher: Republisher
  readonly #foreignIds: ForeignIds
  readonly #cursor: StreamCursor | undefined
  readonly #guard: TimeoutGuard
  /** True when delays are copies that the broker keeps. Every reader of a stream would get such a copy. */
  readonly #copies: boolean
  readonly readyHere?: () => Promise<number | undefined>
  readonly renewBindings: () => Promise<number>
  readonly #single: SingleTaker
  readonly #handOut: HandOut
  readonly #turnOvers: TurnOvers
  #wasAsked = false
  #isPaused = false
  #isDrained = false
  #hasMisplaced = false
  /** Another consumer appears to be the active one of each queue that we read. */
  #waitsForOthers = false
  #closed: Promise<void> | undefined

  constructor(parts: {
    readonly spec: SubscriptionSpec
    readonly sink: DeliverySink
    readonly options: ResolvedConsumerOptions
    readonly context: SubscriptionContext
    readonly notes: AttemptNotes | undefined
    readonly nature: QueueNature
    readonly consumerTimeoutMs: number
    /** For bodies beyond `prefetchBytes`; undefined: they stay in memory. */
    readonly overflowFolder: string | undefined
    readonly renewBindings: () => Promise<number>
    /** Where several topics share the queues: which topics' messages these are, and who takes them. */
    readonly shared?: { readonly topics: Pick<TopicFilter, 'topicOf'>; readonly taker: Taker } | undefined
    readonly assignment: (subscription: RabbitMqSubscription) => QueueAssignment
  }) {
    const { spec, options, context } = parts
    this.spec = spec
    this.#sink = parts.sink
    this.#options = options
    this.#context = context
    this.#foreignIds = new ForeignIds(context.salt)
    this.nature = parts.nature
    this.#topics =
      parts.shared?.topics ?? new TopicFilter(spec.topic, options.queue !== undefined || options.bindings.length > 0)
    this.#single = new SingleTaker(parts.sink)
    this.#cursor = options.offset === undefined ? undefined : new StreamCursor(options.offset)
    this.#copies = this.#cursor === undefined
    this.#attempts = new Attempts(spec.consumerId, parts.notes, context)
    this.#republisher = new Republisher({
      publisher: context.publisher,
      clock: context.clock,
      group: spec.group,
      groupQueue: parts.nature.groupQueue,
      copies: this.#copies,
      host: {
        done: (delivery) => this.#done(delivery),
        again: (delivery, used) => this.#hold(delivery, used, undefined),
        flush: () => this.#flush(),
        failed: (error, doing) => context.failed(error, doing),
      },
    })
    this.renewBindings = parts.renewBindings
    this.#guard = new TimeoutGuard(context.clock, options.noAck ? Infinity : parts.consumerTimeoutMs, {
      readers: () => this.assignment.assignedQueues.filter(({ reader }) => reader.isOpen).map(({ reader }) => reader),
      tooFarAhead: (reader, ageMs) => this.#tooFarAhead(reader, ageMs),
      turnOver: (reader) => this.#turnOvers.begin(reader, TIMEOUT),
    })
    const folder = options.noAck ? undefined : parts.overflowFolder
    this.bodies = new BodyBudget(spec.prefetchBytes, folder, context.clock, {
      hasRoom: () => {
        for (const { reader } of this.assignment.assignedQueues) reader.hasRoom()
        this.arrived()
      },
      failed: (error, doing) => context.failed(error, doing),
    })
    const queues = (): readonly AssignedQueue[] => this.assignment.assignedQueues
    this.#handOut = new HandOut(spec, options, parts.shared?.taker ?? this.#single, {
      queues,
      mayHandOut: () => !this.#isPaused && !this.#isDrained,
      tooLarge: (bytes, limit) => context.tooLarge(this, bytes, limit, folder !== undefined),
    })
    this.#turnOvers = new TurnOvers(context.clock, {
      queues,
      recall: (deliveries) => parts.sink.recall(deliveries),
      noteReturned: (assigned) => this.noteReturned(assigned),
      update: () => this.assignment.update(),
      failed: (error, doing) => context.failed(error, doing),
    })
    // Every member of a shared queue may get every message: there the group's count is the right one.
    if (!this.nature.isShared && this.#cursor === undefined)
      this.readyHere = () => context.questions.run(() => this.#readyHere())
    this.assignment = parts.assignment(this)
    this.#guard.start()
  }

  get isConsuming(): boolean {
    return this.assignment.assignedQueues.some(({ reader }) => reader.isOpen)
  }

  attach(live: LiveConnection): void {
    this.#attempts.tellRest()
    this.assignment.attach(live)
  }

  // --- the contract ----------------------------------------------------------------------------------------------------

  request(credit: number, bytes: number): void {
    this.#single.request(credit, bytes)
    this.begin()
    this.arrived()
  }

  /** Consumes from now on, except during a pause. */
  begin(): void {
    if (this.#wasAsked) return
    this.#wasAsked = true
    this.#wantOrNot()
  }

  pause(): void {
    this.#isPaused = true
    this.#wantOrNot()
  }

  resume(): void {
    this.#isPaused = false
    this.#wantOrNot()
    this.arrived()
  }

  drain(): Promise<void> {
    this.#isDrained = true
    this.#wantOrNot()
    return Promise.resolve()
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    this.#isDrained = true
    this.#guard.stop()
    this.#republisher.close()
    const closing = this.assignment
      .close()
      .then(() => this.#context.ended(this))
      .catch((error: unknown) => this.#context.failed(error, 'closing a consumer'))
    // A broker that does not answer must not delay us: closing the transport ends the connection.
    await settledWithin(this.#context.clock, CLOSE_MS, closing)
    this.#attempts.close()
    this.bodies.close()
    if (this.#options.noAck) this.#reportUnhandled()
  }

  state(): SubscriptionState {
    const standby =
      this.assignment.isStandby ||
      (this.#waitsForOthers && this.assignment.share.every(({ reader }) => reader.isOpen && !reader.hasReceived))
    return { standby, trouble: this.assignment.trouble }
  }

  // --- for a group whose topics share the queues ----------------------------------------------------------------------

  /** With the runtime. */
  handed(): readonly RabbitMqDelivery[] {
    return this.assignment.assignedQueues.flatMap(({ reader }) =>
      reader.unsettled().filter(({ state }) => state === 'handed'),
    )
  }

  /** How many messages of that topic are here, and not with the runtime. */
  waiting(topic: string): number {
    let count = 0
    for (const { reader } of this.assignment.assignedQueues)
      for (const { message } of reader.held) if (message.topic === topic) count++
    return count
  }

  raisePrefetch(prefetch: number): void {
    const { assignedQueues } = this.assignment
    for (const { reader } of assignedQueues) reader.raisePrefetch(shareOf(prefetch, assignedQueues.length))
  }

  /** Messages waiting in the queues that the broker gives to this member. */
  async #readyHere(): Promise<number | undefined> {
    const live = this.#context.live()
    if (live === undefined || !this.isConsuming) return undefined
    const declaring = new DeclareChannel(live)
    let ready = 0
    let waits = false
    try {
      for (const { reader } of this.assignment.share) {
        const { messageCount, consumerCount } = await declaring.run((channel) => channel.checkQueue(reader.queue))
        // Of shared queues, it is not known whose messages wait behind those that are here.
        if (this.nature.isPerGroup && reader.isFull) continue
        // A queue that has sent us nothing and has other consumers has made another one the active consumer.
        if (!reader.hasReceived && consumerCount > 1) waits = true
        else ready += messageCount
      }
      this.#waitsForOthers = waits
      return ready
    } catch (error) {
      this.#context.failed(error, 'asking how much waits')
      return undefined
    } finally {
      await declaring.close()
    }
  }

  /** The broker removed these when it sent them. */
  #reportUnhandled(): void {
    const count = this.assignment.assignedQueues.reduce((sum, { reader }) => sum + reader.held.length, 0)
    if (count > 0) this.#context.dropped(this, count)
  }

  /** A broadcast has an exclusive queue, and keeps it while it pauses. */
  #wantOrNot(): void {
    const paused = this.#isPaused && !this.spec.ephemeral
    this.assignment.want(this.#wasAsked && !paused && !this.#isDrained)
  }

  settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    let failures: SettlementFailure[] | undefined
    let pending: Pending[] | undefined
    let held: RabbitMqDelivery[] | undefined
    for (let index = 0; index < batch.length; index++) {
      const { delivery, outcome } = batch[index] as Settlement
      const mine = delivery as RabbitMqDelivery
      const error = unsettleable(mine)
      if (error !== undefined) (failures ??= []).push({ index, error })
      else if (outcome.type === 'ack') this.#done(mine)
      else if (outcome.type === 'reject' && outcome.deadLetter === undefined) this.#drop(mine)
      else if (outcome.type === 'reject' || this.#goesElsewhere(outcome)) {
        mine.state = 'settling'
        ;(pending ??= []).push({ index, delivery: mine, outcome })
      } else if (outcome.type === 'release' && outcome.delayMs <= 0 && this.#requeues(mine)) this.#requeue(mine)
      else {
        const notBefore = outcome.delayMs > 0 ? this.#context.clock.now() + outcome.delayMs : undefined
        const used = outcome.type === 'nack' ? mine.attempt : mine.attempt - 1
        ;(held ??= []).push(this.#hold(mine, used, notBefore))
      }
    }
    this.#flush()
    const settled =
      pending === undefined ? (failures ?? NO_FAILURES) : this.#republisher.settle(pending, failures ?? [])
    if (held === undefined && !(settled instanceof Promise)) return this.#heard(batch, settled)
    return Promise.all([settled, this.#attempts.returned(held ?? [], 'news')]).then(([all]) => this.#heard(batch, all))
  }

  /**
   * A message whose order does not matter waits as a copy that carries its number of attempts; one that is to be
   * retried at once becomes a copy too, for any member.
   */
  #goesElsewhere({ type, delayMs, inOrder }: Exclude<Outcome, { type: 'ack' | 'reject' }>): boolean {
    if (this.#options.noAck || !this.nature.isShared) return delayMs > 0 && inOrder !== true
    return delayMs > 0 || (type === 'nack' && this.#copies)
  }

  /** Given up untried, on a queue that others read as well. */
  #requeues(delivery: RabbitMqDelivery): boolean {
    return this.nature.isShared && !this.#options.noAck && this.#assignedQueueOf(delivery.reader)?.isLeaving === true
  }

  #requeue(delivery: RabbitMqDelivery): void {
    void this.#attempts.returned([delivery])
    this.#foreignIds.left(delivery.message.id)
    delivery.reader.requeue(delivery)
  }

  /** Adds the outcomes that certainly, or possibly, never reached the broker: it delivers those messages again. */
  async #heard(
    batch: readonly Settlement[],
    failures: readonly SettlementFailure[],
  ): Promise<readonly SettlementFailure[]> {
    if (failures.length === batch.length) return failures
    const readers = new Set<DeliveryReader>()
    for (const { delivery } of batch)
      if (!waitsHere(delivery as RabbitMqDelivery)) readers.add((delivery as RabbitMqDelivery).reader)
    const answers = await Promise.all(
      Array.from(readers, async (reader) => ((await reader.heard()) ? undefined : reader)),
    )
    const deaf = new Set(answers)
    deaf.delete(undefined)
    if (deaf.size === 0) return failures
    const known = new Set(failures.map(({ index }) => index))
    return batch
      .flatMap(({ delivery }, index) =>
        known.has(index) || waitsHere(delivery as RabbitMqDelivery) || !deaf.has((delivery as RabbitMqDelivery).reader)
          ? []
          : [{ index, error: lostError() }],
      )
      .concat(failures)
  }

  noteAttempts(notes: readonly AttemptNote[]): Promise<void> {
    const noted = this.#attempts.note(notes)
    this.#turnOvers.check()
    return noted
  }

  // --- settling --------------------------------------------------------------------------------------------------------

  #done(delivery: RabbitMqDelivery): void {
    this.#left(delivery)
    delivery.reader.ack(delivery)
  }

  /** Drops it for good, without a dead letter of ours. A foreign queue may have a place for it. */
  #drop(delivery: RabbitMqDelivery): void {
    this.#left(delivery)
    if (this.nature.isForeign) delivery.reader.reject(delivery)
    else delivery.reader.ack(delivery)
  }

  #left(delivery: RabbitMqDelivery): void {
    const { message, offset } = delivery
    this.#attempts.settled(delivery)
    this.#foreignIds.left(message.id)
    if (offset !== undefined) this.#cursor?.settled(offset)
  }

  /** It waits here for its next turn, in its place among those that wait here. */
  #hold(delivery: RabbitMqDelivery, used: number, notBefore: number | undefined): RabbitMqDelivery {
    const held = delivery.reader.hold(delivery, used + 1, notBefore)
    this.arrived()
    return held
  }

  #flush(): void {
    for (const assigned of this.assignment.assignedQueues) {
      assigned.reader.flush()
      if (assigned.isLeaving && assigned.reader.handed === 0) this.#end(assigned)
    }
    this.#turnOvers.check()
  }

  #end(assigned: AssignedQueue): void {
    this.assignment.endIfEmpty(assigned).catch((error: unknown) => this.#context.failed(error, 'giving up a queue'))
  }

  // --- what comes ------------------------------------------------------------------------------------------------------

  consumeArguments(): Readonly<Record<string, unknown>> | undefined {
    const { consumeArguments } = this.#options
    return this.#cursor === undefined
      ? consumeArguments
      : { ...consumeArguments, 'x-stream-offset': this.#cursor.start }
  }

  admit(reader: QueueConsumer, arrival: IncomingMessage): RabbitMqDelivery | undefined {
    const { deliveryTag, redelivered, native, returns } = arrival
    const offset = this.#cursor === undefined ? undefined : arrival.offset
    const now = this.#context.clock.now()
    // A message of a stream that has no time must look the same when it comes again, or it is handled twice.
    const cameAt = offset === undefined ? now : this.#cursor?.came(offset, now)
    if (cameAt === undefined) return undefined
    const topic = this.#topics.topicOf(arrival)
    if (topic === undefined) {
      if (offset !== undefined) this.#cursor?.settled(offset)
      return undefined
    }
    if (!this.#hasMisplaced && isMisplaced(arrival, this.nature.partitions)) {
      this.#hasMisplaced = true
      this.#context.misplaced(this, topic, arrival.key as string)
    }
    const encoded = arrival.toEncodedMessage(topic, this.#idOf(reader, arrival), cameAt)
    const { metadata } = this.#options
    const message = metadata.length === 0 ? encoded : withMetadata(encoded, native as ConsumeMessage, metadata)
    const delivery = new RabbitMqDelivery({
      message,
      reader,
      exchange: arrival.exchange,
      routingKey: arrival.routingKey,
      deliveryTag,
      offset,
      base: arrival.attempts,
      isRedelivered: redelivered,
      // A first delivery may carry the count of another queue that it was in before.
      count: redelivered ? (arrival.acquired ?? returns) : undefined,
      firstDeliveredAt: arrival.firstAt,
      bytes: messageBytes(message),
      carried: arrival.carried,
    })
    this.#attempts.arrived(delivery, this.#arrived)
    return delivery
  }

  #idOf(reader: QueueConsumer, { id, offset, native }: IncomingMessage): string {
    if (id !== undefined) return id
    // Only the library reads messages without an id.
    return this.#cursor === undefined ? this.#foreignIds.idOf(native as ConsumeMessage) : `${reader.queue}:${offset}`
  }

  activated(reader: QueueConsumer): void {
    this.assignment.activated(reader)
  }

  unreadable(reader: QueueConsumer, error: unknown): void {
    this.#context.failed(error, `reading a message of "${reader.queue}" from disk`)
    this.#turnOvers.begin(reader, 'given back because it could not be read from disk')
  }

  readonly #arrived = (): void => this.arrived()

  arrived(): void {
    this.#handOut.schedule()
  }

  // --- what goes -------------------------------------------------------------------------------------------------------

  lost(reader: QueueConsumer, { handed, held, unheard }: LostDeliveries, end: ConsumerEnd): void {
    for (const { message } of handed) this.#foreignIds.left(message.id)
    for (const { message } of held) this.#foreignIds.left(message.id)
    if (this.#closed !== undefined) return
    this.#attempts.lost([...handed, ...held, ...unheard])
    if (handed.length > 0) this.#sink.lost(handed, end.error.message)
    if (end.cause !== 'turn-over') this.#context.readerLost(this, reader, end)
  }

  // --- messages that are unacked for long --------------------------------------------------------------------------

  #tooFarAhead(reader: QueueConsumer, ageMs: number): void {
    const assigned = this.#assignedQueueOf(reader)
    if (assigned === undefined || reader.isTurning || assigned.isLeaving) return
    this.#context.slow(this, reader, ageMs)
    if (!this.nature.isShared) {
      reader.lowerHanded()
      return
    }
    // Others read the queue as well: what is not with the runtime may go to them at once.
    if (reader.prefetch === 1) return
    reader.lowerPrefetch()
    this.#restart(assigned).catch((error: unknown) =>
      this.#context.failed(error, 'lowering the prefetch of a consumer'),
    )
  }

  async #restart(assigned: AssignedQueue): Promise<void> {
    const cancelled = assigned.reader.cancel()
    this.#sink.recall(assigned.reader.unsettled())
    await cancelled
    await this.handBack(assigned)
    // Paused or given up meanwhile: nothing more may come.
    if (!assigned.isLeaving) await assigned.reader.resume()
    this.arrived()
  }

  /**
   * A quorum queue applies acks in the order of its log. While many are in progress the broker holds further ones back
   * to join them, and forgets those when the channel closes. Acks are not answered, so this waits for a multiple of the
   * time that a confirmed publish takes, which goes through the same log.
   */
  async ackTime(): Promise<void> {
    const ms = Math.min(ACK_MAX_MS, Math.max(ACK_MIN_MS, 4 * this.#context.publisher.confirmMs))
    await sleep(this.#context.clock, ms)
  }

  /** For `QueueAssignment`: a queue that others consume as well. */
  async handBack(assigned: AssignedQueue): Promise<void> {
    if (this.#options.noAck) return
    const held = [...assigned.reader.held]
    await this.#attempts.returnedAll(held)
    for (const delivery of held) {
      if (delivery.state !== 'held') continue
      this.#foreignIds.left(delivery.message.id)
      assigned.reader.requeue(delivery)
    }
    assigned.reader.flush()
  }

  /** For `QueueAssignment`: everything that goes back with the channel, by our own decision, so none of it has used an attempt. */
  async noteReturned({ reader }: AssignedQueue): Promise<void> {
    if (!this.#options.noAck) await this.#attempts.returnedAll(reader.unsettled())
  }

  #assignedQueueOf(reader: DeliveryReader): AssignedQueue | undefined {
    return this.assignment.assignedQueues.find((assigned) => assigned.reader === reader)
  }
}

/** It was not given to the broker, which has nothing to hear of it. */
function waitsHere({ state }: RabbitMqDelivery): boolean {
  return state === 'replaced'
}

function unsettleable(delivery: RabbitMqDelivery): SettlementError | undefined {
  if (delivery.state === 'handed') return undefined
  return delivery.lost ? lostError() : new SettlementError('The delivery has been settled before')
}
