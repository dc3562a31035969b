import { createHash } from 'node:crypto'
import type { Subscription } from '@nats-io/transport-node'
import { isNoResponders } from './errors.ts'
import type { Incoming } from './incoming.ts'
import type { Session } from './session.ts'

/** Other members wait a little longer than a lease, because their clocks start later and may run faster. */
export const GRACE_MS = 200
/** Number of members that answer a newcomer: enough for one to be alive. */
const ANSWERING = 2
/** Number of silent members that are checked at once when a newcomer joins. */
const PROBED_AT_ONCE = 3
/** A member heard from this recently counts as alive. */
const SILENT_MS = 500
const PROBE_TIMEOUT_MS = 1_000
/** For this many leases after a member died silently, newcomers have to prove themselves. */
const CRASH_MEMORY_LEASES = 6

type NoticeKind = 'join' | 'here' | 'bye' | 'free' | 'moved' | 'members' | 'probe' | 'gone'

interface Notice {
  readonly id: string
  readonly kind: NoticeKind
  /** How long the sender has been a member. */
  readonly ageMs?: number
  /** A member that died silently. */
  readonly gone?: string
  /** The members that the sender knows: id, age and silence in ms. */
  readonly members?: readonly (readonly [string, number, number])[]
}

interface Member {
  /** Monotonic ms, like all times here. */
  heardAt: number
  bornAt: number
}

export interface MembersHost {
  readonly session: Session
  readonly memberId: string
  readonly leaseMs: number
  /** Whether we should answer newcomers, because of the partitions that we own. */
  answersNewcomers(): boolean
  /** Members joined or left, or something may be free. */
  changed(kind: 'join' | 'bye' | 'free'): void
  /** The group was moved or deleted. */
  moved(): void
  failed(error: unknown): void
}

/**
 * The members of a group as one member sees them, which decides its share of the partitions. Members communicate over
 * subjects that no stream stores. One that dies silently is detected through the server, which knows at once that its
 * subscription is gone.
 */
export class Members {
  readonly #host: MembersHost
  readonly #subject: string
  readonly #members = new Map<string, Member>()
  readonly #bornAt: number
  #subscriptions: readonly Subscription[] = []
  #crashAt = -Infinity

  constructor(host: MembersHost, subject: string) {
    this.#host = host
    this.#subject = subject
    this.#bornAt = this.#now()
  }

