import { transferOf } from './columns.ts'
import type { Database, Statement } from './database.ts'
import type { Groups } from './groups.ts'
import { KeyRulesReader } from './key-rules.ts'
import type { Member, Members, Seat, Topic } from './members.ts'
import type { Outbox } from './outbox.ts'
import { Pass } from './pass.ts'
import { KIND } from './schema.ts'
import type { Sharing } from './sharing.ts'
import type { Tx } from './tx.ts'

/** One batch to one subscription: what its thread unpacks in one turn, about a millisecond's worth. */
const MAX_BATCH = 500
const MAX_BATCH_BYTES = 1_048_576
/** Most rows that one pass looks at. */
const MAX_SCAN = 4_096
/** So many messages of a group may stand behind others of their keys before it reads on. */
const MAX_PARKED = 2_000
/** Least messages of a key that become ready together when the key is free. More would be parked again by other members. */
const MIN_UNBLOCKED = 8
type ReadyRow = [
  number,
  number,
  number | null,
  string | null,
  string | null,
  number,
  string | null,
  number,
  string,
  Uint8Array,
  number,
]
type NewRow = [number, number, string, string | null, number, number | null, string, Uint8Array, number]

/** Hands messages to subscriptions, and keeps the order of keys over all members of a group while doing so. */
export class Claims {
  readonly #groups: Groups
  readonly #members: Members
  readonly #outbox: Outbox
  readonly #rules: KeyRulesReader
  readonly #sharing: Sharing
  readonly #restrained = new Set<Seat>()
  readonly #ready: Statement
  readonly #unread: Statement
  readonly #insert: Statement
  readonly #lease: Statement
  readonly #park: Statement
  readonly #parked: Statement
  readonly #delay: Statement
  readonly #drop: Statement
  readonly #unblock: Statement
  readonly #unblockAll: Statement
  readonly #forget: Statement
  readonly #forgetDelayed: Statement

