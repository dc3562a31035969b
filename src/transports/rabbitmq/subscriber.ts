import type { ConsumeMessage } from 'amqplib'
import { sleep } from '../../core/clock.ts'
import { SettlementError } from '../../core/errors.ts'
import { messageBytes } from '../../core/message.ts'
import type {
  AttemptNote,
  DeliverySink,
  Settlement,
  SettlementFailure,
  SubscriptionSpec,
  TransportSubscription,
} from '../../core/transport.ts'
import type { AttemptNotes } from './attempt-notes.ts'
import type { Arrival } from './arrival.ts'
import { Attempts } from './attempts.ts'
import type { ResolvedConsumerOptions } from './consumer-options.ts'
import { RabbitMqDelivery } from './delivery.ts'
import { lostError } from './errors.ts'
import { ForeignIds } from './foreign-ids.ts'
import type { Intake, Seat } from './intake.ts'
import { withMetadata } from './metadata.ts'
import type { Session } from './link.ts'
import type { QueueReader, ReaderHost } from './queue-reader.ts'
import { Republisher } from './republisher.ts'
import type { Pending } from './republisher.ts'
import { StreamCursor } from './stream-cursor.ts'
import type { QueueNature, SubscriptionContext } from './subscription-context.ts'
import { TopicFilter } from './topic-filter.ts'

const NO_FAILURES: readonly SettlementFailure[] = Object.freeze([])
/** Queues of one subscription take turns in portions of that size. */
const PORTION = 16
const CLOSE_MS = 2_000
const ACK_MIN_MS = 15
const ACK_MAX_MS = 250

/**
 * One member of a group: takes from its queues what the runtime asks for, and settles it. Everything that concerns which
 * queues these are is in `Intake`.
 */
export class RabbitMqSubscription implements TransportSubscription, ReaderHost {
  readonly spec: SubscriptionSpec
  readonly nature: QueueNature
  readonly intake: Intake
  readonly #context: SubscriptionContext
  readonly #options: ResolvedConsumerOptions
  readonly #sink: DeliverySink
  readonly #topics: TopicFilter
  readonly #attempts: Attempts
  readonly #republisher: Republisher
  readonly #foreignIds = new ForeignIds()
  readonly #cursor: StreamCursor | undefined
  #credit = 0
  #bytes = 0
  #wasAsked = false
  #isPaused = false
  #isDrained = false
  #isScheduled = false
  #closed: Promise<void> | undefined

