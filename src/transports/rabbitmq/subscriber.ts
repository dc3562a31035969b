import type { ConsumeMessage } from 'amqplib'
import { sleep } from '../../core/clock.ts'
import type { Timer } from '../../core/clock.ts'
import { SettlementError } from '../../core/errors.ts'
import type { PublishError } from '../../core/errors.ts'
import type { OutgoingMessage } from '../../core/message.ts'
import { messageBytes } from '../../core/outgoing.ts'
import { compilePattern, isPattern, topicProblem } from '../../core/topic.ts'
import type {
  Delivery,
  DeliverySink,
  Outcome,
  Settlement,
  SettlementFailure,
  SubscriptionSpec,
  TransportSubscription,
} from '../../core/transport.ts'
import { AttemptLedger } from './attempt-ledger.ts'
import type { AttemptNotes, NamedNote } from './attempt-notes.ts'
import type { ResolvedConsumerOptions } from './consumer-options.ts'
import { RabbitMqDelivery } from './delivery.ts'
import { ForeignIds } from './foreign-ids.ts'
import type { Intake, Seat } from './intake.ts'
import { attemptsOf, deliveryCountOf, firstAtOf, headersOf, idOf, toEncodedMessage, topicOf } from './mapping.ts'
import { withMetadata } from './metadata.ts'
import type { CopyNotes } from './publish-job.ts'
import type { RabbitMqPublisher } from './publisher.ts'
import type { QueueReader, ReaderHost } from './queue-reader.ts'
import type { SubscriptionContext } from './subscription-context.ts'

const NO_FAILURES: Promise<readonly SettlementFailure[]> = Promise.resolve(Object.freeze([]))
/** Queues of one subscription take turns in portions of that size. */
const PORTION = 16
const CLOSE_MS = 2_000
const ACK_MIN_MS = 15
const ACK_MAX_MS = 250

interface Pending {
  readonly index: number
  readonly delivery: RabbitMqDelivery
  readonly outcome: Exclude<Outcome, { type: 'ack' }>
}

/**
 * One member of a group: takes from its queues what the runtime asks for, and settles it. Everything that concerns which
 * queues these are is in `Intake`.
 */
export class RabbitMqSubscription implements TransportSubscription, ReaderHost {
  readonly spec: SubscriptionSpec
  readonly intake: Intake
  readonly #context: SubscriptionContext
  readonly #options: ResolvedConsumerOptions
  readonly #sink: DeliverySink
  readonly #publisher: RabbitMqPublisher
  readonly #notes: AttemptNotes | undefined
  /** Others may consume the same queue at the same time. */
  readonly #isShared: boolean
  readonly #matches: ((topic: string) => boolean) | undefined
  readonly #ledger = new AttemptLedger()
  readonly #foreignIds = new ForeignIds()
  readonly #closing = new AbortController()
  readonly #timers = new Set<Timer>()
  #credit = 0
  #bytes = 0
  #wasAsked = false
  #isPaused = false
  #isDrained = false
  #isScheduled = false
  #closed: Promise<void> | undefined
  /** Nothing is handed out while notes are being read. */
  #reading: Promise<void> | undefined
  #readAgain = false
  #unwritten: NamedNote[] = []
  #writing: Promise<void> | undefined

  constructor(parts: {
    readonly spec: SubscriptionSpec
    readonly sink: DeliverySink
    readonly options: ResolvedConsumerOptions
    readonly context: SubscriptionContext
    readonly notes: AttemptNotes | undefined
    readonly isShared: boolean
    readonly intake: (subscription: RabbitMqSubscription) => Intake
  }) {
    this.spec = parts.spec
    this.#sink = parts.sink
    this.#options = parts.options
    this.#context = parts.context
    this.#publisher = parts.context.publisher
    this.#notes = parts.notes
    this.#isShared = parts.isShared
    this.#matches = isPattern(parts.spec.topic) ? compilePattern(parts.spec.topic) : undefined
    this.intake = parts.intake(this)
  }

