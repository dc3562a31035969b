import type { Database, Row, Statement } from './database.ts'
import type { Topic } from './members.ts'

/**
 * Messages that wait behind another message of their key, by key and in order. As long as anything of a key is parked,
 * something of that key is in `claims`; when that is done, the next ones are released.
 */
export class Parking {
  readonly #any: Statement
  readonly #first: Statement
  readonly #add: Statement
  readonly #addRun: Statement
  readonly #addClaim: Statement
  readonly #dropClaim: Statement
  readonly #next: Statement
  readonly #restore: Statement
  readonly #drop: Statement
  readonly #read: Statement
  readonly #lease: Statement
  readonly #restoreAll: Statement
  readonly #restoreTargeted: Statement
  readonly #dropAll: Statement
  readonly #forget: Statement
  readonly #groupsOf: Statement
  readonly #nextKey: Statement
  readonly #inPlay: Statement
  readonly #countOf: Statement
  readonly #takeBack: Statement

  constructor(db: Database) {
    const columns = 'group_id, seq, used, taken_back, history, owner, first_at, key'
    this.#any = db.prepare('SELECT 1 FROM parked WHERE group_id = ? LIMIT 1')
    this.#first = db.prepare('SELECT min(seq) FROM parked WHERE group_id = ? AND key = ?')
    this.#add = db.prepare('INSERT INTO parked (group_id, key, seq) VALUES (?, ?, ?)')
    this.#addRun = db.prepare(`
      INSERT INTO parked (group_id, key, seq)
      SELECT ?, key, seq FROM messages WHERE topic_id = ? AND seq > ? AND seq <= ? AND kind <> 1`)
    this.#addClaim = db.prepare(`
      INSERT INTO parked (group_id, key, seq, used, taken_back, history, owner, first_at)
      SELECT group_id, ?, seq, used, taken_back, history, owner, first_at FROM claims WHERE group_id = ? AND seq = ?`)
    this.#dropClaim = db.prepare('DELETE FROM claims WHERE group_id = ? AND seq = ?')
    this.#next = db.prepare('SELECT seq FROM parked WHERE group_id = ? AND key = ? ORDER BY seq LIMIT ?')
    this.#restore = db.prepare(`
      INSERT INTO claims (state, ${columns}) SELECT 0, ${columns} FROM parked WHERE group_id = ? AND key = ? AND seq <= ?`)
    this.#drop = db.prepare('DELETE FROM parked WHERE group_id = ? AND key = ? AND seq <= ?')
    this.#read = db.prepare(`
      SELECT p.seq, p.used - p.taken_back, p.history, p.first_at, m.id, m.kind, m.key, m.time, m.meta, m.body, m.size
      FROM parked p LEFT JOIN messages m ON m.seq = p.seq WHERE p.group_id = ? AND p.key = ? ORDER BY p.seq LIMIT ?`)
    this.#lease = db.prepare(`
      INSERT INTO claims (group_id, seq, state, owner, used, history, first_at, key)
      SELECT group_id, seq, 1, ?, used - taken_back, history, coalesce(first_at, ?), key
      FROM parked WHERE group_id = ? AND key = ? AND seq <= ?`)
    this.#restoreAll = db.prepare(
      `INSERT INTO claims (state, ${columns}) SELECT 0, ${columns} FROM parked WHERE group_id = ?`,
    )
    this.#restoreTargeted = db.prepare(`
      INSERT INTO claims (state, ${columns}) SELECT 0, ${columns} FROM parked
      WHERE group_id = ? AND seq IN (SELECT seq FROM messages WHERE topic_id = ? AND kind = 1 AND target = ?)`)
    this.#dropAll = db.prepare('DELETE FROM parked WHERE group_id = ?')
    // In strict order everything is parked under one key, the empty one.
    const one = "key IN (?, '') AND seq = ? AND group_id IN (SELECT id FROM groups WHERE topic_id = ?)"
    this.#forget = db.prepare(`DELETE FROM parked WHERE ${one}`)
    this.#groupsOf = db.prepare(`SELECT group_id FROM parked WHERE ${one}`)
    this.#nextKey = db.prepare('SELECT key FROM parked WHERE group_id = ? AND key > ? ORDER BY key LIMIT 1')
    this.#inPlay = db.prepare('SELECT DISTINCT key FROM claims WHERE group_id = ? AND key IS NOT NULL')
    this.#countOf = db.prepare('SELECT count(*) FROM parked WHERE group_id = ? AND key = ?')
    this.#takeBack = db.prepare(
      'UPDATE parked SET taken_back = taken_back + ?, history = iif(owner = ? AND history = 3, 1, history) WHERE group_id = ? AND key = ? AND seq = ?',
    )
  }

  any(groupId: number): boolean {
    return this.#any.row(groupId) !== undefined
  }

  /** The first parked message of the key; Infinity when there is none. */
  first(groupId: number, key: string): number {
    return (this.#first.row(groupId, key)?.[0] as number | null) ?? Infinity
  }

  /** Parks a message that the group has never had. */
  add(groupId: number, key: string, seq: number): void {
    this.#add.run(groupId, key, seq)
  }

  /** Parks all messages of a topic between two positions, each under its own key. */
  addRun(groupId: number, topicId: number, after: number, upTo: number): void {
    this.#addRun.run(groupId, topicId, after, upTo)
  }

  /** Parks a message that was in play. */
  addClaim(groupId: number, key: string, seq: number): void {
    this.#addClaim.run(key, groupId, seq)
    this.#dropClaim.run(groupId, seq)
  }

  /** Puts the first messages of a key back into play. False when none is parked. */
  release(groupId: number, key: string, count: number): boolean {
    const last = this.#next.rows(groupId, key, count).at(-1)?.[0] as number | undefined
    if (last === undefined) return false
    this.#restore.run(groupId, key, last)
    this.#drop.run(groupId, key, last)
    return true
  }

  /** Reads the first messages of a key. */
  read(groupId: number, key: string, limit: number): Iterable<Row> {
    return this.#read.iterate(groupId, key, limit)
  }

  /** Leases the first messages of a key to an owner, up to a seq. */
  lease(groupId: number, key: string, upTo: number, to: { readonly owner: number; readonly at: number }): void {
    this.#lease.run(to.owner, to.at, groupId, key, upTo)
    this.#drop.run(groupId, key, upTo)
  }

  releaseAll(groupId: number): void {
    this.#restoreAll.run(groupId)
    this.#dropAll.run(groupId)
  }

  /** The group was moved: only messages for it alone stay, and are put back into play. */
  reset(groupId: number, topic: Topic, name: string): void {
    this.#restoreTargeted.run(groupId, topic.id, name)
    this.#dropAll.run(groupId)
  }

  dropAll(groupId: number): void {
    this.#dropAll.run(groupId)
  }

  /** The message is deleted. */
  forget(topic: Topic, key: string | null, seq: number): void {
    this.#forget.run(key, seq, topic.id)
  }

  /** The groups for which the message is parked. */
  groupsOf(topic: Topic, key: string | null, seq: number): number[] {
    return this.#groupsOf.rows(key, seq, topic.id).map((row) => row[0] as number)
  }

  /** A process that was taken for dead lives: the attempts that it had noted are not used. */
  takeBack(groupId: number, key: string, seq: number, owner: number, attempts: number): void {
    this.#takeBack.run(attempts, owner, groupId, key, seq)
  }

  /**
   * Keys that stand still: some messages are parked, and none is in play that would release them. There should be no
   * such key.
   */
  idleKeys(groupId: number): string[] {
    const idle: string[] = []
    let row = this.#nextKey.row(groupId, '')
    // Strict order has the empty key, which sorts before all others.
    const hasEmpty = this.count(groupId, '') > 0
    if (row === undefined && !hasEmpty) return idle
    const inPlay = new Set(this.#inPlay.rows(groupId).map(([key]) => key))
    if (hasEmpty && !inPlay.has('')) idle.push('')
    for (; row !== undefined; row = this.#nextKey.row(groupId, row[0] as string))
      if (!inPlay.has(row[0])) idle.push(row[0] as string)
    return idle
  }

  count(groupId: number, key: string): number {
    return this.#countOf.number(groupId, key)
  }
}
