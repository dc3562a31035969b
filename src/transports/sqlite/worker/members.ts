import { compilePattern } from '../../../core/topic.ts'
import { CreditBalance } from '../../../core/util/credit-balance.ts'
import { KeyCounts } from '../key-counts.ts'
import type { SubscribeSpec } from '../protocol.ts'

export interface Topic {
  readonly id: number
  readonly name: string
}

/** A delivery in flight. */
export interface Lease {
  readonly seat: Seat
  readonly seq: number
  readonly key: string | null
  /** The message is for this group alone, and can be deleted after the ack. */
  readonly targeted: boolean
  /** Attempts that the file counts as used because a handler was noted as running; 0 when none is. */
  noted: number
  /** See `Member.abandon`. */
  abandoned: boolean
}

/**
 * A delivery that was lost while its handler was noted as running: the note is taken back when the handler's outcome is
 * known.
 */
export interface LostNote {
  readonly groupId: number
  readonly epoch: number
  readonly owner: number
  readonly seq: number
  readonly key: string | null
  readonly noted: number
}

/** Maximum number of lost notes remembered for one subscription. */
const MAX_LOST_NOTES = 10_000

/** One group of one topic, as consumed by this process. */
export class GroupTopic {
  readonly id: number
  readonly topic: Topic
  readonly group: string
  /** Incremented when the group is moved or deleted: everything handed out before is lost. */
  epoch: number
  /** How far the group had read when last looked at: where it starts again if it is deleted. */
  cursor: number
  readonly seats: Seat[] = []

  constructor(
    topic: Topic,
    group: string,
    row: { readonly id: number; readonly epoch: number; readonly cursor: number },
  ) {
    this.id = row.id
    this.topic = topic
    this.group = group
    this.epoch = row.epoch
    this.cursor = row.cursor
  }

  /** Something has changed: waiting members look again. */
  touch(): void {
    for (const seat of this.seats) seat.touch()
  }
}

/** One subscription's place at one topic of its group: a pattern has many. */
export class Seat {
  readonly member: Member
  readonly at: GroupTopic
  /** Number of leases for each key. */
  readonly held: KeyCounts = new KeyCounts()
  /** Number of abandoned leases for each key: see `Member.abandon`. */
  readonly stuck: KeyCounts = new KeyCounts()
  /** Total number of leases. */
  out = 0

  constructor(member: Member, at: GroupTopic) {
    this.member = member
    this.at = at
  }

  /** There may be something to claim. */
  touch(): void {
    this.member.dirty.add(this)
  }
}

/** One subscription of this process. */
export class Member {
  readonly sub: number
  readonly spec: SubscribeSpec
  readonly matches: (topic: string) => boolean
  /** Row of `owners`; a new one when the old one was taken for dead. */
  owner: number
  readonly credit: CreditBalance = new CreditBalance()
  paused = false
  /** Drained: never claims again. */
  stopped = false
  /** By the id of their group. */
  readonly seats: Map<number, Seat> = new Map()
  /** Seats that may have something to claim, the least recently checked first, so that no topic starves the others. */
  readonly dirty: Set<Seat> = new Set()
  nextToken = 1
  /** When it was noted that the member goes without messages, in lease time; 0 when it does not. */
  hungryAt = 0
  readonly leases: Map<number, Lease> = new Map()
  /** By token. */
  readonly lostNotes: Map<number, LostNote> = new Map()

  constructor(sub: number, spec: SubscribeSpec, owner: number) {
    this.sub = sub
    this.spec = spec
    this.owner = owner
    this.matches = compilePattern(spec.topic)
  }

  get hungry(): boolean {
    return this.credit.isLeft && !this.paused && !this.stopped
  }

  /** True when it wants messages and there may be some. */
  get mayClaim(): boolean {
    return this.dirty.size > 0 && this.hungry
  }

  lease(seat: Seat, seq: number, key: string | null, targeted: boolean): void {
    this.leases.set(this.nextToken++, { seat, seq, key, targeted, noted: 0, abandoned: false })
    seat.out++
    if (key !== null) seat.held.add(key)
  }

  /**
   * The outcome of a delivery could not be written: no handler has it any more, and until it is given back nothing of
   * its key may pass it.
   */
  abandon(token: number): void {
    const lease = this.leases.get(token)
    if (lease === undefined || lease.abandoned) return
    lease.abandoned = true
    if (lease.key !== null) lease.seat.stuck.add(lease.key)
  }

