import { UnsupportedError } from '../../core/errors.ts'
import type { StartFrom } from '../../core/transport.ts'
import type { Claimer } from './claimer.ts'
import { cutOff } from './cut-off.ts'
import { handBack } from './hand-back.ts'
import { Housekeeping } from './housekeeping.ts'
import { joinGroup, makeGroupAgain } from './join-group.ts'
import type { MembershipKeys } from './keys.ts'
import { PartitionState } from './partition-state.ts'
import type { Reader } from './reader.ts'
import { ACQUIRE, BEAT, RELEASE, TICK } from './scripts/group.ts'
import { LEAVE } from './scripts/settle.ts'
import type { Seat } from './seat.ts'
import { Source } from './source.ts'
import { startId } from './start-id.ts'

/** A partition that another member is about to give up is asked for again so soon. */
const ACQUIRE_AGAIN_MS = 100

/** What a membership needs of its subscription. */
export interface MembershipParts {
  readonly seat: Seat
  readonly claimer: Claimer
  readonly topic: string
  readonly partitions: number
  readonly readerOf: (partition: PartitionState) => Reader
  /** Come back with `tick` no later than that. */
  readonly soon: (ms: number) => void
}

/** One member's part in one topic of its group: signs of life, and the partitions that it has. */
export class Membership {
  readonly topic: string
  readonly partitions: readonly PartitionState[]
  readonly #parts: MembershipParts
  readonly #keys: MembershipKeys
  readonly #revoking = new Set<Promise<void>>()
  readonly #housekeeping: Housekeeping
  /** While there are others, partitions go to those. */
  paused = false
  #mixed = false
  #left = false

  constructor(parts: MembershipParts) {
    const { context, spec } = parts.seat
    this.topic = parts.topic
    this.#parts = parts
    this.#keys = context.keys.membership(parts.topic, spec.group)
    this.partitions = Array.from({ length: parts.partitions }, (_, index) => {
      const keys = context.keys.partition(parts.topic, index)
      return new PartitionState(keys, context.keys.group(keys, spec.group))
    })
    this.#housekeeping = new Housekeeping(parts.seat)
    for (const { keys } of this.partitions) context.retention.watch(keys, parts.partitions)
  }

  /** Creates the group where it is missing. */
  async join(from: StartFrom): Promise<void> {
    const { seat } = this.#parts
    if (seat.spec.order === 'strict' && this.partitions.length > 1)
      throw new UnsupportedError(
        `redis can't be used for the consumer of "${this.topic}": order 'strict' needs a topic of one partition, and this one was made with ${this.partitions.length}. Use a new topic with topicPartitions: { "${this.topic}": 1 }, or order 'key'.`,
      )
    await Promise.all(
      this.partitions.map(async (partition) => {
        const { generation } = await joinGroup(seat, partition, startId(from, partition.keys.partition))
        if (!seat.owned) this.#hold(partition, generation)
      }),
    )
  }

  #hold(partition: PartitionState, generation: string): void {
    partition.phase = 'held'
    partition.generation = generation
    // What its former owner left comes before anything new.
    if (this.#parts.seat.owned) this.#parts.claimer.recover(partition.main, 'all')
    partition.sweptAt = this.#parts.seat.context.host.clock.monotonic()
    this.#parts.readerOf(partition).add(partition)
  }

  // --- signs of life -----------------------------------------------------------------------------------------------

