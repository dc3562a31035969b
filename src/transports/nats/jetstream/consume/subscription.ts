// Longer than most files: it connects the parts of a subscription, and answers the runtime, the session and the consumers.
import { StateError } from '../../../../core/errors.ts'
import type {
  AttemptNote,
  Delivery,
  DeliverySink,
  Settlement,
  SettlementFailure,
  StartFrom,
  SubscriptionSpec,
  SubscriptionState,
  TransportSubscription,
} from '../../../../core/transport.ts'
import type { AttemptNotes } from '../shared/attempt-notes.ts'
import { AckConfirmations } from '../shared/ack-confirmations.ts'
import { DurableConsumers, metadataOf, nativeOf } from '../shared/durable-consumers.ts'
import { Credit } from './credit.ts'
import { NatsDelivery } from '../shared/delivery.ts'
import { readGroup } from '../server/group-record.ts'
import type { GroupRecord, Joined } from '../server/group-record.ts'
import { identityOf } from '../server/identity.ts'
import type { JetStreamApi } from '../server/jetstream-api.ts'
import { PullConsumer } from '../shared/pull-consumer.ts'
import type { PullConsumerHost } from '../shared/pull-consumer-host.ts'
import { LossDetector } from '../shared/loss-detector.ts'
import { Maintenance } from './maintenance.ts'
import type { Mapping } from '../../wire/mapping.ts'
import { PartitionDelivery } from '../partitions/partition-delivery.ts'
import { PartitionSet } from '../partitions/partition-set.ts'
import { PartitionSettlement } from '../partitions/partition-settlement.ts'
import type { Session, SessionPart } from '../../connection/session.ts'
import { SharedSettlement } from '../shared/shared-settlement.ts'
import { consumerName, groupId } from '../../wire/subjects.ts'
import type { Subjects } from '../../wire/subjects.ts'
import type { SubscriptionParts } from '../subscription-parts.ts'
import type { Topology } from '../server/topology.ts'

const NAK: Uint8Array = Buffer.from('-NAK')
const NO_BYTES: Uint8Array = new Uint8Array(0)

/**
 * One member of a group: the partitions that it owns, and the consumers that all members read; and the settlement of
 * what they delivered.
 */
export class NatsSubscription implements TransportSubscription, PullConsumerHost, SessionPart {
  readonly session: Session
  readonly api: JetStreamApi
  readonly subjects: Subjects
  readonly mapping: Mapping
  readonly notes: AttemptNotes
  readonly group: string
  readonly #parts: SubscriptionParts
  readonly #spec: SubscriptionSpec
  readonly #id: string
  readonly #sink: DeliverySink
  readonly #lanes: readonly PullConsumer[]
  readonly #set: PartitionSet | undefined
  readonly #credit: Credit
  readonly #confirmations: AckConfirmations
  readonly #settling: SharedSettlement
  readonly #settlingPartitions: PartitionSettlement | undefined
  readonly #consumers: DurableConsumers
  readonly #losses: LossDetector
  readonly #topology: Topology
  readonly #maintenance: Maintenance
  readonly #onClosed: (subscription: NatsSubscription) => void
  #group: GroupRecord
  /** This member has created the group. */
  readonly #isNew: boolean
  #resting: Promise<void> | undefined
  #closing: Promise<void> | undefined
  #closed = false
  #searching = false
  /** Why messages can't arrive, by what reads them. */
  readonly #troubles = new Map<object, string>()

