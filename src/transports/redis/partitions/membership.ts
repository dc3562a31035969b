// Longer than most files: taking, handing over and losing a partition must agree on which of its messages may be handled.
import { sleep } from '../../../core/clock.ts'
import { UnsupportedError } from '../../../core/errors.ts'
import type { StartFrom } from '../../../core/transport.ts'
import { settledWithin } from '../../../core/util/settled-within.ts'
import type { Claimer } from '../consume/claimer.ts'
import { fenceFormerOwner } from './fence.ts'
import { releaseDeliveries } from '../consume/release.ts'
import { LossDetector } from '../consume/loss-detector.ts'
import { replyCode } from '../errors.ts'
import { joinGroup, ownerName, restoreGroup } from '../topology/join-group.ts'
import { memberProcesses } from '../topology/member-processes.ts'
import { partitionName } from '../topology/keys.ts'
import type { Maintained } from './maintenance.ts'
import { PartitionState } from './partition-state.ts'
import type { PartitionHost } from './partition-state.ts'
import { Inspection } from './inspection.ts'
import { readStateOf } from '../consume/read-count.ts'
import { parseReaderName } from '../consume/reader-name.ts'
import type { ReadStateReply } from '../consume/read-count.ts'
import type { Readers } from '../consume/readers.ts'
import { ACQUIRE, BEAT, RELEASE } from '../scripts/group.ts'
import { LEAVE } from '../scripts/settle.ts'
import type { MemberContext } from '../consume/member-context.ts'
import type { Source } from '../consume/source.ts'
import { startId } from '../topology/start-id.ts'

