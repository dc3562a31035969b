import type { Subscription } from '@nats-io/transport-node'
import type { Timer } from '../../core/clock.ts'
import type { Incoming } from './incoming.ts'
import type { Session } from './session.ts'
import type { StateRecord, StateRecords } from './state-records.ts'

/** Others wait a little longer than the owner counts, because their clocks start later and may run faster. */
const GRACE_MS = 200
/** How long a new member listens who else is there, before it takes what is free. */
const LISTEN_MS = 25

/** What ownership needs of its subscription. */
export interface OwnershipHost {
  readonly session: Session
  readonly records: StateRecords
  readonly memberId: string
  /** Lease of a partition, in ms. */
  readonly leaseMs: number
  /** The partition is ours from now on. `expired`: whoever had it has not handed it over. */
  acquire(unit: string, expired: boolean): void
  /** Stop reading it and finish what is out. Resolves when nothing of it is here any more. */
  release(unit: string): Promise<void>
  /** It is not ours any more, without warning. */
  revoke(unit: string, reason: string): void
  changed(assigned: readonly string[], revoked: readonly string[]): void
  /** Somebody moved or deleted the group. */
  moved(): void
}

/** What the record of a lease says. */
interface Lease {
  readonly owner: string
  readonly leaseMs: number
  /** Handed back in an orderly way. */
  readonly free: boolean
}

type NoticeKind = 'join' | 'here' | 'bye' | 'free' | 'moved'

interface Notice {
  readonly id: string
  readonly kind: NoticeKind
}

/** One partition (or the whole topic, for strict order), as this member sees it. */
class Unit {
  readonly name: string
  readonly subject: string
  mine = false
  releasing = false
  /** Of the last record that we know; 0 for none. */
  seq = 0
  /** Ours for certain until then (monotonic ms). */
  until = 0
  /** When the last renewal that got through was sent. */
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
 * Shares the partitions of a topic out among the members of a group, so that each has one reader at any time: that is what
 * keeps the order of a key. A partition belongs to whoever wrote the last record of its lease; records are written under
 * the condition that nobody else wrote meanwhile, so that two members never both succeed. An owner counts its lease from
 * before it wrote, others from after they read, so that it stops before they start.
 */
export class Ownership {
  readonly #host: OwnershipHost
  readonly #units: readonly Unit[]
  readonly #noticeSubject: string
  /** Members, with when they were last heard of. */
  readonly #members = new Map<string, number>()
  #subscription: Subscription | undefined
  #tick: Timer | undefined
  #fence: Timer | undefined
  #running: Promise<void> | undefined
  #again = false
  #closed = false
  /** To be told together. */
  #lost: string[] = []
  #trouble: string | undefined

  constructor(host: OwnershipHost, units: readonly string[], groupId: string, noticeSubject: string) {
    this.#host = host
    this.#noticeSubject = noticeSubject
    this.#units = units.map((name) => new Unit(name, host.records.leaseSubject(groupId, name)))
  }

  get owned(): readonly string[] {
    return this.#units.filter(({ mine }) => mine).map(({ name }) => name)
  }

  /** How long a partition is ours for certain, in ms; 0 or less when it is not. */
  leftMs(name: string): number {
    const unit = this.#units.find((other) => other.name === name)
    return unit === undefined || !unit.mine ? 0 : unit.until - this.#now()
  }

  /** A lease that ended, and nobody here has noticed yet: this process was frozen. */
  hasRunOut(name: string): boolean {
    const unit = this.#units.find((other) => other.name === name)
    return unit !== undefined && unit.mine && unit.until <= this.#now()
  }

  /** Half a lease without a renewal: messages must not be held for longer than the partition. */
  isFresh(name: string): boolean {
    const unit = this.#units.find((other) => other.name === name)
    return unit !== undefined && unit.mine && this.#now() - unit.renewedAt < this.#host.leaseMs / 2
  }

  /** Joins; resolves when what is free and due to us is taken. */
  async start(): Promise<void> {
    this.#subscription = this.#host.session.subscribe(
      this.#noticeSubject,
      (message) => this.#heard(message),
      (error) => this.#blame(error),
    )
    this.#tell('join')
    await new Promise<void>((resolve) => {
      this.#host.session.host.clock.setTimer(LISTEN_MS, resolve)
    })
    await this.#run()
  }

  // --- members -----------------------------------------------------------------------------------------------------

  #tell(kind: NoticeKind): void {
    if (!this.#host.session.ready && kind !== 'join') return
    const notice: Notice = { id: this.#host.memberId, kind }
    this.#host.session.outbox.publish(this.#noticeSubject, '', Buffer.from(JSON.stringify(notice)))
  }

  #heard(message: Incoming): void {
    let notice: Notice
    try {
      notice = JSON.parse(message.text) as Notice
    } catch {
      // Not ours; nothing depends on it.
      return
    }
    const { id, kind } = notice
    if (kind === 'moved') return this.#host.moved()
    if (id === this.#host.memberId || this.#closed) return
    const known = this.#members.has(id)
    if (kind === 'bye') this.#members.delete(id)
    else this.#members.set(id, this.#now())
    if (kind === 'join') this.#tell('here')
    // A new face, or something to take: no need to wait for the next round.
    if (kind !== 'here' || !known) this.#soon()
  }

  /** How many partitions are due to us, as far as we know who is there. */
  #quota(): number {
    const oldest = this.#now() - this.#host.leaseMs - GRACE_MS
    for (const [id, at] of this.#members) if (at < oldest) this.#members.delete(id)
    const members = [this.#host.memberId, ...this.#members.keys()].sort()
    const place = members.indexOf(this.#host.memberId)
    const rest = this.#units.length % members.length
    return Math.floor(this.#units.length / members.length) + (place < rest ? 1 : 0)
  }

  // --- rounds ------------------------------------------------------------------------------------------------------

  #soon(): void {
    if (this.#closed || !this.#host.session.ready) return
    this.#run().catch((error: unknown) => this.#blame(error))
  }

  /** One round at a time; a call meanwhile makes it go round once more. */
  #run(): Promise<void> {
    this.#again = true
    this.#running ??= (async () => {
      try {
        while (this.#again && !this.#closed) {
          this.#again = false
          await this.#round()
        }
      } finally {
        this.#running = undefined
        this.#arm()
      }
    })()
    return this.#running
  }

  #arm(): void {
    this.#tick?.cancel()
    if (this.#closed) return
    this.#tick = this.#host.session.host.clock.setTimer(this.#host.leaseMs / 3, () => {
      if (this.#host.session.ready) this.#soon()
      else this.#arm()
    })
  }

