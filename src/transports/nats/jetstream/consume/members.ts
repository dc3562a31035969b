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
/** Number of members that are probed in a round after a reconnect. */
const CONFIRMED_AT_ONCE = 8
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
  /** How long ago one died silently. */
  readonly crashMs?: number | undefined
  /** The members that the sender knows: id, session, age and silence in ms, and whether it is sure of them. */
  readonly members?: readonly (readonly [string, string, number, number, boolean])[]
}

interface Member {
  session: string
  /** Monotonic ms, like all times here. */
  heardAt: number
  bornAt: number
  /** False when it may have left while we, or those who told us of it, had no connection. */
  isSure: boolean
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
  /** Those that died or left, and when: what others have written of them before does not bring them back. */
  readonly #former = new Map<string, number>()
  readonly #bornAt: number
  #subscriptions: readonly Subscription[] = []
  #crashAt = -Infinity
  #joinedAt = -Infinity
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

  /** The connection is back. We can't have heard who left. */
  up(): void {
    for (const member of this.#members.values()) member.isSure = false
    this.notify('join')
  }

  close(): void {
    if (this.#host.session.connection.isClosed()) return
    for (const subscription of this.#subscriptions) subscription.unsubscribe()
  }

  notify(kind: 'join' | 'bye' | 'free'): void {
    if (kind === 'join') this.#joinedAt = this.#now()
    this.#send(this.#subject, { ...this.#self, kind })
  }

  get #self(): { readonly id: string; readonly session: string; readonly ageMs: number } {
    return { id: this.#host.memberId, session: this.#host.leases.id, ageMs: Math.round(this.#now() - this.#bornAt) }
  }

  /** We lack our share, and nothing is free. Repeated once per lease: a notice may be lost where servers meet again. */
  joinAgain(): void {
    if (this.#now() - this.#joinedAt >= this.#host.leases.leaseMs) this.notify('join')
  }

  /** The owner of a partition, whose lease lasts, is a member, also when its notice did not arrive. */
  saw(id: string, session: string): void {
    if (id === this.#host.memberId || this.#members.has(id)) return
    const now = this.#now()
    const leftAt = this.#leftAt(id)
    // One that is dead does not renew its lease. A session that has other members does.
    if (leftAt !== undefined && !this.#host.leases.isRenewedSince(session, leftAt)) return
    this.#former.delete(id)
    this.#members.set(id, { session, heardAt: now, bornAt: now, isSure: leftAt === undefined })
  }

  /** Undefined when it did not leave, or long ago: nothing that was written of it before is around any more. */
  #leftAt(id: string): number | undefined {
    const at = this.#former.get(id)
    return at !== undefined && this.#now() - at <= this.#crashMemoryMs ? at : undefined
  }

  /**
   * How many of the given partitions are our share, according to the members that we know. For some time after one has
   * died, a newcomer has none before it has lived for a lease: one that crashes again and again would keep its share from
   * the others for a lease each time, and what waits in a partition would wait as often as it comes to such a member. So a
   * newcomer is not counted by the others, and takes nothing beyond the `owned` that it has. If all are new, all count.
   */
  share(partitions: number, owned: number): number {
    const now = this.#now()
    const { memberId, leases } = this.#host
    const isSuspicious = now - this.#crashAt < this.#crashMemoryMs
    const isProven = ({ bornAt }: { readonly bornAt: number }): boolean => now - bornAt > leases.leaseMs
    const others = [...this.#members]
    const proven = isSuspicious ? others.filter(([, member]) => isProven(member)) : others
    const isWaiting = isSuspicious && proven.length > 0 && !isProven({ bornAt: this.#bornAt })
    const areAllNew = proven.length === 0 && !isProven({ bornAt: this.#bornAt })
    const counted = [memberId, ...(areAllNew ? others : proven).map(([id]) => id)].sort()
    const share = Math.floor(partitions / counted.length)
    const fair = counted.indexOf(memberId) < partitions % counted.length ? share + 1 : share
    return isWaiting ? Math.min(owned, fair) : fair
  }

  get #crashMemoryMs(): number {
    return CRASH_MEMORY_LEASES * this.#host.leases.leaseMs
  }

  /** Its partitions were taken over because its lease was over. */
  died(id: string): void {
    if (id !== this.#host.memberId && this.#leftAt(id) === undefined) this.#reportDead(id)
  }

  /**
   * Checks the leases of the next members in the order of their names, and of one more, another one each time: so each
   * member is watched by some, and everyone notices in the end. Resolves with when the next one may be over, as
   * `SessionLeases.look`.
   */
  async check(): Promise<number> {
    const { leases, memberId } = this.#host
    const others = [...this.#members]
      .filter(([, { session }]) => session !== leases.id)
      .sort(([a], [b]) => (a < b ? -1 : 1))
    if (others.length === 0) return Infinity
    const next = others.findIndex(([id]) => id > memberId)
    const watched = new Set<string>()
    for (let step = 0; step < WATCHED; step++)
      watched.add(others[(Math.max(0, next) + step) % others.length]?.[1].session ?? '')
    watched.add(others[this.#round++ % others.length]?.[1].session ?? '')
    // One that was found over earlier may be back since.
    for (const [, { session }] of others) if (leases.isOver(session)) watched.add(session)
    const nextMs = await leases.look(watched)
    const dead = others.filter(([id, { session }]) => this.#members.has(id) && leases.isOver(session))
    for (const [id] of dead) this.#reportDead(id)
    return nextMs
  }

  /** After a reconnect: finds out who of those that we knew is still there. */
  async confirm(): Promise<void> {
    const unsure = [...this.#members].filter(([, { isSure }]) => !isSure).slice(0, CONFIRMED_AT_ONCE)
    for (const [id, member] of unsure) {
      // Behind the others: those that do not answer must not keep them from being asked.
      this.#members.delete(id)
      this.#members.set(id, member)
    }
    await Promise.all(unsure.map(([id]) => this.#probe(id)))
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
      if (member === undefined) return
      member.heardAt = this.#now()
      member.isSure = true
    } catch (error) {
      // No answer proves nothing; no subscriber does, unless the member was heard from meanwhile.
      const member = this.#members.get(id)
      if (!isNoResponders(error) || member === undefined || member.heardAt > askedAt) return
      // It may have left while we were away.
      if (!member.isSure) return this.#left(id)
      this.#reportDead(id)
    }
  }

  /** We know that it died, and tell the others. */
  #reportDead(id: string): void {
    this.#crashed(id)
    this.#send(this.#subject, { ...this.#self, kind: 'gone', gone: id })
  }

  #crashed(id: string): void {
    this.#left(id)
    this.#crashAt = this.#now()
  }

  #left(id: string): void {
    const now = this.#now()
    this.#members.delete(id)
    this.#former.delete(id)
    this.#former.set(id, now)
    for (const [first, at] of this.#former) {
      if (now - at <= this.#crashMemoryMs) break
      this.#former.delete(first)
    }
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
    if (kind === 'probe') return this.#host.session.writeBuffer.publish(message.reply, '', Buffer.from('{}'))
    if (id === memberId) return
    const now = this.#now()
    const isNew = !this.#members.has(id)
    if (kind === 'bye') this.#left(id)
    else {
      this.#former.delete(id)
      this.#members.set(id, { session, heardAt: now, bornAt: now - ageMs, isSure: true })
    }
    for (const [other, ofOther, age, silence, isSure] of notice.members ?? [])
      if (other !== memberId && !this.#members.has(other) && this.#leftAt(other) === undefined)
        this.#members.set(other, { session: ofOther, heardAt: now - silence, bornAt: now - age, isSure })
    if (notice.crashMs !== undefined) this.#crashAt = Math.max(this.#crashAt, now - notice.crashMs)
    // We were out of reach for longer than our lease.
    if (notice.gone === memberId) this.notify('join')
    else if (notice.gone !== undefined) {
      const isKnown = this.#members.has(notice.gone)
      this.#crashed(notice.gone)
      if (isKnown) this.#host.changed('bye')
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
        ([id, { session, heardAt, bornAt, isSure }]) =>
          [id, session, Math.round(now - bornAt), Math.round(now - heardAt), isSure] as const,
      )
    const crashMs = now - this.#crashAt < this.#crashMemoryMs ? Math.round(now - this.#crashAt) : undefined
    this.#send(this.#subjectOf(newcomer), { ...this.#self, kind: 'members', members, crashMs })
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
    this.#host.session.writeBuffer.publish(subject, '', Buffer.from(JSON.stringify(notice)))
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
  session.writeBuffer.publish(subject, '', Buffer.from(JSON.stringify(notice)))
}
