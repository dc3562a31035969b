// Longer than most files: taking, handing over and losing a partition must agree on which of its messages may be handled.
import { UnsupportedError } from '../../core/errors.ts'
import type { StartFrom } from '../../core/transport.ts'
import type { Claimer } from './claimer.ts'
import { cutOff } from './cut-off.ts'
import { handBack } from './hand-back.ts'
import { Housekeeping } from './housekeeping.ts'
import { refusesEverybody, replyCode } from './errors.ts'
import { joinGroup, restoreGroup } from './join-group.ts'
import { partitionName } from './keys.ts'
import type { MembershipKeys } from './keys.ts'
import type { ResolvedRedisOptions } from './options.ts'
import { PartitionState } from './partition-state.ts'
import { readStateOf } from './read-count.ts'
import type { ReadStateReply } from './read-count.ts'
import type { Readers } from './readers.ts'
import { ACQUIRE, BEAT, RELEASE, TICK } from './scripts/group.ts'
import { LEAVE } from './scripts/settle.ts'
import type { Seat } from './seat.ts'
import { Source } from './source.ts'
import { startId } from './start-id.ts'

/** Interval of new attempts to take a partition that another member is about to give up. */
const ACQUIRE_AGAIN_MS = 100
const SILENT_POLLS = 4
const MIN_SILENT_MS = 1_000
const LEAVE_AT_ONCE = 500

/** What a membership needs from its subscription. */
export interface MembershipParts {
  readonly seat: Seat
  readonly claimer: Claimer
  readonly topic: string
  readonly partitions: number
  readonly readers: Readers
  /** Calls `tick` again after at most that time. */
  readonly soon: (ms: number) => void
}

/** One member's part in one topic of its group: its signs of life, and its partitions. */
export class Membership {
  readonly topic: string
  readonly partitions: PartitionState[]
  readonly #parts: MembershipParts
  readonly #keys: MembershipKeys
  readonly #revoking = new Set<Promise<void>>()
  readonly #housekeeping: Housekeeping
  /** While there are other members, partitions go to them. */
  paused = false
  #mixed = false
  /** There are other members. */
  #shared = false
  #countedAt: number
  #joined = false
  #left = false
  #ticking: Promise<void> = Promise.resolve()

  constructor(parts: MembershipParts) {
    const { context, spec } = parts.seat
    this.topic = parts.topic
    this.#parts = parts
    this.#keys = context.keys.membership(parts.topic, spec.group)
    this.#housekeeping = new Housekeeping(parts.seat)
    this.partitions = Array.from({ length: parts.partitions }, (_, index) => this.#make(index, parts.partitions))
    this.#countedAt = context.host.clock.monotonic()
  }

  #make(index: number, count: number): PartitionState {
    const { context, spec } = this.#parts.seat
    const keys = context.keys.partition(this.topic, index)
    context.retention.watch(keys, count)
    return new PartitionState(keys, context.keys.group(keys, spec.group), (partition, gap) =>
      this.#housekeeping.reportRemoved(partition, gap),
    )
  }

  /** Others have partitions of this topic, and this member has none. */
  get standby(): boolean {
    return this.#shared && this.partitions.every(({ phase }) => phase === 'idle')
  }

