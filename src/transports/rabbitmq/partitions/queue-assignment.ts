// Longer than most files: which queues are ours, and which we only stand by on, changes with every member that comes or goes.
import { sleep } from '../../../core/clock.ts'
import type { Clock, Timer } from '../../../core/clock.ts'
import { UnsupportedError } from '../../../core/errors.ts'
import { growingDelay, halfRandom } from '../../../core/util/backoff.ts'
import { settledWithin } from '../../../core/util/settled-within.ts'
import { assign, standbyLine } from './assignment.ts'
import type { LiveConnection } from '../connection/live-connection.ts'
import { REPLY, reasonOf, replyCode } from '../errors.ts'
import type { Membership, MembershipParts } from './membership.ts'
import type { QueueConsumer } from '../consume/queue-consumer.ts'

/** One queue of a subscription and its state. */
export interface AssignedQueue {
  readonly reader: QueueConsumer
  readonly partition: number
  /** Being given up: nothing more is handed out, and the channel ends when the last message is settled. */
  isLeaving: boolean
  isEnding: boolean
  /** The member that it stands by for; undefined when the queue is this member's own. */
  standsByFor: string | undefined
  /** When it may be consumed to stand by, in monotonic ms: its owner must come first in the broker's line. */
  standbyAt: number
  /** How many members should stand by for it before this one. */
  rank: number
  /** It came to this member again after it had been given up: no other member wants it. */
  isKept: boolean
  /** It was given up for its owner although it had come to this member. */
  hasYielded: boolean
}

export type Declaring = 'all' | 'cancelled'

export interface QueueAssignmentHost {
  /**
   * Declares what is missing of what the subscription consumes, and returns its queues. `cancelled`: only queues whose
   * consumers the broker has ended; they may be about to disappear.
   */
  declare(live: LiveConnection, which: Declaring, cancelled: ReadonlySet<string>): Promise<readonly string[]>
  makeAssignedQueue(queue: string, partition: number): AssignedQueue
  /** The subscription had these queues and now has others. Never rejects. */
  abandoned(live: LiveConnection, queues: readonly string[]): Promise<void>
  /** Hands back the messages held of a queue that others may consume at the same time. */
  handBack(assigned: AssignedQueue): Promise<void>
  /** Before the channel is closed: notes what goes back with it. */
  noteReturned(assigned: AssignedQueue): Promise<void>
  /** The distribution of queues in the group has changed. */
  rebalanced(assigned: readonly string[], revoked: readonly string[]): void
  failed(error: unknown, doing: string): void
}

/** How long the queues wait until this member's share is known. */
const PATIENCE_MS = 1_000
/** Others stand by for a queue only after its owner has had time to consume it. */
const STANDBY_MS = 3_000
/** And one after another: the broker passes the queue on to the one that has stood by for longest. */
const STANDBY_STEP_MS = 100
/** Those further behind line up together: a queue must not wait long for somebody to stand by. */
const MAX_RANK = 20
const RETRY = { minMs: 100, maxMs: 10_000 } as const

/**
 * Decides which queues of a group this member consumes, and applies it: on a new connection, when members come and go, on
 * pause, resume and drain. A single loop does all of it, so that no two changes run concurrently.
 */
export class QueueAssignment {
  readonly #host: QueueAssignmentHost
  readonly #clock: Clock
  readonly #membership: Membership | undefined
  readonly #id: string
  /** Why messages do not arrive although they should. */
  trouble: string | undefined
  /** Others may consume the same queue at the same time: it may then be left message by message. */
  readonly #isShared: boolean
  readonly #closing = new AbortController()
  assignedQueues: AssignedQueue[] = []
  #live: LiveConnection | undefined
  #declaredFor: LiveConnection | undefined
  /** Something may be missing of what was declared on it. */
  #isStale = false
  /** Queues whose consumers the broker has ended since, or that it did not find. */
  #cancelled = new Set<string>()
  #wanted = false
  /** Our partitions; undefined for all. */
  #owned: ReadonlySet<number> | undefined
  /** The member that each partition belongs to, as far as the members decide it. */
  #owners: readonly string[] = []
  #told: ReadonlySet<number> | undefined
  /** For the queue that may be stood by for first; each of the others asks again then. */
  #standbyTimer: { readonly at: number; readonly timer: Timer } | undefined
  /** A join that takes so long that the queues do not wait for it. */
  #lateJoin: Promise<void> | undefined
  #running: Promise<void> | undefined
  #again = false
  /** Ends the pause after a failure. */
  #pause = new AbortController()

