import { UnsupportedError } from '../../../core/errors.ts'
import type { StartFrom } from '../../../core/transport.ts'
import { allOrFirstError } from '../../../core/util/all-or-first-error.ts'
import type { Claimer } from '../consume/claimer.ts'
import { LossDetector } from '../consume/loss-detector.ts'
import type { MemberContext } from '../consume/member-context.ts'
import type { Readers } from '../consume/readers.ts'
import { replyCode } from '../errors.ts'
import { joinGroup, restoreGroup } from '../topology/join-group.ts'
import { partitionName } from '../topology/keys.ts'
import { startId } from '../topology/start-id.ts'
import { Assignment } from './assignment.ts'
import type { MemberKind } from './assignment.ts'
import { disclaim, handOver, leavePartition } from './give-up-partition.ts'
import type { GiveUpParts } from './give-up-partition.ts'
import { Inspection } from './inspection.ts'
import type { Maintained } from './maintenance.ts'
import { PartitionState } from './partition-state.ts'
import type { PartitionHost } from './partition-state.ts'
import { takePartition } from './take-partition.ts'

/** Interval of new attempts to take a partition that another member is about to give up. */
const ACQUIRE_AGAIN_MS = 100
/** A member looks at its share after that many leases, even if nothing seems to have changed. */
const LOOK_LEASES = 10
/** The list of topics is looked at after that many leases. */
const COUNT_LEASES = 3

/** What a membership needs from its subscription. */
export interface MembershipParts {
  readonly member: MemberContext
  readonly claimer: Claimer
  readonly topic: string
  readonly partitions: number
  readonly readers: Readers
  readonly lose: PartitionHost['lose']
  readonly repair: PartitionHost['repair']
  /** Reports an attempt to keep the group alive, and whether it failed. */
  readonly onMaintained: (error: unknown) => void
}

/** One member's part in one topic of its group: its share of the partitions. */
export class Membership implements Maintained {
  readonly topic: string
  readonly group: string
  readonly partitions: PartitionState[]
  readonly #parts: MembershipParts
  readonly #assignment: Assignment
  readonly #giveUp: GiveUpParts
  readonly #losses: LossDetector
  readonly #host: PartitionHost
  readonly #inspection: Inspection
  #paused = false
  #countedAt: number
  #joined = false
  #left = false
  #ticking: Promise<void> = Promise.resolve()
  #isTicking = false
  /** When this member looks at its share again (monotonic). */
  #beatAt = 0

