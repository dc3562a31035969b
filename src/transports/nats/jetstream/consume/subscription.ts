import { ConnectionError, StateError } from '../../../../core/errors.ts'
import { PartitionDelivery } from '../../../../core/partitions/partition-delivery.ts'
import type { PartitionSettlement } from '../../../../core/partitions/settlement.ts'
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
import type { Session, SessionPart } from '../../connection/session.ts'
import { groupId } from '../../wire/subjects.ts'
import type { Partition } from '../partitions/partition.ts'
import { PartitionSet } from '../partitions/partition-set.ts'
import { partitionSettlement } from '../partitions/partition-settlement.ts'
import { isSameStream } from '../server/identity.ts'
import { readGroup } from '../server/group-record.ts'
import type { GroupRecord, Joined } from '../server/group-record.ts'
import { NatsDelivery } from '../shared/delivery.ts'
import { metadataOf, nativeOf } from '../shared/durable-consumers.ts'
import { SharedConsumers } from '../shared/shared-consumers.ts'
import type { SubscriptionParts } from '../subscription-parts.ts'
import { Credit } from './credit.ts'
import { Maintenance } from './maintenance.ts'

/**
 * One member of a group: the partitions that it owns, and the consumers that all members read; and the settlement of
 * what they delivered.
 */
export class NatsSubscription implements TransportSubscription, SessionPart {
  readonly #session: Session
  readonly #parts: SubscriptionParts
  readonly #spec: SubscriptionSpec
  readonly #id: string
  readonly #stream: string
  readonly #sink: DeliverySink
  readonly #shared: SharedConsumers
  readonly #set: PartitionSet | undefined
  readonly #credit: Credit
  readonly #settlingPartitions: PartitionSettlement<Partition> | undefined
  readonly #maintenance: Maintenance
  readonly #onClosed: (subscription: NatsSubscription) => void
  #group: GroupRecord
  /** This member has created the group. */
  readonly #isNew: boolean
  #closing: Promise<void> | undefined
  #closed = false
  /** Why messages can't arrive, by what reads them. */
  readonly #troubles = new Map<object, string>()

