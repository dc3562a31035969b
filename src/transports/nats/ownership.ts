// Longer than most files: claiming, renewing, releasing and losing a lease must agree on who owns a partition.
import type { Timer } from '../../core/clock.ts'
import { AuthorizationError } from '../../core/errors.ts'
import { JetStreamError, toBusbarError } from './errors.ts'
import { GRACE_MS, Members } from './members.ts'
import type { MembersHost } from './members.ts'
import type { Session } from './session.ts'
import type { StateRecord, StateRecords } from './state-records.ts'

/** How long a new member listens for others before it takes what is free. */
const LISTEN_MS = 25
/** Owners of this many partitions answer newcomers. */
const ANSWERING_UNITS = 2

/** What ownership needs from its subscription. */
export interface OwnershipHost {
  readonly session: Session
  readonly records: StateRecords
  readonly memberId: string
  /** Lease of a partition, in ms. */
  readonly leaseMs: number
  /** How long ago the server lost the leases that it knew, in ms. */
  readonly leasesLostMs: number
  /** The partition is now ours. `expired`: its last owner did not hand it over. */
  acquire(unit: string, expired: boolean): void
  /**
   * Stop reading it and finish its outstanding messages. Resolves when nothing of it is here any more. `lost`: it is no
   * longer to be handed over, and may already be ours again.
   */
  release(unit: string, lost: AbortSignal): Promise<void>
  /**
   * How long requests of a lost connection may continue to take its messages, in ms. Above zero also when the next owner
   * must have messages redelivered.
   */
  formerMs(unit: string): number
  /** The lease was lost without warning. */
  revoke(unit: string, reason: string): void
  changed(assigned: readonly string[], revoked: readonly string[]): void
  /** The group was moved or deleted. */
  moved(): void
}

/** Content of a lease's record. */
interface Lease {
  readonly owner: string
  readonly leaseMs: number
  /** It was handed back in an orderly way. */
  readonly free: boolean
}

/** One partition (or the whole topic, for strict order), as this member sees it. */
class Unit {
  readonly name: string
  readonly subject: string
  mine = false
  /** The handover in progress; aborted when the partition is lost. */
  handover: AbortController | undefined = undefined
  /** Nothing of it is here any more, and its record is about to be freed: no renewal may follow. */
  freeing = false
  /** It was ours when the connection was lost, and no owner since is known. */
  wasMine = false
  /** Sequence of the last known record; 0 for none. */
  seq = 0
  /** It is certainly ours until then (monotonic ms). */
  until = 0
  /** When the last successful renewal was sent. */
  renewedAt = 0
  lease: Lease | undefined = undefined
  /** When we first saw that record. */
  seenAt = 0

  constructor(name: string, subject: string) {
    this.name = name
    this.subject = subject
  }
}

/**
 * Distributes the partitions of a topic among the members of a group, so that each has at most one reader at any time:
 * that keeps the order of a key. A partition belongs to the member that wrote the last record of its lease; writes are
 * conditional on the previous record, so that two members never both succeed. An owner counts its lease from before the
 * write, others from after their read, so that it stops before they start.
 */
export class Ownership implements MembersHost {
  readonly #host: OwnershipHost
  readonly #units: readonly Unit[]
  readonly #members: Members
  #tick: Timer | undefined
  #fence: Timer | undefined
  #running: Promise<void> | undefined
  /** Scope of the next round: only our share, newcomers, or everything. */
  #next: 'share' | 'join' | 'full' | undefined
  #closed = false
  /** Reported together. */
  #lost: string[] = []
  #trouble: string | undefined
  #refused: AuthorizationError | undefined

  constructor(host: OwnershipHost, units: readonly string[], groupId: string, noticeSubject: string) {
    this.#host = host
    this.#units = units.map((name) => new Unit(name, host.records.leaseSubject(groupId, name)))
    this.#members = new Members(this, noticeSubject)
  }

  get session(): Session {
    return this.#host.session
  }

  get memberId(): string {
    return this.#host.memberId
  }

  get leaseMs(): number {
    return this.#host.leaseMs
  }