  /** Removes the lease with that token, if there is one. */
  end(token: number): void {
    const lease = this.leases.get(token)
    if (lease === undefined) return
    const { seat, key, abandoned } = lease
    this.leases.delete(token)
    seat.out--
    if (key === null) return
    seat.held.remove(key)
    if (abandoned) seat.stuck.remove(key)
  }

  /** Removes all leases because others took this subscription for dead. Returns their tokens. */
  loseAll(): number[] {
    for (const [token, { seat, seq, key, noted }] of this.leases) {
      if (noted === 0) continue
      const { id, epoch } = seat.at
      this.lostNotes.set(token, { groupId: id, epoch, owner: this.owner, seq, key, noted })
    }
    for (const token of this.lostNotes.keys()) {
      if (this.lostNotes.size <= MAX_LOST_NOTES) break
      this.lostNotes.delete(token)
    }
    return this.endAll()
  }

  /** Removes all leases, or those of one seat; returns their tokens. */
  endAll(seat?: Seat): number[] {
    const tokens: number[] = []
    for (const [token, lease] of this.leases) if (seat === undefined || lease.seat === seat) tokens.push(token)
    for (const token of tokens) this.end(token)
    return tokens
  }
}

/** All subscriptions of this process and their seats. */
export class Members {
  readonly #members = new Map<number, Member>()
  readonly #groups = new Map<number, GroupTopic>()
  readonly #byTopic = new Map<number, Set<GroupTopic>>()

  get size(): number {
    return this.#members.size
  }

  all(): Iterable<Member> {
    return this.#members.values()
  }

  groups(): Iterable<GroupTopic> {
    return this.#groups.values()
  }

  get(sub: number): Member | undefined {
    return this.#members.get(sub)
  }

  group(id: number): GroupTopic | undefined {
    return this.#groups.get(id)
  }

  add(member: Member): void {
    this.#members.set(member.sub, member)
  }

  sit(
    member: Member,
    topic: Topic,
    group: { readonly id: number; readonly epoch: number; readonly cursor: number },
  ): void {
    if (member.seats.has(group.id)) return
    let at = this.#groups.get(group.id)
    if (at === undefined) {
      at = new GroupTopic(topic, member.spec.group, group)
      this.#groups.set(group.id, at)
      let peers = this.#byTopic.get(topic.id)
      if (peers === undefined) this.#byTopic.set(topic.id, (peers = new Set()))
      peers.add(at)
    }
    const seat = new Seat(member, at)
    at.seats.push(seat)
    member.seats.set(group.id, seat)
    seat.touch()
  }

  remove(member: Member): void {
    this.#members.delete(member.sub)
    for (const seat of member.seats.values()) this.#leave(seat)
    member.seats.clear()
  }

  /** The group was deleted from the file. Returns its members here. */
  dissolve(at: GroupTopic): Member[] {
    const members = at.seats.map(({ member }) => member)
    for (const seat of at.seats.slice()) {
      seat.member.seats.delete(at.id)
      this.#leave(seat)
    }
    return members
  }

  #leave(seat: Seat): void {
    const { at } = seat
    seat.member.dirty.delete(seat)
    at.seats.splice(at.seats.indexOf(seat), 1)
    if (at.seats.length > 0) {
      at.touch()
      return
    }
    this.#groups.delete(at.id)
    const peers = this.#byTopic.get(at.topic.id)
    peers?.delete(at)
    if (peers?.size === 0) this.#byTopic.delete(at.topic.id)
  }

  /** Moves the first member to the end, so that the same member is not always served first. */
  rotate(): void {
    if (this.#members.size < 2) return
    for (const [sub, member] of this.#members) {
      this.#members.delete(sub)
      this.#members.set(sub, member)
      return
    }
  }

  /** Something was published to the topic. */
  touchTopic(topicId: number): void {
    for (const at of this.#byTopic.get(topicId) ?? []) at.touch()
  }

  touchGroup(groupId: number): void {
    this.#groups.get(groupId)?.touch()
  }

  /** A transaction was rolled back: seats marked as looked at were not. */
  touchAll(): void {
    for (const at of this.#groups.values()) at.touch()
  }
}
