// Longer than most files: which queues are ours, and which we only stand by on, changes with every member that comes or goes.
import { sleep } from '../../../core/clock.ts'
import type { Clock, Timer } from '../../../core/clock.ts'
import { growingDelay, halfRandom } from '../../../core/util/backoff.ts'
import { settledWithin } from '../../../core/util/settled-within.ts'
import { assign } from './assignment.ts'
import type { Session } from '../connection/link.ts'
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
  declare(session: Session, which: Declaring, cancelled: ReadonlySet<string>): Promise<readonly string[]>
  makeSeat(queue: string, partition: number): AssignedQueue
  /** The subscription had these queues and now has others. Never rejects. */
  abandoned(session: Session, queues: readonly string[]): Promise<void>
  /** Hands back the messages held of a queue that others may consume at the same time. */
  handBack(seat: AssignedQueue): Promise<void>
  /** Before the channel is closed: notes what goes back with it. */
  noteReturned(seat: AssignedQueue): Promise<void>
  /** The distribution of queues in the group has changed. */
  rebalanced(assigned: readonly string[], revoked: readonly string[]): void
  failed(error: unknown, doing: string): void
}

/** How long the queues wait until this member's share is known. */
const PATIENCE_MS = 1_000
/** Others stand by for a queue only after its owner has had time to consume it. */
const STANDBY_MS = 3_000
const RETRY = { minMs: 100, maxMs: 10_000 } as const