  /** Messages here and not settled. */
  get inFlight(): number {
    return this.intake.seats.reduce((sum, { reader }) => sum + reader.handed + reader.held.length, 0)
  }

  get isConsuming(): boolean {
    return this.intake.seats.some(({ reader }) => reader.isOpen)
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
    this.#closing.abort()
    for (const timer of this.#timers) timer.cancel()
    this.#timers.clear()
    const done = new AbortController()
    const closing = this.intake
      .close()
      .then(() => this.#context.ended(this))
      .catch((error: unknown) => this.#context.failed(error, 'closing a consumer'))
      .finally(() => done.abort())
    // A broker that does not answer must not keep us: whoever closes the transport ends the connection.
    await Promise.race([closing, sleep(this.#context.clock, CLOSE_MS, done.signal).catch(() => undefined)])
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
      else if (outcome.type === 'reject' && outcome.deadLetter === undefined) this.#done(mine)
      else if (outcome.type !== 'reject' && outcome.delayMs <= 0)
        this.#again(mine, outcome.type === 'nack' ? mine.attempt : mine.attempt - 1, outcome.type === 'nack')
      else {
        mine.state = 'settling'
        ;(pending ??= []).push({ index, delivery: mine, outcome })
      }
    }
    this.#flush()
    if (pending !== undefined) return this.#publishFirst(pending, failures ?? [])
    return failures === undefined ? NO_FAILURES : Promise.resolve(failures)
  }

  async noteAttempt(delivery: Delivery, attempt: number): Promise<void> {
    const { message, count, lost } = delivery as RabbitMqDelivery
    if (lost) return
    this.#ledger.note(message.id, { count, used: attempt })
    if (this.#notes === undefined) return
    this.#unwritten.push({ id: message.id, count, used: attempt })
    // Those of one turn travel together.
    this.#writing ??= new Promise<void>((resolve) => {
      setImmediate(resolve)
    }).then(() => {
      const rows = this.#unwritten
      this.#unwritten = []
      this.#writing = undefined
      return this.#writeNotes(rows)
    })
    await this.#writing
  }

  // --- settling --------------------------------------------------------------------------------------------------------

  #done(delivery: RabbitMqDelivery): void {
    this.#ledger.forget(delivery.message.id)
    this.#foreignIds.left(delivery.message.id)
    delivery.reader.ack(delivery)
  }

  /** Back to where it came from, at once. In its place among those that wait here; or, of a shared queue, with the broker. */
  #again(delivery: RabbitMqDelivery, used: number, failed: boolean): void {
    const { reader, message, count } = delivery
    const seat = this.#seatOf(reader)
    this.#ledger.note(message.id, { count, used })
    if (this.#isShared && (failed || seat?.isLeaving === true)) {
      if (!failed) this.#tell(this.#writeNotes([{ id: message.id, count, used }]))
      this.#foreignIds.left(message.id)
      reader.requeue(delivery)
      return
    }
    reader.hold(delivery, used + 1)
    this.arrived()
  }

  #tell(noting: Promise<void>): void {
    noting.catch((error: unknown) => this.#context.failed(error, 'noting attempts'))
  }

  async #writeNotes(notes: readonly NamedNote[]): Promise<void> {
    const session = this.#context.session()
    if (session !== undefined) await this.#notes?.write(session, notes)
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

  /** Dead letters and delayed copies: the broker must have them before the source is acked. */
  async #publishFirst(
    pending: readonly Pending[],
    failures: SettlementFailure[],
  ): Promise<readonly SettlementFailure[]> {
    const messages: OutgoingMessage[] = []
    const notes: (CopyNotes | undefined)[] = []
    for (const { delivery, outcome } of pending) {
      if (outcome.type === 'reject') {
        messages.push(outcome.deadLetter as OutgoingMessage)
        notes.push(undefined)
      } else {
        messages.push(this.#copyOf(delivery, outcome.delayMs))
        notes.push(this.#notesOf(delivery, outcome.type === 'nack'))
      }
    }
    const outcomes = await this.#publisher.publish(messages, this.#closing.signal, notes)
    for (const [at, { index, delivery, outcome }] of pending.entries()) {
      const error = outcomes[at]?.error
      if (delivery.lost || delivery.state !== 'settling') failures.push({ index, error: lostError() })
      else if (error === undefined) this.#done(delivery)
      else if (outcome.type === 'reject') {
        // The source stays with the runtime, which tries the dead letter again.
        delivery.state = 'handed'
        failures.push({ index, error })
      } else this.#waitHere(delivery, outcome, error)
    }
    this.#flush()
    return failures
  }

  #copyOf({ message }: RabbitMqDelivery, delayMs: number): OutgoingMessage {
    return { ...message, deliverAt: this.#context.clock.now() + delayMs, group: this.spec.group }
  }

  #notesOf({ attempt, firstDeliveredAt }: RabbitMqDelivery, failed: boolean): CopyNotes {
    return { attempts: failed ? attempt : attempt - 1, firstAt: firstDeliveredAt ?? this.#context.clock.now() }
  }

  /** The copy could not be published, so the message itself waits, here. */
  #waitHere(
    delivery: RabbitMqDelivery,
    outcome: Exclude<Pending['outcome'], { type: 'reject' }>,
    error: PublishError,
  ): void {
    this.#context.failed(error, `delaying message ${delivery.message.id}`)
    const used = outcome.type === 'nack' ? delivery.attempt : delivery.attempt - 1
    const timer = this.#context.clock.setTimer(outcome.delayMs, () => {
      this.#timers.delete(timer)
      if (delivery.lost || delivery.state !== 'settling') return
      this.#again(delivery, used, outcome.type === 'nack')
      this.#flush()
    })
    this.#timers.add(timer)
  }