/** Interval of new attempts to take a partition that another member is about to give up. */
const ACQUIRE_AGAIN_MS = 100
const LEAVE_AT_ONCE = 500
/** What was deleted is put back that many times during a handover, before the partition is given up without it. */
const RESTORE_ROUNDS = 10
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
  readonly #assignment: string
  readonly #revoking = new Set<Promise<void>>()
  readonly #losses: LossDetector
  readonly #inspection: Inspection
  #paused = false
  #mixed = false
  /** There are other members. */
  #shared = false
  #countedAt: number
  #joined = false
  #left = false
  #ticking: Promise<void> = Promise.resolve()
  #isTicking = false
  /** When this member looks at its share again (monotonic). */
  #beatAt = 0
  /** Of the assignment, as of the last look. */
  #revision = ''

  constructor(parts: MembershipParts) {
    const { context, spec } = parts.member
    this.topic = parts.topic
    this.group = spec.group
    this.#parts = parts
    this.#assignment = context.keys.assignment(parts.topic, spec.group)
    this.#losses = new LossDetector(parts.member)
    this.partitions = Array.from({ length: parts.partitions }, (_, index) => this.#make(index, parts.partitions))
    this.#inspection = new Inspection({
      ...parts,
      losses: this.#losses,
      group: this.group,
      assignment: this.#assignment,
      partitions: this.partitions,
      revision: () => this.#revision,
      isMixed: () => this.#mixed,
      soon: (ms) => this.#soon(ms),
      disowned: (partition, current) => this.#disowned(partition, current),
    })
    this.#countedAt = context.host.clock.monotonic()
  }

  #make(index: number, count: number): PartitionState {
    const { context, spec } = this.#parts.member
    const keys = context.keys.partition(this.topic, index)
    context.retention.watch(keys, count)
    return new PartitionState(keys, context.keys.group(keys, spec.group), {
      removed: (partition, gap) => this.#losses.reportRemoved(partition, gap),
      lose: this.#parts.lose,
      repair: this.#parts.repair,
    })
  }

  /** Others have partitions of this topic, and this member has none. */
  get standby(): boolean {
    return this.#shared && this.partitions.every(({ phase }) => phase === 'idle')
  }

  /** Members without an order read the partitions of the others as well. */
  get isMixed(): boolean {
    return this.#mixed
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
  tick(until = -Infinity): Promise<void> {
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
    const assigned = await this.#beat()
    if (this.#left) return
    const changes = { assigned: [] as string[], revoked: [] as string[] }
    if (assigned !== undefined) {
      await Promise.all(
        this.partitions.map(async (partition) => {
          const mine = assigned.has(partition.keys.partition)
          if (mine && partition.phase === 'idle' && (await this.#acquire(partition)))
            changes.assigned.push(partitionName(partition.keys))
          else if (!mine && partition.phase === 'held') {
            changes.revoked.push(partitionName(partition.keys))
            this.#revoke(partition)
          } else if (!mine && partition.phase === 'idle' && partition.mayBeOwned) await this.#disclaim(partition)
        }),
      )
    }
    // Lost because the group was moved: without owners, all members read all partitions.
    if (!this.#parts.member.owned)
      await Promise.all(
        this.partitions
          .filter(({ phase }) => phase === 'idle')
          .map((partition) => this.#joinOne(partition, 'earliest')),
      )
    if (changes.assigned.length + changes.revoked.length > 0) {
      const { spec, context } = this.#parts.member
      context.host.events.emit('rebalance', {
        transport: context.host.name,
        topic: this.topic,
        group: spec.group,
        consumerId: spec.consumerId,
        ...changes,
      })
    }
    // Whatever was missed: a notice may get lost, and a member without partitions inspects none.
    const isStandby = this.partitions.every(({ phase }) => phase === 'idle')
    this.#soon(this.#parts.member.context.options.leaseMs * (isStandby ? 1 : LOOK_LEASES))
  }

  get #kind(): 'k' | 'p' | 'n' {
    if (!this.#parts.member.owned) return 'n'
    return this.#paused ? 'p' : 'k'
  }

  /** Partitions that are ours; undefined where they have no owners. */
  async #beat(): Promise<ReadonlySet<number> | undefined> {
    const { member } = this.#parts
    const { context, owned } = member
    await context.lease.start()
    const reply = await this.#runBeat(false)
    context.reports.accepted('upkeep')
    this.#shared = (reply[0] as number) > 1
    this.#revision = String(reply[3])
    if (reply[4] === 1) context.maintenance.announce(this.topic, this.group)
    // It waits until others have reported or died, or until it has lived for a lease.
    if (reply[5] === 1) this.#soon(context.options.pollIntervalMs)
    await this.grow(reply[2] as number)
    if (reply[1] === 1 && !this.#mixed) {
      context.host.events.emit('warning', {
        transport: context.host.name,
        code: 'redis-mixed-order',
        detail: `Group "${member.spec.group}" of "${this.topic}" has members with order 'none' and others with an order: those without take messages of any key from the others, so no order holds.`,
      })
    }
    // How much others have read is unknown, from when one came until it left.
    if (this.#mixed !== (reply[1] === 1)) {
      for (const { reads } of this.partitions) {
        reads.reset()
        reads.forgetSeen()
      }
    }
    this.#mixed = reply[1] === 1
    return owned ? new Set(reply.slice(6) as number[]) : undefined
  }

  async #runBeat(isLeaving: boolean): Promise<readonly (number | Buffer)[]> {
    const { context, spec } = this.#parts.member
    const { scripts, lease, options } = context
    const args = [
      spec.consumerId,
      lease.name,
      String(options.leaseMs),
      String(this.partitions.length),
      this.#kind,
      isLeaving ? '1' : '0',
    ]
    for (const [name, until] of await this.#absent()) args.push(name, String(until))
    return (await scripts.run(BEAT, [this.#assignment], args)) as readonly (number | Buffer)[]
  }

  /** Processes with members that don't count: silent ones, and dead ones. */
  async #absent(): Promise<ReadonlyMap<string, number>> {
    const { commands, lease } = this.#parts.member.context
    const processes = new Set(await memberProcesses(commands, this.#assignment))
    processes.delete(lease.name)
    const absent = new Map(lease.others)
    for (const name of await lease.deadOf([...processes])) absent.set(name, -1)
    return absent
  }

  async #acquire(partition: PartitionState): Promise<boolean> {
    const { member, readers } = this.#parts
    const { context } = member
    // A handover that waits for its reply is over: the reply says nothing about what follows.
    partition.generation = ''
    partition.wasAskedFor = true
    // An earlier read must have ended: what it still brings would come after we had looked for pending entries.
    await readers.remove(partition)
    partition.mayBeOwned = true
    let reply = await this.#runAcquire(partition, '')
    if (reply[0] === 0) {
      const process = String(reply[1]).split(' ', 1)[0] as string
      if (process !== '' && (await context.lease.deadOf([process])).has(process))
        reply = await this.#runAcquire(partition, process)
    }
    if (reply[0] === 0) {
      partition.mayBeOwned = false
      this.#soon(ACQUIRE_AGAIN_MS)
      return false
    }
    const hasFormer = reply[2] === 1
    const former = parseReaderName(String(reply[3] ?? ''))
    // After this process has lost its lease, it may be its own.
    if (former !== undefined && former.id !== '' && String(reply[3]) !== readers.nameOf(partition))
      await fenceFormerOwner(context, partition, former)
    const floor = String(reply[4] ?? '')
    partition.former = former === undefined ? undefined : { consumer: former.consumer, floor }
    // Others may have read further. Without a floor, the group was deleted, and it continues where we were.
    if (floor !== '') partition.lastRead = floor
    if (this.#left) return false
    // What its former owner receives from now on, it can't ack: it is claimed here.
    partition.reads.forgetSeen()
    partition.reads.see(String(reply[6] ?? ''))
    // What was removed by now nobody else will report: the server's count has been corrected.
    const readState = reply[5] ?? []
    partition.reads.begin(readStateOf(readState))
    const state = String(reply[7] ?? '')
    partition.lastSeen = readState.length > 0 && state !== '' ? { state, resets: partition.reads.resets } : undefined
    // Before it was cut off, the former owner may have read more.
    if (hasFormer) partition.reads.reset()
    this.#hold(partition, String(reply[1]))
    return true
  }

  async #runAcquire(partition: PartitionState, dead: string): Promise<Acquired> {
    const { member, readers } = this.#parts
    const { scripts, options } = member.context
    return (await scripts.run(
      ACQUIRE,
      [partition.group.meta, partition.keys.stream],
      [
        ownerName(member),
        String(options.leaseMs),
        readers.nameOf(partition),
        this.group,
        dead,
        String(partition.keys.partition),
      ],
    )) as Acquired
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
    const done = this.#handOver(partition)
      .catch((error: unknown) => {
        member.reportError(error, `handing over ${partition.keys.stream}`)
        partition.lose('the partition was handed over')
      })
      .finally(() => {
        this.#revoking.delete(done)
        // It may have been given back to this member meanwhile; or the server could not be told that it is free.
        this.#soon(ACQUIRE_AGAIN_MS)
      })
    this.#revoking.add(done)
  }

  /** Finishes what is in flight, within a time limit, before another member may begin. */
  async #handOver(partition: PartitionState): Promise<void> {
    const { member, readers } = this.#parts
    const { context } = member
    const { generation } = partition
    await readers.remove(partition)
    for (const source of partition.sources) await this.#giveBack(partition, source)
    await this.#quiet(partition)
    if (partition.phase !== 'revoking') return
    if (partition.outstanding > 0) partition.lose('the partition was handed over before its messages were handled')
    await this.#lastLook(partition)
    // Lost meanwhile, and taken again.
    if (partition.generation !== generation && partition.generation !== '') return
    partition.phase = 'idle'
    const args = [ownerName(member), generation, partition.floor]
    const reply = await context.scripts.run(RELEASE, [partition.group.meta], args)
    if (partition.generation !== generation) return
    partition.generation = ''
    // Refused when the group was moved meanwhile: we are still its owner then, and tell the server later.
    partition.mayBeOwned = reply === 0
  }

  /**
   * What waits here goes back. If data of the group was deleted, it is put back first: nobody else knows of these. What was in a stream
   * of copies that was deleted is lost.
   */
  async #giveBack(partition: PartitionState, source: Source): Promise<void> {
    const { member, claimer } = this.#parts
    for (let round = 1; ; round++) {
      const ready = source.takeReady()
      try {
        await releaseDeliveries(member, source, ready)
        return
      } catch (error) {
        if (replyCode(error) !== 'NOGROUP' || partition.phase !== 'revoking' || round > RESTORE_ROUNDS) throw error
        source.ready = ready
        await restoreGroup(member, partition)
        if (source.missing)
          claimer.reportLoss(
            source,
            source.takeReady().map(({ id }) => id),
          )
        else if (round > 1) await sleep(member.context.host.clock, ACQUIRE_AGAIN_MS)
      }
    }
  }

  /** The server may know this member as the owner of a partition that it lost: others would wait for it forever. */
  async #disclaim(partition: PartitionState): Promise<void> {
    const { member, readers } = this.#parts
    await readers.remove(partition)
    await member.context.scripts.run(
      RELEASE,
      [partition.group.meta],
      [ownerName(member), `${partition.keys.partition}:`, ''],
    )
    partition.mayBeOwned = false
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

  async #quiet(partition: PartitionState): Promise<void> {
    const { host, options } = this.#parts.member.context
    // A partition that is given up because of a pause has time: its handlers should finish.
    if (this.#paused) await partition.whenQuiet()
    else await settledWithin(host.clock, options.handoverTimeoutMs, partition.whenQuiet())
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
    const { member, readers } = this.#parts
    const { context, owned } = member
    const { scripts } = context
    await this.stop()
    await Promise.all(
      this.partitions.map(async (partition) => {
        // Other members read on the same connection.
        await readers.remove(partition)
        const { sources, group, floor, mayBeOwned } = partition
        const generation = partition.generation === '' ? `${partition.keys.partition}:` : partition.generation
        partition.generation = ''
        await Promise.all(sources.map((source) => this.#leaveSource(source)))
        if (!owned || !mayBeOwned) return
        await scripts.run(RELEASE, [group.meta], [ownerName(member), generation, floor])
        partition.mayBeOwned = false
      }),
    )
    await this.#runBeat(true)
    context.maintenance.announce(this.topic, this.group)
  }

  /** In steps, so that none of them blocks the server. */
  async #leaveSource({ stream, later, notes }: Source): Promise<void> {
    const { context, spec, consumer } = this.#parts.member
    const args = [spec.group, consumer, String(LEAVE_AT_ONCE)]
    while (Number(await context.scripts.run(LEAVE, [stream, later, notes], args)) === 1);
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

type Acquired = readonly [number, number | Buffer, number?, Buffer?, Buffer?, ReadStateReply?, Buffer?, Buffer?]
