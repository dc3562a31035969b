import { ConfigurationError } from '../../../../core/errors.ts'
import type { Acquired } from '../../../../core/partitions/attempt-state.ts'
import { Handovers } from '../../../../core/partitions/handovers.ts'
import type { UnstoredCount } from '../../../../core/partitions/held-partition.ts'
import type { Delivery, SubscriptionSpec } from '../../../../core/transport.ts'
import { ERR, JetStreamError } from '../../errors.ts'
import type { GroupRecord } from '../server/group-record.ts'
import { Partition } from './partition.ts'
import type { PartitionDelivery } from './partition.ts'
import { PartitionArrivals } from './partition-arrivals.ts'
import { PartitionCommits } from './partition-commits.ts'
import { PartitionDelays } from './partition-delays.ts'
import { PartitionLeases } from './partition-leases.ts'
import type { LeasesHost } from './partition-leases.ts'
import { NOTHING_LEFT } from './partition-record.ts'
import type { PartitionState } from './partition-record.ts'
import { PartitionLosses, STREAM_DELETED } from './partition-losses.ts'
import { PartitionReaders } from './partition-readers.ts'
import { PartitionStore } from './partition-store.ts'
import { StreamCheck } from './stream-check.ts'
import { isSameStream } from '../server/identity.ts'
import { positionOf } from '../../wire/mapping.ts'
import type { Session } from '../../connection/session.ts'
import type { SessionLeases } from './session-leases.ts'
import type { UnitPlan } from '../../wire/subjects.ts'
import type { SubscriptionParts } from '../subscription-parts.ts'

export interface PartitionSetHost {
  readonly parts: SubscriptionParts
  readonly spec: SubscriptionSpec
  readonly groupId: string
  /** This member has made the group. */
  readonly isNew: boolean
  readonly stream: string
  readonly units: readonly UnitPlan[]
  readonly native: Readonly<Record<string, unknown>>
  readonly metadata: Readonly<Record<string, string>> | undefined
  group(): GroupRecord
  /** The record of the group may have changed: reads it again, and makes a missing one again. True when it was moved. */
  renewGroup(): Promise<boolean>
  lost(deliveries: readonly Delivery[], reason: string): void
  wake(): void
  hasRoom(): boolean
  trouble(source: object, detail: string | undefined): void
}

/** The partitions of one subscription: those that are ours are read, and handed out in order. */
export class PartitionSet implements LeasesHost {
  readonly session: Session
  readonly api: SubscriptionParts['api']
  readonly leases: SessionLeases
  readonly store: PartitionStore
  readonly memberId: string
  readonly isNew: boolean
  readonly noticeSubject: string
  readonly stream: string
  readonly partitions: readonly Partition[]
  readonly delays: PartitionDelays
  readonly commits: PartitionCommits
  readonly partitionLeases: PartitionLeases
  readonly readers: PartitionReaders
  readonly #host: PartitionSetHost
  readonly #losses: PartitionLosses
  readonly #check: StreamCheck
  readonly #handovers: Handovers
  readonly #unstored: UnstoredCount = { count: 0 }
  readonly #byName = new Map<string, Partition>()
  #isMoving = false
  #isMovedAgain = false

