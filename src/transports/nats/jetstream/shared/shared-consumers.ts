import type { Timer } from '../../../../core/clock.ts'
import type {
  AttemptNote,
  Settlement,
  SettlementFailure,
  StartFrom,
  SubscriptionSpec,
} from '../../../../core/transport.ts'
import type { Session } from '../../connection/session.ts'
import type { Mapping } from '../../wire/mapping.ts'
import { consumerName } from '../../wire/subjects.ts'
import type { SharedPlan, Subjects } from '../../wire/subjects.ts'
import { identityOf } from '../server/identity.ts'
import { shareNext } from '../server/share-next.ts'
import type { JetStreamApi } from '../server/jetstream-api.ts'
import type { SubscriptionParts } from '../subscription-parts.ts'
import { AckConfirmations } from './ack-confirmations.ts'
import type { AttemptNotes } from './attempt-notes.ts'
import type { NatsDelivery } from './delivery.ts'
import { DurableConsumers } from './durable-consumers.ts'
import { LossDetector } from './loss-detector.ts'
import { PullConsumer } from './pull-consumer.ts'
import type { PullConsumerHost } from './pull-consumer.ts'
import { SharedSettlement } from './shared-settlement.ts'

const NAK: Uint8Array = Buffer.from('-NAK')
const NO_BYTES: Uint8Array = new Uint8Array(0)
/** Pause before a consumer that could not be found or made is looked for again. */
const AGAIN_MS = 1_000

export interface SharedConsumersHost {
  readonly parts: SubscriptionParts
  readonly spec: SubscriptionSpec
  readonly groupId: string
  readonly stream: string
  readonly plans: readonly SharedPlan[]
  readonly metadata: Readonly<Record<string, string>> | undefined
  /** Where a consumer without a noted position begins. */
  start(): StartFrom
  lost(deliveries: readonly NatsDelivery[], reason: string): void
  wake(): void
  trouble(source: object, detail: string | undefined): void
}

/**
 * The consumers that all members of a group read, as one of them uses them: which there are on the server, what they have
 * delivered here, and its settlement. A subscription in strict order has none.
 */
export class SharedConsumers implements PullConsumerHost {
  readonly session: Session
  readonly api: JetStreamApi
  readonly subjects: Subjects
  readonly mapping: Mapping
  readonly notes: AttemptNotes
  readonly group: string
  readonly all: readonly PullConsumer[]
  readonly confirmations: AckConfirmations
  readonly losses: LossDetector
  readonly #host: SharedConsumersHost
  readonly #settling: SharedSettlement
  readonly #durables: DurableConsumers
  #resting: Promise<void> | undefined
  readonly #searches = new Map<PullConsumer, () => Promise<boolean>>()
  #searching = false
  /** Looks again for those whose search failed. */
  #again: Timer | undefined
  #closed = false