  /** We have no share: there are more members than partitions. */
  get isStandby(): boolean {
    return !this.#units.some(({ mine }) => mine) && this.#members.share(this.#units.length) === 0
  }

  /** Why partitions can't be distributed. */
  get trouble(): string | undefined {
    return this.#trouble
  }

  get owned(): readonly string[] {
    return this.#units.filter(({ mine }) => mine).map(({ name }) => name)
  }

  /** How long a partition is certainly ours, in ms; 0 or less when it is not. */
  leftMs(name: string): number {
    const unit = this.#units.find((other) => other.name === name)
    return unit === undefined || !unit.mine ? 0 : unit.until - this.#now()
  }

  /** A lease that ended before anyone here noticed: this process was frozen. */
  hasRunOut(name: string): boolean {
    const unit = this.#units.find((other) => other.name === name)
    return unit !== undefined && unit.mine && unit.until <= this.#now()
  }

  /** False after half a lease without a renewal: messages must not be held for longer than the partition. */
  isFresh(name: string): boolean {
    const unit = this.#units.find((other) => other.name === name)
    return unit !== undefined && unit.mine && this.#now() - unit.renewedAt < this.#host.leaseMs / 2
  }

  /** Joins; resolves when our share of what is free is taken. Rejects when that is not allowed. */
  async start(): Promise<void> {
    this.#members.open()
    this.#members.tell('join')
    await new Promise<void>((resolve) => {
      this.#host.session.host.clock.setTimer(LISTEN_MS, resolve)
    })
    await this.#run('full')
    if (this.#refused !== undefined) throw this.#refused
  }

  // --- members -----------------------------------------------------------------------------------------------------

  answersNewcomers(): boolean {
    return this.#units.some(({ mine }, index) => mine && index < ANSWERING_UNITS)
  }

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

  #soon(what: 'share' | 'join' | 'full'): void {
    if (this.#closed || !this.#host.session.ready) return
    this.#run(what).catch((error: unknown) => this.#blame(error))
  }

  /** Runs one round at a time; a call meanwhile causes another round. */
  #run(what: 'share' | 'join' | 'full'): Promise<void> {
    if (this.#next !== 'full' && (what !== 'share' || this.#next === undefined)) this.#next = what
    this.#running ??= (async () => {
      let isFull = false
      try {
        while (this.#next !== undefined && !this.#closed) {
          const now = this.#next
          this.#next = undefined
          isFull ||= now === 'full'
          await this.#round(now)
        }
      } finally {
        this.#running = undefined
        if (isFull || this.#tick === undefined) this.#arm()
      }
    })()
    return this.#running
  }

