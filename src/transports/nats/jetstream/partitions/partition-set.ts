// Longer than most files: who owns a partition, who reads it, and what the runtime learns when either changes.
import { ConfigurationError } from '../../../../core/errors.ts'
import type { Delivery, SubscriptionSpec } from '../../../../core/transport.ts'
import { compilePattern } from '../../../../core/topic.ts'
import type { AckReply } from '../consume/ack-reply.ts'
import { ERR, JetStreamError } from '../../errors.ts'
import type { GroupRecord } from '../server/group-record.ts'
import type { Incoming } from '../../connection/incoming.ts'
import type { Unsaid } from '../../wire/mapping.ts'
import { Partition } from './partition.ts'
import { PartitionCommits } from './partition-commits.ts'
import { PartitionDelays } from './partition-delays.ts'
import { PartitionDelivery } from './partition-delivery.ts'
import { PartitionLeases } from './partition-leases.ts'
import type { Acquired, LeasesHost, PartitionState } from './partition-leases.ts'
import { PartitionLosses, STREAM_DELETED } from './partition-losses.ts'
import { PartitionReader } from './partition-reader.ts'
import type { ReaderHost } from './partition-reader.ts'
import { PartitionStore } from './partition-store.ts'
import { positionOf } from '../../wire/mapping.ts'
import type { Session } from '../../connection/session.ts'
import type { SessionLeases } from './session-leases.ts'
import type { UnitPlan } from '../../wire/subjects.ts'
import type { SubscriptionParts } from '../subscription-parts.ts'

/** How long a member that hands over a partition waits for its handlers. */
const HANDOVER_MS = 10_000
/** Maximum number of subjects whose partition is remembered. */
const MAX_PLACES = 10_000

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

interface Place {
  readonly partition: Partition
  readonly topic: string
}

