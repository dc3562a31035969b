// Longer than most files: claiming, committing, releasing and losing a partition must agree on who owns it.
import type { Timer } from '../../../../core/clock.ts'
import { AuthorizationError, ConnectionError } from '../../../../core/errors.ts'
import { JetStreamError, toBusbarError } from '../../errors.ts'
import { Members } from '../consume/members.ts'
import type { MembersHost } from '../consume/members.ts'
import { AHEAD, encodeRecord, ForeignRecordError } from './partition-record.ts'
import type { PartitionRecord } from './partition-record.ts'
import { NOWHERE } from './partition-store.ts'
import type { PartitionStore, StoredAt } from './partition-store.ts'
import type { Session } from '../../connection/session.ts'
import type { LeaseUser, SessionLeases } from './session-leases.ts'

/** How long a new member listens for others before it takes what is free. */
const LISTEN_MS = 25
/** Owners of the first partitions answer newcomers. */
const ANSWERING_UNITS = 2
/** Pause after a record could not be written. */
const AGAIN_MS = 500

/**
 * How a partition came to us: `clean`: handed over in order, or new. `ours`: we were the last to own it. `taken`: from a
 * member that died, or was cut off.
 */
export type Acquired = 'clean' | 'ours' | 'taken'

/** What an owner writes into the record: everything but who it is. */
export type PartitionState = Pick<
  PartitionRecord,
  'stream' | 'life' | 'first' | 'to' | 'reserved' | 'open' | 'spans' | 'waiting'
>

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

/** One partition (or the whole topic, for strict order), as this member sees it. */
class Unit {
  readonly name: string
  mine = false
  /** Increases each time that it comes to us. */
  tenure = 0
  /** The handover in progress; aborted when the partition is lost. */
  handover: AbortController | undefined = undefined
  /** It is not ours here, but its record may say that it is: while our session lives, no other member can claim it. */
  isAstray = false
  /** The last claim, until it is answered: if it was stored, this is how the partition came to us. */
  claim: { readonly version: number; readonly how: Acquired } | undefined = undefined
  /** Nothing of it is here any more, and its record is about to be freed: no commit may follow. */
  freeing = false
  /** Where the last known record is. */
  at: StoredAt = NOWHERE
  /** The highest version that is known, or that we have tried to write: no two attempts have the same. */
  version = 0
  record: PartitionRecord | undefined = undefined
  /** Commits are written one after the other. */
  writing: Promise<unknown> = Promise.resolve()
  /** The commit that waits for the one in progress. */
  next: Promise<boolean> | undefined = undefined

  constructor(name: string) {
    this.name = name
  }
}

/**
 * Distributes the partitions of a topic among the members of a group, so that each has at most one reader at any time:
 * that keeps the order of a key. A partition belongs to the member that wrote its last record, for as long as the lease
 * of that member's session lasts. Each record replaces the one before on condition of its sequence: so two members never
 * both succeed, and a member that was cut off learns that with its next commit.
 */
export class PartitionLeases implements MembersHost, LeaseUser {
  readonly session: Session
  readonly leases: SessionLeases
  readonly memberId: string
  readonly #host: LeasesHost
  readonly #units: readonly Unit[]
  readonly #byName = new Map<string, Unit>()
  readonly #members: Members
  #running: Promise<void> | undefined
  /** Scope of the next round: only our share, newcomers, or everything. */
  #next: 'share' | 'join' | 'full' | undefined
  #again: Timer | undefined
  #hasLooked = false
  #closed = false
  #trouble: string | undefined
  #refused: AuthorizationError | undefined

