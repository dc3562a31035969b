// Longer than most files: rounds, handovers, losses and the end of a member all change who owns a partition.
import type { Acquired } from '../../../../core/partitions/attempt-state.ts'
import type { Timer } from '../../../../core/clock.ts'
import { AuthorizationError } from '../../../../core/errors.ts'
import type { Session } from '../../connection/session.ts'
import { JetStreamError, toBusbarError } from '../../errors.ts'
import { Members } from '../consume/members.ts'
import type { MembersHost } from '../consume/members.ts'
import { OwnedPartition } from './owned-partition.ts'
import type { Claimed, OwnedPartitionHost } from './owned-partition.ts'
import { ForeignRecordError } from './partition-record.ts'
import type { PartitionState } from './partition-record.ts'
import type { PartitionStore } from './partition-store.ts'
import type { LeaseUser, SessionLeases } from './session-leases.ts'

/** How long a new member listens for others before it takes what is free. */
const LISTEN_MS = 25
/** Owners of the first partitions answer newcomers. */
const ANSWERING_UNITS = 2
/** Pause after a record could not be written. */
const AGAIN_MS = 500

export interface LeasesHost {
  readonly session: Session
  readonly leases: SessionLeases
  readonly store: PartitionStore
  readonly memberId: string
  /** This member has made the group. */
  readonly isNew: boolean
  /** Subject for messages among the members. */
  readonly noticeSubject: string
  /** Where the group begins in a partition that has no record. */
  initial(): PartitionState
  /** The partition is now ours, as the owner before has left it. */
  acquire(unit: string, state: PartitionState, how: Acquired): void
  /**
   * Stop reading it and finish its outstanding messages. Resolves when nothing of it is here any more. `lost`: it is no
   * longer to be handed over, and may already be ours again.
   */
  release(unit: string, lost: AbortSignal): Promise<void>
  /** These were lost without warning. */
  revoke(units: readonly string[], reason: string): void
  /** What is to be written for a partition that is ours; `free`: for its next owner. */
  state(unit: string, free: boolean): PartitionState
  /** What `state` said last is stored. */
  committed(unit: string): void
  changed(assigned: readonly string[], revoked: readonly string[]): void
  /** The group was moved or deleted. */
  moved(): void
}

/**
 * Distributes the partitions of a topic among the members of a group, so that each has at most one reader at any time:
 * that keeps the order of a key. A partition belongs to the member that wrote its last record, for as long as the lease
 * of that member's session lasts.
 */
export class PartitionLeases implements MembersHost, LeaseUser {
  readonly session: Session
  readonly leases: SessionLeases
  readonly memberId: string
  readonly #host: LeasesHost
  readonly #units: readonly OwnedPartition[]
  readonly #byName = new Map<string, OwnedPartition>()
  readonly #members: Members
  #running: Promise<void> | undefined
  /** Scope of the next round: only our share, newcomers, or everything. */
  #next: 'share' | 'join' | 'full' | undefined
  #again: Timer | undefined
  /** The next round that may find the lease of another member over. */
  #watch: Timer | undefined
  /** When it begins (monotonic ms). */
  #watchAt = Infinity
  #hasLooked = false
  #closed = false
  #trouble: string | undefined
  #refused: AuthorizationError | undefined

