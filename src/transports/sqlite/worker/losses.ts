import type { Database, Statement } from './database.ts'
import type { Members } from './members.ts'
import type { ReplyQueue } from './reply-queue.ts'
import type { Tx } from './tx.ts'

export interface Loss {
  /** Undefined for dead letters, which belong to no topic of the group. */
  readonly groupId?: number | undefined
  readonly group: string
  readonly topic: string
  readonly reason: string
  readonly count: number
  readonly firstSeq: number
}

/**
 * Messages that were deleted before a group received them. Any process may run retention, so the file keeps what it
 * took from a group until a member of that group reports it.
 */
export class Losses {
  readonly #members: Members
  readonly #replies: ReplyQueue
  readonly #record: Statement
  readonly #any: Statement
  readonly #take: Statement
  /** There may be some to report. */
  #due = true

  constructor(db: Database, members: Members, replies: ReplyQueue) {
    this.#members = members
    this.#replies = replies
    this.#record = db.prepare(`
      INSERT INTO losses (group_name, topic, reason, messages, first_seq) VALUES (?, ?, ?, ?, ?)
      ON CONFLICT (group_name, topic, reason)
      DO UPDATE SET messages = messages + excluded.messages, first_seq = min(first_seq, excluded.first_seq)`)
    this.#any = db.prepare('SELECT 1 FROM losses WHERE group_name = ? LIMIT 1')
    this.#take = db.prepare('DELETE FROM losses WHERE group_name = ? RETURNING topic, reason, messages, first_seq')
  }

  record(tx: Tx, { groupId, group, topic, reason, count, firstSeq }: Loss): void {
    this.#record.run(group, topic, reason, count, firstSeq)
    if (groupId !== undefined) tx.changed.add(groupId)
    tx.lost = true
    tx.after(() => this.look())
  }

  /** Called when a member joined, another process changed something, or a report failed. */
  look(): void {
    this.#due = true
  }

  /** Whether a group consumed here has losses to report. Reads the file only when something has happened. */
  pending(): boolean {
    if (!this.#due) return false
    const found = [...this.#groups()].some((group) => this.#any.row(group) !== undefined)
    this.#due = false
    return found
  }

  /** Reports the losses of the groups consumed here. */
  report(tx: Tx): void {
    for (const group of this.#groups()) {
      for (const row of this.#take.rows(group)) {
        const [topic, reason, count, seq] = row as readonly [string, string, number, number]
        tx.after(() => this.#replies.add({ kind: 'loss', topic, group, count, seq, reason }))
      }
    }
  }

  #groups(): Set<string> {
    const names = new Set<string>()
    for (const member of this.#members.all()) names.add(member.spec.group)
    return names
  }
}