  async #round(): Promise<void> {
    this.#tell('here')
    await Promise.all(this.#units.map((unit) => (unit.mine ? this.#renew(unit) : this.#look(unit))))
    if (this.#closed) return
    const quota = this.#quota()
    const mine = this.#units.filter((unit) => unit.mine && !unit.releasing)
    if (mine.length > quota) void this.#release(mine.slice(quota))
    else if (mine.length < quota) {
      const free = this.#units.filter((unit) => !unit.mine && this.#isFree(unit)).slice(0, quota - mine.length)
      await Promise.all(free.map((unit) => this.#claim(unit)))
      const assigned = free.filter(({ mine }) => mine).map(({ name }) => name)
      if (assigned.length > 0) this.#host.changed(assigned, [])
    }
    this.#host.session.jetStreamTrouble(this.#trouble)
    this.#trouble = undefined
  }

  async #renew(unit: Unit): Promise<void> {
    const sentAt = this.#now()
    try {
      const seq = await this.#write(unit, false)
      if (!unit.mine) return
      if (seq !== undefined) return this.#hold(unit, seq, sentAt)
      // Our last renewal may have got through without its answer.
      const record = await this.#host.records.read(unit.subject)
      if (!unit.mine) return
      if (record !== undefined && parseLease(record)?.owner === this.#host.memberId) unit.seq = record.seq
      else this.#lose(unit, 'another member has taken the partition')
    } catch (error) {
      this.#blame(error)
    }
  }

  async #look(unit: Unit): Promise<void> {
    try {
      const record = await this.#host.records.read(unit.subject)
      if (unit.mine || (record?.seq ?? 0) === unit.seq) return
      unit.seq = record?.seq ?? 0
      unit.lease = record === undefined ? undefined : parseLease(record)
      unit.seenAt = this.#now()
    } catch (error) {
      this.#blame(error)
    }
  }

  #isFree({ lease, seenAt }: Unit): boolean {
    // Our own, from before it ran out: nobody has it.
    if (lease === undefined || lease.free || lease.owner === this.#host.memberId) return true
    return this.#now() - seenAt > lease.leaseMs + GRACE_MS
  }

  async #claim(unit: Unit): Promise<void> {
    const expired = unit.lease !== undefined && !unit.lease.free
    const sentAt = this.#now()
    try {
      const seq = await this.#write(unit, false)
      // Somebody was faster; the next round sees who.
      if (seq === undefined || this.#closed) return
      unit.mine = true
      unit.releasing = false
      this.#hold(unit, seq, sentAt)
      this.#host.acquire(unit.name, expired)
    } catch (error) {
      this.#blame(error)
    }
  }

  async #release(units: readonly Unit[]): Promise<void> {
    for (const unit of units) unit.releasing = true
    const released = await Promise.all(
      units.map(async (unit) => {
        try {
          await this.#host.release(unit.name)
          if (!unit.mine || this.#closed) return undefined
          await this.#free(unit)
          return unit.name
        } catch (error) {
          this.#blame(error)
          // Nobody reads it here any more; renewing it would keep it from everybody.
          if (unit.mine) this.#lose(unit, 'it could not be handed over in order')
          return undefined
        }
      }),
    )
    const revoked = released.filter((name) => name !== undefined)
    if (revoked.length > 0) this.#host.changed([], revoked)
  }

  async #free(unit: Unit): Promise<void> {
    const seq = await this.#write(unit, true)
    unit.mine = false
    unit.releasing = false
    unit.seq = seq ?? 0
    unit.lease = { owner: this.#host.memberId, leaseMs: this.#host.leaseMs, free: true }
    unit.seenAt = this.#now()
    // Each as soon as it can be had; whoever hears it looks.
    if (!this.#closed) this.#tell('free')
  }

  #write(unit: Unit, free: boolean): Promise<number | undefined> {
    const lease: Lease = { owner: this.#host.memberId, leaseMs: this.#host.leaseMs, free }
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
    unit.releasing = false
    // Whoever has it now is looked up in the next round; until then nothing is known.
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
    // While the server was away nobody could renew. Who had a partition gets it back: he knows what he has acked.
    const now = this.#now()
    for (const unit of this.#units) unit.seenAt = now
    this.#tell('join')
    this.#soon()
  }

  /** Leaves, and hands over what it has. The lanes must be empty by then. */
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
      this.#tell('bye')
    }
    if (!session.connection.isClosed()) this.#subscription?.unsubscribe()
  }

  #blame(error: unknown): void {
    if (!this.#host.session.ready || this.#closed) return
    this.#trouble = 'JetStream does not answer'
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

/** Tells the members of a group that it was moved. */
export function tellMoved(session: Session, noticeSubject: string): void {
  const notice: Notice = { id: '', kind: 'moved' }
  session.outbox.publish(noticeSubject, '', Buffer.from(JSON.stringify(notice)))
}