  #arm(): void {
    this.#tick?.cancel()
    if (this.#closed) return
    this.#tick = this.#host.session.host.clock.setTimer(this.#host.leaseMs / 3, () => {
      if (this.#host.session.ready) this.#soon('full')
      else this.#arm()
    })
  }

  async #round(what: 'share' | 'join' | 'full'): Promise<void> {
    const isFull = what === 'full'
    if (isFull) {
      this.#trouble = undefined
      this.#members.tell('here')
      await Promise.all([
        this.#members.probe(false),
        ...this.#units.map((unit) => (unit.mine ? this.#renew(unit) : this.#look(unit))),
      ])
    } else if (what === 'join') await this.#members.probe(true)
    if (this.#closed) return
    const quota = this.#members.share(this.#units.length)
    const mine = this.#units.filter((unit) => unit.mine && unit.handover === undefined)
    if (mine.length > quota) void this.#release(mine.slice(quota))
    else if (mine.length < quota) {
      const others = this.#units.filter((unit) => !unit.mine)
      if (!isFull) await Promise.all(others.map((unit) => this.#look(unit)))
      const free = others.filter((unit) => !unit.mine && this.#isFree(unit)).slice(0, quota - mine.length)
      await Promise.all(free.map((unit) => this.#claim(unit)))
      const assigned = free.filter(({ mine }) => mine).map(({ name }) => name)
      if (assigned.length > 0 && !this.#closed) this.#host.changed(assigned, [])
    }
    this.#host.session.trouble(this, this.#trouble)
  }

  async #renew(unit: Unit): Promise<void> {
    const isOver = (): boolean => !unit.mine || unit.freeing
    if (isOver()) return
    const sentAt = this.#now()
    try {
      const seq = await this.#write(unit, false)
      if (isOver()) return
      if (seq !== undefined) return this.#hold(unit, seq, sentAt)
      // Our last renewal may have succeeded although its answer was lost.
      const record = await this.#host.records.readLease(unit.subject)
      if (isOver()) return
      if (record === undefined) {
        // The server was restarted and has forgotten all leases. No other member takes it for the duration of a lease.
        unit.seq = 0
        const again = await this.#write(unit, false)
        if (!isOver() && again !== undefined) this.#hold(unit, again, sentAt)
      } else if (parseLease(record)?.owner === this.#host.memberId) {
        // The lease counts from when it was written, which we don't know: we count from now.
        unit.seq = record.seq
        const againAt = this.#now()
        const again = await this.#write(unit, false)
        if (!isOver() && again !== undefined) this.#hold(unit, again, againAt)
      } else this.#lose(unit, 'another member has taken the partition')
    } catch (error) {
      this.#blame(error)
    }
  }

  async #look(unit: Unit): Promise<void> {
    try {
      const record = await this.#host.records.readLease(unit.subject)
      if (unit.mine || (record?.seq ?? 0) === unit.seq) return
      // A record that we knew is missing: the server has lost it, and the partition's owner still relies on it.
      if (record === undefined) unit.lease = { owner: '', leaseMs: this.#host.leaseMs, free: false }
      else unit.lease = parseLease(record)
      unit.seq = record?.seq ?? 0
      if (unit.lease !== undefined && unit.lease.owner !== this.#host.memberId) unit.wasMine = false
      unit.seenAt = this.#now()
    } catch (error) {
      this.#blame(error)
    }
  }

  #isFree({ lease, seenAt, wasMine }: Unit): boolean {
    if (wasMine) return true
    // A server that was restarted has forgotten the owner, which still relies on its lease.
    if (lease === undefined) return this.#host.leasesLostMs > this.#host.leaseMs + GRACE_MS
    // Our own record, from before it expired: it has no owner.
    if (lease.free || lease.owner === this.#host.memberId) return true
    return this.#now() - seenAt > lease.leaseMs + GRACE_MS
  }

  async #claim(unit: Unit): Promise<void> {
    const expired = unit.lease?.free !== true
    const sentAt = this.#now()
    try {
      const seq = await this.#write(unit, false)
      // Another member was faster; the next round finds out which.
      if (seq === undefined) return
      unit.mine = true
      unit.wasMine = false
      this.#hold(unit, seq, sentAt)
      // `close` waits for this round, and frees it.
      if (this.#closed) return
      this.#host.acquire(unit.name, expired)
    } catch (error) {
      this.#blame(error)
    }
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
          return (await this.#free(unit, lost)) ? unit.name : undefined
        } catch (error) {
          this.#blame(error)
          // Nothing here reads it any more; renewing it would keep it from all members.
          if (unit.handover === handover) this.#lose(unit, 'it could not be handed over in order')
          return undefined
        }
      }),
    )
    const revoked = released.filter((name) => name !== undefined)
    if (revoked.length > 0) this.#host.changed([], revoked)
  }

  /** False when it was lost meanwhile. */
  async #free(unit: Unit, lost?: AbortSignal): Promise<boolean> {
    const formerMs = this.#host.formerMs(unit.name)
    unit.freeing = true
    let seq = await this.#write(unit, true, formerMs)
    const isOver = (): boolean => lost?.aborted === true || !unit.freeing
    while (seq === undefined && !isOver()) {
      // A renewal in progress came first, or this very record was stored without an answer.
      const record = await this.#host.records.readLease(unit.subject)
      const lease = record === undefined ? undefined : parseLease(record)
      if (record === undefined || lease?.owner !== this.#host.memberId || lease.free) break
      unit.seq = record.seq
      seq = await this.#write(unit, true, formerMs)
    }
    if (isOver()) return false
    unit.mine = false
    unit.handover = undefined
    unit.freeing = false
    unit.seq = seq ?? 0
    unit.lease = { owner: this.#host.memberId, leaseMs: this.#host.leaseMs, free: formerMs === 0 }
    unit.seenAt = this.#now()
    // Each as soon as it is free; members that are notified check it.
    if (!this.#closed) this.#members.tell('free')
    return true
  }

  /** With `formerMs`, it is not free before that time is over: messages may vanish until then. */
  #write(unit: Unit, free: boolean, formerMs = 0): Promise<number | undefined> {
    const { memberId, leaseMs } = this.#host
    const isLate = free && formerMs > 0
    const lease: Lease = { owner: memberId, leaseMs: isLate ? Math.ceil(formerMs) : leaseMs, free: free && !isLate }
    return this.#host.records.write(unit.subject, JSON.stringify(lease), unit.seq)
  }

  #hold(unit: Unit, seq: number, sentAt: number): void {
    unit.seq = seq
    unit.renewedAt = sentAt
    unit.until = sentAt + this.#host.leaseMs
    this.#armFence()
  }

  #lose(unit: Unit, reason: string): void {
    unit.mine = false
    unit.handover?.abort()
    unit.handover = undefined
    unit.freeing = false
    unit.wasMine = !this.#host.session.ready
    // The next round looks up the current owner; until then it is unknown.
    unit.seq = 0
    unit.lease = undefined
    this.#lost.push(unit.name)
    if (this.#lost.length === 1)
      queueMicrotask(() => {
        const revoked = this.#lost
        this.#lost = []
        this.#host.changed([], revoked)
      })
    this.#host.revoke(unit.name, reason)
  }

  /** A lease that was not renewed in time ends here before it ends for the others. */
  #armFence(): void {
    this.#fence?.cancel()
    let first = Infinity
    for (const { mine, until } of this.#units) if (mine && until < first) first = until
    if (first === Infinity || this.#closed) return
    this.#fence = this.#host.session.host.clock.setTimer(Math.max(0, first - this.#now()), () => {
      for (const unit of this.#units)
        if (unit.mine && unit.until <= this.#now())
          this.#lose(unit, 'its lease could not be renewed: the server was out of reach, or this process was busy')
      this.#armFence()
    })
  }

  // --- life --------------------------------------------------------------------------------------------------------

  up(): void {
    // While the server was away no lease could be renewed. Former owners get their partitions back: they know what they
    // have acked.
    const now = this.#now()
    for (const unit of this.#units) unit.seenAt = now
    this.#members.up()
    this.#soon('full')
  }

  /** Leaves, and hands over its partitions. The lanes must be empty by then. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#tick?.cancel()
    this.#fence?.cancel()
    await this.#running
    const { session } = this.#host
    if (session.ready) {
      const mine = this.#units.filter((unit) => unit.mine)
      const results = await Promise.allSettled(mine.map((unit) => this.#free(unit)))
      for (const result of results) if (result.status === 'rejected') this.#blame(result.reason)
      this.#members.tell('bye')
    }
    this.#members.close()
    session.trouble(this, undefined)
  }

  #blame(error: unknown): void {
    if (!this.#host.session.ready || this.#closed) return
    const ours = error instanceof JetStreamError ? error : toBusbarError(error, 'Sharing out partitions')
    if (AuthorizationError.is(ours)) this.#refused ??= ours
    this.#trouble = `partitions can't be shared out: ${ours.message}`
    this.#host.session.error(error, 'sharing out partitions')
  }

  #now(): number {
    return this.#host.session.host.clock.monotonic()
  }
}

function parseLease(record: StateRecord): Lease | undefined {
  try {
    const { owner, leaseMs, free } = JSON.parse(record.text) as Partial<Lease>
    return typeof owner === 'string' && typeof leaseMs === 'number'
      ? { owner, leaseMs, free: free === true }
      : undefined
  } catch {
    return undefined
  }
}