/** The partitions of one subscription: those that are ours are read, and handed out in order. */
export class PartitionSet implements LeasesHost, ReaderHost {
  readonly session: Session
  readonly api: SubscriptionParts['api']
  readonly leases: SessionLeases
  readonly store: PartitionStore
  readonly memberId: string
  readonly isNew: boolean
  readonly noticeSubject: string
  readonly groupId: string
  readonly stream: string
  readonly description: string
  readonly native: Readonly<Record<string, unknown>>
  readonly metadata: Readonly<Record<string, string>> | undefined
  readonly partitions: readonly Partition[]
  readonly delays: PartitionDelays
  readonly commits: PartitionCommits
  readonly ownership: PartitionLeases
  readonly readers: Set<PartitionReader> = new Set()
  readonly #host: PartitionSetHost
  readonly #losses: PartitionLosses
  readonly #filters = new Map<Partition, readonly string[]>()
  readonly #byToken = new Map<string, Partition>()
  readonly #byName = new Map<string, Partition>()
  readonly #places = new Map<string, Place | undefined>()
  readonly #matches: (topic: string) => boolean
  /** Reads all partitions that are not read apart; undefined before 2.10, where each is. */
  #main: PartitionReader | undefined
  readonly #apart = new Map<Partition, PartitionReader>()
  readonly #unsaid: Unsaid
  #reply: AckReply | undefined
  #lastSubject = ''
  #lastPlace: Place | undefined
  /** Handovers that wait for outstanding deliveries: called when one is settled or lost. */
  readonly #handovers = new Set<() => void>()
  #rebuilding = false
  #checking = false
  #isMoving = false
  #isMovedAgain = false
  #ended = false
  #closed = false

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
    this.groupId = groupId
    this.stream = stream
    this.description = `Busbar: ${spec.topic} for ${spec.group}`
    this.native = host.native
    this.metadata = host.metadata
    this.partitions = units.map(({ name, filters, token }) => {
      const partition = new Partition(name, stream)
      this.#filters.set(partition, filters)
      this.#byName.set(name, partition)
      if (token !== undefined) this.#byToken.set(token, partition)
      return partition
    })
    this.#matches = compilePattern(spec.topic)
    this.#unsaid = {
      id: () => `${stream}-${this.#reply?.seq ?? 0}`,
      time: () => this.#reply?.time ?? 0,
    }
    this.ownership = new PartitionLeases(
      this,
      units.map(({ name }) => name),
    )
    this.commits = new PartitionCommits(this.session, this.ownership)
    this.delays = new PartitionDelays({
      session: this.session,
      api: this.api,
      mapping: parts.mapping,
      subjects: parts.subjects,
      hasRoom: () => host.hasRoom(),
      wake: () => this.wake(),
      changed: (partition) => this.changedIn(partition),
    })
    this.#losses = new PartitionLosses({
      session: this.session,
      api: this.api,
      stream,
      filtersOf: (partition) => this.#filters.get(partition) ?? [],
      changed: (partition) => this.changedIn(partition),
      report: (count, after, reason) => this.#report(count, after, reason),
    })
  }

  // --- life --------------------------------------------------------------------------------------------------------

  /** Joins the group; a broadcast, whose group is its own, just begins. */
  async start(): Promise<void> {
    if (this.#host.spec.ephemeral) for (const partition of this.partitions) partition.load(this.initial(), 'clean')
    else await this.ownership.start()
    const [error] = (await Promise.all(this.#rebuild())).filter((each) => each !== undefined)
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

  /** The identity of the stream changed, or may have. */
  checkStream(): void {
    const identity = this.#identity
    const stale = this.partitions.filter((partition) => partition.mine && partition.stream !== identity)
    if (stale.length === 0) return
    // One look at the readers: they count all partitions together.
    let unread = 0
    for (const reader of this.readers) unread += reader.pending
    let count = unread
    const lost: PartitionDelivery[] = []
    for (const partition of stale) {
      count += partition.held
      lost.push(...partition.lose())
      partition.restart(identity)
      this.changedIn(partition)
    }
    if (lost.length > 0) this.#host.lost(lost, 'its stream was deleted')
    this.#report(count, undefined, STREAM_DELETED)
    this.#rebuildSoon()
  }

  get #identity(): string {
    return this.#host.parts.topology.identityOf(this.stream) ?? ''
  }

  down(): void {
    for (const reader of this.readers) reader.down()
  }

  up(): void {
    if (!this.#host.spec.ephemeral) this.ownership.up()
    for (const reader of this.readers) void reader.open()
    this.commits.up(this.partitions)
    this.delays.up()
  }

  /** Nothing more is read. What is here can still be settled. */
  end(): void {
    this.#ended = true
    for (const reader of this.readers) this.#close(reader)
    this.#main = undefined
    this.#apart.clear()
  }

  /** Hands everything over. */
  async close(): Promise<void> {
    this.end()
    this.#closed = true
    this.settled()
    for (const partition of this.partitions) this.#giveBack(partition)
    if (!this.#host.spec.ephemeral) await this.ownership.close()
    this.commits.close()
    this.delays.close()
    for (const partition of this.partitions) partition.lose()
  }

  /** Nobody takes over what is here: a broadcast. */
  get isAlone(): boolean {
    return this.#host.spec.ephemeral
  }

  /** Number of messages that could be handed out here. */
  async ready(): Promise<number> {
    let count = 0
    for (const { buffer } of this.partitions) count += buffer.length
    for (const { active, stream, consumer } of this.readers)
      if (active) count += (await this.api.consumerInfo(stream, consumer)).num_pending
    return count
  }

  /** Called periodically. */
  async look(): Promise<void> {
    for (const partition of this.partitions) if (partition.mine) this.#losses.told(partition)
    await this.#losses.look(this.partitions, (partition) => partition.buffer.length > 0 || this.#isBehind(partition))
  }

  /** Messages of the partition may be waiting in the stream. */
  #isBehind(partition: Partition): boolean {
    for (const { pending, pulls, partitions } of this.readers)
      if ((pending > 0 || pulls.asked === 0) && partitions.includes(partition)) return true
    return partition.isApart
  }

  // --- what is ours ------------------------------------------------------------------------------------------------

  holds(partition: Partition): boolean {
    return partition.mine && (this.#host.spec.ephemeral || this.leases.leftMs > 0)
  }

  initial(): PartitionState {
    const { to, stream, life } = this.#host.group()
    return { stream, life, first: 0, to, reserved: to, open: [], spans: [], waiting: undefined }
  }

  acquire(unit: string, state: PartitionState, how: Acquired): void {
    const partition = this.#byName.get(unit) as Partition
    const identity = this.#identity
    if (state.stream === identity) {
      partition.load(state, how)
    } else {
      // Its stream was deleted; what was known of it is in the record, or here.
      const { waiting } = state
      const stored = state.open.length + (waiting === undefined ? 0 : waiting.count - waiting.read)
      const here = partition.stream !== '' && partition.stream !== identity ? partition.unread : 0
      this.#report(stored > 0 ? stored : here, state.to, STREAM_DELETED)
      partition.restart(identity)
      this.changedIn(partition)
    }
    partition.unread = 0
    this.#rebuildSoon()
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
    this.#rebuildSoon()
    const isOver = (): boolean => lost.aborted || this.#closed || partition.outstanding.size === 0
    if (!isOver()) {
      const { promise, resolve } = Promise.withResolvers<void>()
      const timer = this.session.host.clock.setTimer(HANDOVER_MS, resolve)
      const check = (): void => {
        if (isOver()) resolve()
      }
      this.#handovers.add(check)
      await promise
      this.#handovers.delete(check)
      timer.cancel()
    }
    if (lost.aborted) return
    const begun = this.#giveBack(partition)
    if (begun.length > 0) this.#host.lost(begun, 'its partition went to another member')
  }

  /** What was handed out and is not settled goes back into the buffer, for the next owner; it has used no attempt. */
  #giveBack(partition: Partition): PartitionDelivery[] {
    const begun = partition.outstanding.toArray()
    const now = this.session.host.clock.now()
    for (const delivery of begun) {
      delivery.lost = true
      partition.outstanding.remove(delivery)
      const { notBefore } = delivery
      const waits = notBefore !== undefined && notBefore > now
      partition.push(delivery.again(delivery.attempt - 1, waits ? notBefore : undefined, waits))
    }
    if (begun.length > 0) partition.changes++
    return begun
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
    this.#rebuildSoon()
  }

  changed(assigned: readonly string[], revoked: readonly string[]): void {
    for (const unit of revoked) {
      const partition = this.#byName.get(unit) as Partition
      if (partition.mine && !this.ownership.owned.includes(unit)) partition.lose()
    }
    if (revoked.length > 0) this.#rebuildSoon()
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
          if (isMoved) this.ownership.drop('the group was moved')
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
    if (this.#host.spec.ephemeral) return 0
    let count = 0
    for (const partition of this.partitions) count += partition.unstored
    return count
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

  /** Some deliveries were settled, or lost. */
  settled(): void {
    for (const check of this.#handovers) check()
  }

  #report(count: number, after: number | undefined, reason: string): void {
    if (count <= 0) return
    const { name, events } = this.session.host
    const { topic, group } = this.#host.spec
    const position = after === undefined ? undefined : positionOf(this.stream, after + 1)
    events.emit('loss', { transport: name, topic, group, count, position, reason })
  }

  // --- readers -----------------------------------------------------------------------------------------------------

  #rebuildSoon(): void {
    if (this.#rebuilding) return
    this.#rebuilding = true
    // Several partitions come and go in one turn.
    setImmediate(() => {
      this.#rebuilding = false
      void Promise.all(this.#rebuild())
    })
  }

  /** Makes the readers fit what is ours; returns how the first attempts of new ones end. */
  #rebuild(): Promise<unknown>[] {
    if (this.#ended) return []
    const ours = this.partitions.filter(({ mine, leaving }) => mine && !leaving)
    // A reader from before a partition came to us is somewhere else in the stream.
    for (const partition of this.#apart.keys())
      if (!ours.includes(partition) || partition.isFresh) this.#closeApart(partition)
    const had = this.#main?.partitions ?? []
    const isSame =
      had.length === ours.length && had.every((partition) => ours.includes(partition) && !partition.isFresh)
    for (const partition of ours) partition.isFresh = false
    // Before 2.10 each is read apart: a consumer has one filter.
    if (this.session.isOlderThan(2, 10))
      return ours.filter((partition) => !this.#apart.has(partition)).map((partition) => this.#openApart(partition))
    if (isSame) return []
    if (this.#main !== undefined) this.#close(this.#main)
    this.#main = undefined
    if (ours.length === 0) return []
    const main = this.#make(ours)
    this.#main = main
    return [main.open()]
  }

  #make(partitions: readonly Partition[]): PartitionReader {
    const filters = partitions.flatMap((partition) => this.#filters.get(partition) ?? [])
    const reader = new PartitionReader(this, partitions, filters)
    this.readers.add(reader)
    this.#sizeRequests(reader)
    return reader
  }

  /** How much a reader may request at once. */
  #sizeRequests({ pulls, partitions }: PartitionReader): void {
    const { prefetch } = this.#host.spec
    pulls.most = Math.max(1, prefetch >> 1)
    const count = this.partitions.length
    pulls.least =
      partitions.length === count ? pulls.most : Math.max(1, Math.min(16, Math.floor(prefetch / (4 * count))))
    pulls.target = pulls.least
  }

  #close(reader: PartitionReader): void {
    this.readers.delete(reader)
    reader.close()
  }

  #openApart(partition: Partition): Promise<unknown> {
    const reader = this.#make([partition])
    this.#apart.set(partition, reader)
    return reader.open()
  }

  #closeApart(partition: Partition): void {
    const reader = this.#apart.get(partition)
    if (reader === undefined) return
    this.#apart.delete(partition)
    this.#close(reader)
  }

  /** A partition takes no more, while others could: what comes for it is dropped, and read again later. */
  setApart(partition: Partition): void {
    if (this.#main === undefined || partition.isApart) return
    partition.dropAhead()
    partition.isApart = true
  }

  /** Partitions that are read apart begin as soon as they have room, and end when they have what the others have. */
  tendApart(hasRoom: (partition: Partition) => boolean): void {
    if (this.#main === undefined || this.#ended) return
    for (const partition of this.partitions) {
      if (!partition.isApart) continue
      const reader = this.#apart.get(partition)
      if (partition.readTo >= partition.droppedTo) {
        partition.isApart = false
        if (reader !== undefined) this.#closeApart(partition)
      } else if (reader === undefined && hasRoom(partition)) void this.#openApart(partition)
    }
  }

  read(native: Incoming, reply: AckReply, reader: PartitionReader): void {
    const place = native.subject === this.#lastSubject ? this.#lastPlace : this.#placeOf(native.subject)
    if (place === undefined) return
    const { partition, topic } = place
    // While it is fresh, what comes was requested before it came to us, and is not what comes next.
    if (!partition.mine || partition.leaving || partition.isFresh) return
    const { seq } = reply
    if (partition.isApart && reader === this.#main) {
      if (seq > partition.droppedTo) partition.droppedTo = seq
      return
    }
    const known = partition.arrived(seq)
    if (known === undefined) return
    this.#reply = reply
    const { message, group, deliverAt } = this.#host.parts.mapping.decode(native, topic, this.#unsaid)
    if (group !== undefined && group !== this.#host.spec.group) {
      // A redrive for another group.
      if (partition.buffer.length === 0) {
        partition.passed()
        this.changedIn(partition)
      }
      return
    }
    const isEarly =
      deliverAt !== undefined && known.notBefore === undefined && deliverAt > this.session.host.clock.now()
    partition.push(
      new PartitionDelivery(
        partition,
        message,
        native.subject,
        seq,
        partition.ordinal,
        native.size,
        isEarly ? { ...known, notBefore: deliverAt } : known,
      ),
    )
    this.wake()
  }

  #placeOf(subject: string): Place | undefined {
    let place = this.#places.get(subject)
    if (place === undefined && !this.#places.has(subject)) {
      place = this.#findPlace(subject)
      if (this.#places.size >= MAX_PLACES) this.#places.clear()
      this.#places.set(subject, place)
    }
    this.#lastSubject = subject
    this.#lastPlace = place
    return place
  }

  #findPlace(subject: string): Place | undefined {
    const { subjects } = this.#host.parts
    const topic = subjects.topicOf(subject)
    // Before 2.10 a consumer of a pattern reads more than that.
    if (!this.#matches(topic)) return undefined
    const partition = this.#byToken.size === 0 ? this.partitions[0] : this.#byToken.get(subjects.tokenOf(subject))
    return partition === undefined ? undefined : { partition, topic }
  }

  caughtUp(reader: PartitionReader): void {
    if (this.#checking) return
    this.#checking = true
    queueMicrotask(() => {
      this.#checking = false
      for (const partition of reader.partitions) {
        if (!partition.mine || partition.isFresh || (partition.isApart && reader === this.#main)) continue
        const before = partition.changes
        partition.passed()
        if (partition.changes !== before) this.changedIn(partition)
      }
    })
  }

  async missing(): Promise<void> {
    await this.#host.parts.topology.ensure()
    this.checkStream()
  }

  trouble(reader: PartitionReader, detail: string | undefined): void {
    this.#host.trouble(reader, detail)
  }

  wake(): void {
    this.#host.wake()
  }
}