  constructor(host: LeasesHost, units: readonly string[]) {
    this.#host = host
    this.session = host.session
    this.leases = host.leases
    this.memberId = host.memberId
    const ofUnit: OwnedPartitionHost = {
      session: host.session,
      leases: host.leases,
      store: host.store,
      memberId: host.memberId,
      initial: () => host.initial(),
      state: (name, free) => host.state(name, free),
      committed: (name) => host.committed(name),
      lost: (unit) => this.#lose([unit], 'another member has taken the partition, or the group was moved'),
    }
    this.#units = units.map((name) => new OwnedPartition(name, ofUnit))
    for (const unit of this.#units) this.#byName.set(unit.name, unit)
    this.#members = new Members(this, host.noticeSubject)
  }

  /** We have no share: there are more members than partitions. */
  get isStandby(): boolean {
    return !this.#units.some(({ mine }) => mine) && this.#members.share(this.#units.length, 0) === 0
  }

  /** Why partitions can't be distributed. */
  get trouble(): string | undefined {
    return this.#trouble ?? this.leases.trouble
  }

  get owned(): readonly string[] {
    return this.#units.filter(({ mine }) => mine).map(({ name }) => name)
  }

  /** True while it is certainly ours. */
  holds(name: string): boolean {
    return this.#byName.get(name)?.mine === true && this.leases.leftMs > 0
  }

  /** Joins; resolves when our share of what is free is taken. Rejects when that is not allowed. */
  async start(): Promise<void> {
    this.#members.open()
    this.#members.notify('join')
    await Promise.all([
      this.leases.use(this),
      new Promise<void>((resolve) => {
        this.session.host.clock.setTimer(LISTEN_MS, resolve)
      }),
    ])
    await this.#run('full')
    if (this.#refused !== undefined) throw this.#refused
  }

  // --- members -----------------------------------------------------------------------------------------------------

  answersNewcomers(): boolean {
    return this.#units.some(({ mine }, index) => mine && index < ANSWERING_UNITS)
  }

  /** Members joined or left, or something may be free. */
  changed(kind: 'join' | 'bye' | 'free'): void {
    this.#soon(kind === 'join' ? 'join' : 'share')
  }

  moved(): void {
    if (!this.#closed) this.#host.moved()
  }

  failed(error: unknown): void {
    this.#blame(error)
  }

  // --- rounds ------------------------------------------------------------------------------------------------------

  tick(): void {
    this.#soon('full')
  }

  #soon(what: 'share' | 'join' | 'full'): void {
    if (this.#closed || !this.session.ready) return
    this.#run(what).catch((error: unknown) => this.#blame(error))
  }

  /** Runs one round at a time; a call meanwhile causes another round. */
  #run(what: 'share' | 'join' | 'full'): Promise<void> {
    if (this.#next !== 'full' && (what !== 'share' || this.#next === undefined)) this.#next = what
    this.#running ??= (async () => {
      try {
        while (this.#next !== undefined && !this.#closed) {
          const now = this.#next
          this.#next = undefined
          await this.#round(now)
        }
      } finally {
        this.#running = undefined
      }
    })()
    return this.#running
  }

  async #round(what: 'share' | 'join' | 'full'): Promise<void> {
    let nextMs = Infinity
    if (what === 'full') {
      this.#trouble = undefined
      await this.#members.confirm()
      nextMs = await this.#members.check()
    } else if (what === 'join') await this.#members.probe()
    if (this.#closed) return
    await this.#reclaim()
    const mine = this.#units.filter((unit) => unit.mine && unit.handover === undefined)
    const quota = this.#members.share(this.#units.length, mine.length)
    if (mine.length > quota) void this.#release(mine.slice(quota))
    else if (mine.length < quota && this.leases.leftMs > 0) {
      nextMs = Math.min(nextMs, await this.#claimUpTo(quota - mine.length))
      // Those who have more than their share may not know us.
      if (what === 'full' && this.owned.length < quota) this.#members.joinAgain()
    }
    this.session.trouble(this, this.trouble)
    this.#watchFor(nextMs)
  }

  /** What a dead member has is taken over when its lease is over, and not some time after. */
  #watchFor(delayMs: number): void {
    const { clock } = this.session.host
    const at = clock.monotonic() + Math.max(1, delayMs)
    // A round that looks at fewer members does not know what an earlier one has seen.
    if (this.#closed || at >= this.#watchAt) return
    this.#watch?.cancel()
    this.#watchAt = at
    this.#watch = clock.setTimer(Math.max(1, delayMs), () => {
      this.#watchAt = Infinity
      this.#soon('full')
    })
  }

  /** What was lost and still has our name comes back, even beyond our share: then it is handed over in order. */
  async #reclaim(): Promise<void> {
    const astray = this.#units.filter(({ isAstray }) => isAstray)
    if (astray.length === 0 || this.leases.leftMs <= 0) return
    await Promise.all(astray.map((unit) => this.#look(unit)))
    for (const unit of astray) if (unit.isKnown && !unit.isOurs) unit.isAstray = false
    await this.#claim(astray.filter((unit) => unit.isAstray && unit.isKnown))
  }

  /** Resolves as `SessionLeases.look`, for those who have what is not free. */
  async #claimUpTo(count: number): Promise<number> {
    const others = this.#units.filter((unit) => !unit.mine)
    // A group that was just made has no records; if another member was faster, the claim fails.
    if (this.#hasLooked || !this.#host.isNew) await Promise.all(others.map((unit) => this.#look(unit)))
    this.#hasLooked = true
    const held = others.flatMap(({ record }) => (record === undefined || record.free ? [] : [record.session]))
    const nextMs = await this.leases.look(new Set(held))
    const tried = new Set<OwnedPartition>()
    for (let left = count; left > 0 && !this.#closed && this.leases.leftMs > 0;) {
      const next = others.filter((unit) => unit.isFree && !tried.has(unit)).slice(0, left)
      if (next.length === 0) break
      for (const unit of next) tried.add(unit)
      const claimed = await this.#claim(next)
      // Those may be ours: the next look shows which.
      if (claimed === undefined) break
      // Where another member was faster, there may be others.
      left -= claimed
    }
    return nextMs
  }

  async #look(unit: OwnedPartition): Promise<void> {
    try {
      await unit.look()
    } catch (error) {
      this.#blame(error)
    }
    const { record } = unit
    if (record !== undefined && !record.free && !this.leases.isOver(record.session) && record.owner !== this.memberId)
      this.#members.saw(record.owner, record.session)
  }