  // --- what comes ------------------------------------------------------------------------------------------------------

  admit(reader: QueueReader, message: ConsumeMessage): RabbitMqDelivery | undefined {
    const topic = this.#topicOf(message)
    if (topic === undefined) return undefined
    const headers = headersOf(message)
    const { redelivered } = message.fields
    const id = idOf(message) ?? this.#foreignIds.idOf(message)
    const encoded = toEncodedMessage(message, topic, id, this.#context.clock.now())
    const { metadata } = this.#options
    const admitted = metadata.length === 0 ? encoded : withMetadata(encoded, message, metadata)
    const delivery = new RabbitMqDelivery({
      message: admitted,
      reader,
      deliveryTag: message.fields.deliveryTag,
      redelivered,
      base: attemptsOf(headers),
      // Classic queues do not count; they know whether it was here before.
      count: Math.max(deliveryCountOf(headers), redelivered ? 1 : 0),
      firstDeliveredAt: firstAtOf(headers),
      bytes: messageBytes(admitted),
    })
    if (redelivered) this.#recall(delivery)
    else this.#ledger.forget(id)
    return delivery
  }

  /** Undefined for a message that the binding let through and the pattern does not. */
  #topicOf(message: ConsumeMessage): string | undefined {
    if (this.#matches === undefined) return this.spec.topic
    const topic = topicOf(message)
    if (this.#matches(topic)) return topic
    if (this.#options.queue === undefined && this.#options.bindings.length === 0) return undefined
    // From elsewhere, by a binding of the user's: its routing key may be anything.
    return topicProblem(topic, false) === undefined
      ? topic
      : topic.replace(/[^A-Za-z0-9_.-]+|^\.|\.$|\.(?=\.)/g, '_') || '_'
  }

  #recall(delivery: RabbitMqDelivery): void {
    const { id } = delivery.message
    if (this.#ledger.has(id)) {
      delivery.attempt = this.#ledger.attemptOf(delivery)
      return
    }
    if (this.#notes === undefined) return
    this.#readAgain = true
    this.#reading ??= this.#readNotes(this.#notes, delivery.reader).finally(() => {
      this.#reading = undefined
      this.arrived()
    })
  }

  async #readNotes(notes: AttemptNotes, reader: QueueReader): Promise<void> {
    try {
      // Whatever came while notes were read may have been noted since.
      while (this.#readAgain) {
        // Everything of this turn first: one look is enough for all of it.
        await new Promise<void>((resolve) => {
          setImmediate(resolve)
        })
        this.#readAgain = false
        const session = this.#context.session()
        if (session === undefined) break
        for (const { id, ...note } of await notes.read(session)) this.#ledger.note(id, note)
      }
    } catch (error) {
      if (reader.isOpen) this.#context.failed(error, 'reading notes about attempts')
    }
    for (const seat of this.intake.seats)
      for (const held of seat.reader.held) if (held.redelivered) held.attempt = this.#ledger.attemptOf(held)
  }

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
    if (this.#isPaused || this.#isDrained || this.#reading !== undefined) return
    const batch: RabbitMqDelivery[] = []
    for (let before = -1; before < batch.length && this.#credit > 0 && this.#bytes > 0;) {
      before = batch.length
      for (const { reader, isLeaving } of this.intake.seats) {
        if (isLeaving) continue
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

  lost(reader: QueueReader, deliveries: readonly RabbitMqDelivery[], error: Error): void {
    for (const { message } of deliveries) this.#foreignIds.left(message.id)
    if (this.#closed !== undefined) return
    if (deliveries.length > 0) this.#sink.lost(deliveries, error.message)
    this.#context.readerLost(this, reader, error)
  }

  /**
   * A quorum queue takes acks in the order of its log, and while many are under way the broker keeps further ones back, to
   * join them; it forgets those when the channel closes. There is no answer to an ack to wait for, so this waits for some
   * times what a confirmed publish takes, which goes through the same log.
   */
  async ackTime(): Promise<void> {
    const ms = Math.min(ACK_MAX_MS, Math.max(ACK_MIN_MS, 4 * this.#publisher.confirmMs))
    await sleep(this.#context.clock, ms)
  }

  /** For `Intake`: of a queue that others consume as well. */
  async handBack(seat: Seat): Promise<void> {
    const held = [...seat.reader.held]
    await this.#noteUntried(held)
    for (const delivery of held) {
      if (delivery.state !== 'held') continue
      this.#foreignIds.left(delivery.message.id)
      seat.reader.requeue(delivery)
    }
    seat.reader.flush()
  }

  /** For `Intake`: what is held goes back with the channel, and was not tried. */
  async noteHeld(seat: Seat): Promise<void> {
    await this.#noteUntried(seat.reader.held)
  }

  async #noteUntried(held: readonly RabbitMqDelivery[]): Promise<void> {
    if (held.length === 0) return
    const rows = held.map(({ message, count, attempt }) => ({ id: message.id, count, used: attempt - 1 }))
    for (const { id, ...note } of rows) this.#ledger.note(id, note)
    try {
      await this.#writeNotes(rows)
    } catch (error) {
      // They count as attempts then, for whoever gets them: the safe side.
      if (this.#context.session() !== undefined) this.#context.failed(error, 'noting attempts')
    }
  }

  #seatOf(reader: QueueReader): Seat | undefined {
    return this.intake.seats.find((seat) => seat.reader === reader)
  }
}

function unsettleable(delivery: RabbitMqDelivery): SettlementError | undefined {
  if (delivery.state === 'handed') return undefined
  return delivery.lost ? lostError() : new SettlementError('The delivery has been settled before')
}

function lostError(): SettlementError {
  return new SettlementError('The channel of the delivery is gone; the broker delivers the message again')
}