  /** Creates the group where it is missing. */
  async join(from: StartFrom): Promise<void> {
    const { seat } = this.#parts
    if (seat.spec.order === 'strict' && this.partitions.length > 1)
      throw new UnsupportedError(
        `redis can't be used for the consumer of "${this.topic}": order 'strict' needs a topic of one partition, and this one was made with ${this.partitions.length}. Use a new topic with topicPartitions: { "${this.topic}": 1 }, or order 'key'.`,
      )
    await Promise.all(this.partitions.map((partition) => this.#joinOne(partition, from)))
    this.#joined = true
  }

  async #joinOne(partition: PartitionState, from: StartFrom): Promise<void> {
    const { seat } = this.#parts
    // A partition that was joined before and removed meanwhile continues at its position.
    const start = partition.lastRead ?? startId(from, partition.keys.partition)
    const generation = await joinGroup(seat, partition, start)
    if (!seat.owned) this.#hold(partition, generation)
  }

  /**
   * The topic's number of partitions was changed, or the topic was lost and created again: publishers may write to any
   * partition that any process knows of, so all are read. Existing messages have not been seen by any member.
   */
  async grow(count: number): Promise<void> {
    const { seat, readers } = this.#parts
    const known = this.partitions.length
    if (count <= known || this.#left) return
    if (seat.spec.order === 'strict') return
    seat.context.reports.warnOnce(
      'redis-partitions',
      `The topic "${this.topic}" had ${known} partitions, and has ${count} by now; they are all read, but keys that moved to another partition have lost their order. Don't change the number of partitions of a topic that is in use.`,
    )
    const added = Array.from({ length: count - known }, (_, at) => this.#make(known + at, count))
    await readers.connect(added)
    await Promise.all(added.map((partition) => this.#joinOne(partition, 'earliest')))
    this.partitions.push(...added)
  }

  #hold(partition: PartitionState, generation: string): void {
    partition.phase = 'held'
    partition.generation = generation
    for (const source of partition.sources) {
      // From an earlier time: the owner in between has handled it.
      source.takeReady()
      source.missing = false
      // What its former owner left comes before anything new.
      if (this.#parts.seat.owned) this.#parts.claimer.recover(source, 'all')
    }
    partition.sweptAt = this.#parts.seat.context.host.clock.monotonic()
    this.#parts.readers.of(partition).add(partition)
  }

  // --- signs of life -----------------------------------------------------------------------------------------------

  /**
   * Renews what we have, takes what is now ours, gives up what is not. One run at a time: two would both take the same
   * partitions, and what is read after the first has its generation, which ends with the second.
   */
  tick(): Promise<void> {
    const next = (): Promise<void> => this.#tick()
    this.#ticking = this.#ticking.then(next, next)
    return this.#ticking
  }

  async #tick(): Promise<void> {
    // A member that takes a partition before its group exists would take it for a deleted one, and wait for a lease.
    if (!this.#joined || this.#left) return
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
          }
        }),
      )
    }
    // Lost because the group was moved: without owners, all members read all partitions.
    if (!this.#parts.seat.owned)
      await Promise.all(
        this.partitions
          .filter(({ phase }) => phase === 'idle')
          .map((partition) => this.#joinOne(partition, 'earliest')),
      )
    if (changes.assigned.length + changes.revoked.length > 0) {
      const { spec, context } = this.#parts.seat
      context.host.events.emit('rebalance', {
        transport: context.host.name,
        topic: this.topic,
        group: spec.group,
        consumerId: spec.consumerId,
        ...changes,
      })
    }
    await Promise.all(
      this.partitions.filter(({ phase }) => phase !== 'idle').map((partition) => this.#renew(partition)),
    )
    this.#housekeeping.sweepConsumers(this.partitions)
    await this.#lookForPartitions()
  }

  get #kind(): 'k' | 'p' | 'n' {
    if (!this.#parts.seat.owned) return 'n'
    return this.paused ? 'p' : 'k'
  }

  /** Partitions that are ours; undefined where they have no owners. */
  async #beat(): Promise<ReadonlySet<number> | undefined> {
    const { seat } = this.#parts
    const { context, member, owned } = seat
    const { leaseMs } = context.options
    const reply = (await context.scripts.run(
      BEAT,
      [this.#keys.members, this.#keys.assignment],
      [member, String(leaseMs), String(this.partitions.length), this.#kind, '0', String(silentMs(context.options))],
    )) as readonly number[]
    context.reports.accepted('upkeep')
    this.#shared = (reply[0] as number) > 1
    await this.grow(reply[2] as number)
    if (reply[1] === 1 && !this.#mixed) {
      context.host.events.emit('warning', {
        transport: context.host.name,
        code: 'redis-mixed-order',
        detail: `Group "${seat.spec.group}" of "${this.topic}" has members with order 'none' and others with an order: those without take messages of any key from the others, so no order holds.`,
      })
    }
    this.#mixed = reply[1] === 1
    return owned ? new Set(reply.slice(3)) : undefined
  }

  async #acquire(partition: PartitionState): Promise<boolean> {
    const { seat, readers, soon } = this.#parts
    const { context, member, spec } = seat
    const { clock } = context.host
    const reader = readers.of(partition)
    // An earlier read must have ended: what it still brings would come after we had looked for pending entries.
    await reader.remove(partition)
    const askedAt = clock.monotonic()
    const reply = (await context.scripts.run(
      ACQUIRE,
      [partition.group.meta, partition.keys.stream],
      [member, String(context.options.leaseMs), reader.connection, spec.group],
    )) as readonly [number, number | Buffer, Buffer?, Buffer?, Buffer?, ReadStateReply?]
    if (reply[0] === 0) {
      soon(Math.min(ACQUIRE_AGAIN_MS, Number(reply[1]) + 1))
      return false
    }
    const former = String(reply[2] ?? '')
    if (former !== '') await cutOff(context, partition, former)
    const dead = String(reply[3] ?? '')
    const floor = String(reply[4] ?? '')
    partition.former = dead === '' ? undefined : { member: dead, floor }
    // Others may have read further. Without a floor, the group was deleted, and it continues where we were.
    if (floor !== '') partition.lastRead = floor
    // It left during the call: the lease expires by itself.
    if (this.#left) return false
    partition.leaseUntil = askedAt + context.options.leaseMs
    // Before it was cut off, the former owner may have read more.
    partition.reads.begin(former === '' ? readStateOf(reply[5] ?? []) : undefined)
    this.#hold(partition, String(reply[1]))
    return true
  }

  async #renew(partition: PartitionState): Promise<void> {
    const { seat, claimer, soon } = this.#parts
    const { context, member, owned, spec } = seat
    const { clock } = context.host
    const { keys, group, generation } = partition
    const askedAt = clock.monotonic()
    const connection = this.#parts.readers.of(partition).connection
    const { floor } = partition
    const out = partition.unsettled(partition.main)
    let reply: readonly [number, Buffer, number, number, number, number, number]
    try {
      reply = (await context.scripts.run(
        TICK,
        [keys.stream, group.meta, group.later, group.side, group.sideLater, keys.delayed, group.delayed],
        [
          spec.group,
          member,
          generation,
          owned ? String(context.options.leaseMs) : '0',
          connection,
          floor,
          !owned || out.length > 0 ? '1' : '0',
        ],
      )) as typeof reply
    } catch (error) {
      // Then no other member can take it over either: what is being handled here stays ours. Not where another server
      // may have become the primary meanwhile.
      const alone = context.options.sentinel === undefined && !context.wire.cluster
      if (alone && refusesEverybody(error) && partition.generation === generation)
        partition.leaseUntil = askedAt + context.options.leaseMs
      throw error
    }
    if (partition.generation !== generation || partition.phase === 'idle') return
    const [ours, current, hasSide, later, sideLater, delayed, pending] = reply
    if (ours === 0) {
      this.#disowned(partition, String(current))
      return
    }
    if (owned) partition.leaseUntil = askedAt + context.options.leaseMs
    if (delayed >= 0) soon(delayed + 1)
    // In flight before and after the call: pending at the server, unless the group or our consumer was deleted.
    if (pending === -2 || (pending >= 0 && pending < stillOut(partition, out))) seat.repair(partition)
    if (partition.phase !== 'held') return
    if (hasSide === 1 && partition.side?.missing !== false) this.#beginSide(partition)
    claimer.expect(partition.main, later)
    if (partition.side !== undefined) claimer.expect(partition.side, sideLater)
    this.#sweep(partition)
    this.#parts.readers.of(partition).wake()
  }

  #disowned(partition: PartitionState, current: string): void {
    const { seat } = this.#parts
    if (current === '') {
      // The group's data was deleted: what we have here is still ours.
      seat.repair(partition)
      return
    }
    seat.lose(partition, 'the group was moved, or another member has taken the partition over')
    if (seat.owned) {
      // Moved, not taken: we can take it again at once.
      this.#parts.soon(1)
      return
    }
    this.#hold(partition, current)
  }

  /** The stream of copies for the group exists, for the first time or again. */
  #beginSide(partition: PartitionState): void {
    partition.side ??= new Source(partition, true)
    partition.side.missing = false
    this.#parts.claimer.recover(partition.side, this.#parts.seat.owned ? 'all' : 'mine')
    this.#parts.readers.of(partition).refresh()
  }

  /**
   * Finds entries that no member has renewed for a lease: their member died. With jitter, so that members don't do it
   * all at once.
   */
  #sweep(partition: PartitionState): void {
    const { seat, claimer } = this.#parts
    const now = seat.context.host.clock.monotonic()
    if (now - partition.sweptAt < seat.context.options.leaseMs * (0.4 + Math.random() * 0.2)) return
    partition.sweptAt = now
    for (const source of partition.sources) claimer.recover(source, 'orphans')
    void this.#lookForLoss(partition)
  }

