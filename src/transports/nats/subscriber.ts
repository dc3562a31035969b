// Longer than most files: it connects the parts of a subscription, and answers the runtime, the session and the lanes.
import { StateError } from '../../core/errors.ts'
import type {
  AttemptNote,
  Delivery,
  DeliverySink,
  Settlement,
  SettlementFailure,
  SubscriptionSpec,
  SubscriptionState,
  TransportSubscription,
} from '../../core/transport.ts'
import type { AttemptNotes } from './attempt-notes.ts'
import { Confirmations } from './confirmations.ts'
import { Consumers } from './consumers.ts'
import type { NatsDelivery } from './delivery.ts'
import { identityOf } from './identity.ts'
import { Intake } from './intake.ts'
import type { JetStreamApi } from './jetstream-api.ts'
import { Lane } from './lane.ts'
import type { LaneHost } from './lane-host.ts'
import { Losses } from './losses.ts'
import type { Mapping } from './mapping.ts'
import { Partitions } from './partitions.ts'
import type { Session, SessionPart } from './session.ts'
import { Settling } from './settlement.ts'
import { consumerName, groupId } from './subjects.ts'
import type { Subjects } from './subjects.ts'
import type { SubscriptionParts } from './subscription-parts.ts'
import type { Topology } from './topology.ts'
import { Upkeep } from './upkeep.ts'

const NAK: Uint8Array = Buffer.from('-NAK')
const NO_BYTES: Uint8Array = new Uint8Array(0)

/**
 * One member of a group: its lanes, and the settlement of what they delivered. Lanes without a partition are read by
 * all members; each of the others has one reader, see `Partitions`.
 */
export class NatsSubscription implements TransportSubscription, LaneHost, SessionPart {
  readonly session: Session
  readonly api: JetStreamApi
  readonly subjects: Subjects
  readonly mapping: Mapping
  readonly notes: AttemptNotes
  readonly group: string
  readonly #spec: SubscriptionSpec
  readonly #sink: DeliverySink
  readonly #lanes: readonly Lane[]
  readonly #intake: Intake
  readonly #confirmations: Confirmations
  readonly #settling: Settling
  readonly #consumers: Consumers
  readonly #losses: Losses
  readonly #partitions: Partitions
  readonly #topology: Topology
  readonly #upkeep: Upkeep
  readonly #onClosed: (subscription: NatsSubscription) => void
  #resting: Promise<void> | undefined
  #closing: Promise<void> | undefined
  #closed = false
  #searching = false
  /** Why messages of single lanes can't arrive. */
  readonly #troubles = new Map<Lane, string>()