  constructor(parts: MembershipParts) {
    const { context, spec } = parts.member
    this.topic = parts.topic
    this.group = spec.group
    this.#parts = parts
    this.#assignment = new Assignment(parts.member, parts.topic)
    this.#giveUp = {
      ...parts,
      isPaused: () => this.#paused,
      lastLook: (partition) => this.#lastLook(partition),
    }
    this.#losses = new LossDetector(parts.member)
    this.#host = {
      removed: (partition, gap) => this.#losses.reportRemoved(partition, gap),
      lose: parts.lose,
      repair: parts.repair,
    }
    this.partitions = Array.from({ length: parts.partitions }, (_, index) => this.#make(index, parts.partitions))
    this.#inspection = new Inspection({
      ...parts,
      losses: this.#losses,
      group: this.group,
      assignment: this.#assignment.key,
      partitions: this.partitions,
      revision: () => this.#assignment.revision,
      isMixed: () => this.isMixed,
      soon: (ms) => this.#soon(ms),
      disowned: (partition, current) => this.#disowned(partition, current),
    })
    this.#countedAt = context.host.clock.monotonic()
  }

  #make(index: number, count: number): PartitionState {
    const { context, spec } = this.#parts.member
    const keys = context.keys.partition(this.topic, index)
    context.retention.watch(keys, count)
    return new PartitionState(keys, context.keys.group(keys, spec.group), this.#host)
  }

  /** Others have partitions of this topic, and this member has none. */
  get standby(): boolean {
    return this.#assignment.isShared && this.partitions.every(({ phase }) => phase === 'idle')
  }

  /** Members without an order read the partitions of the others as well. */
  get isMixed(): boolean {
    return this.#assignment.isMixed
  }

  /** Creates the group where it is missing. */
  async join(from: StartFrom): Promise<void> {
    const { member } = this.#parts
    if (member.spec.order === 'strict' && this.partitions.length > 1)
      throw new UnsupportedError(
        `redis can't be used for the consumer of "${this.topic}": order 'strict' needs a topic of one partition, and this one was made with ${this.partitions.length}. Use a new topic with partitions: { "${this.topic}": 1 }, or order 'key'.`,
      )
    await Promise.all(this.partitions.map((partition) => this.#joinOne(partition, from)))
    this.#joined = true
  }

  async #joinOne(partition: PartitionState, from: StartFrom): Promise<void> {
    const { member } = this.#parts
    // A partition that was joined before and removed meanwhile continues at its position.
    const start = partition.lastRead ?? startId(from, partition.keys.partition)
    const generation = await joinGroup(member, partition, start)
    if (!member.owned) this.#hold(partition, generation)
  }

  /**
   * The topic's number of partitions was changed, or the topic was lost and created again: publishers may write to any
   * partition that any process knows of, so all are read. Existing messages have not been seen by any member.
   */
  async grow(count: number): Promise<void> {
    const { member, readers } = this.#parts
    const known = this.partitions.length
    if (count <= known || this.#left) return
    if (member.spec.order === 'strict') return
    member.context.reports.warnOnce(
      'redis-partitions',
      `The topic "${this.topic}" had ${known} partitions, and has ${count} by now; they are all read, but keys that moved to another partition have lost their order. Don't change the number of partitions of a topic that is in use.`,
    )
    const added = Array.from({ length: count - known }, (_, at) => this.#make(known + at, count))
    await readers.connect(added)
    await Promise.all(added.map((partition) => this.#joinOne(partition, 'earliest')))
    this.partitions.push(...added)
    this.#soon(0)
  }

  #hold(partition: PartitionState, generation: string): void {
    partition.phase = 'held'
    partition.generation = generation
    for (const source of partition.sources) {
      // From an earlier time: the owner in between has handled it.
      source.takeReady()
      source.missing = false
      // What its former owner left comes before anything new.
      if (this.#parts.member.owned) this.#parts.claimer.recover(source, 'all')
    }
    partition.sweptAt = this.#parts.member.context.host.clock.monotonic()
    partition.inspectAt = 0
    this.#parts.readers.add(partition)
  }

  // --- its share ---------------------------------------------------------------------------------------------------

  /** While there are other members, partitions of a paused one go to them. */
  set paused(paused: boolean) {
    if (paused === this.#paused) return
    this.#paused = paused
    this.changed()
  }

  /** A server that has failed over may have forgotten that partitions were released: they are reported again. */
  reconnected(): void {
    for (const partition of this.partitions) partition.mayBeOwned ||= partition.wasAskedFor
    this.changed()
  }

  changed(): void {
    this.#beatAt = 0
    for (const partition of this.partitions) partition.inspectAt = 0
  }

  get quietUntil(): number | undefined {
    if (!this.#joined || this.#left || this.#isTicking) return Infinity
    return this.#inspection.quietUntil(this.#beatAt)
  }

  maintain(until: number): void {
    if (!this.#joined || this.#left || this.#isTicking) return
    if (until < this.#beatAt && this.partitions.every(({ inspectAt }) => until < inspectAt)) return
    this.tick(until).then(
      () => this.#parts.onMaintained(undefined),
      (error: unknown) => this.#parts.onMaintained(error),
    )
  }

  /** A partition was lost: it is taken again, or reported to the server as free. */
  lostOne(): void {
    if (!this.#left) this.#soon(1)
  }

  /** Looks at its share again after at most `ms`. */
  #soon(ms: number): void {
    const { context } = this.#parts.member
    this.#beatAt = Math.min(this.#beatAt, context.host.clock.monotonic() + ms)
    context.maintenance.soon(ms)
  }

  /**
   * Takes what is now ours, gives up what is not, and looks at what is due now, or until that time (monotonic). One run at a time:
   * two would both take the same partitions, and what is read after the first has its generation, which ends with the second.
   */
  tick(until: number = -Infinity): Promise<void> {
    const next = (): Promise<void> => {
      this.#isTicking = true
      return this.#tick(until).finally(() => {
        this.#isTicking = false
      })
    }
    this.#ticking = this.#ticking.then(next, next)
    return this.#ticking
  }

  async #tick(until: number): Promise<void> {
    // A member that takes a partition before its group exists would take it for a deleted one, and wait for a lease.
    if (!this.#joined || this.#left) return
    const { clock } = this.#parts.member.context.host
    if (clock.monotonic() >= this.#beatAt) await this.#look()
    if (this.#left) return
    await this.#inspection.run(Math.max(until, clock.monotonic()))
    this.#losses.sweepConsumers(this.partitions)
    await this.#lookForPartitions()
  }

  async #look(): Promise<void> {
    this.#beatAt = Infinity
    try {
      await this.#share()
    } catch (error) {
      this.#beatAt = 0
      throw error
    }
  }

  async #share(): Promise<void> {
    const assigned = await this.#report()
    if (this.#left) return
    const changes = { assigned: [] as string[], revoked: [] as string[] }
    if (assigned !== undefined) {
      // Waits for all, even if one fails: the next run must not find any in progress.
      await allOrFirstError(
        this.partitions.map(async (partition) => {
          const mine = assigned.has(partition.keys.partition)
          if (mine && partition.phase === 'idle' && (await this.#acquire(partition)))
            changes.assigned.push(partitionName(partition.keys))
          else if (!mine && partition.phase === 'held') {
            changes.revoked.push(partitionName(partition.keys))
            this.#revoke(partition)
          } else if (!mine && partition.phase === 'idle' && partition.mayBeOwned)
            await disclaim(this.#giveUp, partition)
        }),
      )
    }
    // Lost because the group was moved: without owners, all members read all partitions.
    if (!this.#parts.member.owned)
      await allOrFirstError(
        this.partitions
          .filter(({ phase }) => phase === 'idle')
          .map((partition) => this.#joinOne(partition, 'earliest')),
      )
    this.#assignment.emitChanges(changes)
    // Whatever was missed: a notice may get lost, and a member without partitions inspects none.
    const isStandby = this.partitions.every(({ phase }) => phase === 'idle')
    this.#soon(this.#parts.member.context.options.leaseMs * (isStandby ? 1 : LOOK_LEASES))
  }

  get #kind(): MemberKind {
    if (!this.#parts.member.owned) return 'n'
    return this.#paused ? 'p' : 'k'
  }

  /** Partitions that are ours; undefined where they have no owners. */
  async #report(): Promise<ReadonlySet<number> | undefined> {
    const { context, owned } = this.#parts.member
    const share = await this.#assignment.report(this.#kind, this.partitions.length)
    if (share.isWaiting) this.#soon(context.options.pollIntervalMs)
    // How much others have read is unknown, from when one came until it left.
    if (share.mixedChanged)
      for (const { reads } of this.partitions) {
        reads.reset()
        reads.forgetSeen()
      }
    await this.grow(share.partitions)
    return owned ? share.mine : undefined
  }

  async #acquire(partition: PartitionState): Promise<boolean> {
    const { member, readers } = this.#parts
    const generation = await takePartition(member, readers, partition)
    if (generation === undefined) this.#soon(ACQUIRE_AGAIN_MS)
    if (generation === undefined || this.#left) return false
    this.#hold(partition, generation)
    return true
  }

  #disowned(partition: PartitionState, current: string): void {
    const { member } = this.#parts
    if (current === '') {
      // The group's data was deleted: what we have here is still ours.
      partition.repair()
      return
    }
    partition.lose('the group was moved, or another member has taken the partition over')
    if (member.owned) {
      // Moved, not taken: we can take it again at once.
      this.#soon(1)
      return
    }
    this.#hold(partition, current)
  }

  // --- giving up ---------------------------------------------------------------------------------------------------

  #revoke(partition: PartitionState): void {
    const { member } = this.#parts
    partition.phase = 'revoking'
    handOver(this.#giveUp, partition)
      .catch((error: unknown) => {
        member.reportError(error, `handing over ${partition.keys.stream}`)
        partition.lose('the partition was handed over')
      })
      // It may have been given back to this member meanwhile; or the server could not be told that it is free.
      .finally(() => this.#soon(ACQUIRE_AGAIN_MS))
  }

  /** Nothing is read any more, and the next owners can't know what this member has read. */
  async lastLooks(): Promise<void> {
    if (!this.#parts.member.owned) return
    await Promise.all(
      this.partitions.filter(({ phase }) => phase === 'held').map((partition) => this.#lastLook(partition)),
    )
  }

  async #lastLook(partition: PartitionState): Promise<void> {
    await this.#inspection.lookForLoss(partition)
    partition.reads.readEnded()
  }

  /** The lease of this process is over: other members may have all that this one owned. */
  loseAll(reason: string): void {
    const { member } = this.#parts
    if (!member.owned) return
    for (const partition of this.partitions) if (partition.phase !== 'idle') partition.lose(reason)
    this.changed()
  }

  /** Ends its work here: it takes no partition any more, and makes nothing again that is deleted from now on. */
  async stop(): Promise<void> {
    this.#left = true
    await this.#ticking.catch(() => {})
    for (const partition of this.partitions) partition.phase = 'idle'
  }

  /** Leaves: what is left goes to others at once, without counting as an attempt. May be called again if it fails. */
  async leave(): Promise<void> {
    await this.stop()
    await Promise.all(this.partitions.map((partition) => leavePartition(this.#giveUp, partition)))
    await this.#assignment.leave(this.#kind, this.partitions.length)
  }

  /** Repairs what was deleted during use. */
  async repair(partition: PartitionState): Promise<void> {
    const { member, claimer } = this.#parts
    if (partition.phase === 'idle') return
    try {
      await restoreGroup(member, partition)
    } catch (error) {
      if (replyCode(error) !== 'FENCED') throw error
      partition.lose('the group was deleted, and another member has made it again')
    }
    // The search found nothing while the group was missing.
    for (const source of partition.sources) claimer.recover(source, member.owned ? 'all' : 'mine')
    partition.inspectAt = 0
    this.#soon(1)
  }

  /** The list of topics may have changed since we joined. */
  async #lookForPartitions(): Promise<void> {
    const { context } = this.#parts.member
    const now = context.host.clock.monotonic()
    if (now - this.#countedAt < context.options.leaseMs * COUNT_LEASES) return
    this.#countedAt = now
    await this.grow(await context.topics.partitions(this.topic, this.partitions.length))
  }
}
