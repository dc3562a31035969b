// Longer than most files: what to do next depends on the wishes, the lease, the view and the holdings, at the same moment.
import { assignPartitions } from './assign-partitions.ts'
import type { Assignment } from './assign-partitions.ts'
import type {
  BeatReply,
  BeatRequest,
  Claimed,
  LeaseView,
  MemberState,
  Partition,
  PartitionState,
  ReleaseRequest,
} from './group-driver.ts'
import type { Holdings, Released } from './holdings.ts'
import { keyOf, partitionKey } from './partition-key.ts'
import { SilenceLog } from './silence-log.ts'

/** For this many leases after a member died, newcomers have to prove themselves. */
const DEATH_MEMORY_LEASES = 6
/** Number of members that watch each lease: enough for one to be alive. */
const WATCHERS = 2

export interface GroupMemberOptions {
  readonly id: string
  readonly leaseMs: number
  /** How much longer than a lease other members wait before they fence one. */
  readonly marginMs: number
  /** Interval of renewals and looks. */
  readonly beatMs: number
  /** Interval of looks while another member is to hand over a partition; doubles with each. */
  readonly awaitMs: number
  /** A member that was silent for longer gets no share. */
  readonly suspectMs: number
}

/** The next call to the driver. */
export type Step<Position> =
  | { readonly do: 'look'; readonly request: BeatRequest }
  | { readonly do: 'join'; readonly member: MemberState }
  | { readonly do: 'fence'; readonly lease: LeaseView }
  | { readonly do: 'claim'; readonly partitions: readonly PartitionState[] }
  | { readonly do: 'release'; readonly partitions: readonly ReleaseRequest<Position>[] }

interface Probation {
  readonly until: number
  /** It ends when all of these have given a sign of life. Undefined after a death: then time alone ends it. */
  readonly suspects: Map<string, string> | undefined
}

/**
 * One member's part in its group, as a state machine without I/O and timers: `next` returns the next call to make, the `on…`
 * methods take its result. Calls are made one at a time. All times are monotonic ms of this process.
 */
export class GroupMember<Position> {
  readonly #options: GroupMemberOptions
  readonly #holdings: Holdings<Position>
  readonly #bornAt: number
  readonly #topics = new Map<string, number>()
  readonly #paused = new Set<string>()
  readonly #silence = new SilenceLog()
  /** Finished here, and to be released at the server. */
  readonly #finished = new Map<string, Released<Position>>()
  #version: string | undefined
  #members: readonly MemberState[] = []
  #partitions = new Map<string, PartitionState>()
  #suspects: ReadonlySet<string> = new Set()
  /** Undefined when it must be computed again. */
  #assignment: Assignment | undefined
  #isMember = false
  /** Our wishes differ from what the group knows of them. */
  #changed = false
  #leaving = false
  #renewedAt = -Infinity
  #leaseUntil = -Infinity
  /** The group must be looked at before anything else is decided: the result of a call is not known. */
  #mustLook = true
  #lookAt = -Infinity
  #isWoken = false
  #awaitMs: number
  /** After a refused claim, the next one waits. */
  #claimAt = -Infinity
  #refusedMs: number
  #probation: Probation | undefined

  constructor(options: GroupMemberOptions, holdings: Holdings<Position>, now: number) {
    this.#options = options
    this.#holdings = holdings
    this.#bornAt = now
    this.#awaitMs = options.awaitMs
    this.#refusedMs = options.awaitMs
  }

  get id(): string {
    return this.#options.id
  }

  /** The lease ends then, unless it is renewed before. */
  get leaseUntil(): number {
    return this.#leaseUntil
  }

  get members(): readonly MemberState[] {
    return this.#members
  }

  get isMember(): boolean {
    return this.#isMember
  }

  /** The group knows what this member wants, and nothing is left to take or to give now. */
  isCalm(now: number): boolean {
    const isUpToDate = this.#isMember && !this.#changed && !this.#mustLook && now < this.#leaseUntil
    return isUpToDate && this.#finished.size === 0 && this.#claimable().length === 0
  }

  /** Nothing is held, and nothing is left to release. */
  get isEmpty(): boolean {
    return this.#holdings.size === 0 && this.#finished.size === 0
  }