/**
 * Decides which queues of a group this member consumes, and applies it: on a new session, when members come and go, on
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
  seats: AssignedQueue[] = []
  #session: Session | undefined
  #declaredFor: Session | undefined
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
  #standbyTimer: Timer | undefined
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
      isConsumed: () => this.seats[0]?.reader.isOpen === true,
    })
  }

  /** Begins with queues that were just declared on that session. */
  begin(session: Session, queues: readonly string[]): void {
    this.#session = session
    this.#declaredFor = session
    this.seats = queues.map((queue, partition) => this.#host.makeSeat(queue, partition))
  }

  /** There is a new session: everything starts again on it. */
  attach(session: Session): void {
    this.#session = session
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
    return this.#seatOf(reader)?.standsByFor !== undefined
  }

  /** The broker ended the consumer of a queue that another member owns, and which that member declares again. */
  standbyLost(reader: QueueConsumer): void {
    const seat = this.#seatOf(reader)
    if (seat !== undefined) this.#standLater(seat)
    this.update()
  }

  /** The first message of a channel has arrived. */
  activated(reader: QueueConsumer): void {
    const seat = this.#seatOf(reader)
    if (seat === undefined || seat.standsByFor === undefined || this.#membership === undefined) return
    // Its owner has gone, or has lost its connection.
    this.#membership
      .ask()
      .catch((error: unknown) => this.#host.failed(error, 'asking the other members of the group'))
      .finally(() => this.update())
  }

  #seatOf(reader: QueueConsumer): AssignedQueue | undefined {
    return this.seats.find((seat) => seat.reader === reader)
  }

  /** Gives up everything at once. */
  async close(): Promise<void> {
    this.#wanted = false
    this.#standbyTimer?.cancel()
    this.#closing.abort()
    await this.#running
    await this.#membership?.leave()
    await Promise.all(
      this.seats.map(async (seat) => {
        seat.isLeaving = true
        await this.#host.noteReturned(seat).catch(() => undefined)
        await seat.reader.close()
      }),
    )
  }

  // --- the loop ------------------------------------------------------------------------------------------------------

  /** Never rejects, and never tries again on the same session without a pause. */
  async #run(): Promise<void> {
    const { signal } = this.#closing
    for (let failures = 0; this.#again && !signal.aborted;) {
      this.#again = false
      const session = this.#session
      try {
        await this.#reconcile(session)
        failures = 0
        this.trouble = undefined
      } catch (error) {
        // The errors of a lost session don't matter; the next one starts clean.
        if (session?.isOpen !== true || signal.aborted) {
          if (this.#session === session) this.#again = false
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
  async #reconcile(session: Session | undefined): Promise<void> {
    let failure: JoinError | undefined
    if (session?.isOpen === true) {
      if (this.#declaredFor !== session || this.#isStale || this.#cancelled.size > 0) await this.#declare(session)
      failure = await this.#meet(session)
    }
    // All at once: a queue whose leader is being elected blocks its own channel, but no other queue.
    const results = await Promise.allSettled(this.seats.map((seat) => this.#settle(seat, session)))
    this.#tellRebalance()
    const reasons = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []))
    // What is missing is declared in any case; other errors say more.
    if (reasons.length > 0) throw reasons.find((reason) => !isNotFound(reason)) ?? reasons[0]
    if (failure !== undefined) throw failure
  }

  /**
   * Joins the other members, or leaves them. While that fails this member wants all queues: the broker gives each of
   * them to one consumer, so order holds, and no queue stays without a reader.
   */
  async #meet(session: Session): Promise<JoinError | undefined> {
    if (this.#membership === undefined) return undefined
    if (!this.#wanted) {
      await this.#membership.leave()
      return undefined
    }
    const joining = this.#membership.join(session)
    try {
      if (!(await settledWithin(this.#clock, PATIENCE_MS, joining))) {
        if (this.#lateJoin === joining) return undefined
        this.#lateJoin = joining
        this.#owned = undefined
        // It reports the share when it is known; a failure, or a place lost at once, runs the loop again.
        joining
          .catch((error: unknown) => {
            if (session.isOpen) this.#host.failed(error, 'joining the other members of the group')
          })
          .finally(() => this.update())
      }
      return undefined
    } catch (error) {
      this.#owned = undefined
      return new JoinError(error)
    }
  }

  async #declare(session: Session): Promise<void> {
    const cancelled = this.#cancelled
    const which = this.#declaredFor !== session || this.#isStale ? 'all' : 'cancelled'
    // Before, not after: what is deleted meanwhile must be declared once more.
    this.#cancelled = new Set()
    this.#isStale = false
    this.#declaredFor = session
    const queues = await this.#host.declare(session, which, cancelled).catch((error: unknown) => {
      for (const queue of cancelled) this.#cancelled.add(queue)
      if (which === 'all') this.#declaredFor = undefined
      throw error
    })
    const known = this.seats.map(({ reader }) => reader.queue)
    if (queues.join('\n') !== known.join('\n')) {
      await Promise.all(this.seats.map(({ reader }) => reader.close()))
      this.seats = queues.map((queue, partition) => this.#host.makeSeat(queue, partition))
      void this.#host.abandoned(session, known)
    }
  }

  /** Takes the queue or gives it up, according to the current state. */
  async #settle(seat: AssignedQueue, session: Session | undefined): Promise<void> {
    if (!this.#wanted) {
      await this.#give(seat)
      return
    }
    const owner = this.#owned === undefined ? undefined : this.#owners[seat.partition]
    if (owner === undefined || owner === this.#id || seat.isKept) {
      seat.standsByFor = undefined
      await this.#take(seat, session)
    } else await this.#standBy(seat, owner, session)
  }

  /**
   * Consumes a queue of another member, whose messages the broker gives to one consumer at a time: that is how it comes
   * to this one when the other dies.
   */
  async #standBy(seat: AssignedQueue, owner: string, session: Session | undefined): Promise<void> {
    const { reader } = seat
    if (!reader.isIdle) {
      const isInLine = seat.standsByFor === owner && !seat.isLeaving && !reader.hasReceived
      if (isInLine || (reader.hasReceived && this.#membership?.isAsking === true)) return
      // It has come to this member although another one owns it: once, that other one gets its turn.
      if (seat.standsByFor === owner && reader.hasReceived && !seat.isLeaving) seat.isKept = seat.hasYielded
      if (seat.isKept) {
        seat.standsByFor = undefined
        return
      }
      seat.hasYielded = seat.standsByFor === owner
      this.#standLater(seat)
      await this.#give(seat)
      return
    }
    const waitMs = seat.standbyAt - this.#clock.monotonic()
    if (waitMs > 0) {
      this.#standbyTimer?.cancel()
      this.#standbyTimer = this.#clock.setTimer(waitMs, () => this.update())
      return
    }
    seat.standsByFor = owner
    try {
      await this.#take(seat, session, true)
    } catch (error) {
      if (!isNotFound(error)) throw error
      // Its owner declares it again, if it lives.
      this.#standLater(seat)
      await this.#membership?.ask()
      this.#again = true
    }
  }

  #standLater(seat: AssignedQueue): void {
    seat.standbyAt = this.#clock.monotonic() + STANDBY_MS
  }

  async #take(seat: AssignedQueue, session: Session | undefined, standsBy = false): Promise<void> {
    if (seat.isLeaving && !seat.isEnding) {
      seat.isLeaving = false
      if (seat.reader.isOpen) await seat.reader.resume()
    }
    if (session?.isOpen !== true || !seat.reader.isIdle) return
    // Cancelled since it was declared. Consuming a queue that is being deleted can cost the whole connection (541).
    if (this.#cancelled.has(seat.reader.queue)) return
    seat.isLeaving = false
    try {
      await seat.reader.open(session)
    } catch (error) {
      if (isNotFound(error) && !standsBy) this.#cancelled.add(seat.reader.queue)
      throw error
    }
  }

  async #give(seat: AssignedQueue): Promise<void> {
    if (!seat.reader.isOpen) return
    if (!seat.isLeaving) {
      seat.isLeaving = true
      if (this.#isShared) {
        await seat.reader.cancel()
        await this.#host.handBack(seat)
      }
    }
    await this.endIfEmpty(seat)
  }

  /** Closes a queue that is being given up once the runtime has none of its messages. */
  async endIfEmpty(seat: AssignedQueue): Promise<void> {
    if (!seat.isLeaving || seat.isEnding || seat.reader.handed > 0 || !seat.reader.isOpen) return
    seat.isEnding = true
    try {
      await this.#host.noteReturned(seat)
      // Only now can the next member consume it: everything is back in its order.
      await seat.reader.close()
    } finally {
      seat.isEnding = false
      this.update()
    }
  }

  // --- the others ------------------------------------------------------------------------------------------------------

  #share(members: readonly string[], id: string): void {
    const owners = assign(this.seats.length, members)
    for (const seat of this.seats)
      if (owners[seat.partition] !== this.#owners[seat.partition]) {
        seat.isKept = false
        seat.hasYielded = false
        if (owners[seat.partition] !== id) this.#standLater(seat)
      }
    this.#owners = owners
    this.#owned = new Set(owners.flatMap((owner, partition) => (owner === id ? [partition] : [])))
    this.update()
  }

  #shareUnknown(): void {
    this.#owned = undefined
    this.update()
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
    return owned === undefined ? this.seats : this.seats.filter(({ partition }) => owned.has(partition))
  }

  /** The member that should read a queue; undefined while this one does not know. */
  ownerOf(queue: string): string | undefined {
    if (this.#owned === undefined || !this.#wanted) return undefined
    return this.#owners[this.seats.findIndex(({ reader }) => reader.queue === queue)]
  }

  #tellRebalance(): void {
    if (this.#owned === undefined || this.#owned === this.#told || !this.#wanted) return
    const before = this.#told ?? new Set<number>()
    const now = this.#owned
    this.#told = now
    const nameOf = (partition: number): string => this.seats[partition]?.reader.queue ?? ''
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
