// Longer than most files: what is held, what is being called and what is waited for must agree at each await.
import type { Clock, Timer } from '../clock.ts'
import { AuthorizationError } from '../errors.ts'
import { growingDelay, halfRandom } from '../util/backoff.ts'
import type { GroupDriver, MemberState, Partition } from './group-driver.ts'
import { GroupMember } from './group-member.ts'
import type { Step } from './group-member.ts'
import { Holdings } from './holdings.ts'
import type { HoldingsHost } from './holdings.ts'

const FIRST_PAUSE_MS = 50

/** What the adapter of a broker does for its `PartitionHolder`. */
export interface HolderHost<Position> extends HoldingsHost<Position> {
  /** Partitions came and went; together what changed together. */
  rebalanced(assigned: readonly Partition[], revoked: readonly Partition[]): void
  /** Other members know of more partitions of the topic. Prepare to read them, then call `consume` with the new number. */
  grown(topic: string, partitions: number): void
}

export interface PartitionHolderOptions<Position> {
  readonly driver: GroupDriver<Position>
  readonly host: HolderHost<Position>
  readonly clock: Clock
  /** Unique among all processes, and different for each start. */
  readonly memberId: string
  readonly leaseMs: number
  /**
   * How much longer than a lease others wait before they fence a member: covers clocks that run at different speeds.
   * @default 200 ms and 2 % of the lease
   */
  readonly marginMs?: number
  /**
   * Interval of renewals and looks at the group.
   * @default a third of the lease
   */
  readonly beatMs?: number
  /**
   * First interval of looks while another member is about to hand a partition over.
   * @default 100
   */
  readonly awaitMs?: number
  /** How long running handlers of a partition may take to finish before it is handed over without them. */
  readonly handoverTimeoutMs: number
  readonly random?: () => number
}

interface Waiting {
  readonly until: () => boolean
  /** With an error when the server does not allow it. */
  readonly end: (refused?: AuthorizationError) => void
}

/**
 * Distributes the partitions of a group's topics among its members, so that each has at most one holder at any time: that
 * keeps the order of a key. One for each member and group, whatever the number of topics: it has one lease. A driver makes
 * the calls to the server, and a host reads what is held.
 *
 * A lease counts from before its renewal was sent, for others from after they have seen it, and it is over here by the
 * clock of this process, before any other member may fence it.
 */
export class PartitionHolder<Position> {
  readonly #options: PartitionHolderOptions<Position>
  readonly #member: GroupMember<Position>
  readonly #holdings: Holdings<Position>
  readonly #beatMs: number
  readonly #waiting = new Set<Waiting>()
  readonly #revoking = new Set<Promise<void>>()
  #timer: Timer | undefined
  #leaseTimer: Timer | undefined
  #running: Promise<void> | undefined
  #isUp = true
  #isOver = false
  #left: Promise<void> | undefined
  /** Consecutive failed calls. */
  #failures = 0
  #pausedUntil = -Infinity
  #trouble: string | undefined
  #assigned: Partition[] = []
  #revoked: Partition[] = []

