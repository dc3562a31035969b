import type { Database, Statement } from './database.ts'
import type { Seat } from './members.ts'
import { CLAIM } from './schema.ts'

/** What keeps messages of a key from being handed to one seat, as of now. */
export class KeyRules {
  /** Keys of which another owner holds something, or this one something that nobody handles any more. */
  readonly #elsewhere = new Set<string>()
  /** Keys that wait for a retry, with the first message that does. */
  readonly #retry = new Map<string, number>()
  /** Keys of which something is parked, with the first message that is. */
  readonly #blocked = new Map<string, number>()

  constructor(rows: Iterable<readonly unknown[]>, stuck: Iterable<string>) {
    for (const key of stuck) this.#elsewhere.add(key)
    for (const row of rows) {
      const [key, state, seq] = row as readonly [string, number, number]
      if (state === CLAIM.leased) this.#elsewhere.add(key)
      else if (state === CLAIM.retry) this.#retry.set(key, seq)
      else this.#blocked.set(key, seq)
    }
  }

  /** For a message that the group has never seen: everything of its key that is not done came before it. */
  blocksNew(key: string): boolean {
    return this.#blocked.has(key) || this.#elsewhere.has(key) || this.#retry.has(key)
  }

  /** For one that is ready (again): some of its key may have been parked before, and some after it. */
  blocksReady(key: string, seq: number): boolean {
    return (
      this.#elsewhere.has(key) || (this.#retry.get(key) ?? Infinity) < seq || (this.#blocked.get(key) ?? Infinity) < seq
    )
  }

  parked(key: string, seq: number): void {
    this.#blocked.set(key, Math.min(seq, this.#blocked.get(key) ?? Infinity))
  }
}

/** Reads the rules for a seat, as cheaply as the situation allows. */
export class KeyRulesReader {
  readonly #others: Statement
  readonly #waiting: Statement
  readonly #elsewhere: Statement

  constructor(db: Database) {
    this.#others = db.prepare('SELECT 1 FROM owners WHERE group_name = ? AND id <> ? LIMIT 1')
    this.#waiting = db.prepare(`
      SELECT key, state, min(seq) FROM claims
      WHERE group_id = ? AND state >= 2 AND key IS NOT NULL GROUP BY state, key`)
    this.#elsewhere = db.prepare(`
      SELECT key, state, seq FROM claims WHERE group_id = ? AND state = 1 AND owner <> ? AND key IS NOT NULL`)
  }

  read(seat: Seat): KeyRules {
    const { at, member } = seat
    const waiting = this.#waiting.rows(at.id)
    const alone = this.#others.row(at.group, member.owner) === undefined
    return new KeyRules(alone ? waiting : waiting.concat(this.#elsewhere.rows(at.id, member.owner)), seat.stuck.keys())
  }
}
