import type { Timer } from '../../core/clock.ts'
import { StateError } from '../../core/errors.ts'
import type {
  Delivery,
  DeliverySink,
  Settlement,
  SettlementFailure,
  SubscriptionSpec,
  TransportSubscription,
} from '../../core/transport.ts'
import type { AttemptNotes } from './attempt-notes.ts'
import { Confirmations } from './confirmations.ts'
import { Consumers } from './consumers.ts'
import type { NatsDelivery } from './delivery.ts'
import { isNotFound } from './errors.ts'
import { identityOf } from './identity.ts'
import type { JetStreamApi } from './jetstream-api.ts'
import { Lane } from './lane.ts'
import type { LaneHost } from './lane-host.ts'
import type { Mapping } from './mapping.ts'
import { Ownership } from './ownership.ts'
import type { OwnershipHost } from './ownership.ts'
import type { JetStreamPublisher } from './publisher.ts'
import type { Session, SessionPart } from './session.ts'
import { Settling } from './settlement.ts'
import type { StateRecords } from './state-records.ts'
import { consumerName, groupId } from './subjects.ts'
import type { Subjects } from './subjects.ts'
import type { Topology } from './topology.ts'

const WORKING: Uint8Array = Buffer.from('+WPI')
const NAK: Uint8Array = Buffer.from('-NAK')
const NO_BYTES: Uint8Array = new Uint8Array(0)
/** How long a member that hands a partition over waits for its handlers. */
const HANDOVER_MS = 10_000
/** Bytes that a partition may ask for beyond the credit: what it can't hand over waits in the stash. */
const RESERVE_BYTES = 65_536
/** How often the server is asked how far the group has come. */
const FLOOR_MS = 15_000

/** What the subscriptions of one transport share. */
export interface SubscriptionParts {
  readonly session: Session
  readonly api: JetStreamApi
  readonly subjects: Subjects
  readonly topology: Topology
  readonly mapping: Mapping
  readonly notes: AttemptNotes
  readonly records: StateRecords
  readonly publisher: JetStreamPublisher
}

/**
 * One member of a group: its lanes, the credit that they share, and the settlement of what they delivered. Lanes without a
 * partition are read by all members; of the others each has one reader, see `Ownership`.
 */
export class NatsSubscription implements TransportSubscription, LaneHost, OwnershipHost, SessionPart {
  readonly session: Session
  readonly api: JetStreamApi
  readonly subjects: Subjects
  readonly mapping: Mapping
  readonly notes: AttemptNotes
  readonly records: StateRecords
  readonly group: string
  readonly memberId: string
  readonly id: string
  readonly #spec: SubscriptionSpec
  readonly #sink: DeliverySink
  readonly #lanes: readonly Lane[]
  readonly #confirmations: Confirmations
  readonly #settling: Settling
  readonly #consumers: Consumers
  readonly #ownership: Ownership | undefined
  readonly #onClosed: (subscription: NatsSubscription) => void
  #credit = 0
  #bytes = 0
  #paused = false
  #drained = false
  #closing: Promise<void> | undefined
  #closed = false
  #awake = false
  #turn = 0
  #tick: Timer | undefined
  #floorAt = 0
  /** Told when an outstanding delivery is gone. */
  readonly #handovers = new Map<string, () => void>()
  #resting: Promise<void> | undefined