  constructor(
    parts: SubscriptionParts,
    spec: SubscriptionSpec,
    joined: Joined,
    sink: DeliverySink,
    onClosed: (subscription: NatsSubscription) => void,
  ) {
    const { session, api, topology, publisher, subjects } = parts
    this.#parts = parts
    this.#id = groupId(spec.topic, spec.group)
    this.#session = session
    this.#spec = spec
    this.#sink = sink
    this.#onClosed = onClosed
    this.#group = joined.record
    this.#isNew = joined.isNew
    const plan = subjects.plan(spec.topic, joined.record.layout, spec.ephemeral, !session.isOlderThan(2, 10))
    this.#stream = topology.streamOf(plan.dead)
    const common = {
      parts,
      spec,
      groupId: this.#id,
      stream: this.#stream,
      metadata: metadataOf(session, spec.topic, spec.group),
      lost: (deliveries: readonly Delivery[], reason: string) => this.#lost(deliveries, reason),
      wake: () => this.#credit.wake(),
      trouble: (source: object, detail: string | undefined) => this.#setTrouble(source, detail),
    }
    this.#shared = new SharedConsumers({ ...common, plans: plan.shared, start: () => this.#start() })
    if (plan.units.length > 0)
      this.#set = new PartitionSet({
        ...common,
        isNew: joined.isNew,
        units: plan.units,
        native: nativeOf(session.options, spec.native),
        group: () => this.#group,
        renewGroup: () => this.#renewGroup(),
        hasRoom: () => this.#credit.hasRoom,
      })
    this.#credit = new Credit(session, this.#shared.all, this.#set, spec, (batch) => sink.receive(batch))
    if (this.#set !== undefined)
      this.#settlingPartitions = partitionSettlement({
        session,
        publisher,
        set: this.#set,
        isConfirmed: session.options.confirmAcks && !spec.ephemeral,
      })
    this.#maintenance = new Maintenance({ session, api, shared: this.#shared, credit: this.#credit, set: this.#set })
  }

  get leaseMs(): number {
    return this.#shared.leaseMs
  }

  // --- life --------------------------------------------------------------------------------------------------------

  async open(): Promise<void> {
    try {
      await this.#shared.prepare(this.#isNew)
      this.#session.add(this)
      this.#maintenance.start()
      this.#shared.activate()
      await this.#set?.start()
    } catch (error) {
      // Half a group would keep counting against the limits of the stream.
      if (this.#isNew && this.#session.ready)
        await this.#forgetGroup().catch((failure: unknown) => this.#session.error(failure, 'forgetting half a group'))
      throw error
    }
  }

  async #forgetGroup(): Promise<void> {
    const { records } = this.#parts
    await this.close()
    await this.#shared.remove()
    await records.forget([records.groupSubject(this.#id), records.partitionSubject(this.#id, '*')])
  }

  /** Resolves with whether the group was moved. One that was deleted is made again as it was. */
  async #renewGroup(): Promise<boolean> {
    const { records } = this.#parts
    const before = this.#group
    const found = await readGroup(records, this.#id)
    if (found === undefined) await records.write(records.groupSubject(this.#id), JSON.stringify(before), 0)
    else this.#group = found
    await this.#shared.findAll()
    return this.#group.life !== before.life
  }

  /** Where a consumer without a noted position begins; another stream has other sequences. */
  #start(): StartFrom {
    const isSame = isSameStream(this.#group.stream, this.#parts.topology.identityOf(this.#stream))
    return isSame ? { position: { seq: this.#group.to + 1 } } : 'earliest'
  }

  request(credit: number, bytes: number): void {
    this.#credit.request(credit, bytes)
  }

  /** Partitions stay ours, with everything received of them; what others may take goes back to the server. */
  pause(): void {
    if (this.#credit.paused) return
    this.#credit.paused = true
    this.#shared.rest()
  }

  resume(): void {
    this.#credit.paused = false
    if (this.#credit.ended) return
    const wake = async (): Promise<void> => {
      await this.#shared.rested()
      if (this.#credit.paused || this.#credit.ended) return
      this.#shared.activate()
      this.#credit.wake()
    }
    wake().catch((error: unknown) => this.#session.error(error, 'continuing after a pause'))
  }

  async drain(): Promise<void> {
    this.#credit.ended = true
    this.#set?.end()
    this.#shared.rest()
    await this.#shared.rested()
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await this.drain()
    this.#closed = true
    this.#maintenance.stop()
    await this.#shared.release()
    await this.#set?.close()
    this.#shared.close()
    this.#session.remove(this)
    this.#onClosed(this)
  }

  // --- the session -------------------------------------------------------------------------------------------------

  down(): void {
    this.#shared.down()
    this.#set?.down()
  }

  async restore(): Promise<void> {
    // Which streams were replaced must be known first; all parts that are restored together share one check.
    await this.#parts.topology.ensure()
    if (this.#closed) return
    this.#set?.checkStream()
    await this.#shared.restore()
  }

  up(): void {
    this.#set?.up()
    this.#shared.up()
  }

  #lost(deliveries: readonly Delivery[], reason: string): void {
    if (!this.#closed) this.#sink.lost(deliveries, reason)
  }

  #setTrouble(source: object, detail: string | undefined): void {
    if (detail === undefined) this.#troubles.delete(source)
    else this.#troubles.set(source, detail)
  }

  state(): SubscriptionState {
    const [trouble] = this.#troubles.values()
    const leases = this.#spec.ephemeral ? undefined : this.#set?.partitionLeases
    return { standby: leases?.isStandby ?? false, trouble: trouble ?? leases?.trouble }
  }

  async readyHere(): Promise<number | undefined> {
    if (!this.#session.ready) return undefined
    const [shared, own = 0] = await Promise.all([this.#shared.ready(), this.#set?.ready()])
    return shared + own
  }

  // --- settling ----------------------------------------------------------------------------------------------------

  async settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    if (this.#closed) {
      const error = new StateError('The subscription is closed')
      return batch.map((_, index) => ({ index, error: error as never }))
    }
    const partitions = this.#settlingPartitions
    if (partitions === undefined) return this.#shared.settle(batch)
    if (batch.every(({ delivery }) => delivery instanceof PartitionDelivery)) return partitions.settle(batch)
    if (batch.every(({ delivery }) => delivery instanceof NatsDelivery)) return this.#shared.settle(batch)
    const [ofPartitions, ofShared]: [number[], number[]] = [[], []]
    for (const [index, { delivery }] of batch.entries())
      (delivery instanceof PartitionDelivery ? ofPartitions : ofShared).push(index)
    const pick = (indexes: readonly number[]): Settlement[] => indexes.map((index) => batch[index] as Settlement)
    const [first, second] = await Promise.all([
      partitions.settle(pick(ofPartitions)),
      this.#shared.settle(pick(ofShared)),
    ])
    return [
      ...first.map(({ index, error }) => ({ index: ofPartitions[index] as number, error })),
      ...second.map(({ index, error }) => ({ index: ofShared[index] as number, error })),
    ]
  }

  async noteAttempts(notes: readonly AttemptNote[]): Promise<void> {
    const ofPartitions = notes.filter(({ delivery }) => delivery instanceof PartitionDelivery)
    const ofShared = notes.filter(({ delivery }) => delivery instanceof NatsDelivery)
    await Promise.all([
      ofPartitions.length === 0 ? undefined : this.#noteOfPartitions(ofPartitions),
      ...ofShared.map((note) => this.#shared.note(note)),
    ])
  }

  async #noteOfPartitions(notes: readonly AttemptNote[]): Promise<void> {
    if (!this.#session.ready) throw new ConnectionError('The attempts could not be noted: the server is out of reach')
    await this.#settlingPartitions?.note(notes)
  }

  /** What a partition has delivered stays ours for as long as the partition does. */
  async extend(deliveries: readonly Delivery[]): Promise<void> {
    const shared = deliveries.filter((delivery) => delivery instanceof NatsDelivery)
    if (shared.length > 0) await this.#maintenance.extend(shared)
  }
}