  constructor(
    parts: SubscriptionParts,
    spec: SubscriptionSpec,
    sink: DeliverySink,
    onClosed: (subscription: NatsSubscription) => void,
  ) {
    const { session, api, records, topology, publisher, notes, subjects } = parts
    const id = groupId(spec.topic, spec.group)
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
    const lanes = subjects
      .plan(spec.topic, spec.order !== 'strict' && !spec.ephemeral)
      .map((plan) => new Lane(this, plan, topology.streamOf(plan.dead), consumerName(id, plan.label)))
    this.#lanes = lanes
    this.#intake = new Intake(session, lanes, spec, (batch) => sink.receive(batch))
    const confirmations = new Confirmations(session)
    this.#confirmations = confirmations
    const losses = new Losses({ session, api, records, topology, spec })
    this.#losses = losses
    const consumers = new Consumers({ session, api, records, topology, losses, spec, id, ackWaitMs: this.ackWaitMs })
    this.#consumers = consumers
    const leaseMs = (): number => this.leaseMs
    const partitions = new Partitions({
      session,
      records,
      consumers,
      lanes,
      spec,
      groupId: id,
      noticeSubject: subjects.members(id),
      leaseMs,
      leasesLostMs: () => consumers.leasesLostMs,
      isReading: () => !this.#intake.ended,
      emptyLane: (lane, reason) => this.#emptyLane(lane, reason),
      moved: () => void this.#findAll(),
      trouble: (lane, detail) => this.#setTrouble(lane, detail),
    })
    this.#partitions = partitions
    this.#settling = new Settling({
      session,
      publisher,
      confirmations,
      notes,
      isOurs: (lane) => partitions.isOurs(lane),
      wasOursAlone: (delivery) => partitions.wasOursAlone(delivery),
    })
    this.#upkeep = new Upkeep({
      session,
      api,
      lanes,
      intake: this.#intake,
      partitions,
      confirmations,
      losses,
      leaseMs,
      lost: (deliveries, reason) => this.lost(deliveries, reason),
      handBack: (deliveries) => this.#handBack(deliveries),
    })
  }

  get ackWaitMs(): number {
    return this.session.options.ackWaitMs
  }

  get leaseMs(): number {
    return Math.min(this.ackWaitMs, ...this.#lanes.map((lane) => lane.ackWaitMs))
  }

  // --- life --------------------------------------------------------------------------------------------------------

  async open(): Promise<void> {
    await this.#consumers.prepare(this.#lanes)
    await this.#losses.begin(this.#lanes)
    this.#confirmations.open()
    this.session.add(this)
    this.#upkeep.start()
    for (const lane of this.#lanes) if (lane.shared || this.#spec.ephemeral) await lane.activate(undefined, false)
    await this.#partitions.start()
  }

  request(credit: number, bytes: number): void {
    this.#intake.request(credit, bytes)
  }

  pause(): void {
    if (this.#intake.paused) return
    this.#intake.paused = true
    this.#rest()
  }

  resume(): void {
    this.#intake.paused = false
    if (this.#intake.ended) return
    const wake = async (): Promise<void> => {
      await this.#resting
      if (this.#intake.paused || this.#intake.ended) return
      for (const lane of this.#lanes) if (lane.shared && !lane.active) await lane.activate(undefined, false)
      this.wake()
    }
    wake().catch((error: unknown) => this.session.error(error, 'going on after a pause'))
  }

  /** Hands what others may take back to the server; partitions stay ours, with everything received of them. */
  #rest(): void {
    const shared = this.#lanes.filter((lane) => lane.shared && lane.active)
    if (shared.length === 0) return
    const before = this.#resting
    const rest = async (): Promise<void> => {
      await before
      await Promise.all(shared.map((lane) => lane.quiet()))
      await this.#handBack(shared.flatMap((lane) => lane.dropStash()))
    }
    this.#resting = rest().catch((error: unknown) => this.session.error(error, 'pausing'))
  }

  async drain(): Promise<void> {
    this.#intake.ended = true
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
    this.#upkeep.stop()
    this.#partitions.stopWaiting()
    for (const lane of this.#lanes) await this.#emptyLane(lane, undefined)
    // If the consumers are missing when the next member comes, it continues from here.
    if (this.session.ready)
      await this.#losses.look(this.#lanes.filter((lane) => lane.shared || this.#partitions.isOurs(lane)))
    await this.#partitions.close()
    this.#confirmations.close()
    this.session.remove(this)
    if (this.#spec.ephemeral && this.session.ready)
      await this.#consumers
        .remove(this.#lanes)
        .catch((error: unknown) => this.session.error(error, 'forgetting a broadcast consumer'))
    this.#onClosed(this)
  }

  /**
   * Gives everything of a lane back, in order. `reason` is reported to the runtime, which has some of it; undefined: it
   * knows.
   */
  async #emptyLane(lane: Lane, reason: string | undefined): Promise<void> {
    const { untouched, begun } = lane.giveUp()
    if (reason !== undefined && begun.length > 0) this.lost(begun, reason)
    // This process lives: what it had started and gives up has used no attempt.
    await this.#handBack([...untouched, ...begun])
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
  }

  /** Checks whether the consumers are those that we knew. */
  async restore(): Promise<void> {
    // Which streams were replaced must be known first; all parts that are restored together share one check.
    await this.#topology.ensure()
    if (this.#closed) return
    await Promise.all(this.#lanes.map((lane) => this.#check(lane)))
  }

  up(): void {
    this.#confirmations.up()
    this.#partitions.up()
    for (const lane of this.#lanes)
      lane.up().then(
        () => this.wake(),
        (error: unknown) => this.session.error(error, `reading consumer "${lane.consumer}" again`),
      )
  }

  consumerMissing(lane: Lane): void {
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
  async #find(lane: Lane): Promise<boolean> {
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

  async #check(lane: Lane): Promise<boolean> {
    const last = lane.lastDelivery
    const { isOther, streamGone, info } = await this.#consumers.check(
      lane,
      lane.shared || this.#partitions.isOurs(lane),
    )
    this.#setTrouble(lane, undefined)
    lane.restored = info
    if (!isOther) return false
    const reason = 'its consumer on the server is another one now: the group was moved, or the consumer was deleted'
    this.#confirmations.forget((delivery) => delivery.lane === lane, reason)
    // Some of what we hold may have come from the new one already, before we knew of it.
    const held = lane.lose(reason)
    if (streamGone) void this.#losses.streamGone(lane, held.length, last)
    if (!this.session.ready) return true
    if (lane.shared) for (const { reply } of held) this.session.outbox.publish(reply, '', NAK)
    await lane.up()
    return true
  }

  #setTrouble(lane: Lane, detail: string | undefined): void {
    if (detail === undefined) this.#troubles.delete(lane)
    else this.#troubles.set(lane, detail)
  }

  state(): SubscriptionState {
    const [trouble] = this.#troubles.values()
    return { standby: this.#partitions.isStandby, trouble: trouble ?? this.#partitions.trouble }
  }

  async readyHere(): Promise<number | undefined> {
    if (!this.session.ready) return undefined
    const lanes = this.#lanes.filter((lane) => lane.shared || this.#spec.ephemeral || this.#partitions.isOurs(lane))
    const counts = await Promise.all(
      lanes.map(async (lane) => {
        const info = await this.api.consumerInfo(lane.stream, lane.consumer)
        return info.num_pending + lane.stash.length
      }),
    )
    return counts.reduce((total, count) => total + count, 0)
  }

  // --- what lanes ask ----------------------------------------------------------------------------------------------

  wake(): void {
    this.#intake.wake()
  }

  leaseLeftMs(lane: Lane): number {
    return this.#partitions.leaseLeftMs(lane)
  }

  lost(deliveries: readonly NatsDelivery[], reason: string): void {
    if (!this.#closed) this.#sink.lost(deliveries, reason)
    this.#partitions.settled()
  }

  acknowledge(reply: string): void {
    this.session.outbox.publish(reply, '', NO_BYTES)
  }

  acknowledgeIfSame(lane: Lane, reply: string): void {
    this.api.consumerInfo(lane.stream, lane.consumer).then(
      (info) => {
        if (identityOf(info) === lane.identity) this.acknowledge(reply)
      },
      // Without an ack it comes again, and is checked again.
      (error: unknown) => this.session.error(error, `looking for the consumers of "${this.#spec.topic}"`),
    )
  }

  isAcking(lane: Lane, seq: number): boolean {
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
    const settled = this.#settling.settle(batch)
    this.#partitions.settled()
    const failures = await settled
    this.#partitions.settled()
    return failures
  }

  async noteAttempts(notes: readonly AttemptNote[]): Promise<void> {
    await Promise.all(
      notes.map(async ({ delivery: given, used, running, notBefore }) => {
        const delivery = given as NatsDelivery
        if (delivery.settled) return
        const { delivered } = delivery
        const note = { used, running, delivered, notBefore, inOrder: notBefore === undefined ? undefined : true }
        if (!delivery.lost) await this.notes.write(delivery, note)
        else if (!running) await this.notes.retract(delivery, note)
      }),
    )
  }

  async extend(deliveries: readonly Delivery[]): Promise<void> {
    await this.#upkeep.extend(deliveries as readonly NatsDelivery[])
  }
}