  constructor(
    parts: SubscriptionParts,
    spec: SubscriptionSpec,
    sink: DeliverySink,
    onClosed: (subscription: NatsSubscription) => void,
  ) {
    this.session = parts.session
    this.api = parts.api
    this.subjects = parts.subjects
    this.mapping = parts.mapping
    this.notes = parts.notes
    this.records = parts.records
    this.group = spec.group
    this.memberId = spec.consumerId
    this.id = groupId(spec.topic, spec.group)
    this.#spec = spec
    this.#sink = sink
    this.#onClosed = onClosed
    const { topology, session, publisher, notes } = parts
    const plan = parts.subjects.plan(spec.topic, spec.order !== 'strict' && !spec.ephemeral)
    this.#lanes = plan.map(
      (lane) => new Lane(this, lane, topology.streamOf(lane.dead), consumerName(this.id, lane.label)),
    )
    this.#shareOut(plan.length)
    this.#confirmations = new Confirmations(session)
    this.#settling = new Settling({
      session,
      publisher,
      confirmations: this.#confirmations,
      notes,
      isOurs: (lane) => this.#isOurs(lane),
    })
    this.#consumers = new Consumers({
      session,
      api: parts.api,
      records: parts.records,
      topology,
      spec,
      id: this.id,
      ackWaitMs: this.ackWaitMs,
    })
    const units = new Set(this.#lanes.map((lane) => lane.plan.unit).filter((unit) => unit !== undefined))
    this.#ownership =
      spec.ephemeral || units.size === 0
        ? undefined
        : new Ownership(this, [...units], this.id, parts.subjects.members(this.id))
  }

  get ackWaitMs(): number {
    return this.session.options.ackWaitMs
  }

  get leaseMs(): number {
    return Math.min(this.ackWaitMs, ...this.#lanes.map((lane) => lane.ackWaitMs))
  }

  /** How much each lane may ask for, from the credit that there will ever be. */
  #shareOut(lanes: number): void {
    const { prefetch } = this.#spec
    for (const { pulls, shared } of this.#lanes) {
      pulls.most = Math.max(1, prefetch >> 1)
      pulls.least = shared
        ? Math.max(1, Math.min(64, prefetch >> 1))
        : Math.max(1, Math.min(16, Math.floor(prefetch / (4 * lanes))))
      if (lanes === 1) pulls.least = pulls.most
      pulls.target = pulls.least
    }
  }

  // --- life --------------------------------------------------------------------------------------------------------

  async open(): Promise<void> {
    await this.#consumers.prepare(this.#lanes)
    this.#confirmations.open()
    this.session.add(this)
    this.#arm()
    for (const lane of this.#lanes) if (lane.shared || this.#spec.ephemeral) await lane.activate(undefined, false)
    await this.#ownership?.start()
  }

  request(credit: number, bytes: number): void {
    this.#credit += credit
    this.#bytes += bytes
    this.wake()
  }

  pause(): void {
    if (this.#paused) return
    this.#paused = true
    this.#rest()
  }

  resume(): void {
    this.#paused = false
    if (this.#drained) return
    const wake = async (): Promise<void> => {
      await this.#resting
      if (this.#paused || this.#drained) return
      for (const lane of this.#lanes) if (lane.shared && !lane.active) await lane.activate(undefined, false)
      this.wake()
    }
    wake().catch((error: unknown) => this.session.error(error, 'going on after a pause'))
  }

  /** What others may take goes back to the server; partitions stay ours, and so does what has come of them. */
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
    this.#drained = true
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
    this.#tick?.cancel()
    for (const done of this.#handovers.values()) done()
    for (const lane of this.#lanes) await this.#emptyLane(lane, undefined)
    await this.#ownership?.close()
    this.#confirmations.close()
    this.session.remove(this)
    if (this.#spec.ephemeral && this.session.ready)
      await this.#consumers
        .remove(this.#lanes)
        .catch((error: unknown) => this.session.error(error, 'forgetting a broadcast consumer'))
    this.#onClosed(this)
  }

  /** Gives everything of a lane back, in its order. `reason`: told to the runtime, which has some of it; undefined: it knows. */
  async #emptyLane(lane: Lane, reason: string | undefined): Promise<void> {
    const { untouched, begun } = lane.giveUp()
    if (reason !== undefined && begun.length > 0) this.lost(begun, reason)
    // What a killed process would have left comes again as its next attempt; what nobody has begun does not.
    await this.#settling.handBack([
      ...untouched.map((delivery) => ({ delivery, delayMs: 0, failed: false })),
      ...begun.map((delivery) => ({ delivery, delayMs: 0, failed: true })),
    ])
  }

  #handBack(deliveries: readonly NatsDelivery[]): Promise<void> {
    return this.#settling.handBack(deliveries.map((delivery) => ({ delivery, delayMs: 0, failed: false })))
  }

  // --- the session -------------------------------------------------------------------------------------------------

  down(): void {
    for (const lane of this.#lanes) lane.down()
  }

  /** Looks whether the consumers are those that we knew. */
  async restore(): Promise<void> {
    if (this.#closed) return
    await Promise.all(this.#lanes.map((lane) => this.#check(lane)))
  }

  up(): void {
    this.#confirmations.up()
    this.#ownership?.up()
    for (const lane of this.#lanes)
      lane.up().then(
        () => this.wake(),
        (error: unknown) => this.session.error(error, `reading consumer "${lane.consumer}" again`),
      )
  }

  consumerMissing(lane: Lane): void {
    if (this.#closed || !this.session.ready) return
    // Nothing is asked of it before we know which one it is.
    lane.suspended++
    this.#check(lane)
      .catch((error: unknown) => {
        lane.pulls.refused()
        this.session.error(error, `looking for the consumers of "${this.#spec.topic}"`)
      })
      .finally(() => {
        lane.suspended--
        this.wake()
      })
  }

  moved(): void {
    for (const lane of this.#lanes) this.consumerMissing(lane)
  }

  async #check(lane: Lane): Promise<void> {
    const { isOther, info } = await this.#consumers.check(lane, lane.shared || this.#isOurs(lane))
    lane.restored = info
    if (!isOther) return
    const reason = 'its consumer on the server is another one now: the group was moved, or somebody deleted it'
    this.#confirmations.forget((delivery) => delivery.lane === lane, reason)
    // Some of what we hold may have come from the new one already, before we knew of it.
    const held = lane.lose(reason)
    if (!this.session.ready) return
    if (lane.shared) for (const { reply } of held) this.session.outbox.publish(reply, '', NAK)
    else await lane.up()
  }

  // --- partitions --------------------------------------------------------------------------------------------------

  #isOurs(lane: Lane): boolean {
    const { unit } = lane.plan
    return unit === undefined || this.#ownership === undefined || this.#ownership.leftMs(unit) > 0
  }

  leaseLeftMs(lane: Lane): number {
    const { unit } = lane.plan
    return unit === undefined || this.#ownership === undefined ? Infinity : this.#ownership.leftMs(unit)
  }

  #lanesOf(unit: string): Lane[] {
    return this.#lanes.filter((lane) => lane.plan.unit === unit)
  }

  acquire(unit: string, expired: boolean): void {
    for (const lane of this.#lanesOf(unit))
      this.#begin(lane, expired).catch((error: unknown) => {
        this.session.error(error, `beginning to read partition ${unit}`)
        lane.quiet().catch((quietError: unknown) => this.session.error(quietError, `leaving partition ${unit}`))
      })
  }

  async #begin(lane: Lane, expired: boolean): Promise<void> {
    const left = await this.#consumers.takeOver(lane)
    if (this.#isOurs(lane) && !this.#drained) await lane.activate(left, expired)
  }

  async release(unit: string): Promise<void> {
    const lanes = this.#lanesOf(unit)
    await Promise.all(lanes.map((lane) => lane.quiet()))
    const isEmpty = (): boolean => lanes.every((lane) => lane.outstanding.size === 0)
    if (!isEmpty()) {
      await new Promise<void>((resolve) => {
        const timer = this.session.host.clock.setTimer(HANDOVER_MS, resolve)
        this.#handovers.set(unit, () => {
          if (!isEmpty() && !this.#closed) return
          timer.cancel()
          resolve()
        })
      })
      this.#handovers.delete(unit)
    }
    for (const lane of lanes) await this.#emptyLane(lane, 'its partition went to another member')
  }

  revoke(unit: string, reason: string): void {
    for (const lane of this.#lanesOf(unit)) {
      lane.lose(reason)
      lane.quiet().catch((error: unknown) => this.session.error(error, `leaving partition ${unit}`))
    }
  }

  changed(assigned: readonly string[], revoked: readonly string[]): void {
    const { name, events } = this.session.host
    const { topic, group, consumerId } = this.#spec
    events.emit('rebalance', { transport: name, topic, group, consumerId, assigned, revoked })
  }

  // --- deliveries --------------------------------------------------------------------------------------------------

  wake(): void {
    if (this.#awake) return
    this.#awake = true
    // After the chunk of the socket that is being read, so that what came in it goes out in one batch.
    queueMicrotask(() => {
      this.#awake = false
      this.#distribute()
      this.#refill()
    })
  }

  #distribute(): void {
    if (this.#paused || this.#drained) return
    let batch: NatsDelivery[] | undefined
    const lanes = this.#lanes
    for (let step = 0; step < lanes.length && this.#credit > 0 && this.#bytes > 0; step++) {
      const lane = lanes[(this.#turn + step) % lanes.length] as Lane
      if (lane.stash.length === 0 || !lane.active) continue
      const taken = this.#takeFrom(lane)
      if (batch === undefined) batch = taken
      else for (const delivery of taken) batch.push(delivery)
    }
    if (batch === undefined) return
    this.#turn++
    this.#sink.receive(batch)
  }

  #takeFrom(lane: Lane): NatsDelivery[] {
    const taken = lane.take(this.#credit)
    let used = 0
    // The last one may be larger than what is left of the bytes.
    while (used < taken.length && this.#bytes > 0) this.#bytes -= (taken[used++] as NatsDelivery).bytes
    if (used < taken.length) lane.stash.unshift(...taken.splice(used))
    this.#credit -= taken.length
    for (const delivery of taken) lane.outstanding.push(delivery)
    return taken
  }

  #refill(): void {
    if (!this.session.ready || this.#drained || this.#closed) return
    let free = this.#credit
    let bytes = this.#bytes
    for (const { pulls, stash, shared } of this.#lanes) {
      // The one that each partition may always ask for waits in the stash when there is no credit for it.
      free -= stash.length + (shared ? pulls.asked : Math.max(0, pulls.asked - 1))
      if (shared) bytes -= pulls.askedBytes
    }
    // What everybody may take comes first: that of a partition runs away to nobody.
    for (const lane of this.#lanes) if (lane.shared) free -= this.#askFor(lane, free, bytes)
    const hungry = this.#lanes.filter((lane) => !lane.shared && lane.active && lane.pulls.hungry)
    for (let step = 0; step < hungry.length; step++) {
      const lane = hungry[(this.#turn + step) % hungry.length] as Lane
      const share = Math.ceil(free / (hungry.length - step))
      free -= this.#askFor(lane, share, Math.max(RESERVE_BYTES, bytes / 2))
    }
  }

  /** Returns how many were asked for. */
  #askFor(lane: Lane, free: number, bytes: number): number {
    const { pulls, shared } = lane
    if (!lane.active || lane.suspended > 0 || !pulls.hungry || (this.#paused && shared)) return 0
    let count = Math.min(pulls.target - pulls.asked, free)
    if (count <= 0 || bytes <= 0) {
      // One at least must be able to come, or a partition could starve beside busy ones. It waits here for its credit.
      if (shared || pulls.asked > 0 || lane.stash.length > 0) return 0
      count = 1
    }
    if (pulls.alone) return pulls.ask(1, 0) ? 1 : 0
    const maxBytes = Math.max(1, Math.floor(shared ? (bytes * count) / Math.max(free, count) : bytes))
    return pulls.ask(count, maxBytes) ? count : 0
  }

  lost(deliveries: readonly NatsDelivery[], reason: string): void {
    if (!this.#closed) this.#sink.lost(deliveries, reason)
  }

  acknowledge(reply: string): void {
    this.session.outbox.publish(reply, '', NO_BYTES)
  }

  acknowledgeIfSame(lane: Lane, reply: string): void {
    this.api.consumerInfo(lane.stream, lane.consumer).then(
      (info) => {
        if (identityOf(info) === lane.identity) this.acknowledge(reply)
      },
      // Without an ack it comes again, and is looked at again.
      (error: unknown) => this.session.error(error, `looking for the consumers of "${this.#spec.topic}"`),
    )
  }

  isAcking(lane: Lane, seq: number): boolean {
    return this.#confirmations.holds(lane, seq)
  }

  putOff(delivery: NatsDelivery, delayMs: number): void {
    this.#settling
      .handBack([{ delivery, delayMs, failed: false }])
      .catch((error: unknown) => this.session.error(error, 'putting off a delayed message'))
  }

  // --- settling ----------------------------------------------------------------------------------------------------

  async settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    if (this.#closed) {
      const error = new StateError('The subscription is closed')
      return batch.map((_, index) => ({ index, error: error as never }))
    }
    const settled = this.#settling.settle(batch)
    for (const done of this.#handovers.values()) done()
    const failures = await settled
    for (const done of this.#handovers.values()) done()
    return failures
  }

  async noteAttempt(delivery: Delivery, attempt: number): Promise<void> {
    const mine = delivery as NatsDelivery
    if (mine.lost || mine.settled) return
    mine.noted = attempt
    await this.notes.write(mine, attempt + 1)
  }

  async extend(deliveries: readonly Delivery[]): Promise<void> {
    if (!this.session.ready) return
    await this.#extend(deliveries as readonly NatsDelivery[])
  }

  async #extend(deliveries: readonly NatsDelivery[]): Promise<void> {
    const at = this.session.host.clock.monotonic()
    const extended: NatsDelivery[] = []
    for (const delivery of deliveries) {
      const { unit } = delivery.lane.plan
      if (delivery.lost || delivery.settled) continue
      if (unit !== undefined && this.#ownership !== undefined && !this.#ownership.isFresh(unit)) continue
      this.session.outbox.publish(delivery.reply, '', WORKING)
      extended.push(delivery)
    }
    if (extended.length === 0) return
    try {
      await this.session.flush()
    } catch {
      // The connection is gone. What is not extended before its time is over is reported lost.
      return
    }
    for (const delivery of extended) delivery.touchedAt = at
  }

  // --- now and then ------------------------------------------------------------------------------------------------

  #arm(): void {
    if (this.#closed) return
    this.#tick = this.session.host.clock.setTimer(this.leaseMs / 3, () => {
      this.#round()
        .catch((error: unknown) => this.session.error(error, 'looking after a subscription'))
        .finally(() => this.#arm())
    })
  }

  async #round(): Promise<void> {
    this.#findLost()
    if (!this.session.ready || this.#closed) return
    for (const lane of this.#lanes)
      if (lane.active && lane.pulls.checkHeartbeat())
        this.session.warning(
          'nats-missed-heartbeats',
          `consumer "${lane.consumer}" fell silent while it was asked; it is asked again`,
        )
    await this.#confirmations.check((delivery) => this.#answers(delivery.lane))
    this.wake()
    const now = this.session.host.clock.monotonic()
    const waiting = this.#lanes.flatMap((lane) => (lane.shared ? [] : lane.stash))
    if (waiting.length > 0) await this.#extend(waiting)
    // What others could take does not wait here for credit for long.
    const idle = this.#lanes.flatMap((lane) => (lane.shared && this.#credit <= 0 ? lane.dropStash() : []))
    if (idle.length > 0) await this.#handBack(idle)
    if (now - this.#floorAt < FLOOR_MS) return
    this.#floorAt = now
    await this.#consumers.noteFloors(this.#lanes.filter((lane) => lane.active))
  }

  async #answers(lane: Lane): Promise<boolean> {
    try {
      await this.api.consumerInfo(lane.stream, lane.consumer)
      return true
    } catch (error) {
      return isNotFound(error)
    }
  }

  /** Deliveries whose time ran out at the server before we could extend it. */
  #findLost(): void {
    const now = this.session.host.clock.monotonic()
    for (const lane of this.#lanes) {
      const lost: NatsDelivery[] = []
      for (let delivery = lane.outstanding.first; delivery !== undefined;) {
        const next: NatsDelivery | undefined = delivery.next
        if (now - delivery.touchedAt > lane.ackWaitMs) {
          delivery.lost = true
          lane.outstanding.remove(delivery)
          lost.push(delivery)
        }
        delivery = next
      }
      if (lost.length > 0) this.lost(lost, 'its ack wait ran out before it could be extended')
    }
  }
}
