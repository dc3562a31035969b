import { createHash } from 'node:crypto'
import type { Subscription } from '@nats-io/transport-node'
import { isNoResponders } from '../../errors.ts'
import type { Incoming } from '../../connection/incoming.ts'
import type { Session } from '../../connection/session.ts'
import type { SessionLeases } from '../partitions/session-leases.ts'

/** Number of members that answer a newcomer: enough for one to be alive. */
const ANSWERING = 2
/** Number of silent members that are checked at once when a newcomer joins. */
const PROBED_AT_ONCE = 2
/** A member heard from this recently counts as alive. */
const SILENT_MS = 500
const PROBE_TIMEOUT_MS = 1_000
/** For this many leases after a member died silently, newcomers have to prove themselves. */
const CRASH_MEMORY_LEASES = 6

/** Number of members whose lease each member watches. */
const WATCHED = 2

type NoticeKind = 'join' | 'bye' | 'free' | 'moved' | 'members' | 'probe' | 'gone'

interface Notice {
  readonly id: string
  readonly kind: NoticeKind
  /** The session of the sender. */
  readonly session?: string
  /** How long the sender has been a member. */
  readonly ageMs?: number
  /** A member that died silently. */
  readonly gone?: string
  /** The members that the sender knows: id, session, age and silence in ms. */
  readonly members?: readonly (readonly [string, string, number, number])[]
}

interface Member {
  session: string
  /** Monotonic ms, like all times here. */
  heardAt: number
  bornAt: number
}

export interface MembersHost {
  readonly session: Session
  readonly memberId: string
  readonly leases: SessionLeases
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
  #round = 0

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

  /** The connection is back. We can't have heard who left; those who are there answer, or own something. */
  up(): void {
    this.#members.clear()
    this.notify('join')
  }

  close(): void {
    if (this.#host.session.connection.isClosed()) return
    for (const subscription of this.#subscriptions) subscription.unsubscribe()
  }

  notify(kind: 'join' | 'bye' | 'free'): void {
    this.#send(this.#subject, { ...this.#self, kind })
  }

  get #self(): { readonly id: string; readonly session: string; readonly ageMs: number } {
    return { id: this.#host.memberId, session: this.#host.leases.id, ageMs: Math.round(this.#now() - this.#bornAt) }
  }

  /** The owner of a partition is a member, also when its notice did not arrive. */
  saw(id: string, session: string): void {
    if (id === this.#host.memberId || this.#members.has(id)) return
    const now = this.#now()
    this.#members.set(id, { session, heardAt: now, bornAt: now })
  }

  /** How many of the given partitions are our share, according to the members that we know. */
  share(partitions: number): number {
    const now = this.#now()
    const { memberId } = this.#host
    const { leaseMs } = this.#host.leases
    // A member that keeps crashing would each time block its share for a whole lease.
    const isSuspicious = now - this.#crashAt < CRASH_MEMORY_LEASES * leaseMs
    const counted = [memberId]
    for (const [id, { bornAt }] of this.#members) if (!isSuspicious || now - bornAt > leaseMs) counted.push(id)
    const place = counted.sort().indexOf(memberId)
    const rest = partitions % counted.length
    return Math.floor(partitions / counted.length) + (place < rest ? 1 : 0)
  }

  /**
   * Checks the leases of the next members in the order of their names, and of one more, another one each time: so each
   * member is watched by some, and everyone notices in the end. True when one has died.
   */
  async check(): Promise<boolean> {
    const { leases, memberId } = this.#host
    const others = [...this.#members]
      .filter(([, { session }]) => session !== leases.id)
      .sort(([a], [b]) => (a < b ? -1 : 1))
    if (others.length === 0) return false
    const next = others.findIndex(([id]) => id > memberId)
    const watched = new Set<string>()
    for (let step = 0; step < WATCHED; step++)
      watched.add(others[(Math.max(0, next) + step) % others.length]?.[1].session ?? '')
    watched.add(others[this.#round++ % others.length]?.[1].session ?? '')
    await leases.look(watched)
    const dead = others.filter(([id, { session }]) => this.#members.has(id) && leases.isOver(session))
    for (const [id] of dead) {
      this.#crashed(id)
      this.#send(this.#subject, { ...this.#self, kind: 'gone', gone: id })
    }
    return dead.length > 0
  }

  /** A newcomer has joined: a few members check, on behalf of all, whether the youngest still live. */
  async probe(): Promise<void> {
    if (!this.#actsForAll('')) return
    const now = this.#now()
    const silent = [...this.#members].filter(([, { heardAt }]) => now - heardAt > SILENT_MS)
    silent.sort(([, a], [, b]) => b.bornAt - a.bornAt).splice(PROBED_AT_ONCE)
    await Promise.all(silent.map(([id]) => this.#probe(id)))
  }

  async #probe(id: string): Promise<void> {
    const { session } = this.#host
    const notice: Notice = { ...this.#self, kind: 'probe' }
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
      this.#send(this.#subject, { ...this.#self, kind: 'gone', gone: id })
    }
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
    const { id, kind, session = '', ageMs = 0 } = notice
    const { memberId } = this.#host
    if (kind === 'moved') return this.#host.moved()
    if (kind === 'probe') return this.#host.session.outbox.publish(message.reply, '', Buffer.from('{}'))
    if (id === memberId) return
    const now = this.#now()
    const isNew = !this.#members.has(id)
    if (kind === 'bye') this.#members.delete(id)
    else this.#members.set(id, { session, heardAt: now, bornAt: now - ageMs })
    for (const [other, ofOther, age, silence] of notice.members ?? [])
      if (other !== memberId && !this.#members.has(other))
        this.#members.set(other, { session: ofOther, heardAt: now - silence, bornAt: now - age })
    if (notice.gone !== undefined && this.#members.has(notice.gone)) {
      this.#crashed(notice.gone)
      this.#host.changed('bye')
    }
    if (kind === 'join') this.#answer(id)
    if (kind === 'join' || kind === 'bye' || kind === 'free') this.#host.changed(kind)
    else if (isNew || notice.members !== undefined) this.#host.changed('join')
  }

  /** Sends a newcomer the list of members. A few do so on behalf of all. */
  #answer(newcomer: string): void {
    if (!this.#actsForAll(newcomer)) return
    const now = this.#now()
    const members = [...this.#members]
      .filter(([id]) => id !== newcomer)
      .map(
        ([id, { session, heardAt, bornAt }]) =>
          [id, session, Math.round(now - bornAt), Math.round(now - heardAt)] as const,
      )
    this.#send(this.#subjectOf(newcomer), { ...this.#self, kind: 'members', members })
  }

  /** True for a few of all members: the owners of certain partitions, and the first by name. */
  #actsForAll(newcomer: string): boolean {
    if (this.#host.answersNewcomers()) return true
    const { memberId } = this.#host
    let rank = 0
    for (const id of this.#members.keys()) if (id !== newcomer && id < memberId) rank++
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

/** Notifies the members of a group that it was moved. */
export function notifyMoved(session: Session, subject: string): void {
  const notice: Notice = { id: '', kind: 'moved' }
  session.outbox.publish(subject, '', Buffer.from(JSON.stringify(notice)))
}
