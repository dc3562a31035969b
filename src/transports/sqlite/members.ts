import { compilePattern } from '../../core/topic.ts'
import { KeyCounts } from './key-counts.ts'
import type { SubscribeSpec } from './protocol.ts'

export interface Topic {
  readonly id: number
  readonly name: string
}

/** A delivery that is out. */
export interface Lease {
  readonly seat: Seat
  readonly seq: number
  readonly key: string | null
  /** The message is for this group alone, and nobody needs it after the ack. */
  readonly targeted: boolean
}

/** One group of one topic, as far as this process consumes it. */
export class GroupTopic {
  readonly id: number
  readonly topic: Topic
  readonly group: string
  /** Goes up when somebody moves or deletes the group: what was handed out before is lost. */
  epoch: number
  readonly seats: Seat[] = []

  constructor(id: number, topic: Topic, group: string, epoch: number) {
    this.id = id
    this.topic = topic
    this.group = group
    this.epoch = epoch
  }

  /** Something has changed there: whoever waits may look again. */
  touch(): void {
    for (const seat of this.seats) seat.dirty = true
  }
}

/** One subscription's place at one topic of its group: a pattern has many. */
export class Seat {
  readonly member: Member
  readonly at: GroupTopic
  /** How many leases there are of each key. */
  readonly held: KeyCounts = new KeyCounts()
  /** Keys of deliveries whose outcome could not be written: until they are given back, nothing of the key may pass them. */
  readonly stuck: KeyCounts = new KeyCounts()
  /** Leases in all. */
  out = 0
  /** There may be something to claim. */
  dirty = true

  constructor(member: Member, at: GroupTopic) {
    this.member = member
    this.at = at
  }
}

/** One subscription of this process. */
export class Member {
  readonly sub: number
  readonly spec: SubscribeSpec
  readonly matches: (topic: string) => boolean
  /** Row of `owners`; a new one when the old one was taken for dead. */
  owner: number
  credit = 0
  creditBytes = 0
  paused = false
  /** Drained: never claims again. */
  stopped = false
  readonly seats: Seat[] = []
  /** Where the next claim starts, so that no topic of a pattern starves the others. */
  nextSeat = 0
  nextToken = 1
  /** When it was noted that it goes without, in the time of leases; 0 when it does not. */
  hungryAt = 0
  readonly leases: Map<number, Lease> = new Map()

  constructor(sub: number, spec: SubscribeSpec, owner: number) {
    this.sub = sub
    this.spec = spec
    this.owner = owner
    this.matches = compilePattern(spec.topic)
  }

  get hungry(): boolean {
    return this.credit > 0 && this.creditBytes > 0 && !this.paused && !this.stopped
  }

  lease(seat: Seat, seq: number, key: string | null, targeted: boolean): void {
    this.leases.set(this.nextToken++, { seat, seq, key, targeted })
    seat.out++
    if (key !== null) seat.held.add(key)
  }

  /** Forgets a lease; undefined when there is none with that token. */
  end(token: number): Lease | undefined {
    const lease = this.leases.get(token)
    if (lease === undefined) return undefined
    this.leases.delete(token)
    lease.seat.out--
    if (lease.key !== null) lease.seat.held.remove(lease.key)
    return lease
  }

  /** Forgets all leases, or those of one seat; resolves to their tokens. */
  endAll(seat?: Seat): number[] {
    const tokens: number[] = []
    for (const [token, lease] of this.leases) if (seat === undefined || lease.seat === seat) tokens.push(token)
    for (const token of tokens) this.end(token)
    return tokens
  }
}

/** All subscriptions of this process, and what they are seated at. */
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

  sit(member: Member, topic: Topic, group: { readonly id: number; readonly epoch: number }): void {
    if (member.seats.some((seat) => seat.at.id === group.id)) return
    let at = this.#groups.get(group.id)
    if (at === undefined) {
      at = new GroupTopic(group.id, topic, member.spec.group, group.epoch)
      this.#groups.set(group.id, at)
      let peers = this.#byTopic.get(topic.id)
      if (peers === undefined) this.#byTopic.set(topic.id, (peers = new Set()))
      peers.add(at)
    }
    const seat = new Seat(member, at)
    at.seats.push(seat)
    member.seats.push(seat)
  }

  remove(member: Member): void {
    this.#members.delete(member.sub)
    for (const seat of member.seats.splice(0)) this.#leave(seat)
  }

  /** The group is gone from the file: nobody sits there any more. */
  dissolve(at: GroupTopic): void {
    for (const seat of at.seats.slice()) {
      seat.member.seats.splice(seat.member.seats.indexOf(seat), 1)
      this.#leave(seat)
    }
  }

  #leave(seat: Seat): void {
    const { at } = seat
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

  /** Puts the first one last: nobody is always the first to be served. */
  rotate(): void {
    if (this.#members.size < 2) return
    for (const [sub, member] of this.#members) {
      this.#members.delete(sub)
      this.#members.set(sub, member)
      return
    }
  }

  /** Something was published there. */
  touchTopic(topicId: number): void {
    for (const at of this.#byTopic.get(topicId) ?? []) at.touch()
  }

  touchGroup(groupId: number): void {
    this.#groups.get(groupId)?.touch()
  }

  /** Another process has written: anything may have changed. */
  touchAll(): void {
    for (const at of this.#groups.values()) at.touch()
  }
}