  open(): void {
    const { session } = this.#host
    const receive = (message: Incoming): void => this.#heard(message)
    const failed = (error: Error): void => this.#host.failed(error)
    this.#subscriptions = [
      session.subscribe(this.#subject, receive, failed),
      session.subscribe(this.#subjectOf(this.#host.memberId), receive, failed),
    ]
  }

  /** The connection is back. The others' silence does not count: we could not hear them. */
  up(): void {
    const now = this.#now()
    for (const member of this.#members.values()) member.heardAt = now
    this.tell('join')
  }

  close(): void {
    if (this.#host.session.connection.isClosed()) return
    for (const subscription of this.#subscriptions) subscription.unsubscribe()
  }

  tell(kind: 'join' | 'here' | 'bye' | 'free'): void {
    this.#send(this.#subject, { id: this.#host.memberId, kind, ageMs: this.#now() - this.#bornAt })
  }

  /** How many of the given partitions are our share, according to the members that we know. */
  share(partitions: number): number {
    this.#forgetSilent()
    const now = this.#now()
    const { memberId, leaseMs } = this.#host
    // A member that keeps crashing would each time block its share for a whole lease.
    const isSuspicious = now - this.#crashAt < CRASH_MEMORY_LEASES * leaseMs
    const counted = [memberId]
    for (const [id, { bornAt }] of this.#members) if (!isSuspicious || now - bornAt > leaseMs) counted.push(id)
    const place = counted.sort().indexOf(memberId)
    const rest = partitions % counted.length
    return Math.floor(partitions / counted.length) + (place < rest ? 1 : 0)
  }

  /**
   * Looks for members that died silently. `soon`: a newcomer has joined, so a few members check the youngest on behalf
   * of all.
   */
  async probe(soon: boolean): Promise<void> {
    if (soon && !this.#actsForAll('')) return
    const now = this.#now()
    const silentMs = soon ? SILENT_MS : this.#host.leaseMs / 2
    const silent = [...this.#members].filter(([, { heardAt }]) => now - heardAt > silentMs)
    if (soon) silent.sort(([, a], [, b]) => b.bornAt - a.bornAt).splice(PROBED_AT_ONCE)
    await Promise.all(silent.map(([id]) => this.#probe(id)))
  }

  async #probe(id: string): Promise<void> {
    const { session, memberId } = this.#host
    const notice: Notice = { id: memberId, kind: 'probe' }
    const askedAt = this.#now()
    try {
      await session.request(this.#subjectOf(id), JSON.stringify(notice), { timeout: PROBE_TIMEOUT_MS })
      const member = this.#members.get(id)
      if (member !== undefined) member.heardAt = this.#now()
    } catch (error) {
      // No answer proves nothing; no subscriber does, unless the member was heard from meanwhile.
      const member = this.#members.get(id)
      if (!isNoResponders(error) || member === undefined || member.heardAt > askedAt) return
      this.#crashed(id)
      this.#send(this.#subject, { id: memberId, kind: 'gone', gone: id, ageMs: this.#now() - this.#bornAt })
    }
  }

  #forgetSilent(): void {
    const oldest = this.#now() - this.#host.leaseMs - GRACE_MS
    for (const [id, { heardAt }] of this.#members) if (heardAt < oldest) this.#crashed(id)
  }

  #crashed(id: string): void {
    this.#members.delete(id)
    this.#crashAt = this.#now()
  }

  #heard(message: Incoming): void {
    let notice: Notice
    try {
      notice = JSON.parse(message.text) as Notice
    } catch {
      // Not our message; nothing depends on it.
      return
    }
    const { id, kind, ageMs = 0 } = notice
    const { memberId } = this.#host
    if (kind === 'moved') return this.#host.moved()
    if (kind === 'probe') return this.#host.session.outbox.publish(message.reply, '', Buffer.from('{}'))
    if (id === memberId) return
    const now = this.#now()
    const isNew = !this.#members.has(id)
    if (kind === 'bye') this.#members.delete(id)
    else this.#members.set(id, { heardAt: now, bornAt: now - ageMs })
    for (const [other, age, silence] of notice.members ?? [])
      if (other !== memberId && !this.#members.has(other))
        this.#members.set(other, { heardAt: now - silence, bornAt: now - age })
    if (notice.gone !== undefined && this.#members.has(notice.gone)) {
      this.#crashed(notice.gone)
      this.#host.changed('bye')
    }
    if (kind === 'join') this.#answer(id)
    if (kind === 'join' || kind === 'bye' || kind === 'free') this.#host.changed(kind)
    else if (isNew || notice.members !== undefined) this.#host.changed('join')
  }

  /** Tells a newcomer who the members are. A few do so on behalf of all. */
  #answer(newcomer: string): void {
    if (!this.#actsForAll(newcomer)) return
    const now = this.#now()
    const { memberId } = this.#host
    const members = [...this.#members]
      .filter(([id]) => id !== newcomer)
      .map(([id, { heardAt, bornAt }]) => [id, Math.round(now - bornAt), Math.round(now - heardAt)] as const)
    this.#send(this.#subjectOf(newcomer), { id: memberId, kind: 'members', ageMs: now - this.#bornAt, members })
  }

  /** True for a few of all members: owners of certain partitions, and the first of those heard from recently. */
  #actsForAll(newcomer: string): boolean {
    if (this.#host.answersNewcomers()) return true
    const now = this.#now()
    const { memberId, leaseMs } = this.#host
    let rank = 0
    for (const [id, { heardAt }] of this.#members)
      if (id !== newcomer && id < memberId && now - heardAt < leaseMs / 2) rank++
    return rank < ANSWERING
  }

  #send(subject: string, notice: Notice): void {
    this.#host.session.outbox.publish(subject, '', Buffer.from(JSON.stringify(notice)))
  }

  /** The subject that only one member listens on. */
  #subjectOf(id: string): string {
    return `${this.#subject}.${createHash('sha256').update(id).digest('hex').slice(0, 20)}`
  }

  #now(): number {
    return this.#host.session.host.clock.monotonic()
  }
}

/** Tells the members of a group that it was moved. */
export function tellMoved(session: Session, subject: string): void {
  const notice: Notice = { id: '', kind: 'moved' }
  session.outbox.publish(subject, '', Buffer.from(JSON.stringify(notice)))
}