  constructor(parts: { db: Database; groups: Groups; members: Members; outbox: Outbox; sharing: Sharing }) {
    const { db } = parts
    this.#groups = parts.groups
    this.#members = parts.members
    this.#outbox = parts.outbox
    this.#sharing = parts.sharing
    this.#rules = new KeyRulesReader(db)
    this.#ready = db.prepare(`
      SELECT c.seq, c.attempt, c.first_at, c.key, m.id, m.kind, m.key, m.time, m.meta, m.body, m.size
      FROM claims c LEFT JOIN messages m ON m.seq = c.seq
      WHERE c.group_id = ? AND c.state = 0 ORDER BY c.seq LIMIT ?`)
    this.#unread = db.prepare(`
      SELECT seq, kind, id, key, time, deliver_at, meta, body, size
      FROM messages WHERE topic_id = ? AND seq > ? ORDER BY seq LIMIT ${MAX_SCAN}`)
    this.#insert = db.prepare(
      'INSERT INTO claims (group_id, seq, state, owner, attempt, first_at, key) VALUES (?, ?, ?, ?, ?, ?, ?)',
    )
    this.#lease = db.prepare(
      'UPDATE claims SET state = 1, owner = ?, attempt = ?, first_at = ?, key = ? WHERE group_id = ? AND seq = ?',
    )
    this.#park = db.prepare('UPDATE claims SET state = 3, key = ? WHERE group_id = ? AND seq = ?')
    this.#parked = db.prepare('SELECT count(*) FROM claims WHERE group_id = ? AND state >= 2 AND state = 3')
    this.#delay = db.prepare('INSERT INTO delayed VALUES (?, ?, ?)')
    this.#drop = db.prepare('DELETE FROM claims WHERE group_id = ? AND seq = ?')
    this.#unblock = db.prepare(`
      UPDATE claims SET state = 0 WHERE group_id = ? AND seq IN (
        SELECT seq FROM claims WHERE group_id = ? AND state >= 2 AND state = 3 AND key = ? ORDER BY seq LIMIT ?)`)
    this.#unblockAll = db.prepare('UPDATE claims SET state = 0 WHERE group_id = ? AND state >= 2 AND state = 3')
    const ofTopic = 'seq = ? AND group_id IN (SELECT id FROM groups WHERE topic_id = ?)'
    this.#forget = db.prepare(`DELETE FROM claims WHERE ${ofTopic} AND state <> 1 RETURNING group_id, key`)
    this.#forgetDelayed = db.prepare(`DELETE FROM delayed WHERE ${ofTopic}`)
  }

  /** Hands the subscription what its credit allows. Seats where there may be more stay dirty. */
  claim(tx: Tx, member: Member): void {
    let left = Math.min(member.credit, MAX_BATCH)
    let leftBytes = Math.min(member.creditBytes, MAX_BATCH_BYTES)
    let taken = 0
    const { seats } = member
    for (let step = 0; step < seats.length; step++) {
      const at = (member.nextSeat + step) % seats.length
      const seat = seats[at] as Seat
      if (!seat.dirty) continue
      const pass = new Pass({ tx, seat, left, leftBytes, reader: this.#rules, sharing: this.#sharing })
      this.#look(tx, pass)
      seat.dirty = pass.more
      if (pass.restrained) this.#restrained.add(seat)
      taken += pass.handed.length
      left = pass.left
      leftBytes = pass.leftBytes
      if (!pass.full) continue
      member.nextSeat = (at + 1) % seats.length
      break
    }
    if (taken > 0) this.#sharing.fed(tx, member)
    else this.#sharing.goesWithout(tx, member)
  }

  /** Who left something to others looks again: they may not want it any more. True when there was anybody. */
  recheck(): boolean {
    const { size } = this.#restrained
    for (const seat of this.#restrained) seat.dirty = true
    this.#restrained.clear()
    return size > 0
  }

  #look(tx: Tx, pass: Pass): void {
    const { at, member } = pass.seat
    const group = this.#groups.get(at.id)
    if (group === undefined || group.epoch !== at.epoch) {
      pass.more = true
      tx.after(() => this.#outbox.moved(this.#members, at, group?.epoch))
      return
    }
    if (this.#takeReady(tx, pass)) this.#takeUnread(tx, pass, group.cursor)
    if (pass.handed.length === 0) return
    tx.after(() => {
      const firstToken = member.nextToken
      for (const { seq, key, targeted } of pass.handed) member.lease(pass.seat, seq, key, targeted)
      member.credit -= pass.handed.length
      member.creditBytes -= pass.writer.bytes
      const batch = pass.writer.finish()
      this.#outbox.add({ kind: 'deliver', sub: member.sub, firstToken, batch }, transferOf(batch))
    })
  }

  /** What was there before comes first. True when none of it that could be handed out is left. */
  #takeReady(tx: Tx, pass: Pass): boolean {
    const { at, member } = pass.seat
    for (;;) {
      const limit = Math.min(pass.left, 100)
      const rows: ReadyRow[] = []
      let bytes = 0
      let last = true
      for (const row of this.#ready.iterate(at.id, limit)) {
        rows.push(row as ReadyRow)
        bytes += (row[10] as number | null) ?? 0
        if (bytes < pass.leftBytes && rows.length < limit) continue
        last = false
        break
      }
      for (const [seq, attempts, firstAt, claimKey, id, kind, messageKey, time, meta, body, size] of rows) {
        const key = pass.keyOf(messageKey)
        if (id === null) {
          this.#drop.run(at.id, seq)
          if (claimKey !== null) this.unblock(at.id, claimKey, 1)
        } else if (key !== null && pass.rules.blocksReady(key, seq)) {
          this.#park.run(key, at.id, seq)
          pass.rules.parked(key, seq)
        } else if (!pass.takes(key)) return false
        else {
          const first = firstAt ?? tx.now
          this.#lease.run(member.owner, attempts + 1, first, key, at.id, seq)
          pass.handed.push({ seq, key, targeted: kind === KIND.targeted })
          pass.writer.add(seq, id, messageKey, time, meta, body, size, attempts + 1, first)
          pass.left--
          pass.leftBytes -= size
        }
      }
      if (pass.full) {
        pass.more = true
        return false
      }
      if (last) return true
    }
  }

  #takeUnread(tx: Tx, pass: Pass, from: number): void {
    const { at, member } = pass.seat
    let cursor = from
    let passed = 0
    let scanned = 0
    let parked: number | undefined
    for (const row of this.#unread.iterate(at.topic.id, from)) {
      if (pass.full) {
        pass.more = true
        break
      }
      const [seq, kind, id, messageKey, time, dueAt, meta, body, size] = row as NewRow
      scanned++
      if (kind === KIND.targeted) {
        cursor = seq
        continue
      }
      const key = pass.keyOf(messageKey)
      if (dueAt !== null && dueAt > tx.now) this.#delay.run(at.id, seq, dueAt)
      else if (key !== null && pass.rules.blocksNew(key)) {
        // In strict order everything that follows is blocked just the same.
        if (member.spec.order === 'strict') break
        parked ??= this.#parked.number(at.id)
        if (parked++ >= MAX_PARKED) break
        this.#insert.run(at.id, seq, 3, null, 0, null, key)
        pass.rules.parked(key, seq)
      } else if (!pass.takes(key)) break
      else {
        this.#insert.run(at.id, seq, 1, member.owner, 1, tx.now, key)
        pass.handed.push({ seq, key, targeted: false })
        pass.writer.add(seq, id, messageKey, time, meta, body, size, 1, tx.now)
        pass.left--
        pass.leftBytes -= size
      }
      cursor = seq
      passed++
    }
    if (scanned >= MAX_SCAN) pass.more = true
    if (cursor !== from) this.#groups.advance(at.id, cursor, passed)
  }

  /**
   * Nothing of that key is out any more: what stands behind it may go, the oldest first and about as many as there were
   * just now. The rest follows when those are done.
   */
  unblock(groupId: number, key: string, count: number): void {
    if (this.#unblock.run(groupId, groupId, key, Math.max(MIN_UNBLOCKED, count)) > 0) this.#members.touchGroup(groupId)
  }

  unblockAll(groupId: number): void {
    this.#unblockAll.run(groupId)
    this.#members.touchGroup(groupId)
  }

  /** The message is deleted: no group needs to be given it any more. */
  forget(topic: Topic, seq: number): void {
    this.#forgetDelayed.run(seq, topic.id)
    for (const row of this.#forget.rows(seq, topic.id)) {
      if (row[1] !== null) this.unblock(row[0] as number, row[1] as string, 1)
    }
  }
}