  /** Resolves with how many are ours now; undefined when the answer to a claim is not known. */
  async #claim(units: readonly OwnedPartition[]): Promise<number | undefined> {
    const assigned: string[] = []
    let isAnswered = true
    await Promise.all(
      units.map(async (unit) => {
        try {
          const claimed = await unit.claim()
          if (claimed === undefined) return
          // Nothing of it was read.
          if (this.#closed) return unit.putBack(claimed)
          unit.begin()
          assigned.push(unit.name)
          this.#host.acquire(unit.name, claimed.state, claimed.how)
          this.#wasTaken(claimed)
        } catch (error) {
          isAnswered = false
          this.#blame(error)
        }
      }),
    )
    if (assigned.length > 0 && !this.#closed) this.#host.changed(assigned, [])
    return isAnswered ? assigned.length : undefined
  }

  /** The owner before may have died without a word. One that left without a connection has no session in its record. */
  #wasTaken({ how, before }: Claimed): void {
    if (how !== 'taken' || before === undefined || before.session === '' || before.session === this.leases.id) return
    this.#members.died(before.owner)
  }

  // --- writing -----------------------------------------------------------------------------------------------------

  /** As `OwnedPartition.commit`. */
  commit(name: string): Promise<boolean> {
    return (this.#byName.get(name) as OwnedPartition).commit()
  }

  async #release(units: readonly OwnedPartition[]): Promise<void> {
    const released = await Promise.all(
      units.map(async (unit) => {
        const handover = new AbortController()
        const lost = handover.signal
        unit.handover = handover
        try {
          await this.#host.release(unit.name, lost)
          if (lost.aborted || this.#closed) return undefined
          return (await this.#free(unit)) ? unit.name : undefined
        } catch (error) {
          this.#blame(error)
          // Nothing here reads it any more, and keeping it would keep it from all members.
          if (unit.handover === handover) this.#lose([unit], 'it could not be handed over in order')
          return undefined
        }
      }),
    )
    const revoked = released.filter((name) => name !== undefined)
    if (revoked.length > 0) this.#host.changed([], revoked)
  }

  /** False when it was lost meanwhile. */
  async #free(unit: OwnedPartition): Promise<boolean> {
    if (!(await unit.free())) return false
    // Each as soon as it is free; members that are notified check it.
    if (!this.#closed) this.#members.notify('free')
    return true
  }

  #lose(units: readonly OwnedPartition[], reason: string): void {
    if (units.length === 0) return
    for (const unit of units) unit.lose()
    const names = units.map(({ name }) => name)
    this.#host.revoke(names, reason)
    this.#host.changed([], names)
    // Not at once: a record that is replaced again and again must not become a loop.
    if (this.#closed) return
    this.#again ??= this.session.host.clock.setTimer(AGAIN_MS, () => {
      this.#again = undefined
      this.#soon('share')
    })
  }

  /** The lease was not renewed in time: it ends here before it ends for the others. */
  expired(): void {
    this.#lose(
      this.#units.filter(({ mine }) => mine),
      'its lease could not be renewed: the server was out of reach, or this process was busy',
    )
  }

  /** Gives up partitions whose records are void, and claims them again. */
  drop(reason: string): void {
    this.#lose(
      this.#units.filter(({ mine }) => mine),
      reason,
    )
    this.#soon('share')
  }

  // --- life --------------------------------------------------------------------------------------------------------

  up(): void {
    this.#members.up()
    // The lease first: without it nothing may be claimed.
    void this.leases.renew().then(() => this.#soon('full'))
  }

  /** Leaves, and hands over its partitions, which must be empty by then. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#again?.cancel()
    this.#watch?.cancel()
    await this.#running
    const mine = this.#units.filter((unit) => unit.mine)
    await Promise.all(mine.map((unit) => this.#leave(unit)))
    for (const unit of this.#units) unit.disown()
    // The session still serves other members: unless this one says that it leaves, it keeps its share.
    this.leases.later(async () => this.#members.notify('bye'))
    this.#members.close()
    this.leases.unuse(this)
    this.session.trouble(this, undefined)
  }

  /** Frees a partition; if that is not possible now, the session does so later. */
  async #leave(unit: OwnedPartition): Promise<void> {
    try {
      if (this.session.ready) {
        await this.#free(unit)
        return
      }
    } catch (error) {
      this.#report(error)
    }
    unit.freeLater()
  }

  #blame(error: unknown): void {
    if (!this.session.ready || this.#closed) return
    const ours =
      error instanceof JetStreamError || error instanceof ForeignRecordError
        ? error
        : toBusbarError(error, 'Sharing out partitions')
    if (AuthorizationError.is(ours)) this.#refused ??= ours
    this.#trouble = `partitions can't be shared out: ${ours.message}`
    this.#report(error)
  }

  #report(error: unknown): void {
    this.session.error(error, 'sharing out partitions')
  }
}
