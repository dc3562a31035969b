import type { Database, Statement } from './database.ts'
import type { Members } from './members.ts'
import type { Tx } from './tx.ts'

/** Maximum number of delayed messages that become ready in one transaction. */
const MAX_DUE = 500

/** Messages that wait for their time: delayed ones and retries. */
export class DueQueue {
  readonly #members: Members
  readonly #retriesDue: Statement
  readonly #delayedDue: Statement
  readonly #makeReady: Statement
  readonly #undelay: Statement
  readonly #nextRetry: Statement
  readonly #nextDelayed: Statement
  readonly #rebase: Statement

  constructor(db: Database, members: Members) {
    this.#members = members
    this.#retriesDue = db.prepare(
      'UPDATE claims SET state = 0, not_before = NULL, since = NULL WHERE state = 2 AND not_before <= ? RETURNING group_id',
    )
    this.#delayedDue = db.prepare(`SELECT group_id, seq FROM delayed WHERE due <= ? ORDER BY due LIMIT ${MAX_DUE}`)
    this.#makeReady = db.prepare(`
      INSERT OR IGNORE INTO claims (group_id, seq, state, used, key) SELECT ?, seq, 0, 0, key FROM messages WHERE seq = ?`)
    this.#undelay = db.prepare('DELETE FROM delayed WHERE group_id = ? AND seq = ?')
    this.#nextRetry = db.prepare('SELECT min(not_before) FROM claims WHERE state = 2')
    this.#nextDelayed = db.prepare('SELECT min(due) FROM delayed')
    this.#rebase = db.prepare(
      'UPDATE claims SET not_before = ? + (not_before - since), since = ? WHERE state = 2 AND since > ?',
    )
  }

  /** Makes due messages ready, or the first part of them: `next` is then still in the past. */
  promote(tx: Tx): void {
    for (const row of this.#retriesDue.rows(tx.now)) this.#ready(tx, row[0] as number)
    const due = this.#delayedDue.rows(tx.now)
    for (const row of due) {
      const [groupId, seq] = row as readonly number[] as [number, number]
      this.#makeReady.run(groupId, seq)
      this.#undelay.run(groupId, seq)
      this.#ready(tx, groupId)
    }
  }

  #ready(tx: Tx, groupId: number): void {
    this.#members.touchGroup(groupId)
    tx.changed.add(groupId)
  }

  /** When `promote` has work next, in ms since 1970. */
  next(): number {
    const retry = this.#nextRetry.row()?.[0] as number | null
    const delayed = this.#nextDelayed.row()?.[0] as number | null
    return Math.min(retry ?? Infinity, delayed ?? Infinity)
  }

  /** A wait that began in the future began before the clock was set back: it starts again now, so that it ends. */
  rebase(now: number): void {
    this.#rebase.run(now, now, now + 1_000)
  }
}