  /** Members without an order read the partitions of the others as well. */
  #lookForLoss(partition: PartitionState): Promise<void> {
    return this.#housekeeping.lookForLoss(partition, this.#parts.seat.owned && !this.#mixed).catch(() => {})
  }

  // --- giving up ---------------------------------------------------------------------------------------------------

  #revoke(partition: PartitionState): void {
    const { seat } = this.#parts
    partition.phase = 'revoking'
    const done = this.#handOver(partition)
      .catch((error: unknown) => {
        seat.tellError(error, `handing over ${partition.keys.stream}`)
        // The lease expires by itself, and the next owner finds what is pending.
        seat.lose(partition, 'the partition was handed over')
      })
      .finally(() => this.#revoking.delete(done))
    this.#revoking.add(done)
  }

  /** Finishes what is in flight, within a time limit, before another member may begin. */
  async #handOver(partition: PartitionState): Promise<void> {
    const { seat, readers } = this.#parts
    const { context, member } = seat
    await readers.of(partition).remove(partition)
    for (const source of partition.sources) await handBack(seat, source, source.takeReady())
    await this.#quiet(partition)
    if (partition.phase !== 'revoking') return
    if (partition.outstanding > 0)
      seat.lose(partition, 'the partition was handed over before its messages were handled')
    await this.#lastLook(partition)
    partition.phase = 'idle'
    const { floor, generation } = partition
    await context.scripts.run(RELEASE, [partition.group.meta], [member, generation, floor])
    if (partition.generation === generation) partition.generation = ''
  }

  /** Nothing is read any more, and the next owners can't know what this member has read. */
  async lastLooks(): Promise<void> {
    if (!this.#parts.seat.owned) return
    await Promise.all(
      this.partitions.filter(({ phase }) => phase === 'held').map((partition) => this.#lastLook(partition)),
    )
  }

  async #lastLook(partition: PartitionState): Promise<void> {
    await this.#lookForLoss(partition)
    partition.reads.readEnded()
  }

  async #quiet(partition: PartitionState): Promise<void> {
    const { clock } = this.#parts.seat.context.host
    let giveUp: () => void = () => {}
    const late = new Promise<void>((resolve) => {
      giveUp = resolve
    })
    const timer = clock.setTimer(this.#parts.seat.context.options.handoverTimeoutMs, giveUp)
    // A partition that is given up because of a pause has time: its handlers should finish.
    await (this.paused ? partition.whenQuiet() : Promise.race([partition.whenQuiet(), late]))
    timer.cancel()
  }

  /** Leases that could not be renewed in time are over, whatever the server will say. */
  checkLeases(): void {
    const { seat } = this.#parts
    if (!seat.owned) return
    const now = seat.context.host.clock.monotonic()
    for (const partition of this.partitions)
      if (partition.phase !== 'idle' && partition.leaseUntil <= now)
        seat.lose(partition, 'its lease could not be renewed in time')
  }

  /** Leaves: what is left goes to others at once, without counting as an attempt. */
  async leave(): Promise<void> {
    this.#left = true
    const { seat } = this.#parts
    const { context, member, owned } = seat
    const { scripts, options } = context
    await Promise.all(
      this.partitions.map(async (partition) => {
        const { generation, sources, group, floor } = partition
        partition.phase = 'idle'
        partition.generation = ''
        await Promise.all(sources.map((source) => this.#leaveSource(source)))
        if (owned && generation !== '') await scripts.run(RELEASE, [group.meta], [member, generation, floor])
      }),
    )
    await scripts.run(
      BEAT,
      [this.#keys.members, this.#keys.assignment],
      [member, String(options.leaseMs), String(this.partitions.length), this.#kind, '1', String(silentMs(options))],
    )
  }

  /** In steps, so that none of them blocks the server. */
  async #leaveSource({ stream, later, notes }: Source): Promise<void> {
    const { context, spec, member } = this.#parts.seat
    const args = [spec.group, member, String(LEAVE_AT_ONCE)]
    while (Number(await context.scripts.run(LEAVE, [stream, later, notes], args)) === 1);
  }

  /** Repairs what was deleted during use. */
  async repair(partition: PartitionState): Promise<void> {
    const { seat, claimer, soon } = this.#parts
    if (partition.phase === 'idle') return
    try {
      await restoreGroup(seat, partition)
    } catch (error) {
      if (replyCode(error) !== 'FENCED') throw error
      seat.lose(partition, 'the group was deleted, and another member has made it again')
    }
    // The search found nothing while the group was missing.
    for (const source of partition.sources) claimer.recover(source, seat.owned ? 'all' : 'mine')
    soon(1)
  }

  /** The list of topics may have changed since we joined. */
  async #lookForPartitions(): Promise<void> {
    const { context } = this.#parts.seat
    const now = context.host.clock.monotonic()
    if (now - this.#countedAt < context.options.leaseMs) return
    this.#countedAt = now
    await this.grow(await context.topics.partitions(this.topic, this.partitions.length))
  }
}

/** After this time without a sign of life, a member no longer counts in the shares of the others. */
function silentMs({ leaseMs, pollMs }: ResolvedRedisOptions): number {
  return Math.min(leaseMs, Math.max(MIN_SILENT_MS, SILENT_POLLS * pollMs))
}

/** How many of these are still here and not being settled. */
function stillOut(partition: PartitionState, ids: readonly string[]): number {
  if (ids.length === 0) return 0
  const now = new Set(partition.unsettled(partition.main))
  return ids.reduce((count, id) => count + (now.has(id) ? 1 : 0), 0)
}