  constructor(parts: {
    readonly host: QueueAssignmentHost
    readonly clock: Clock
    readonly membership:
      | ((hooks: Pick<MembershipParts, 'onChange' | 'onLost'> & { readonly isConsumed: () => boolean }) => Membership)
      | undefined
    readonly id: string
    readonly isShared: boolean
  }) {
    this.#host = parts.host
    this.#clock = parts.clock
    this.#isShared = parts.isShared
    this.#id = parts.id
    this.#membership = parts.membership?.({
      onChange: (members) => this.#share(members, parts.id),
      onLost: () => this.#shareUnknown(),
      isConsumed: () => this.assignedQueues[0]?.reader.isOpen === true,
    })
  }

  /** Begins with queues that were just declared on that connection. */
  begin(live: LiveConnection, queues: readonly string[]): void {
    this.#live = live
    this.#declaredFor = live
    this.assignedQueues = queues.map((queue, partition) => this.#host.makeAssignedQueue(queue, partition))
  }

  /** There is a new connection: everything starts again on it. */
  attach(live: LiveConnection): void {
    this.#live = live
    this.#pause.abort()
    this.update()
  }

  /** Sets whether this member consumes at all. */
  want(wanted: boolean): void {
    if (this.#wanted === wanted) return
    this.#wanted = wanted
    this.update()
  }

  /** Has everything checked again. */
  update(): void {
    this.#again = true
    this.#running ??= this.#run()
  }

  /** The consumer of that queue was ended, or anything may be missing: declare again before consuming again. */
  redeclare(cancelled?: string): void {
    if (cancelled === undefined) this.#isStale = true
    else this.#cancelled.add(cancelled)
    this.update()
  }

  /** True when the reader stands by, and so loses nothing with its consumer. */
  standsBy(reader: QueueConsumer): boolean {
    return this.#assignedQueueOf(reader)?.standsByFor !== undefined
  }

  /** The broker ended the consumer of a queue that another member owns, and which that member declares again. */
  standbyLost(reader: QueueConsumer): void {
    const assigned = this.#assignedQueueOf(reader)
    if (assigned !== undefined) this.#standLater(assigned)
    this.update()
  }

  /** The first message of a channel has arrived. */
  activated(reader: QueueConsumer): void {
    const assigned = this.#assignedQueueOf(reader)
    if (assigned === undefined || assigned.standsByFor === undefined || this.#membership === undefined) return
    if (assigned.standsByFor !== this.#owners[assigned.partition]) {
      // Its owner has said that it goes, and who comes next is known.
      this.update()
      return
    }
    // Its owner has gone, or has lost its connection.
    this.#membership
      .ask()
      .catch((error: unknown) => this.#host.failed(error, 'asking the other members of the group'))
      .finally(() => this.update())
  }

  #assignedQueueOf(reader: QueueConsumer): AssignedQueue | undefined {
    return this.assignedQueues.find((assigned) => assigned.reader === reader)
  }

  /** Gives up everything at once. */
  async close(): Promise<void> {
    this.#wanted = false
    this.#standbyTimer?.timer.cancel()
    this.#closing.abort()
    await this.#running
    await this.#membership?.leave()
    await Promise.all(
      this.assignedQueues.map(async (assigned) => {
        assigned.isLeaving = true
        await this.#host.noteReturned(assigned).catch(() => undefined)
        await assigned.reader.close()
      }),
    )
  }

  // --- the loop ------------------------------------------------------------------------------------------------------

  /** Never rejects, and never tries again on the same connection without a pause. */
  async #run(): Promise<void> {
    const { signal } = this.#closing
    for (let failures = 0; this.#again && !signal.aborted;) {
      this.#again = false
      const live = this.#live
      try {
        await this.#reconcile(live)
        failures = 0
        this.trouble = undefined
      } catch (error) {
        // The errors of a lost connection don't matter; the next one starts clean.
        if (live?.isOpen !== true || signal.aborted) {
          if (this.#live === live) this.#again = false
          continue
        }
        this.#again = true
        this.#failed(error)
        this.#pause = new AbortController()
        const until = AbortSignal.any([signal, this.#pause.signal])
        await sleep(this.#clock, halfRandom(growingDelay(RETRY, failures++)), until).catch(() => undefined)
      }
    }
    this.#running = undefined
  }

  #failed(error: unknown): void {
    const isAlone = error instanceof JoinError
    if (isAlone) this.trouble = undefined
    else {
      this.trouble = reasonOf(error)
      // What is missing is known then.
      if (!isNotFound(error)) this.#isStale = true
    }
    try {
      this.#host.failed(isAlone ? error.cause : error, isAlone ? 'joining the other members of the group' : 'consuming')
    } catch {
      // Whatever is wrong with the report, consuming must go on.
    }
  }

  /**
   * Takes and gives up queues according to the current state. Rejects with the first error once everything else is
   * done: one queue that can't be consumed, because its node is down, must not block the others.
   */
  async #reconcile(live: LiveConnection | undefined): Promise<void> {
    let failure: JoinError | undefined
    if (live?.isOpen === true) {
      if (this.#declaredFor !== live || this.#isStale || this.#cancelled.size > 0) await this.#declare(live)
      failure = await this.#meet(live)
    }
    // All at once: a queue whose leader is being elected blocks its own channel, but no other queue.
    const results = await Promise.allSettled(this.assignedQueues.map((assigned) => this.#settle(assigned, live)))
    this.#reportRebalance()
    const reasons = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []))
    // What is missing is declared in any case; other errors say more.
    if (reasons.length > 0) throw reasons.find((reason) => !isNotFound(reason)) ?? reasons[0]
    if (failure !== undefined) throw failure
  }

  /**
   * Joins the other members, or leaves them. While that fails this member wants all queues: the broker gives each of
   * them to one consumer, so order holds, and no queue stays without a reader.
   */
  async #meet(live: LiveConnection): Promise<JoinError | undefined> {
    if (this.#membership === undefined) return undefined
    if (!this.#wanted) {
      await this.#membership.leave()
      return undefined
    }
    const joining = this.#membership.join(live)
    try {
      if (!(await settledWithin(this.#clock, PATIENCE_MS, joining))) {
        if (this.#lateJoin === joining) return undefined
        this.#lateJoin = joining
        this.#owned = undefined
        // It reports the share when it is known; a failure, or a place lost at once, runs the loop again.
        joining
          .catch((error: unknown) => {
            if (live.isOpen) this.#host.failed(error, 'joining the other members of the group')
          })
          .finally(() => this.update())
      }
      return undefined
    } catch (error) {
      this.#owned = undefined
      return new JoinError(error)
    }
  }

  async #declare(live: LiveConnection): Promise<void> {
    const cancelled = this.#cancelled
    const which = this.#declaredFor !== live || this.#isStale ? 'all' : 'cancelled'
    // Before, not after: what is deleted meanwhile must be declared once more.
    this.#cancelled = new Set()
    this.#isStale = false
    this.#declaredFor = live
    const queues = await this.#host.declare(live, which, cancelled).catch((error: unknown) => {
      for (const queue of cancelled) this.#cancelled.add(queue)
      if (which === 'all') this.#declaredFor = undefined
      throw error
    })
    const known = this.assignedQueues.map(({ reader }) => reader.queue)
    if (queues.join('\n') !== known.join('\n')) {
      await Promise.all(this.assignedQueues.map(({ reader }) => reader.close()))
      this.assignedQueues = queues.map((queue, partition) => this.#host.makeAssignedQueue(queue, partition))
      void this.#host.abandoned(live, known)
    }
  }

  /** Takes the queue or gives it up, according to the current state. */
  async #settle(assigned: AssignedQueue, live: LiveConnection | undefined): Promise<void> {
    if (!this.#wanted) {
      await this.#give(assigned)
      return
    }
    const owner = this.#owned === undefined ? undefined : this.#owners[assigned.partition]
    if (owner === undefined || owner === this.#id || assigned.isKept) {
      assigned.standsByFor = undefined
      await this.#take(assigned, live)
    } else await this.#standBy(assigned, owner, live)
  }

  /**
   * Consumes a queue of another member, whose messages the broker gives to one consumer at a time: that is how it comes
   * to this one when the other dies.
   */
  async #standBy(assigned: AssignedQueue, owner: string, live: LiveConnection | undefined): Promise<void> {
    const { reader } = assigned
    if (!reader.isIdle) {
      const isInLine = assigned.standsByFor === owner && !assigned.isLeaving && !reader.hasReceived
      if (isInLine || (reader.hasReceived && this.#membership?.isAsking === true)) return
      // It has come to this member although another one owns it: once, that other one gets its turn.
      if (assigned.standsByFor === owner && reader.hasReceived && !assigned.isLeaving)
        assigned.isKept = assigned.hasYielded
      if (assigned.isKept) {
        assigned.standsByFor = undefined
        return
      }
      assigned.hasYielded = assigned.standsByFor === owner
      this.#standLater(assigned)
      await this.#give(assigned)
      return
    }
    if (assigned.standbyAt > this.#clock.monotonic()) {
      this.#standAt(assigned.standbyAt)
      return
    }
    assigned.standsByFor = owner
    try {
      await this.#take(assigned, live, true)
    } catch (error) {
      if (!isNotFound(error)) throw error
      // Its owner declares it again, if it lives.
      this.#standLater(assigned)
      await this.#membership?.ask()
      this.#again = true
    }
  }

  #standAt(at: number): void {
    if (this.#standbyTimer !== undefined && this.#standbyTimer.at <= at) return
    this.#standbyTimer?.timer.cancel()
    const timer = this.#clock.setTimer(at - this.#clock.monotonic(), () => {
      this.#standbyTimer = undefined
      this.update()
    })
    this.#standbyTimer = { at, timer }
  }

  #standLater(assigned: AssignedQueue): void {
    assigned.standbyAt = this.#clock.monotonic() + STANDBY_MS + Math.min(assigned.rank, MAX_RANK) * STANDBY_STEP_MS
  }

  async #take(assigned: AssignedQueue, live: LiveConnection | undefined, standsBy = false): Promise<void> {
    if (assigned.isLeaving && !assigned.isEnding) {
      assigned.isLeaving = false
      if (assigned.reader.isOpen) await assigned.reader.resume()
    }
    if (live?.isOpen !== true || !assigned.reader.isIdle) return
    // Cancelled since it was declared. Consuming a queue that is being deleted can cost the whole connection (541).
    if (this.#cancelled.has(assigned.reader.queue)) return
    assigned.isLeaving = false
    try {
      await assigned.reader.open(live)
    } catch (error) {
      if (isNotFound(error) && !standsBy) this.#cancelled.add(assigned.reader.queue)
      throw error
    }
  }

  async #give(assigned: AssignedQueue): Promise<void> {
    if (!assigned.reader.isOpen) return
    if (!assigned.isLeaving) {
      assigned.isLeaving = true
      if (this.#isShared) {
        await assigned.reader.cancel()
        await this.#host.handBack(assigned)
      }
    }
    await this.endIfEmpty(assigned)
  }

  /** Closes a queue that is being given up once the runtime has none of its messages. */
  async endIfEmpty(assigned: AssignedQueue): Promise<void> {
    if (!assigned.isLeaving || assigned.isEnding || assigned.reader.handed > 0 || !assigned.reader.isOpen) return
    assigned.isEnding = true
    try {
      await this.#host.noteReturned(assigned)
      // Only now can the next member consume it: everything is back in its order.
      await assigned.reader.close()
    } finally {
      assigned.isEnding = false
      this.update()
    }
  }

  // --- the others ------------------------------------------------------------------------------------------------------

  #share(members: readonly string[], id: string): void {
    const owners = assign(this.assignedQueues.length, members)
    for (const assigned of this.assignedQueues) {
      const rank = standbyLine(assigned.partition, owners, members).indexOf(id)
      // One that does not share the queues stands by behind all those that do.
      assigned.rank = rank < 0 ? members.length : rank
      if (owners[assigned.partition] !== this.#owners[assigned.partition]) {
        assigned.isKept = false
        assigned.hasYielded = false
        if (owners[assigned.partition] !== id) this.#standLater(assigned)
      }
    }
    this.#owners = owners
    this.#owned = new Set(owners.flatMap((owner, partition) => (owner === id ? [partition] : [])))
    this.update()
  }

  #shareUnknown(): void {
    this.#owned = undefined
    this.update()
  }

  /** Gives up the queues that it keeps although another member owns them: that one is there. */
  yieldKept(): void {
    for (const assigned of this.assignedQueues)
      if (assigned.isKept) {
        assigned.isKept = false
        assigned.hasYielded = false
      }
    this.update()
  }

  /** What this member handles has changed. */
  topicsChanged(): void {
    this.#membership?.topicsChanged()
  }

  /** Whether another member handles the topic; rejects when that can't be found out. */
  async find(topic: string): Promise<boolean> {
    if (this.#membership === undefined) throw new UnsupportedError('Members of this group do not know each other')
    return this.#membership.find(topic)
  }

  /** Number of members, as far as this one knows them. */
  get memberCount(): number {
    return this.#membership?.size ?? 0
  }

  /** True when the others have all the work: there are more members than queues. */
  get isStandby(): boolean {
    return this.#owned?.size === 0
  }

  /** Which queues this member should read, as far as the members decide it. */
  get share(): readonly AssignedQueue[] {
    const owned = this.#owned
    return owned === undefined
      ? this.assignedQueues
      : this.assignedQueues.filter(({ partition }) => owned.has(partition))
  }

  /** The member that should read a queue; undefined while this one does not know. */
  ownerOf(queue: string): string | undefined {
    if (this.#owned === undefined || !this.#wanted) return undefined
    return this.#owners[this.assignedQueues.findIndex(({ reader }) => reader.queue === queue)]
  }

  #reportRebalance(): void {
    if (this.#owned === undefined || this.#owned === this.#told || !this.#wanted) return
    const before = this.#told ?? new Set<number>()
    const now = this.#owned
    this.#told = now
    const nameOf = (partition: number): string => this.assignedQueues[partition]?.reader.queue ?? ''
    const assigned = [...now].filter((partition) => !before.has(partition)).map(nameOf)
    const revoked = [...before].filter((partition) => !now.has(partition)).map(nameOf)
    if (assigned.length + revoked.length > 0) this.#host.rebalanced(assigned, revoked)
  }
}

function isNotFound(error: unknown): boolean {
  return replyCode(error) === REPLY.notFound
}

/** Joining the other members failed. Everything else may work. */
class JoinError extends Error {
  constructor(cause: unknown) {
    super('Joining the group failed', { cause })
  }
}
