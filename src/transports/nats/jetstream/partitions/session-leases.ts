import type { Timer } from '../../../../core/clock.ts'
import { JetStreamError } from '../../errors.ts'
import type { Session, SessionPart } from '../../connection/session.ts'
import type { StateRecords } from '../server/state-records.ts'

/** Other sessions wait a little longer than a lease, because their clocks start later and may run faster. */
export const GRACE_MS = 200

/** For this many leases a session is remembered that no member has looked up. */
const MEMORY_LEASES = 12

/** A member of a group, whose partitions are kept by the lease of its session. */
export interface LeaseUser {
  readonly memberId: string
  /** Called three times per lease. */
  tick(): void
  /** The lease has ended without a renewal. */
  expired(): void
}

/** What a session knows of the lease of another one. */
interface Peer {
  /** Sequence of its last known record; 0 when there was none. */
  seq: number
  /** When that was first seen (monotonic ms). */
  seenAt: number
  /** When a look that found it unchanged was sent. */
  sameAt: number
  leaseMs: number
  /** When the last look that was answered was sent. */
  readAt: number
  /** Its last renewal that we know came after this. */
  renewedAfter: number
  /** When it was last looked up. */
  lookedAt: number
  looking: Promise<void> | undefined
}

/**
 * One lease for everything that a session owns, in all groups and topics: a record that it writes three times per lease.
 * An owner counts its lease from before the write, others from after their read, so that it stops before they start.
 */
export class SessionLeases implements SessionPart {
  readonly session: Session
  readonly id: string
  readonly leaseMs: number
  readonly #records: StateRecords
  readonly #peers = new Map<string, Peer>()
  readonly #users = new Set<LeaseUser>()
  readonly #later = new Set<() => Promise<void>>()
  #until = 0
  #renewedAt = -Infinity
  #timer: Timer | undefined
  #fence: Timer | undefined
  #renewing: Promise<void> | undefined
  #trouble: string | undefined

  constructor(session: Session, records: StateRecords, id: string) {
    this.session = session
    this.id = id
    this.leaseMs = session.options.leaseMs
    this.#records = records
  }

  /** How long what this session owns is certainly its own, in ms; 0 or less when it is not. */
  get leftMs(): number {
    return this.#until - this.#now()
  }

  /** Why the lease can't be renewed. */
  get trouble(): string | undefined {
    return this.#trouble
  }

  /** Holds the lease from now on; resolves when it is held, or could not be. */
  async use(user: LeaseUser): Promise<void> {
    this.#users.add(user)
    if (this.#timer === undefined) this.#arm()
    if (this.leftMs <= 0) await this.renew()
  }

  unuse(user: LeaseUser): void {
    this.#users.delete(user)
    if (this.#users.size > 0) return
    this.#timer?.cancel()
    this.#fence?.cancel()
    this.#timer = undefined
  }

  /** True when a member of this session lives: no other member may take what it owns. */
  hasMember(memberId: string): boolean {
    for (const user of this.#users) if (user.memberId === memberId) return true
    return false
  }

  /** Renews it now. Never rejects: `leftMs` shows whether it worked. */
  renew(): Promise<void> {
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = undefined
    })
    return this.#renewing
  }

  async #renew(): Promise<void> {
    if (!this.session.ready) return
    const sentAt = this.#now()
    try {
      await this.#records.writeLease(this.id, JSON.stringify({ v: 1, leaseMs: this.leaseMs }))
      this.#trouble = undefined
      // A process that was frozen reads the answer before its timers run.
      if (this.leftMs <= 0) this.#expire()
      this.#renewedAt = sentAt
      this.#until = sentAt + this.leaseMs
      this.#armFence()
    } catch (error) {
      if (!this.session.ready) return
      this.#trouble = `its lease can't be renewed: ${error instanceof Error ? error.message : String(error)}`
      this.session.error(error, 'renewing the lease of this process')
    }
  }

