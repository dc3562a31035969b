import type { Database, Statement } from './database.ts'
import type { Seat } from './members.ts'
import type { Parking } from './parking.ts'
import type { Tx } from './tx.ts'

/** Which messages of a key can't be handed to one seat right now. Looked up per key, on demand. */
export class KeyRules {
  readonly #groupId: number
  readonly #parking: Parking
  readonly #firstRetry: Statement
  readonly #anyParked: boolean
  readonly #anyRetry: boolean
  readonly #nothingWaits: boolean
  /**
   * From which seq on nothing of the key may be handed out: 0 when another owner holds it, Infinity when everything
   * may.
   */
  readonly #blockedFrom: Map<string, number>

  constructor(parts: {
    groupId: number
    parking: Parking
    firstRetry: Statement
    anyParked: boolean
    anyRetry: boolean
    elsewhere: Map<string, number>
  }) {
    this.#groupId = parts.groupId
    this.#parking = parts.parking
    this.#firstRetry = parts.firstRetry
    this.#anyParked = parts.anyParked
    this.#anyRetry = parts.anyRetry
    this.#nothingWaits = !parts.anyParked && !parts.anyRetry
    this.#blockedFrom = parts.elsewhere
  }

  /** For a message that the group has never seen: everything unfinished of its key came before it. */
  blocksNew(key: string): boolean {
    return this.#from(key) !== Infinity
  }

  /** For a message that is ready (again): some messages of its key may have been parked before it, and some after it. */
  blocksReady(key: string, seq: number): boolean {
    return this.#from(key) < seq
  }

  /** From which seq on the key's parked messages wait for something in play: Infinity when none has to. */
  holdsParked(key: string): number {
    return this.#blockedFrom.get(key) === 0 ? 0 : this.#firstRetryOf(key)
  }

  /** Another owner has messages of the key, or some wait for their time: parked ones are released when those are done. */
  isInPlay(key: string): boolean {
    return this.holdsParked(key) < Infinity
  }

  parked(key: string, seq: number): void {
    const from = this.#from(key)
    if (seq < from) this.#blockedFrom.set(key, seq)
  }

  /** Records that the key's first parked messages were handed out. */
  tookParked(key: string): void {
    this.#blockedFrom.delete(key)
  }

  #from(key: string): number {
    if (this.#nothingWaits) return this.#blockedFrom.size === 0 ? Infinity : (this.#blockedFrom.get(key) ?? Infinity)
    let from = this.#blockedFrom.get(key)
    if (from !== undefined) return from
    from = this.#anyParked ? this.#parking.first(this.#groupId, key) : Infinity
    from = Math.min(from, this.#firstRetryOf(key))
    this.#blockedFrom.set(key, from)
    return from
  }

  #firstRetryOf(key: string): number {
    if (!this.#anyRetry) return Infinity
    return (this.#firstRetry.row(this.#groupId, key)?.[0] as number | null) ?? Infinity
  }
}

/** Makes the rules for a seat, as cheaply as the situation allows. */
export class KeyRulesReader {
  readonly #parking: Parking
  readonly #others: Statement
  readonly #anyRetry: Statement
  readonly #firstRetry: Statement
  readonly #elsewhere: Statement

  constructor(db: Database, parking: Parking) {
    this.#parking = parking
    this.#others = db.prepare('SELECT 1 FROM owners WHERE group_name = ? AND id <> ? LIMIT 1')
    this.#anyRetry = db.prepare('SELECT 1 FROM claims WHERE group_id = ? AND state = 2 LIMIT 1')
    this.#firstRetry = db.prepare('SELECT min(seq) FROM claims WHERE group_id = ? AND state = 2 AND key = ?')
    this.#elsewhere = db.prepare(
      'SELECT key FROM claims WHERE group_id = ? AND state = 1 AND owner <> ? AND key IS NOT NULL',
    )
  }

  read(tx: Tx, seat: Seat): KeyRules {
    const { at, member } = seat
    const elsewhere = new Map<string, number>()
    for (const key of seat.stuck.keys()) if (tx.isStuck(seat, key)) elsewhere.set(key, 0)
    if (this.#others.row(at.group, member.owner) !== undefined)
      for (const row of this.#elsewhere.iterate(at.id, member.owner)) elsewhere.set(row[0] as string, 0)
    return new KeyRules({
      groupId: at.id,
      parking: this.#parking,
      firstRetry: this.#firstRetry,
      anyParked: this.#parking.any(at.id),
      anyRetry: this.#anyRetry.row(at.id) !== undefined,
      elsewhere,
    })
  }
}