  constructor(host: SharedConsumersHost) {
    const { parts, spec, groupId: id, stream, plans, metadata } = host
    const { session, api, records, topology, publisher, notes } = parts
    this.#host = host
    this.session = session
    this.api = api
    this.subjects = parts.subjects
    this.mapping = parts.mapping
    this.notes = notes
    this.group = spec.group
    this.all = plans.map((plan) => new PullConsumer(this, plan, stream, consumerName(id, plan.label)))
    this.confirmations = new AckConfirmations(session)
    this.losses = new LossDetector({ session, api, records, topology, spec })
    this.#durables = new DurableConsumers({
      session,
      api,
      records,
      topology,
      losses: this.losses,
      spec,
      id,
      ackWaitMs: this.ackWaitMs,
      metadata,
      start: () => host.start(),
    })
    this.#settling = new SharedSettlement({
      session,
      publisher,
      confirmations: this.confirmations,
      notes,
      wasOursAlone: ({ leaseGeneration, consumer, touchedAt }, now) =>
        leaseGeneration === consumer.leaseGeneration && now - touchedAt <= consumer.ackWaitMs,
    })
  }

  get ackWaitMs(): number {
    return this.session.options.leaseMs
  }

  /** How long the server waits for an ack: the shortest of all. */
  get leaseMs(): number {
    return Math.min(this.ackWaitMs, ...this.all.map((consumer) => consumer.ackWaitMs))
  }

  // --- life --------------------------------------------------------------------------------------------------------

  /** Creates or finds them. `isNew`: this member has made the group. */
  async prepare(isNew: boolean): Promise<void> {
    if (this.all.length === 0) return
    await this.#durables.prepare(this.all, isNew)
    if (!isNew) await this.losses.begin(this.all)
    this.confirmations.open()
  }

  activate(): void {
    for (const consumer of this.all) if (!consumer.active) consumer.activate()
  }

  /** Hands what others may take back to the server. */
  rest(): void {
    const active = this.all.filter((consumer) => consumer.active)
    if (active.length === 0) return
    const before = this.#resting
    const rest = async (): Promise<void> => {
      await before
      await Promise.all(active.map((consumer) => consumer.quiet()))
      await this.handBack(active.flatMap((consumer) => consumer.dropBuffer()))
    }
    this.#resting = rest().catch((error: unknown) => this.session.error(error, 'pausing'))
  }

  /** Resolves when everything is handed back. */
  async rested(): Promise<void> {
    await this.#resting
  }

  /** Hands everything back, for good. What was settled before may still be confirmed. */
  async release(): Promise<void> {
    await Promise.all(this.all.map((consumer) => consumer.quiet().catch(() => undefined)))
    this.#closed = true
    for (const consumer of this.all) {
      const { untouched, begun } = consumer.giveUp()
      // This process lives: what it had started and gives up has used no attempt.
      await this.handBack([...untouched, ...begun])
    }
    // If the consumers are missing when the next member comes, it continues from here.
    if (this.session.ready) await this.losses.look(this.all.filter((consumer) => !this.losses.isQuiet(consumer)))
  }

  close(): void {
    this.#again?.cancel()
    this.confirmations.close()
    for (const consumer of this.all) consumer.pulls.close()
  }

  /** Deletes them on the server. */
  remove(): Promise<void> {
    return this.#durables.remove(this.all)
  }

  async handBack(deliveries: readonly NatsDelivery[]): Promise<void> {
    const now = this.session.host.clock.now()
    // Deliveries whose history is not known yet were not touched: their notes stay as they are.
    const known = deliveries.filter((delivery) => delivery.known)
    await Promise.all([
      this.#settling.handBack(
        known.map((delivery) => {
          const delayMs = delivery.notBefore === undefined ? 0 : Math.max(0, delivery.notBefore - now)
          return { delivery, used: delivery.attempt - 1, delayMs, inOrder: delayMs > 0 }
        }),
      ),
      this.#settling.giveBack(
        deliveries.filter((delivery) => !delivery.known).map((delivery) => ({ delivery, delayMs: 0, inOrder: false })),
      ),
    ])
  }

  // --- the connection ----------------------------------------------------------------------------------------------

  down(): void {
    for (const consumer of this.all) consumer.down()
  }

  /** Checks whether they are those that we knew. */
  async restore(): Promise<void> {
    await Promise.all(this.all.map((consumer) => this.#check(consumer)))
  }

  up(): void {
    this.confirmations.up()
    for (const consumer of this.all)
      consumer.up().then(
        () => this.wake(),
        (error: unknown) => this.session.error(error, `reading consumer "${consumer.name}" again`),
      )
  }

  // --- finding them ------------------------------------------------------------------------------------------------

  consumerMissing(consumer: PullConsumer): void {
    void this.#find(consumer).then(async (isOther) => {
      // The others may have been deleted too, and a server that deletes a consumer does not answer requests just made
      // to it.
      if (!isOther || this.#searching) return
      this.#searching = true
      await this.findAll()
      this.#searching = false
    })
  }

  async findAll(): Promise<void> {
    await Promise.all(this.all.map((consumer) => this.#find(consumer)))
  }

  /**
   * One search at a time: a failure must not be reported after a later success. One that has begun before may not see why
   * it is looked for now, such as a move of the group.
   */
  #find(consumer: PullConsumer): Promise<boolean> {
    let search = this.#searches.get(consumer)
    if (search === undefined) this.#searches.set(consumer, (search = shareNext(() => this.#findNow(consumer))))
    return search()
  }

  /** Resolves with whether it is another one on the server now. Nothing is requested from it before that is known. */
  async #findNow(consumer: PullConsumer): Promise<boolean> {
    if (this.#closed || !this.session.ready) return false
    consumer.unchecked = true
    try {
      return await this.#check(consumer)
    } catch (error) {
      this.session.error(error, `looking for the consumers of "${this.#host.spec.topic}"`)
      // Otherwise it is checked when the connection is restored.
      if (!this.session.ready) return false
      this.#host.trouble(
        consumer,
        `its consumer can't be found or made again: ${error instanceof Error ? error.message : ''}`,
      )
      this.#lookAgain(consumer)
      return false
    } finally {
      this.wake()
    }
  }

  /** Nobody else would: the consumer may be there, and what failed may be what comes after finding it. */
  #lookAgain(consumer: PullConsumer): void {
    if (this.#closed) return
    consumer.unchecked = true
    this.#again ??= this.session.host.clock.setTimer(AGAIN_MS, () => {
      this.#again = undefined
      for (const consumer of this.all) if (consumer.unchecked) void this.#find(consumer)
    })
  }

  async #check(consumer: PullConsumer): Promise<boolean> {
    const last = consumer.lastDelivery
    const { isOther, streamGone, info } = await this.#durables.check(consumer)
    consumer.unchecked = false
    this.#host.trouble(consumer, undefined)
    consumer.restored = info
    if (!isOther) return false
    const reason = 'its consumer on the server is another one now: the group was moved, or the consumer was deleted'
    this.confirmations.forget((delivery) => delivery.consumer === consumer, reason)
    // Some of what we hold may have come from the new one already, before we knew of it.
    const held = consumer.lose(reason)
    if (streamGone) void this.losses.streamGone(consumer, held.length, last)
    if (!this.session.ready) return true
    for (const delivery of held) delivery.answer(this.session.writeBuffer, '', NAK)
    await consumer.up()
    return true
  }

  /** Number of messages that could be handed out here. */
  async ready(): Promise<number> {
    const counts = await Promise.all(
      this.all.map(async ({ stream, name, buffer }) => {
        const info = await this.api.consumerInfo(stream, name)
        return info.num_pending + buffer.length
      }),
    )
    return counts.reduce((total, count) => total + count, 0)
  }

  // --- what consumers ask --------------------------------------------------------------------------------------------

  wake(): void {
    this.#host.wake()
  }

  lost(deliveries: readonly NatsDelivery[], reason: string): void {
    this.#host.lost(deliveries, reason)
  }

  acknowledge(reply: string): void {
    this.session.writeBuffer.publish(reply, '', NO_BYTES)
  }

  acknowledgeIfSame(consumer: PullConsumer, reply: string): void {
    this.api.consumerInfo(consumer.stream, consumer.name).then(
      (info) => {
        if (identityOf(info) === consumer.identity) this.acknowledge(reply)
      },
      // Without an ack it comes again, and is checked again.
      (error: unknown) => this.session.error(error, `looking for the consumers of "${this.#host.spec.topic}"`),
    )
  }

  isAcking(consumer: PullConsumer, seq: number): boolean {
    return this.confirmations.holds(consumer, seq)
  }

  delay(delivery: NatsDelivery, delayMs: number, noted: boolean): void {
    this.#settling
      .delay(delivery, delayMs, noted)
      .catch((error: unknown) => this.session.error(error, 'delaying a message that came before its time'))
  }

  // --- settling ----------------------------------------------------------------------------------------------------

  settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    return this.#settling.settle(batch)
  }

  async note({ delivery: given, used, running, notBefore }: AttemptNote): Promise<void> {
    const delivery = given as NatsDelivery
    if (delivery.settled) return
    const { delivered } = delivery
    const note = { used, running, delivered, notBefore, inOrder: notBefore === undefined ? undefined : true }
    if (!delivery.lost) await this.notes.write(delivery, note)
    else if (!running) await this.notes.retract(delivery, note)
  }
}