  #arm(): void {
    this.#timer?.cancel()
    this.#timer = this.session.host.clock.setTimer(this.leaseMs / 3, () => {
      this.#arm()
      void this.renew().then(() => {
        for (const user of this.#users) user.tick()
        if (this.session.ready) this.#catchUp()
      })
    })
  }

  #armFence(): void {
    this.#fence?.cancel()
    if (this.#users.size === 0) return
    this.#fence = this.session.host.clock.setTimer(Math.max(0, this.leftMs), () => {
      if (this.leftMs > 0) return this.#armFence()
      this.#expire()
    })
  }

  #expire(): void {
    for (const user of this.#users) user.expired()
  }

  /** Runs when there is a connection, and again until it succeeds or the session ends. */
  later(work: () => Promise<void>): void {
    this.#later.add(work)
    if (this.session.ready) this.#catchUp()
  }

  #catchUp(): void {
    for (const work of this.#later) {
      this.#later.delete(work)
      work().catch((error: unknown) => {
        this.#later.add(work)
        if (this.session.ready) this.session.error(error, 'giving back partitions')
      })
    }
  }

  // --- others ------------------------------------------------------------------------------------------------------

  /**
   * Looks up sessions that were not looked up for a while. Never rejects; resolves with the time in ms after which the
   * next look may find that the first of their leases is over.
   */
  async look(ids: Iterable<string>): Promise<number> {
    const others = [...ids].filter((id) => id !== this.id && id !== '')
    await Promise.all(others.map((id) => this.#look(id)))
    return Math.min(...others.filter((id) => !this.isOver(id)).map((id) => this.#mayBeOverInMs(id)))
  }

  #mayBeOverInMs(id: string): number {
    const peer = this.#peers.get(id)
    return peer === undefined ? Infinity : peer.seenAt + peer.leaseMs + GRACE_MS + 1 - this.#now()
  }

  async #look(id: string): Promise<void> {
    let peer = this.#peers.get(id)
    const now = this.#now()
    if (peer === undefined) {
      this.#forgetOld(now)
      const never = { readAt: -Infinity, renewedAfter: -Infinity, lookedAt: -Infinity }
      peer = { seq: -1, seenAt: now, sameAt: now, leaseMs: this.leaseMs, ...never, looking: undefined }
      this.#peers.set(id, peer)
    }
    // One that was found over too: its holder may be back, and have claimed again what we are about to take.
    const isDecisive = this.#mayBeOverInMs(id) <= 0
    if (now - peer.lookedAt < this.leaseMs / 6 && !isDecisive) return peer.looking
    peer.lookedAt = now
    peer.looking = this.#read(id, peer).finally(() => {
      peer.looking = undefined
    })
    return peer.looking
  }

  /** Processes come and go. */
  #forgetOld(now: number): void {
    for (const [id, { lookedAt }] of this.#peers)
      if (now - lookedAt > MEMORY_LEASES * this.leaseMs) this.#peers.delete(id)
  }

  async #read(id: string, peer: Peer): Promise<void> {
    const sentAt = this.#now()
    try {
      const record = await this.#records.readLease(this.#records.leaseSubject(id))
      const seq = record?.seq ?? 0
      const { readAt } = peer
      peer.readAt = sentAt
      if (seq === peer.seq) {
        peer.sameAt = sentAt
        return
      }
      peer.seq = seq
      if (seq > 0) peer.renewedAfter = readAt
      peer.seenAt = this.#now()
      peer.leaseMs = leaseOf(record?.text) ?? this.leaseMs
    } catch (error) {
      // Unknown is not over.
      peer.seenAt = this.#now()
      if (this.session.ready && error instanceof JetStreamError)
        this.session.error(error, 'looking up the lease of another process')
    }
  }

  /**
   * True when the lease of a session is certainly over: its record has not changed, or was missing, for longer than a
   * lease. A server that was restarted has forgotten all of them, and their holders renew them.
   */
  isOver(id: string): boolean {
    const peer = this.#peers.get(id)
    return id === '' || (peer !== undefined && peer.sameAt - peer.seenAt > peer.leaseMs + GRACE_MS)
  }

  /** True when it certainly was renewed after that time (monotonic ms). */
  isRenewedSince(id: string, at: number): boolean {
    return (this.#peers.get(id)?.renewedAfter ?? -Infinity) > at
  }

  // --- life --------------------------------------------------------------------------------------------------------

  down(): void {}

  up(): void {
    // While the server was away no lease could be renewed.
    const now = this.#now()
    for (const peer of this.#peers.values()) {
      peer.seenAt = now
      peer.lookedAt = -Infinity
    }
    if (this.#users.size > 0) void this.renew()
    this.#catchUp()
  }

  /** The session ends: nothing is left that could be taken over. */
  async close(): Promise<void> {
    this.#users.clear()
    this.#later.clear()
    this.#timer?.cancel()
    this.#fence?.cancel()
    this.#timer = undefined
    if (!this.session.ready || this.#renewedAt === -Infinity) return
    await this.#records.forgetLease(this.id)
  }

  #now(): number {
    return this.session.host.clock.monotonic()
  }
}

function leaseOf(text: string | undefined): number | undefined {
  try {
    const { leaseMs } = JSON.parse(text ?? '{}') as { leaseMs?: unknown }
    return typeof leaseMs === 'number' ? leaseMs : undefined
  } catch {
    return undefined
  }
}