  /** Renews what we have, takes what is ours by now, gives up what is not. */
  async tick(): Promise<void> {
    const assigned = await this.#beat()
    if (this.#left) return
    const changes = { assigned: [] as string[], revoked: [] as string[] }
    if (assigned !== undefined) {
      await Promise.all(
        this.partitions.map(async (partition) => {
          const mine = assigned.has(partition.keys.partition)
          if (mine && partition.phase === 'idle' && (await this.#acquire(partition)))
            changes.assigned.push(nameOf(partition))
          else if (!mine && partition.phase === 'held') {
            changes.revoked.push(nameOf(partition))
            this.#revoke(partition)
          }
        }),
      )
    }
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
  }

  get #kind(): 'k' | 'p' | 'n' {
    if (!this.#parts.seat.owned) return 'n'
    return this.paused ? 'p' : 'k'
  }

  /** Partitions that are ours; undefined where they have no owners. */
  async #beat(): Promise<ReadonlySet<number> | undefined> {
    const { seat } = this.#parts
    const { context, member, owned } = seat
    const reply = (await context.scripts.run(
      BEAT,
      [this.#keys.members, this.#keys.assignment],
      [member, String(context.options.leaseMs), String(this.partitions.length), this.#kind, '0'],
    )) as readonly number[]
    if (reply[1] === 1 && !this.#mixed) {
      context.host.events.emit('warning', {
        transport: context.host.name,
        code: 'redis-mixed-order',
        detail: `Group "${seat.spec.group}" of "${this.topic}" has members with order 'none' and others with an order: those without take messages of any key from the others, so no order holds.`,
      })
    }
    this.#mixed = reply[1] === 1
    return owned ? new Set(reply.slice(2)) : undefined
  }

  async #acquire(partition: PartitionState): Promise<boolean> {
    const { seat, readerOf, soon } = this.#parts
    const { context, member } = seat
    const { clock } = context.host
    const reader = readerOf(partition)
    // A read from before must have ended: what it still brings would come after we had looked for what is pending.
    await reader.remove(partition)
    const askedAt = clock.monotonic()
    const reply = (await context.scripts.run(
      ACQUIRE,
      [partition.group.meta],
      [member, String(context.options.leaseMs), reader.connection],
    )) as readonly [number, number | Buffer, Buffer?]
    if (reply[0] === 0) {
      soon(Math.min(ACQUIRE_AGAIN_MS, Number(reply[1]) + 1))
      return false
    }
    const former = String(reply[2] ?? '')
    if (former !== '') await cutOff(context, partition, former)
    // It left while it was asking: the lease ends by itself.
    if (this.#left) return false
    partition.leaseUntil = askedAt + context.options.leaseMs
    this.#hold(partition, String(reply[1]))
    return true
  }

  async #renew(partition: PartitionState): Promise<void> {
    const { seat, claimer, soon } = this.#parts
    const { context, member, owned, spec } = seat
    const { clock } = context.host
    const { keys, group, generation } = partition
    const askedAt = clock.monotonic()
    const connection = this.#parts.readerOf(partition).connection
    const reply = (await context.scripts.run(
      TICK,
      [keys.stream, group.meta, group.later, group.side, group.sideLater, keys.delayed, group.delayed],
      [spec.group, member, generation, owned ? String(context.options.leaseMs) : '0', connection],
    )) as readonly [number, Buffer, number, number, number, number]
    if (partition.generation !== generation || partition.phase === 'idle') return
    const [ours, current, hasSide, later, sideLater, delayed] = reply
    if (ours === 0) {
      await this.#disowned(partition, String(current))
      return
    }
    if (owned) partition.leaseUntil = askedAt + context.options.leaseMs
    if (delayed >= 0) soon(delayed + 1)
    if (partition.phase !== 'held') return
    if (hasSide === 1 && partition.side === undefined) this.#addSide(partition)
    claimer.expect(partition.main, later)
    if (partition.side !== undefined) claimer.expect(partition.side, sideLater)
    this.#sweep(partition)
    this.#parts.readerOf(partition).wake()
  }

  async #disowned(partition: PartitionState, current: string): Promise<void> {
    const { seat } = this.#parts
    seat.lose(partition, 'the group was moved, or another member has taken the partition over')
    if (seat.owned) {
      // Moved, not taken: it is ours to take again, at once.
      this.#parts.soon(1)
      return
    }
    this.#hold(partition, current === '' ? (await joinGroup(seat, partition, '0')).generation : current)
  }

  #addSide(partition: PartitionState): void {
    partition.side = new Source(partition, true)
    this.#parts.claimer.recover(partition.side, this.#parts.seat.owned ? 'all' : 'mine')
    this.#parts.readerOf(partition).refresh()
  }

  /** What nobody has renewed for a lease belonged to somebody who died. With jitter, so that members don't do it all at once. */
  #sweep(partition: PartitionState): void {
    const { seat, claimer } = this.#parts
    const now = seat.context.host.clock.monotonic()
    if (now - partition.sweptAt < seat.context.options.leaseMs * (0.4 + Math.random() * 0.2)) return
    partition.sweptAt = now
    for (const source of partition.sources) claimer.recover(source, 'orphans')
    this.#housekeeping.lookForLoss(partition)
  }