  constructor(host: LeasesHost, units: readonly string[]) {
    this.#host = host
    this.session = host.session
    this.leases = host.leases
    this.memberId = host.memberId
    this.#units = units.map((name) => new Unit(name))
    for (const unit of this.#units) this.#byName.set(unit.name, unit)
    this.#members = new Members(this, host.noticeSubject)
  }

  /** We have no share: there are more members than partitions. */
  get isStandby(): boolean {
    return !this.#units.some(({ mine }) => mine) && this.#members.share(this.#units.length) === 0
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
    if (what === 'full') {
      this.#trouble = undefined
      await this.#members.check()
    } else if (what === 'join') await this.#members.probe()
    if (this.#closed) return
    await this.#reclaim()
    const quota = this.#members.share(this.#units.length)
    const mine = this.#units.filter((unit) => unit.mine && unit.handover === undefined)
    if (mine.length > quota) void this.#release(mine.slice(quota))
    else if (mine.length < quota && this.leases.leftMs > 0) await this.#claimUpTo(quota - mine.length)
    this.session.trouble(this, this.trouble)
  }

  /** What was lost and still has our name comes back, even beyond our share: then it is handed over in order. */
  async #reclaim(): Promise<void> {
    const astray = this.#units.filter(({ isAstray }) => isAstray)
    if (astray.length === 0 || this.leases.leftMs <= 0) return
    await Promise.all(
      astray.map(async (unit) => {
        await this.#look(unit)
        if (unit.at.seq < 0) return
        if (this.#isOurs(unit.record)) await this.#claim(unit)
        else unit.isAstray = false
      }),
    )
    const assigned = astray.filter(({ mine }) => mine).map(({ name }) => name)
    if (assigned.length > 0 && !this.#closed) this.#host.changed(assigned, [])
  }

  #isOurs(record: PartitionRecord | undefined): record is PartitionRecord {
    return record !== undefined && this.#isBy(record) && !record.free
  }

  #isBy({ owner, session }: PartitionRecord): boolean {
    return owner === this.memberId && session === this.leases.id
  }

  async #claimUpTo(count: number): Promise<void> {
    const others = this.#units.filter((unit) => !unit.mine)
    // A group that was just made has no records; if another member was faster, the claim fails.
    if (this.#hasLooked || !this.#host.isNew) await Promise.all(others.map((unit) => this.#look(unit)))
    this.#hasLooked = true
    await this.leases.look(new Set(others.map(({ record }) => record?.session ?? '')))
    const free = others.filter((unit) => !unit.mine && this.#isFree(unit)).slice(0, count)
    await Promise.all(free.map((unit) => this.#claim(unit)))
    const assigned = free.filter(({ mine }) => mine).map(({ name }) => name)
    if (assigned.length > 0 && !this.#closed) this.#host.changed(assigned, [])
  }

  async #look(unit: Unit): Promise<void> {
    try {
      const { at, record } = await this.#host.store.read(unit.name)
      if (unit.mine) return
      unit.at = at
      unit.record = record
      unit.version = Math.max(unit.version, record?.version ?? 0)
      if (record !== undefined && !record.free && !this.leases.isOver(record.session) && record.owner !== this.memberId)
        this.#members.saw(record.owner, record.session)
    } catch (error) {
      // Nothing is known of it: it can't be claimed.
      unit.record = undefined
      unit.at = { seq: -1, spare: -1 }
      this.#blame(error)
    }
  }

  #isFree({ record, at }: Unit): boolean {
    if (at.seq < 0) return false
    if (record === undefined || record.free) return true
    const { owner, session } = record
    // Our own, from before our lease ended; or that of another member of this process that no longer lives.
    if (session === this.leases.id) return owner === this.memberId || !this.leases.hasMember(owner)
    return this.leases.isOver(session)
  }

  async #claim(unit: Unit): Promise<void> {
    const { record } = unit
    const state = record ?? this.#host.initial()
    const how = this.#howItCame(unit)
    const version = ++unit.version
    const claimed: PartitionRecord = {
      ...state,
      reserved: Math.max(state.reserved, state.to + AHEAD),
      free: false,
      owner: this.memberId,
      session: this.leases.id,
      version,
    }
    // Without an answer it may be ours.
    unit.isAstray = true
    unit.claim = { version, how }
    try {
      const at = await this.#host.store.write(unit.name, encodeRecord(claimed), unit.at)
      // Another member was faster, or an answer was lost; the next round finds out which.
      if (at === undefined) return
      unit.at = at
      unit.isAstray = false
      unit.claim = undefined
      if (this.#closed) return this.#putBack(unit, record ?? { ...claimed, free: true })
      unit.mine = true
      unit.tenure++
      this.#host.acquire(unit.name, state, how)
    } catch (error) {
      this.#blame(error)
    }
  }

  #howItCame({ record, claim }: Unit): Acquired {
    if (record === undefined || record.free) return 'clean'
    if (!this.#isOurs(record)) return 'taken'
    return record.version === claim?.version ? claim.how : 'ours'
  }

  /** It was claimed while this member closed, and nothing of it was read: it is left as it was found. */
  #putBack({ name, at, version }: Unit, found: PartitionRecord): void {
    const record = { ...found, session: found.session === this.leases.id ? '' : found.session, version: version + 1 }
    this.leases.later(async () => void (await this.#host.store.write(name, encodeRecord(record), at)))
  }

  // --- writing -----------------------------------------------------------------------------------------------------

  /**
   * Writes what there is to write about a partition; resolves with false when it is not ours any more. Rejects when it
   * could not be written; then it has to be tried again.
   */
  commit(name: string): Promise<boolean> {
    const unit = this.#byName.get(name) as Unit
    if (unit.next !== undefined) return unit.next
    const before = unit.writing
    const next = (async () => {
      await before.catch(() => undefined)
      unit.next = undefined
      if (!unit.mine || unit.freeing) return false
      return this.#write(unit, false)
    })()
    unit.next = next
    unit.writing = next
    return next
  }

  async #write(unit: Unit, free: boolean): Promise<boolean> {
    const { tenure } = unit
    const isWanted = (): boolean => unit.mine && unit.tenure === tenure
    const { memberId: owner, session } = this
    for (;;) {
      if (!session.ready) throw new ConnectionError('The server is out of reach')
      const version = ++unit.version
      const record = { ...this.#host.state(unit.name, free), owner, session: this.leases.id, version, free }
      const at = await this.#host.store.write(unit.name, encodeRecord(record), unit.at)
      if (!isWanted()) return false
      const last = at === undefined ? await this.#lastOf(unit.name, version) : { at, isThis: true }
      if (!isWanted()) return false
      if (last === undefined) {
        this.#lose([unit], 'another member has taken the partition, or the group was moved')
        return false
      }
      unit.at = last.at
      if (!last.isThis) continue
      this.#host.committed(unit.name)
      return true
    }
  }

  /**
   * Our record did not replace the last one that we knew. It may have been stored without an answer, and so may a former
   * one, which says less; or the last one was lost with the server's disk. Undefined when it is not ours any more.
   */
  async #lastOf(name: string, version: number): Promise<{ at: StoredAt; isThis: boolean } | undefined> {
    const { at, record } = await this.#host.store.read(name)
    if (record === undefined) return { at, isThis: false }
    if (record.version === version && this.#isBy(record)) return { at, isThis: true }
    return this.#isOurs(record) && record.version < version ? { at, isThis: false } : undefined
  }

  async #release(units: readonly Unit[]): Promise<void> {
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
  async #free(unit: Unit): Promise<boolean> {
    unit.freeing = true
    await unit.writing.catch(() => undefined)
    if (!unit.mine || !(await this.#write(unit, true))) return false
    unit.mine = false
    unit.handover = undefined
    unit.freeing = false
    // Each as soon as it is free; members that are notified check it.
    if (!this.#closed) this.#members.notify('free')
    return true
  }

  #lose(units: readonly Unit[], reason: string): void {
    if (units.length === 0) return
    for (const unit of units) {
      unit.mine = false
      unit.isAstray = true
      unit.handover?.abort()
      unit.handover = undefined
      unit.freeing = false
      unit.record = undefined
    }
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
    await this.#running
    const mine = this.#units.filter((unit) => unit.mine)
    await Promise.all(mine.map((unit) => this.#leave(unit)))
    for (const unit of this.#units) if (unit.isAstray) this.#disown(unit.name)
    // The session continues for other members: without a word, this one would keep its share.
    this.leases.later(async () => this.#members.notify('bye'))
    this.#members.close()
    this.leases.unuse(this)
    this.session.trouble(this, undefined)
  }

  /**
   * Frees a partition. If that is not possible now, the session does so later: its lease continues for its other members, and
   * would keep the partition from everyone.
   */
  async #leave(unit: Unit): Promise<void> {
    try {
      if (this.session.ready) {
        await this.#free(unit)
        return
      }
    } catch (error) {
      this.#report(error)
    }
    const { memberId: owner, leases } = this
    const left = {
      ...this.#host.state(unit.name, true),
      owner,
      session: leases.id,
      version: unit.version + 1,
      free: true,
    }
    let { at } = unit
    leases.later(async () => {
      if ((await this.#host.store.write(unit.name, encodeRecord(left), at)) !== undefined) return
      const found = await this.#host.store.read(unit.name)
      // Another member has it, or it was freed without an answer.
      if (found.record?.owner !== owner || found.record.session !== leases.id || found.record.free) return
      at = found.at
      throw new ConnectionError('The last record was not the one that was known')
    })
  }

  /** Takes our session's name from the record of a partition that was lost here: the session continues for its other members. */
  #disown(name: string): void {
    this.leases.later(async () => {
      const { at, record } = await this.#host.store.read(name)
      if (!this.#isOurs(record)) return
      const left = { ...record, session: '', version: record.version + 1 }
      if ((await this.#host.store.write(name, encodeRecord(left), at)) !== undefined) return
      throw new ConnectionError('The last record was not the one that was known')
    })
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