  /** Other members have partitions, and this one has no share. */
  get isStandby(): boolean {
    if (!this.#isMember || this.#holdings.size > 0 || this.#members.length < 2) return false
    for (const owners of this.#assigned().values()) if (owners.includes(this.id)) return false
    return true
  }

  /** Something of the topic is still here, or still ours at the server. */
  isInvolvedIn(topic: string): boolean {
    for (const released of this.#finished.values()) if (released.topic === topic) return true
    return this.#holdings.partitions.some((one) => one.topic === topic)
  }

  /** Topics of which other members know more partitions than this one. */
  grown(): readonly (readonly [topic: string, partitions: number])[] {
    return [...this.#topics]
      .map(([topic, count]) => [topic, this.#assigned().get(topic)?.length ?? count] as const)
      .filter(([topic, count]) => count > (this.#topics.get(topic) as number))
  }

  // --- wishes ------------------------------------------------------------------------------------------------------

  consume(topic: string, partitions: number): void {
    if ((this.#topics.get(topic) ?? 0) >= partitions) return
    this.#topics.set(topic, partitions)
    this.#wishesChanged()
  }

  stopConsuming(topic: string): void {
    if (!this.#topics.delete(topic)) return
    this.#paused.delete(topic)
    this.#wishesChanged()
  }

  setPaused(topic: string, paused: boolean): void {
    if (this.#paused.has(topic) === paused || !this.#topics.has(topic)) return
    if (paused) this.#paused.add(topic)
    else this.#paused.delete(topic)
    this.#wishesChanged()
  }

  isPaused(topic: string): boolean {
    return this.#paused.has(topic)
  }

  /** From now on this member wants nothing. */
  beginLeaving(): void {
    this.#leaving = true
  }

  #wishesChanged(): void {
    this.#changed = true
    this.#assignment = undefined
  }

  #state(): MemberState {
    const { id } = this.#options
    return {
      id,
      topics: new Map(this.#topics),
      paused: new Set(this.#paused),
      onProbation: this.#probation !== undefined,
    }
  }

  // --- events ------------------------------------------------------------------------------------------------------

  /** The lease was renewed by something that was sent at `sentAt`. */
  renewed(sentAt: number): void {
    if (!this.#isMember || sentAt <= this.#renewedAt) return
    this.#renewedAt = sentAt
    this.#leaseUntil = sentAt + this.#options.leaseMs
  }

  /** Something in the group has changed. */
  wake(): void {
    this.#isWoken = true
  }

  /** The connection is back. */
  reconnected(now: number): void {
    this.#silence.countFrom(now)
    this.#mustLook = true
  }

  /** The server says that this member is not in the group any more. */
  fenced(): void {
    if (!this.#isMember) return
    this.#isMember = false
    this.#leaseUntil = -Infinity
    this.#renewedAt = -Infinity
    this.#mustLook = true
    this.#finished.clear()
    this.#holdings.loseAll('other members took this one for dead: it was out of reach for longer than its lease')
  }

  /** Ends what time ends. Must be called before anything relies on the holdings. */
  tick(now: number): void {
    if (now >= this.#leaseUntil && this.#holdings.size > 0)
      this.#holdings.loseAll('the lease could not be renewed: the server was out of reach, or this process was busy')
    if (this.#probation !== undefined && now >= this.#probation.until) this.#endProbation()
  }

  /** The messages of a partition are finished: it is to be released. */
  finished(released: Released<Position>): void {
    if (this.#isMember) this.#finished.set(keyOf(released), released)
  }

  /** Partitions that are held and should not be. */
  toRevoke(): readonly Partition[] {
    return this.#holdings.partitions.filter(
      ({ topic, partition }) => this.#holdings.isActive(topic, partition) && !this.#isWanted(topic, partition),
    )
  }

  // --- the next call -----------------------------------------------------------------------------------------------

  next(now: number): Step<Position> | undefined {
    if (!this.#isMember) {
      if (this.#leaving || this.#topics.size === 0) return undefined
      return this.#mustLook ? this.#look(now) : { do: 'join', member: this.#state() }
    }
    if (this.#mustLook || (this.#changed && !this.#leaving) || now >= this.#renewAt) return this.#look(now)
    const released = this.#releasable()
    if (released.length > 0) return { do: 'release', partitions: released }
    if (this.#leaving) return undefined
    const [lease] = this.#silence.ended(this.#options.marginMs, now)
    if (lease !== undefined) return { do: 'fence', lease }
    const partitions = now >= this.#claimAt ? this.#claimable() : []
    if (partitions.length > 0) return { do: 'claim', partitions }
    return this.#isWoken || now >= this.#lookAt ? this.#look(now) : undefined
  }

  /** The step is made now. */
  onBegun(step: Step<Position>): void {
    // What wakes us up from now on may not be seen by this look.
    if (step.do === 'look') this.#isWoken = false
  }

  /** When `tick` and `next` are to be called at the latest. */
  nextAt(): number {
    if (!this.#isMember) return Infinity
    if (this.#leaving) return this.#renewAt
    if (this.#isWoken) return -Infinity
    const probationEnds = this.#probation?.until ?? Infinity
    const deathAt = this.#silence.nextEndAt(this.#options.marginMs)
    const claimAt = this.#claimable().length > 0 ? this.#claimAt : Infinity
    return Math.min(this.#renewAt, this.#lookAt, probationEnds, deathAt, claimAt)
  }

  get #renewAt(): number {
    return this.#renewedAt + this.#options.beatMs
  }

  #look(now: number): Step<Position> {
    const request: BeatRequest = {
      member: this.#state(),
      changed: this.#isMember && this.#changed,
      renew: this.#isMember && now >= this.#renewedAt + this.#options.beatMs / 2,
      seen: this.#version,
      watch: this.#isMember ? this.#watched() : 'all',
    }
    return { do: 'look', request }
  }

  /**
   * The next members in the order of their ids, so that each lease is watched by the same number of members; and those that
   * have given no sign of life since this member came, whose watchers may have died with them.
   */
  #watched(): readonly string[] {
    const ids = this.#members.map(({ id }) => id).sort()
    const at = ids.indexOf(this.id)
    const others = [...ids.slice(at + 1), ...ids.slice(0, Math.max(0, at))]
    const silent = others.filter((id) => this.#silence.isUnrenewed(id))
    return [...new Set([...others.slice(0, WATCHERS), ...silent])]
  }

  #releasable(): ReleaseRequest<Position>[] {
    const assigned = this.#assigned()
    const nextOf = ({ topic, partition }: Partition): string | undefined => {
      const next = assigned.get(topic)?.[partition]
      return next === this.id ? undefined : next
    }
    const found = [...this.#finished.values()].map((released) => ({ ...released, next: nextOf(released) }))
    // Ours according to the server, by a claim or a release whose reply was lost, and not wanted.
    for (const one of this.#partitions.values())
      if (this.#isForgotten(one) && !this.#isWanted(one.topic, one.partition)) {
        const { topic, partition, generation } = one
        found.push({ topic, partition, generation, position: undefined, isUnclean: true, next: nextOf(one) })
      }
    return found
  }

  /** What is free and should be ours. */
  #claimable(): PartitionState[] {
    const found: PartitionState[] = []
    if (this.#leaving) return found
    for (const [topic, count] of this.#topics) {
      const owners = this.#assigned().get(topic) ?? []
      for (let partition = 0; partition < count; partition++) {
        if (owners[partition] !== this.id || this.#holdings.has(topic, partition)) continue
        const key = partitionKey(topic, partition)
        if (this.#finished.has(key)) continue
        const state = this.#partitions.get(key) ?? { topic, partition, holder: undefined, generation: 0 }
        if (state.holder === undefined || state.holder === this.id) found.push(state)
      }
    }
    return found
  }

  /** It is ours at the server, but not here. */
  #isForgotten({ topic, partition, holder }: PartitionState): boolean {
    if (holder !== this.id || this.#holdings.has(topic, partition)) return false
    return !this.#finished.has(partitionKey(topic, partition))
  }

  #isWanted(topic: string, partition: number): boolean {
    if (this.#leaving || !this.#topics.has(topic)) return false
    return this.#assigned().get(topic)?.[partition] === this.id
  }

  /** Everybody's shares, as everybody computes them, but for what the group does not know of us yet. */
  #assigned(): Assignment {
    if (this.#assignment !== undefined) return this.#assignment
    const members = this.#members.map((member) => (member.id === this.id ? this.#state() : member))
    const partitions = [...this.#partitions.values()]
    this.#assignment = assignPartitions({ version: '', members, partitions }, this.#suspects)
    return this.#assignment
  }

  // --- results -----------------------------------------------------------------------------------------------------

  /** The last call failed, so that its result is not known. */
  onFailed(): void {
    this.#mustLook = true
  }

  onLooked(request: BeatRequest, reply: BeatReply, askedAt: number, now: number): void {
    if (!reply.isMember) this.fenced()
    this.#saw(reply, now)
    if (reply.isMember) {
      // Also when the reply to a join was lost.
      this.#isMember = true
      if (request.renew) this.renewed(askedAt)
    } else this.#considerProbation(reply, now)
    this.#mustLook = false
  }

  onJoined(reply: BeatReply, askedAt: number, now: number): void {
    if (!reply.isMember) return this.onFailed()
    this.#isMember = true
    this.renewed(askedAt)
    this.#saw(reply, now)
  }

  onClaimed(asked: readonly PartitionState[], claimed: readonly Claimed<Position>[], now: number): void {
    for (const { topic, partition, generation } of claimed)
      this.#patch({ topic, partition, generation, holder: this.id })
    if (claimed.length < asked.length) {
      // Another member was faster, or knows more.
      this.#mustLook = true
      this.#claimAt = now + this.#refusedMs
      this.#refusedMs = Math.min(this.#refusedMs * 2, this.#options.beatMs)
    } else this.#refusedMs = this.#options.awaitMs
    for (const one of claimed) {
      const isHere = this.#holdings.has(one.topic, one.partition)
      // When the lease has ended meanwhile, the claim is made again after the next renewal.
      if (now < this.#leaseUntil && !isHere) this.#holdings.take(one)
    }
  }

  onReleased(released: readonly ReleaseRequest<Position>[]): void {
    for (const { topic, partition, generation } of released) {
      const key = partitionKey(topic, partition)
      if (this.#finished.get(key)?.generation === generation) this.#finished.delete(key)
      this.#patch({ topic, partition, generation, holder: undefined })
    }
  }

  onFenced(lease: LeaseView): void {
    this.#silence.forget(lease.id)
    this.#mustLook = true
  }

  #saw(reply: BeatReply, now: number): void {
    for (const lease of reply.leases) if (lease.id !== this.id) this.#silence.saw(lease, now)
    const { view } = reply
    if (view !== undefined) {
      this.#version = view.version
      this.#members = view.members
      this.#partitions = new Map(view.partitions.map((one) => [keyOf(one), one]))
      this.#assignment = undefined
      // A request that came late may have put former wishes in the place of ours.
      const known = view.members.find(({ id }) => id === this.id)
      this.#changed = known !== undefined && !isSameState(known, this.#state())
      this.#dropTaken()
    }
    this.#silence.keep(new Set(reply.isMember ? this.#watched() : this.#members.map(({ id }) => id)))
    const suspects = this.#silence.suspects(this.#options.suspectMs, now)
    if (!isSameSet(suspects, this.#suspects)) {
      this.#suspects = suspects
      this.#assignment = undefined
    }
    this.#reconsiderProbation()
    this.#scheduleLook(now)
  }

  /** What another member has by now, or what the group has forgotten, is lost. */
  #dropTaken(): void {
    for (const one of this.#holdings.partitions) {
      const state = this.#partitions.get(keyOf(one))
      const generation = this.#holdings.generationOf(one.topic, one.partition)
      if (state?.holder !== this.id || state.generation !== generation)
        this.#holdings.lose(one, 'another member has taken the partition')
    }
    for (const [key, released] of this.#finished) {
      const state = this.#partitions.get(key)
      if (state?.holder !== this.id || state.generation !== released.generation) this.#finished.delete(key)
    }
  }

  /** Looks more often while another member is about to hand something over. */
  #scheduleLook(now: number): void {
    const { beatMs, awaitMs } = this.#options
    let waits = false
    for (const [topic, count] of this.#topics) {
      const owners = this.#assigned().get(topic) ?? []
      for (let partition = 0; partition < count && !waits; partition++) {
        const holder = this.#partitions.get(partitionKey(topic, partition))?.holder
        waits = owners[partition] === this.id && holder !== undefined && holder !== this.id
      }
    }
    this.#lookAt = now + (waits ? Math.min(this.#awaitMs, beatMs) : beatMs)
    this.#awaitMs = waits ? Math.min(this.#awaitMs * 2, beatMs) : awaitMs
  }

  #patch(state: PartitionState): void {
    this.#partitions.set(keyOf(state), state)
    this.#assignment = undefined
  }

  // --- probation ---------------------------------------------------------------------------------------------------

  /** A process that dies soon after each of its starts must not take partitions with it each time. */
  #considerProbation({ view, leases }: BeatReply, now: number): void {
    const { leaseMs, suspectMs } = this.#options
    const until = this.#bornAt + leaseMs
    if (now >= until) return
    const suspects = this.#silence.suspects(suspectMs, now)
    const isAfterDeath = view?.lastDeathMs !== undefined && view.lastDeathMs < DEATH_MEMORY_LEASES * leaseMs
    if (!isAfterDeath && suspects.size === 0) return
    const versions = new Map(leases.filter(({ id }) => suspects.has(id)).map(({ id, version }) => [id, version]))
    this.#probation = { until, suspects: isAfterDeath ? undefined : versions }
  }

  #reconsiderProbation(): void {
    const suspects = this.#probation?.suspects
    if (suspects === undefined) return
    for (const [id, version] of suspects) {
      const current = this.#silence.versionOf(id)
      if (current !== undefined && current !== version) suspects.delete(id)
    }
    if (suspects.size === 0) this.#endProbation()
  }

  #endProbation(): void {
    this.#probation = undefined
    this.#wishesChanged()
  }
}

function isSameState(one: MemberState, other: MemberState): boolean {
  if (one.onProbation !== other.onProbation || one.topics.size !== other.topics.size) return false
  for (const [topic, count] of one.topics) if (other.topics.get(topic) !== count) return false
  return isSameSet(one.paused, other.paused)
}

function isSameSet(one: ReadonlySet<string>, other: ReadonlySet<string>): boolean {
  if (one.size !== other.size) return false
  for (const entry of one) if (!other.has(entry)) return false
  return true
}