  constructor(parts: {
    readonly spec: SubscriptionSpec
    readonly sink: DeliverySink
    readonly options: ResolvedConsumerOptions
    readonly context: SubscriptionContext
    readonly notes: AttemptNotes | undefined
    readonly nature: QueueNature
    readonly intake: (subscription: RabbitMqSubscription) => Intake
  }) {
    const { spec, options, context } = parts
    this.spec = spec
    this.#sink = parts.sink
    this.#options = options
    this.#context = context
    this.nature = parts.nature
    this.#topics = new TopicFilter(spec.topic, options.queue !== undefined || options.bindings.length > 0)
    this.#cursor = options.offset === undefined ? undefined : new StreamCursor(options.offset)
    this.#attempts = new Attempts(spec.consumerId, parts.notes, context)
    this.#republisher = new Republisher({
      publisher: context.publisher,
      clock: context.clock,
      group: spec.group,
      // Whoever reads a stream would get the copy as well.
      copies: this.#cursor === undefined,
      host: {
        done: (delivery) => this.#done(delivery),
        again: (delivery, used, failed) => this.#again(delivery, used, failed),
        flush: () => this.#flush(),
        failed: (error, doing) => context.failed(error, doing),
      },
    })
    this.intake = parts.intake(this)
  }

  /** Messages here and not settled. */
  get inFlight(): number {
    return this.intake.seats.reduce((sum, { reader }) => sum + reader.handed + reader.held.length, 0)
  }

  get isConsuming(): boolean {
    return this.intake.seats.some(({ reader }) => reader.isOpen)
  }

  /** There is a new session: everything begins anew on it. */
  attach(session: Session): void {
    this.#attempts.tellLost()
    this.intake.attach(session)
  }

  // --- the contract ----------------------------------------------------------------------------------------------------

  request(credit: number, bytes: number): void {
    this.#credit += credit
    this.#bytes += bytes
    if (!this.#wasAsked) {
      this.#wasAsked = true
      this.#wantOrNot()
    }
    this.arrived()
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
    this.#republisher.close()
    const done = new AbortController()
    const closing = this.intake
      .close()
      .then(() => this.#context.ended(this))
      .catch((error: unknown) => this.#context.failed(error, 'closing a consumer'))
      .finally(() => done.abort())
    // A broker that does not answer must not keep us: whoever closes the transport ends the connection.
    await Promise.race([closing, sleep(this.#context.clock, CLOSE_MS, done.signal).catch(() => undefined)])
    if (this.#options.noAck) this.#tellUnhandled()
  }

  /** The broker has forgotten these when it sent them. */
  #tellUnhandled(): void {
    const count = this.intake.seats.reduce((sum, { reader }) => sum + reader.held.length, 0)
    if (count > 0) this.#context.dropped(this, count)
  }

  /** A broadcast has its queue for itself, and keeps it while it pauses. */
  #wantOrNot(): void {
    const paused = this.#isPaused && !this.spec.ephemeral
    this.intake.want(this.#wasAsked && !paused && !this.#isDrained)
  }

  settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    let failures: SettlementFailure[] | undefined
    let pending: Pending[] | undefined
    for (let index = 0; index < batch.length; index++) {
      const { delivery, outcome } = batch[index] as Settlement
      const mine = delivery as RabbitMqDelivery
      const error = unsettleable(mine)
      if (error !== undefined) (failures ??= []).push({ index, error })
      else if (outcome.type === 'ack') this.#done(mine)
      else if (outcome.type === 'reject' && outcome.deadLetter === undefined) this.#drop(mine)
      else if (outcome.type !== 'reject' && outcome.delayMs <= 0)
        this.#again(mine, outcome.type === 'nack' ? mine.attempt : mine.attempt - 1, outcome.type === 'nack')
      else {
        mine.state = 'settling'
        ;(pending ??= []).push({ index, delivery: mine, outcome })
      }
    }
    this.#flush()
    if (pending === undefined) return this.#heard(batch, failures ?? NO_FAILURES)
    return this.#republisher.settle(pending, failures ?? []).then((all) => this.#heard(batch, all))
  }

  /** Adds what the broker certainly, or possibly, never heard of: it delivers that again. */
  async #heard(
    batch: readonly Settlement[],
    failures: readonly SettlementFailure[],
  ): Promise<readonly SettlementFailure[]> {
    if (failures.length === batch.length) return failures
    const readers = new Set<QueueReader>()
    for (const { delivery } of batch) readers.add((delivery as RabbitMqDelivery).reader)
    const answers = await Promise.all(
      Array.from(readers, async (reader) => ((await reader.heard()) ? undefined : reader)),
    )
    const deaf = new Set(answers)
    deaf.delete(undefined)
    if (deaf.size === 0) return failures
    const known = new Set(failures.map(({ index }) => index))
    return batch
      .flatMap(({ delivery }, index) =>
        known.has(index) || !deaf.has((delivery as RabbitMqDelivery).reader) ? [] : [{ index, error: lostError() }],
      )
      .concat(failures)
  }

  async noteAttempts(notes: readonly AttemptNote[]): Promise<void> {
    await Promise.all(
      notes.map(async ({ delivery, used, running }) => {
        if (!running && !delivery.lost) await this.#attempts.noteEnded(delivery as RabbitMqDelivery, used)
      }),
    )
  }

  // --- settling --------------------------------------------------------------------------------------------------------

  #done(delivery: RabbitMqDelivery): void {
    this.#left(delivery)
    delivery.reader.ack(delivery)
  }

  /** For ever, and without a dead letter of ours. Somebody else's queue may have a place for it. */
  #drop(delivery: RabbitMqDelivery): void {
    this.#left(delivery)
    if (this.nature.isForeign) delivery.reader.reject(delivery)
    else delivery.reader.ack(delivery)
  }

  #left(delivery: RabbitMqDelivery): void {
    const { message, offset } = delivery
    this.#attempts.forget(delivery)
    this.#foreignIds.left(message.id)
    if (offset !== undefined) this.#cursor?.settled(offset)
  }

  /** Back to where it came from, at once. In its place among those that wait here; or, of a shared queue, with the broker. */
  #again(delivery: RabbitMqDelivery, used: number, failed: boolean): void {
    const { reader, message } = delivery
    const seat = this.#seatOf(reader)
    if (this.nature.isShared && !this.#options.noAck && (failed || seat?.isLeaving === true)) {
      if (failed) this.#attempts.ended(delivery, used)
      else void this.#attempts.noteUntried([delivery])
      this.#foreignIds.left(message.id)
      reader.requeue(delivery)
      return
    }
    this.#attempts.ended(delivery, used)
    reader.hold(delivery, used + 1)
    this.arrived()
  }

  #flush(): void {
    for (const seat of this.intake.seats) {
      seat.reader.flush()
      if (seat.isLeaving && seat.reader.handed === 0) this.#end(seat)
    }
  }

  #end(seat: Seat): void {
    this.intake.endIfEmpty(seat).catch((error: unknown) => this.#context.failed(error, 'giving up a queue'))
  }

  // --- what comes ------------------------------------------------------------------------------------------------------

  consumeArguments(): Readonly<Record<string, unknown>> | undefined {
    const { consumeArguments } = this.#options
    return this.#cursor === undefined
      ? consumeArguments
      : { ...consumeArguments, 'x-stream-offset': this.#cursor.start }
  }

  admit(reader: QueueReader, arrival: Arrival): RabbitMqDelivery | undefined {
    const { deliveryTag, redelivered, native, returns } = arrival
    const offset = this.#cursor === undefined ? undefined : arrival.offset
    if (offset !== undefined && this.#cursor?.came(offset) === false) return undefined
    const topic = this.#topics.topicOf(arrival)
    if (topic === undefined) {
      if (offset !== undefined) this.#cursor?.settled(offset)
      return undefined
    }
    const encoded = arrival.toEncodedMessage(topic, this.#idOf(reader, arrival), this.#context.clock.now())
    const { metadata } = this.#options
    const message = metadata.length === 0 ? encoded : withMetadata(encoded, native as ConsumeMessage, metadata)
    const delivery = new RabbitMqDelivery({
      message,
      reader,
      deliveryTag,
      offset,
      base: arrival.attempts,
      // Classic queues do not count; they know whether it was here before.
      count: returns ?? (redelivered ? 1 : 0),
      isCounted: returns !== undefined || !redelivered,
      firstDeliveredAt: arrival.firstAt,
      bytes: messageBytes(message),
    })
    if (redelivered) this.#attempts.recall(delivery, this.#arrived)
    else if (offset === undefined) this.#attempts.forget(delivery)
    return delivery
  }

  #idOf(reader: QueueReader, { id, offset, native }: Arrival): string {
    if (id !== undefined) return id
    // Only the library reads messages without an id.
    return this.#cursor === undefined ? this.#foreignIds.idOf(native as ConsumeMessage) : `${reader.queue}:${offset}`
  }

  readonly #arrived = (): void => this.arrived()

  arrived(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    // After all that came in one read of the socket.
    process.nextTick(() => {
      this.#isScheduled = false
      this.#handOut()
    })
  }

  #handOut(): void {
    if (this.#isPaused || this.#isDrained || this.#attempts.isRecalling) return
    const batch: RabbitMqDelivery[] = []
    for (let before = -1; before < batch.length && this.#credit > 0 && this.#bytes > 0;) {
      before = batch.length
      for (const { reader, isLeaving } of this.intake.seats) {
        // Nobody else has what came without acks.
        if (isLeaving && !this.#options.noAck) continue
        for (let taken = 0; taken < PORTION && this.#credit > 0 && this.#bytes > 0; taken++) {
          const delivery = reader.take()
          if (delivery === undefined) break
          this.#credit--
          this.#bytes -= delivery.bytes
          batch.push(delivery)
        }
      }
    }
    if (batch.length > 0) this.#sink.receive(batch)
  }

  // --- what goes -------------------------------------------------------------------------------------------------------

  lost(
    reader: QueueReader,
    handed: readonly RabbitMqDelivery[],
    held: readonly RabbitMqDelivery[],
    error: Error,
  ): void {
    for (const { message } of handed) this.#foreignIds.left(message.id)
    for (const { message } of held) this.#foreignIds.left(message.id)
    if (this.#closed !== undefined) return
    this.#attempts.lost(handed)
    this.#attempts.lost(held)
    if (handed.length > 0) this.#sink.lost(handed, error.message)
    this.#context.readerLost(this, reader, error)
  }

  /**
   * A quorum queue takes acks in the order of its log, and while many are under way the broker keeps further ones back, to
   * join them; it forgets those when the channel closes. There is no answer to an ack to wait for, so this waits for some
   * times what a confirmed publish takes, which goes through the same log.
   */
  async ackTime(): Promise<void> {
    const ms = Math.min(ACK_MAX_MS, Math.max(ACK_MIN_MS, 4 * this.#context.publisher.confirmMs))
    await sleep(this.#context.clock, ms)
  }

  /** For `Intake`: of a queue that others consume as well. */
  async handBack(seat: Seat): Promise<void> {
    if (this.#options.noAck) return
    const held = [...seat.reader.held]
    await this.#attempts.noteUntried(held)
    for (const delivery of held) {
      if (delivery.state !== 'held') continue
      this.#foreignIds.left(delivery.message.id)
      seat.reader.requeue(delivery)
    }
    seat.reader.flush()
  }

  /** For `Intake`: what is held goes back with the channel, and was not tried. */
  async noteHeld(seat: Seat): Promise<void> {
    if (!this.#options.noAck) await this.#attempts.noteUntried(seat.reader.held)
  }

  #seatOf(reader: QueueReader): Seat | undefined {
    return this.intake.seats.find((seat) => seat.reader === reader)
  }
}

function unsettleable(delivery: RabbitMqDelivery): SettlementError | undefined {
  if (delivery.state === 'handed') return undefined
  return delivery.lost ? lostError() : new SettlementError('The delivery has been settled before')
}