  // --- giving up ---------------------------------------------------------------------------------------------------

  #revoke(partition: PartitionState): void {
    const { seat } = this.#parts
    partition.phase = 'revoking'
    const done = this.#handOver(partition)
      .catch((error: unknown) => {
        seat.tellError(error, `handing over ${partition.keys.stream}`)
        // The lease ends by itself, and the next owner finds what is pending.
        seat.lose(partition, 'the partition was handed over')
      })
      .finally(() => this.#revoking.delete(done))
    this.#revoking.add(done)
  }

  /** Finishes what is out, within a bound, before another member may begin. */
  async #handOver(partition: PartitionState): Promise<void> {
    const { seat, readerOf } = this.#parts
    const { context, member } = seat
    await readerOf(partition).remove(partition)
    for (const source of partition.sources) await handBack(seat, source, source.takeReady())
    await this.#quiet(partition)
    if (partition.phase !== 'revoking') return
    if (partition.outstanding > 0)
      seat.lose(partition, 'the partition was handed over before its messages were handled')
    partition.phase = 'idle'
    const { generation } = partition
    await context.scripts.run(RELEASE, [partition.group.meta], [member, generation])
    if (partition.generation === generation) partition.generation = ''
  }

  async #quiet(partition: PartitionState): Promise<void> {
    const { clock } = this.#parts.seat.context.host
    let giveUp: () => void = () => {}
    const late = new Promise<void>((resolve) => {
      giveUp = resolve
    })
    const timer = clock.setTimer(this.#parts.seat.context.options.handoverTimeoutMs, giveUp)
    // One that goes because of a pause has time: its handlers are to finish what they do.
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

  /** Says goodbye: what is left goes to others at once, without counting as an attempt. */
  async leave(): Promise<void> {
    this.#left = true
    const { seat } = this.#parts
    const { context, member, owned, spec } = seat
    const { scripts, options } = context
    await Promise.all(
      this.partitions.flatMap((partition) => {
        const { generation, sources, group } = partition
        const leaving = sources.map((source) => scripts.run(LEAVE, [source.stream, source.later], [spec.group, member]))
        // In one write with the above, and so after it.
        if (owned && generation !== '') leaving.push(scripts.run(RELEASE, [group.meta], [member, generation]))
        partition.phase = 'idle'
        partition.generation = ''
        return leaving
      }),
    )
    await scripts.run(
      BEAT,
      [this.#keys.members, this.#keys.assignment],
      [member, String(options.leaseMs), String(this.partitions.length), this.#kind, '1'],
    )
  }

  /** The group is gone from the server, or its stream is: made again, so that reading goes on from the very next message. */
  async repair(partition: PartitionState): Promise<void> {
    const { seat, soon } = this.#parts
    const generation = await makeGroupAgain(seat, partition)
    if (generation === undefined) return
    if (!seat.owned) this.#hold(partition, generation)
    else soon(1)
  }
}

function nameOf({ keys }: PartitionState): string {
  return `${keys.topic}/${keys.partition}`
}