  constructor(
    parts: SubscriptionParts,
    spec: SubscriptionSpec,
    joined: Joined,
    sink: DeliverySink,
    onClosed: (subscription: NatsSubscription) => void,
  ) {
    const { session, api, records, topology, publisher, notes, subjects } = parts
    const id = groupId(spec.topic, spec.group)
    this.#parts = parts
    this.#id = id
    this.session = session
    this.api = api
    this.subjects = subjects
    this.mapping = parts.mapping
    this.notes = notes
    this.group = spec.group
    this.#topology = topology
    this.#spec = spec
    this.#sink = sink
    this.#onClosed = onClosed
    this.#group = joined.record
    this.#isNew = joined.isNew
    const plan = subjects.plan(spec.topic, joined.record.layout, spec.ephemeral, !session.isOlderThan(2, 10))
    const stream = topology.streamOf(plan.dead)
    const metadata = metadataOf(session, spec.topic, spec.group)
    this.#lanes = plan.shared.map((shared) => new PullConsumer(this, shared, stream, consumerName(id, shared.label)))
    const confirmations = new AckConfirmations(session)
    this.#confirmations = confirmations
    const losses = new LossDetector({ session, api, records, topology, spec })
    this.#losses = losses
    this.#consumers = new DurableConsumers({
      session,
      api,
      records,
      topology,
      losses,
      spec,
      id,
      ackWaitMs: this.ackWaitMs,
      metadata,
      start: () => this.#start(stream),
    })
    if (plan.units.length > 0)
      this.#set = new PartitionSet({
        parts,
        spec,
        groupId: id,
        isNew: joined.isNew,
        stream,
        units: plan.units,
        native: nativeOf(session.options, spec.native),
        metadata,
        group: () => this.#group,
        renewGroup: () => this.#renewGroup(),
        lost: (deliveries, reason) => {
          if (!this.#closed) this.#sink.lost(deliveries, reason)
        },
        wake: () => this.wake(),
        hasRoom: () => this.#credit.hasRoom,
        trouble: (source, detail) => this.#setTrouble(source, detail),
      })
    this.#credit = new Credit(session, this.#lanes, this.#set, spec, (batch) => sink.receive(batch))
    this.#settling = new SharedSettlement({
      session,
      publisher,
      confirmations,
      notes,
      wasOursAlone: ({ tenure, lane, touchedAt }) =>
        tenure === lane.tenure && session.host.clock.monotonic() - touchedAt <= lane.ackWaitMs,
    })
    if (this.#set !== undefined)
      this.#settlingPartitions = new PartitionSettlement({
        session,
        publisher,
        set: this.#set,
        isConfirmed: session.options.confirmAcks && !spec.ephemeral,
      })
    this.#maintenance = new Maintenance({
      session,
      api,
      lanes: this.#lanes,
      credit: this.#credit,
      set: this.#set,
      confirmations,
      losses,
      leaseMs: () => this.leaseMs,
      lost: (deliveries, reason) => this.lost(deliveries, reason),
      handBack: (deliveries) => this.#handBack(deliveries),
    })
  }

  get ackWaitMs(): number {
    return this.session.options.leaseMs
  }

  get leaseMs(): number {
    return Math.min(this.ackWaitMs, ...this.#lanes.map((lane) => lane.ackWaitMs))
  }

  // --- life --------------------------------------------------------------------------------------------------------

  async open(): Promise<void> {
    try {
      await this.#begin()
    } catch (error) {
      // Half a group would keep counting against the limits of the stream.
      if (this.#isNew && this.session.ready)
        await this.#forgetGroup().catch((failure: unknown) => this.session.error(failure, 'forgetting half a group'))
      throw error
    }
  }

  async #forgetGroup(): Promise<void> {
    const { records } = this.#parts
    await this.close()
    await this.#consumers.remove(this.#lanes)
    await records.forget([records.groupSubject(this.#id), records.partitionSubject(this.#id, '*')])
  }

  async #begin(): Promise<void> {
    if (this.#lanes.length > 0) {
      await this.#consumers.prepare(this.#lanes, this.#isNew)
      if (!this.#isNew) await this.#losses.begin(this.#lanes)
      this.#confirmations.open()
    }
    this.session.add(this)
    this.#maintenance.start()
    for (const lane of this.#lanes) lane.activate()
    await this.#set?.start()
  }

  /** Resolves with whether the group was moved. One that was deleted is made again as it was. */
  async #renewGroup(): Promise<boolean> {
    const { records } = this.#parts
    const before = this.#group
    const found = await readGroup(records, this.#id)
    if (found === undefined) await records.write(records.groupSubject(this.#id), JSON.stringify(before), 0)
    else this.#group = found
    await this.#findAll()
    return this.#group.life !== before.life
  }

  /** Where a consumer without a noted position begins; another stream has other sequences. */
  #start(stream: string): StartFrom {
    const isSame = this.#group.stream === this.#topology.identityOf(stream)
    return isSame ? { position: { seq: this.#group.to + 1 } } : 'earliest'
  }

  request(credit: number, bytes: number): void {
    this.#credit.request(credit, bytes)
  }

  pause(): void {
    if (this.#credit.paused) return
    this.#credit.paused = true
    this.#rest()
  }

  resume(): void {
    this.#credit.paused = false
    if (this.#credit.ended) return
    const wake = async (): Promise<void> => {
      await this.#resting
      if (this.#credit.paused || this.#credit.ended) return
      for (const lane of this.#lanes) if (!lane.active) lane.activate()
      this.wake()
    }
    wake().catch((error: unknown) => this.session.error(error, 'going on after a pause'))
  }

  /** Hands what others may take back to the server; partitions stay ours, with everything received of them. */
  #rest(): void {
    const active = this.#lanes.filter((lane) => lane.active)
    if (active.length === 0) return
    const before = this.#resting
    const rest = async (): Promise<void> => {
      await before
      await Promise.all(active.map((lane) => lane.quiet()))
      await this.#handBack(active.flatMap((lane) => lane.dropBuffer()))
    }
    this.#resting = rest().catch((error: unknown) => this.session.error(error, 'pausing'))
  }

  async drain(): Promise<void> {
    this.#credit.ended = true
    this.#set?.end()
    this.#rest()
    await this.#resting
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await this.drain()
    await Promise.all(this.#lanes.map((lane) => lane.quiet().catch(() => undefined)))
    this.#closed = true
    this.#maintenance.stop()
    for (const lane of this.#lanes) {
      const { untouched, begun } = lane.giveUp()
      // This process lives: what it had started and gives up has used no attempt.
      await this.#handBack([...untouched, ...begun])
    }
    // If the consumers are missing when the next member comes, it continues from here.
    if (this.session.ready) await this.#losses.look(this.#lanes.filter((lane) => !this.#losses.isQuiet(lane)))
    await this.#set?.close()
    this.#confirmations.close()
    this.session.remove(this)
    for (const lane of this.#lanes) lane.pulls.close()
    this.#onClosed(this)
  }

  async #handBack(deliveries: readonly NatsDelivery[]): Promise<void> {
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

  // --- the session -------------------------------------------------------------------------------------------------

  down(): void {
    for (const lane of this.#lanes) lane.down()
    this.#set?.down()
  }

  /** Checks whether the consumers are those that we knew. */
  async restore(): Promise<void> {
    // Which streams were replaced must be known first; all parts that are restored together share one check.
    await this.#topology.ensure()
    if (this.#closed) return
    this.#set?.checkStream()
    await Promise.all(this.#lanes.map((lane) => this.#check(lane)))
  }

  up(): void {
    this.#confirmations.up()
    this.#set?.up()
    for (const lane of this.#lanes)
      lane.up().then(
        () => this.wake(),
        (error: unknown) => this.session.error(error, `reading consumer "${lane.consumer}" again`),
      )
  }

  consumerMissing(lane: PullConsumer): void {
    void this.#find(lane).then(async (isOther) => {
      // The others may have been deleted too, and a server that deletes a consumer does not answer requests just made
      // to it.
      if (!isOther || this.#searching) return
      this.#searching = true
      await this.#findAll()
      this.#searching = false
    })
  }

  async #findAll(): Promise<void> {
    await Promise.all(this.#lanes.map((lane) => this.#find(lane)))
  }

  /** Resolves with whether the lane's consumer is another one now. Nothing is requested from it before that is known. */
  async #find(lane: PullConsumer): Promise<boolean> {
    if (this.#closed || !this.session.ready) return false
    lane.suspended++
    try {
      return await this.#check(lane)
    } catch (error) {
      lane.pulls.refused()
      if (this.session.ready)
        this.#setTrouble(
          lane,
          `its consumer can't be found or made again: ${error instanceof Error ? error.message : ''}`,
        )
      this.session.error(error, `looking for the consumers of "${this.#spec.topic}"`)
      return false
    } finally {
      lane.suspended--
      this.wake()
    }
  }

  async #check(lane: PullConsumer): Promise<boolean> {
    const last = lane.lastDelivery
    const { isOther, streamGone, info } = await this.#consumers.check(lane)
    this.#setTrouble(lane, undefined)
    lane.restored = info
    if (!isOther) return false
    const reason = 'its consumer on the server is another one now: the group was moved, or the consumer was deleted'
    this.#confirmations.forget((delivery) => delivery.lane === lane, reason)
    // Some of what we hold may have come from the new one already, before we knew of it.
    const held = lane.lose(reason)
    if (streamGone) void this.#losses.streamGone(lane, held.length, last)
    if (!this.session.ready) return true
    for (const { reply } of held) this.session.outbox.publish(reply, '', NAK)
    await lane.up()
    return true
  }

  #setTrouble(source: object, detail: string | undefined): void {
    if (detail === undefined) this.#troubles.delete(source)
    else this.#troubles.set(source, detail)
  }

  state(): SubscriptionState {
    const [trouble] = this.#troubles.values()
    const ownership = this.#spec.ephemeral ? undefined : this.#set?.ownership
    return { standby: ownership?.isStandby ?? false, trouble: trouble ?? ownership?.trouble }
  }

  async readyHere(): Promise<number | undefined> {
    if (!this.session.ready) return undefined
    const counts = await Promise.all([
      ...this.#lanes.map(async (lane) => {
        const info = await this.api.consumerInfo(lane.stream, lane.consumer)
        return info.num_pending + lane.buffer.length
      }),
      this.#set?.ready() ?? 0,
    ])
    return counts.reduce((total, count) => total + count, 0)
  }

  // --- what lanes ask ----------------------------------------------------------------------------------------------

  wake(): void {
    this.#credit.wake()
  }

  lost(deliveries: readonly NatsDelivery[], reason: string): void {
    if (!this.#closed) this.#sink.lost(deliveries, reason)
  }

  acknowledge(reply: string): void {
    this.session.outbox.publish(reply, '', NO_BYTES)
  }

  acknowledgeIfSame(lane: PullConsumer, reply: string): void {
    this.api.consumerInfo(lane.stream, lane.consumer).then(
      (info) => {
        if (identityOf(info) === lane.identity) this.acknowledge(reply)
      },
      // Without an ack it comes again, and is checked again.
      (error: unknown) => this.session.error(error, `looking for the consumers of "${this.#spec.topic}"`),
    )
  }

  isAcking(lane: PullConsumer, seq: number): boolean {
    return this.#confirmations.holds(lane, seq)
  }

  putOff(delivery: NatsDelivery, delayMs: number, noted: boolean): void {
    this.#settling
      .putOff(delivery, delayMs, noted)
      .catch((error: unknown) => this.session.error(error, 'putting off a delayed message'))
  }

  // --- settling ----------------------------------------------------------------------------------------------------

  async settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    if (this.#closed) {
      const error = new StateError('The subscription is closed')
      return batch.map((_, index) => ({ index, error: error as never }))
    }
    const partitions = this.#settlingPartitions
    if (partitions === undefined) return this.#settling.settle(batch)
    if (batch.every(({ delivery }) => delivery instanceof PartitionDelivery)) return partitions.settle(batch)
    if (batch.every(({ delivery }) => delivery instanceof NatsDelivery)) return this.#settling.settle(batch)
    const [ofPartitions, ofShared]: [number[], number[]] = [[], []]
    for (const [index, { delivery }] of batch.entries())
      (delivery instanceof PartitionDelivery ? ofPartitions : ofShared).push(index)
    const pick = (indexes: readonly number[]): Settlement[] => indexes.map((index) => batch[index] as Settlement)
    const [first, second] = await Promise.all([
      partitions.settle(pick(ofPartitions)),
      this.#settling.settle(pick(ofShared)),
    ])
    return [
      ...first.map(({ index, error }) => ({ index: ofPartitions[index] as number, error })),
      ...second.map(({ index, error }) => ({ index: ofShared[index] as number, error })),
    ]
  }

  async noteAttempts(notes: readonly AttemptNote[]): Promise<void> {
    const ofPartitions = notes.filter(({ delivery }) => delivery instanceof PartitionDelivery)
    await Promise.all([
      ofPartitions.length === 0 ? undefined : this.#settlingPartitions?.note(ofPartitions),
      ...notes.map(async ({ delivery, used, running, notBefore }) => {
        if (!(delivery instanceof NatsDelivery) || delivery.settled) return
        const { delivered } = delivery
        const note = { used, running, delivered, notBefore, inOrder: notBefore === undefined ? undefined : true }
        if (!delivery.lost) await this.notes.write(delivery, note)
        else if (!running) await this.notes.retract(delivery, note)
      }),
    ])
  }

  /** What a partition has delivered stays ours for as long as the partition does. */
  async extend(deliveries: readonly Delivery[]): Promise<void> {
    const shared = deliveries.filter((delivery) => delivery instanceof NatsDelivery)
    if (shared.length > 0) await this.#maintenance.extend(shared)
  }
}
