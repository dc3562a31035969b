import type { LeaseView } from './group-driver.ts'

interface Entry {
  lease: LeaseView
  /** It was seen to give a sign of life. */
  renewed: boolean
  /** When its current version was first seen here. */
  firstSeenAt: number
  /** When it was last seen. */
  seenAt: number
}

/** How long other members have been silent, as far as this member can tell. All times are monotonic ms. */
export class SilenceLog {
  readonly #entries = new Map<string, Entry>()
  #countFrom = -Infinity

  saw(lease: LeaseView, now: number): void {
    const known = this.#entries.get(lease.id)
    if (known === undefined || known.lease.version !== lease.version)
      this.#entries.set(lease.id, { lease, renewed: known !== undefined, firstSeenAt: now, seenAt: now })
    else {
      known.lease = lease
      known.seenAt = now
    }
  }

  /** Silence before that time says nothing: the server was out of reach. */
  countFrom(now: number): void {
    this.#countFrom = now
  }

  /** Forgets all others: they are not watched any more, so that their last lease seen here says nothing. */
  keep(ids: ReadonlySet<string>): void {
    for (const id of this.#entries.keys()) if (!ids.has(id)) this.#entries.delete(id)
  }

  forget(id: string): void {
    this.#entries.delete(id)
  }

  /** It has given no sign of life since it is known here. */
  isUnrenewed(id: string): boolean {
    return this.#entries.get(id)?.renewed === false
  }

  versionOf(id: string): string | undefined {
    return this.#entries.get(id)?.lease.version
  }

  /** Those that seem to be dead. */
  suspects(afterMs: number, now: number): ReadonlySet<string> {
    const found = new Set<string>()
    for (const [id, entry] of this.#entries) {
      const silentMs = Math.min(this.#silentMs(entry, entry.seenAt), now - this.#countFrom)
      if (entry.lease.disconnected === true || silentMs > afterMs) found.add(id)
    }
    return found
  }

  /** Leases that have certainly ended, each at least `marginMs` ago. */
  ended(marginMs: number, now: number): readonly LeaseView[] {
    const found: LeaseView[] = []
    for (const entry of this.#entries.values()) if (this.#endsAt(entry, marginMs) <= now) found.push(entry.lease)
    return found
  }

  /** When the next lease is to be found by `ended`; `Infinity` without any. */
  nextEndAt(marginMs: number): number {
    let next = Infinity
    for (const entry of this.#entries.values()) next = Math.min(next, this.#endsAt(entry, marginMs))
    return next
  }

  #endsAt(entry: Entry, marginMs: number): number {
    const silentSince = Math.max(entry.seenAt - this.#silentMs(entry, entry.seenAt), this.#countFrom)
    return silentSince + entry.lease.leaseMs + marginMs
  }

  #silentMs({ lease, firstSeenAt }: Entry, now: number): number {
    return Math.max(lease.silentMs ?? 0, now - firstSeenAt)
  }
}