  constructor(options: PartitionHolderOptions<Position>) {
    this.#options = options
    const { clock, host, memberId, leaseMs } = options
    this.#beatMs = options.beatMs ?? leaseMs / 3
    this.#holdings = new Holdings(
      {
        acquired: (claimed) => {
          this.#assigned.push(claimed)
          host.acquired(claimed)
        },
        revoke: (partition) => host.revoke(partition),
        lost: (partition, reason) => {
          this.#revoked.push(partition)
          host.lost(partition, reason)
        },
        failed: (error, doing) => host.failed(error, doing),
      },
      clock,
    )
    const own = {
      id: memberId,
      leaseMs,
      marginMs: options.marginMs ?? 200 + leaseMs * 0.02,
      beatMs: this.#beatMs,
      awaitMs: options.awaitMs ?? 100,
      suspectMs: Math.min(leaseMs, Math.max(1_000, this.#beatMs * 1.5)),
    }
    this.#member = new GroupMember(own, this.#holdings, clock.monotonic())
  }

  get members(): readonly MemberState[] {
    return this.#member.members
  }

  /** Other members have all partitions. */
  get isStandby(): boolean {
    return this.#member.isStandby
  }

  /** Why partitions can't be distributed now. */
  get trouble(): string | undefined {
    return this.#trouble
  }

  /** How long the lease certainly lasts, in ms; 0 when it is over. */
  get leaseLeftMs(): number {
    return Math.max(0, this.#member.leaseUntil - this.#now())
  }

  /** What is held, with what is being handed over. */
  get partitions(): readonly Partition[] {
    return this.#holdings.partitions
  }

  /**
   * The partition is held at this moment, so that its messages may be settled. Looks at the clock: false also after the process
   * was frozen for longer than the lease, before any timer fires.
   */
  holds(topic: string, partition: number): boolean {
    return this.#holdings.has(topic, partition) && this.#now() < this.#member.leaseUntil
  }

  /** Like `holds`, and it is not being handed over: its messages may be started. */
  mayStart(topic: string, partition: number): boolean {
    return this.#holdings.isActive(topic, partition) && this.#now() < this.#member.leaseUntil
  }

  /** Undefined when the partition is not held. */
  generationOf(topic: string, partition: number): number | undefined {
    return this.#holdings.generationOf(topic, partition)
  }

  // --- wishes ------------------------------------------------------------------------------------------------------

  /**
   * Takes part in a topic, or reads more partitions of it. Resolves when the group knows, and this member has its share of
   * what is free; rejects when the server does not allow it.
   */
  consume(topic: string, partitions: number): Promise<void> {
    this.#member.consume(topic, partitions)
    this.#pump()
    return this.#when(() => this.#member.isCalm(this.#now()))
  }

  /** Hands over all partitions of the topic. Resolves when the group knows, or the connection is lost. */
  stopConsuming(topic: string): Promise<void> {
    this.#member.stopConsuming(topic)
    this.#pump()
    const isDone = (): boolean => !this.#member.isInvolvedIn(topic) && this.#member.isCalm(this.#now())
    return this.#when(() => isDone() || !this.#isUp)
  }

  /** While a topic is paused here, its partitions go to other members that consume it, however long handlers take. */
  setPaused(topic: string, paused: boolean): void {
    this.#member.setPaused(topic, paused)
    this.#pump()
  }

  // --- events ------------------------------------------------------------------------------------------------------

  /**
   * The lease was renewed by something that was sent at `sentAt` (monotonic): a commit that renews it as well, or a reply
   * which proves that no other member could fence this one.
   */
  renewed(sentAt: number): void {
    this.#member.renewed(sentAt)
  }

  /** The group has changed: looks at it at once. Without this call, the next beat finds out. */
  wake(): void {
    this.#member.wake()
    this.#pump()
  }

  /** A commit was refused because the member is fenced. */
  fenced(): void {
    this.#member.fenced()
    this.#reportChanges()
    this.#pump()
  }

  /** The connection is lost: makes no calls. What is held stays held until the lease ends. */
  down(): void {
    this.#isUp = false
    this.#checkWaiting()
  }

  up(): void {
    this.#isUp = true
    this.#failures = 0
    this.#pausedUntil = -Infinity
    this.#member.reconnected(this.#now())
    this.#pump()
  }

  /**
   * Hands everything over and leaves the group. Never rejects: without a connection, or when the server refuses, the lease
   * ends by itself. Safe to call twice.
   */
  leave(): Promise<void> {
    this.#left ??= this.#leave()
    return this.#left
  }

  async #leave(): Promise<void> {
    const { clock, driver, host, handoverTimeoutMs, leaseMs } = this.#options
    this.#member.beginLeaving()
    this.#pump()
    let late = false
    const timer = clock.setTimer(handoverTimeoutMs + leaseMs / 3, () => {
      late = true
      this.#checkWaiting()
    })
    const isEmpty = (): boolean => this.#running === undefined && (this.#member.isEmpty || !this.#member.isMember)
    const isOver = (): boolean => late || !this.#isUp || isEmpty()
    // When that is refused, the rest becomes free as well.
    await this.#when(isOver).catch(() => {})
    timer.cancel()
    this.#isOver = true
    this.#timer?.cancel()
    this.#leaseTimer?.cancel()
    this.#holdings.loseAll('the consumer was closed before its messages were handled')
    this.#reportChanges()
    this.#checkWaiting()
    await this.#running
    await Promise.all(this.#revoking)
    if (!this.#isUp || !this.#member.isMember) return
    try {
      await driver.leave()
    } catch (error) {
      host.failed(error, 'leaving the group')
    }
  }

  // --- the loop ----------------------------------------------------------------------------------------------------

  #pump(): void {
    if (this.#isOver || this.#running !== undefined) return
    this.#running = this.#run().finally(() => {
      this.#running = undefined
      this.#arm()
      this.#checkWaiting()
    })
  }

  /** One call at a time, until nothing is to be done now. */
  async #run(): Promise<void> {
    // In the next microtask, so that calls made together have an effect together.
    await Promise.resolve()
    while (!this.#isOver) {
      const now = this.#now()
      this.#tick(now)
      this.#beginHandovers()
      if (!this.#isUp || now < this.#pausedUntil) return
      const step = this.#member.next(now)
      if (step === undefined) return
      this.#member.onBegun(step)
      try {
        await this.#do(step, now)
        this.#failures = 0
        this.#trouble = undefined
      } catch (error) {
        this.#failed(error, step)
      }
      this.#reportChanges()
    }
  }

  async #do(step: Step<Position>, askedAt: number): Promise<void> {
    const { driver } = this.#options
    const member = this.#member
    switch (step.do) {
      case 'look': {
        const reply = await driver.beat(step.request)
        member.onLooked(step.request, reply, askedAt, this.#now())
        if (reply.view !== undefined) this.#lookForGrowth()
        return
      }
      case 'join': {
        const reply = await driver.join(step.member)
        member.onJoined(reply, askedAt, this.#now())
        this.#lookForGrowth()
        return
      }
      case 'claim': {
        const claimed = await driver.claim(step.partitions)
        // What was claimed becomes free as the member leaves.
        if (this.#isOver) return
        member.onClaimed(step.partitions, claimed, this.#now())
        return
      }
      case 'release':
        await driver.release(step.partitions)
        member.onReleased(step.partitions)
        return
      case 'fence':
        await driver.fence(step.lease)
        member.onFenced(step.lease)
    }
  }

  #failed(error: unknown, step: Step<Position>): void {
    const { host, random = Math.random } = this.#options
    this.#member.onFailed()
    if (!this.#isUp || this.#isOver) return
    const pauseMs = growingDelay({ minMs: FIRST_PAUSE_MS, maxMs: this.#beatMs }, this.#failures++)
    this.#pausedUntil = this.#now() + halfRandom(pauseMs, random)
    this.#trouble = `partitions can't be distributed: ${error instanceof Error ? error.message : String(error)}`
    host.failed(error, DOING[step.do])
    if (!AuthorizationError.is(error)) return
    for (const waiting of this.#waiting) waiting.end(error)
    this.#waiting.clear()
  }

  #tick(now: number): void {
    this.#member.tick(now)
    this.#reportChanges()
    this.#armLease()
  }

  #beginHandovers(): void {
    const { handoverTimeoutMs } = this.#options
    for (const partition of this.#member.toRevoke()) {
      const isUnbounded = this.#left === undefined && this.#member.isPaused(partition.topic)
      const done = this.#holdings.revoke(partition, isUnbounded ? Infinity : handoverTimeoutMs).then((released) => {
        this.#revoking.delete(done)
        if (released !== undefined) this.#member.finished(released)
        if (released?.isUnclean === false) this.#revoked.push(partition)
        this.#pump()
      })
      this.#revoking.add(done)
    }
  }

  #lookForGrowth(): void {
    for (const [topic, count] of this.#member.grown()) this.#options.host.grown(topic, count)
  }

  #reportChanges(): void {
    if (this.#assigned.length + this.#revoked.length === 0) return
    const [assigned, revoked] = [this.#assigned, this.#revoked]
    this.#assigned = []
    this.#revoked = []
    this.#options.host.rebalanced(assigned, revoked)
  }

  // --- timers ------------------------------------------------------------------------------------------------------

  #arm(): void {
    this.#timer?.cancel()
    if (this.#isOver || !this.#isUp) return
    const now = this.#now()
    let at = this.#member.nextAt()
    // Wishes may have come since the loop ended.
    if (this.#member.next(now) !== undefined || this.#member.toRevoke().length > 0) at = now
    at = Math.max(at, this.#pausedUntil)
    if (at < Infinity) this.#timer = this.#options.clock.setTimer(Math.max(0, at - now), () => this.#pump())
  }

  /** Separate from the loop, which may wait for a call. */
  #armLease(): void {
    if (this.#leaseTimer !== undefined || this.#holdings.size === 0 || this.#isOver) return
    const leftMs = Math.max(0, this.#member.leaseUntil - this.#now())
    this.#leaseTimer = this.#options.clock.setTimer(leftMs, () => {
      this.#leaseTimer = undefined
      this.#tick(this.#now())
    })
  }

  // --- waiting -----------------------------------------------------------------------------------------------------

  async #when(until: () => boolean): Promise<void> {
    if (until()) return
    await new Promise<void>((resolve, reject) => {
      this.#waiting.add({ until, end: (refused) => (refused === undefined ? resolve() : reject(refused)) })
    })
  }

  #checkWaiting(): void {
    for (const waiting of this.#waiting)
      if (this.#isOver || waiting.until()) {
        this.#waiting.delete(waiting)
        waiting.end()
      }
  }

  #now(): number {
    return this.#options.clock.monotonic()
  }
}

const DOING: Readonly<Record<Step<unknown>['do'], string>> = {
  look: 'renewing the lease',
  join: 'joining the group',
  claim: 'taking partitions',
  release: 'releasing partitions',
  fence: 'taking over from a dead member',
}