  constructor(host: PartitionSetHost) {
    const { parts, spec, groupId, stream, units } = host
    this.#host = host
    this.session = parts.session
    this.api = parts.api
    this.leases = parts.leases
    this.store = new PartitionStore(parts.records, groupId)
    this.memberId = spec.consumerId
    this.isNew = host.isNew
    this.noticeSubject = parts.subjects.members(groupId)
    this.stream = stream
    const byToken = new Map<string, Partition>()
    this.partitions = units.map(({ name, filters, token }) => {
      const partition = new Partition(name, stream, filters)
      partition.countInto(this.#unstored)
      this.#byName.set(name, partition)
      if (token !== undefined) byToken.set(token, partition)
      return partition
    })
    const changedIn = (partition: Partition): void => this.changedIn(partition)
    const wake = (): void => this.wake()
    const arrivals = new PartitionArrivals({
      session: this.session,
      mapping: parts.mapping,
      subjects: parts.subjects,
      topic: spec.topic,
      group: spec.group,
      stream,
      partitions: this.partitions,
      byToken,
      changedIn,
      wake,
    })
    this.readers = new PartitionReaders({
      settings: {
        session: this.session,
        api: this.api,
        stream,
        groupId,
        description: `Busbar: ${spec.topic} for ${spec.group}`,
        native: host.native,
        metadata: host.metadata,
      },
      partitions: this.partitions,
      prefetch: spec.prefetch,
      arrived: (native, reply, isForOthers) => arrivals.read(native, reply, isForOthers),
      changedIn,
      missing: () => this.#check.missing(),
      checkStream: () => this.#check.look(),
      trouble: (reader, detail) => host.trouble(reader, detail),
      wake,
    })
    this.partitionLeases = new PartitionLeases(
      this,
      units.map(({ name }) => name),
    )
    this.commits = new PartitionCommits(this.session, this.partitionLeases)
    this.delays = new PartitionDelays({
      session: this.session,
      api: this.api,
      mapping: parts.mapping,
      subjects: parts.subjects,
      hasRoom: () => host.hasRoom(),
      wake,
      changed: changedIn,
    })
    this.#losses = new PartitionLosses({
      session: this.session,
      api: this.api,
      stream,
      changed: changedIn,
      report: (count, after, reason) => this.#report(count, after, reason),
    })
    this.#handovers = new Handovers(this.session.host.clock)
    this.#check = new StreamCheck({
      session: this.session,
      topology: parts.topology,
      stream,
      partitions: this.partitions,
      arrivedAt: () => this.readers.arrivedAt,
      unread: () => this.readers.pending,
      lost: (deliveries, reason) => host.lost(deliveries, reason),
      report: (count, after, reason) => this.#report(count, after, reason),
      changedIn,
      restarted: () => this.readers.rebuildSoon(),
    })
  }

  // --- life --------------------------------------------------------------------------------------------------------

  /** Joins the group; a broadcast, whose group is its own, just begins. */
  async start(): Promise<void> {
    if (this.#host.spec.ephemeral)
      for (const partition of this.partitions) this.#load(partition, this.initial(), 'clean')
    else await this.partitionLeases.start()
    const [error] = (await Promise.all(this.readers.rebuild())).filter((each) => each !== undefined)
    if (error instanceof JetStreamError && error.errCode === ERR.maxConsumers) throw this.#tooMany(error)
  }

  #tooMany(error: JetStreamError): ConfigurationError {
    return new ConfigurationError(`The consumer of "${this.#host.spec.topic}"`, [
      {
        path: 'max_consumers',
        message: `the stream "${this.stream}" takes no more consumers (${error.message}): each member of a group needs one, and the group another one for messages without a key; change the limits of the stream or of the account`,
      },
    ])
  }

  /** The connection is back, or the stream was missing: another one may have taken its place. */
  checkStream(): void {
    this.#check.check()
  }

  down(): void {
    this.readers.down()
  }

  up(): void {
    if (!this.#host.spec.ephemeral) this.partitionLeases.up()
    this.readers.up()
    this.commits.up(this.partitions)
    this.delays.up()
  }

  /** Nothing more is read. What is here can still be settled. */
  end(): void {
    this.readers.end()
  }

  /** Hands everything over. */
  async close(): Promise<void> {
    this.end()
    this.#check.close()
    this.#handovers.close()
    for (const partition of this.partitions) partition.giveBack(this.session.host.clock.now())
    if (!this.#host.spec.ephemeral) await this.partitionLeases.close()
    this.commits.close()
    this.delays.close()
    for (const partition of this.partitions) partition.lose()
  }

  /** No other member takes over what is here: a broadcast. */
  get isAlone(): boolean {
    return this.#host.spec.ephemeral
  }

  /** Number of messages that could be handed out here. */
  async ready(): Promise<number> {
    let count = 0
    for (const { buffer } of this.partitions) count += buffer.length
    for (const { active, stream, name } of this.readers.all)
      if (active) count += (await this.api.consumerInfo(stream, name)).num_pending
    return count
  }

  /** Called periodically. */
  async look(): Promise<void> {
    for (const partition of this.partitions) if (partition.mine) this.#losses.report(partition)
    await this.#losses.look(
      this.partitions,
      (partition) => partition.buffer.length > 0 || this.readers.isBehind(partition),
    )
  }

  // --- what is ours ------------------------------------------------------------------------------------------------

  holds(partition: Partition): boolean {
    return partition.mine && this.isHeld
  }

  /** True while what is ours is certainly so. */
  get isHeld(): boolean {
    return this.#host.spec.ephemeral || this.leases.leftMs > 0
  }

  initial(): PartitionState {
    const { to, stream, life } = this.#host.group()
    return { ...NOTHING_LEFT, stream, life, to, reserved: to }
  }

  acquire(unit: string, state: PartitionState, how: Acquired): void {
    const partition = this.#byName.get(unit) as Partition
    const { identity } = this.#check
    if (isSameStream(state.stream, identity)) {
      this.#load(partition, { ...state, stream: identity }, how)
    } else {
      // Its stream was deleted; what was known of it is in the record, or here.
      const { waiting } = state
      const stored = state.open.length + (waiting === undefined ? 0 : waiting.count - waiting.read)
      const here = partition.stream !== '' && !isSameStream(partition.stream, identity) ? partition.unread : 0
      this.#report(stored > 0 ? stored : here, state.to, STREAM_DELETED)
      partition.restart(identity)
      this.changedIn(partition)
    }
    partition.unread = 0
    this.readers.rebuildSoon()
  }

  #load(partition: Partition, state: PartitionState, how: Acquired): void {
    partition.load(state, how)
    partition.loadedAt = this.session.host.clock.monotonic()
  }

  state(unit: string, free: boolean): PartitionState {
    return (this.#byName.get(unit) as Partition).state(free)
  }

  committed(unit: string): void {
    const partition = this.#byName.get(unit) as Partition
    const mayWait = partition.isHeldUp || partition.unstored > 0
    partition.committed(this.session.host.clock.monotonic())
    if (mayWait) this.wake()
  }

  async release(unit: string, lost: AbortSignal): Promise<void> {
    const partition = this.#byName.get(unit) as Partition
    partition.leaving = true
    this.readers.rebuildSoon()
    const { handoverTimeoutMs } = this.session.options
    await this.#handovers.wait(handoverTimeoutMs, () => lost.aborted || partition.outstanding.size === 0)
    if (lost.aborted) return
    const begun = partition.giveBack(this.session.host.clock.now())
    if (begun.length > 0) this.#host.lost(begun, 'its partition went to another member')
  }

  revoke(units: readonly string[], reason: string): void {
    const lost: PartitionDelivery[] = []
    for (const unit of units) {
      const partition = this.#byName.get(unit) as Partition
      const { waiting } = partition
      partition.unread = partition.held + (waiting === undefined ? 0 : waiting.count - waiting.read)
      lost.push(...partition.lose())
    }
    if (lost.length > 0) this.#host.lost(lost, reason)
    this.settled()
    this.readers.rebuildSoon()
  }

  changed(assigned: readonly string[], revoked: readonly string[]): void {
    for (const unit of revoked) {
      const partition = this.#byName.get(unit) as Partition
      if (partition.mine && !this.partitionLeases.owned.includes(unit)) partition.lose()
    }
    if (revoked.length > 0) this.readers.rebuildSoon()
    const { name, events } = this.session.host
    const { topic, group, consumerId } = this.#host.spec
    events.emit('rebalance', { transport: name, topic, group, consumerId, assigned, revoked })
  }

  /** The group was moved: everything is void, and read again from its records. Or it was deleted. */
  moved(): void {
    this.#isMovedAgain = this.#isMoving
    if (this.#isMoving) return
    this.#isMoving = true
    this.#host
      .renewGroup()
      .then(
        (isMoved) => {
          if (isMoved) this.partitionLeases.drop('the group was moved')
          // Records that were deleted are made again.
          else for (const partition of this.partitions) if (partition.mine) this.commits.now(partition)
        },
        (error: unknown) => this.session.error(error, 'following a group that was moved'),
      )
      .finally(() => {
        this.#isMoving = false
        if (this.#isMovedAgain) this.moved()
      })
      .catch((error: unknown) => this.session.error(error, 'following a group that was moved'))
  }

  /** Number of settlements that are not stored yet. */
  get unstored(): number {
    return this.#host.spec.ephemeral ? 0 : this.#unstored.count
  }

  /** What is settled holds up what waits here: it is stored now. */
  storeNow(): void {
    for (const partition of this.partitions) if (partition.unstored > 0) this.commits.now(partition)
  }

  /** Something of a partition has to be stored. */
  changedIn(partition: Partition): void {
    if (this.#host.spec.ephemeral) return
    this.commits.changed(partition)
  }

  commitNow(partition: Partition): void {
    if (!this.#host.spec.ephemeral) this.commits.now(partition)
  }

  handedOut(partition: Partition): void {
    if (!this.#host.spec.ephemeral) this.commits.handedOut(partition)
  }

  /** Nothing more may be handed out before that is stored. */
  reserve(partition: Partition): void {
    if (this.#host.spec.ephemeral) {
      partition.state(false)
      partition.committed(-Infinity)
      this.wake()
    } else this.commits.now(partition)
  }

  wake(): void {
    this.#host.wake()
  }

  /** Some deliveries were settled, or lost. */
  settled(): void {
    this.#handovers.settled()
  }

  #report(count: number, after: number | undefined, reason: string): void {
    if (count <= 0) return
    const { name, events } = this.session.host
    const { topic, group } = this.#host.spec
    const position = after === undefined ? undefined : positionOf(this.stream, after + 1)
    events.emit('loss', { transport: name, topic, group, count, position, reason })
  }
}
