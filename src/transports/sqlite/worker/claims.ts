// Longer than most files: what is ready, parked and unread of a key must be taken in one order, in one transaction.

import { transferOf } from './columns.ts'
import type { Database, Statement } from './database.ts'
import type { Groups } from './groups.ts'
import { KeyRulesReader } from './key-rules.ts'
import type { Member, Members, Seat, Topic } from './members.ts'
import type { ReplyQueue } from './reply-queue.ts'
import type { Parking } from './parking.ts'
import { ClaimPass } from './claim-pass.ts'
import { HISTORY, KIND } from './schema.ts'
import type { FairShare } from './fair-share.ts'
import type { Tx } from './tx.ts'

/**
 * Maximum size of a batch for one subscription: the handlers' thread unpacks it in one turn, about a millisecond's
 * worth.
 */
const MAX_BATCH = 500
const MAX_BATCH_BYTES = 1_048_576
/** Maximum number of rows that one pass looks at. */
const MAX_SCAN = 4_096
/** After this many messages in a row that had to be parked, the next ones are read without their bodies. */
const LEAN_AFTER = 16
/** Minimum number of a key's messages that become ready together when the key is free. */
const MIN_RELEASED = 8
type ReadyRow = [
  number,
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
type ParkedRow = [
  number,
  number,
  number,
  number | null,
  string | null,
  number,
  string | null,
  number,
  string,
  Uint8Array,
  number,
]
type NewRow = [number, number, string | null, number | null, string, number, string, Uint8Array, number]

/** How far one pass has read the log. */
interface Scan {
  cursor: number
  /** Number of messages for all groups that the cursor has passed. */
  passed: number
  scanned: number
  /** Nothing more can be taken for now. */
  over: boolean
}

/** Hands messages to subscriptions and keeps the order of keys across all members of a group. */
export class Claims {
  readonly #groups: Groups
  readonly #members: Members
  readonly #replies: ReplyQueue
  readonly #parking: Parking
  readonly #rules: KeyRulesReader
  readonly #fairShare: FairShare
  readonly #restrained = new Set<Seat>()
  readonly #ready: Statement
  readonly #anyReady: Statement
  readonly #unread: Statement
  readonly #unreadKeys: Statement
  readonly #insert: Statement
  readonly #lease: Statement
  readonly #delay: Statement
  readonly #drop: Statement
  readonly #forget: Statement
  readonly #forgetDelayed: Statement
  readonly #retriesToStrict: Statement
  readonly #retriesToKeys: Statement

  constructor(parts: {
    db: Database
    groups: Groups
    members: Members
    replies: ReplyQueue
    parking: Parking
    fairShare: FairShare
  }) {
    const { db } = parts
    this.#groups = parts.groups
    this.#members = parts.members
    this.#replies = parts.replies
    this.#parking = parts.parking
    this.#fairShare = parts.fairShare
    this.#rules = new KeyRulesReader(db, parts.parking)
    this.#ready = db.prepare(`
      SELECT c.seq, c.used - c.taken_back, c.history, c.first_at, c.key, m.id, m.kind, m.key, m.time, m.meta, m.body, m.size
      FROM claims c LEFT JOIN messages m ON m.seq = c.seq
      WHERE c.group_id = ? AND c.state = 0 ORDER BY c.seq LIMIT ?`)
    this.#anyReady = db.prepare('SELECT 1 FROM claims WHERE group_id = ? AND state = 0 LIMIT 1')
    this.#unread = db.prepare(`
      SELECT seq, kind, key, deliver_at, id, time, meta, body, size
      FROM messages WHERE topic_id = ? AND seq > ? ORDER BY seq LIMIT ?`)
    this.#unreadKeys = db.prepare(
      'SELECT seq, kind, key, deliver_at FROM messages WHERE topic_id = ? AND seq > ? ORDER BY seq LIMIT ?',
    )
    this.#insert = db.prepare(
      'INSERT INTO claims (group_id, seq, state, owner, used, first_at, key) VALUES (?, ?, 1, ?, 0, ?, ?)',
    )
    this.#lease = db.prepare(`
      UPDATE claims SET state = 1, owner = ?, used = used - taken_back, taken_back = 0, first_at = ?, key = ?
      WHERE group_id = ? AND seq = ?`)
    this.#delay = db.prepare('INSERT INTO delayed VALUES (?, ?, ?)')
    this.#drop = db.prepare('DELETE FROM claims WHERE group_id = ? AND seq = ?')
    const ofTopic = 'seq = ? AND group_id IN (SELECT id FROM groups WHERE topic_id = ?)'
    this.#forget = db.prepare(`DELETE FROM claims WHERE ${ofTopic} AND state <> 1 RETURNING group_id, key`)
    this.#forgetDelayed = db.prepare(`DELETE FROM delayed WHERE ${ofTopic}`)
    this.#retriesToStrict = db.prepare("UPDATE claims SET key = '' WHERE group_id = ? AND state = 2 AND key IS NOT ''")
    this.#retriesToKeys = db.prepare(`
      UPDATE claims SET key = (SELECT key FROM messages WHERE seq = claims.seq)
      WHERE group_id = ? AND state = 2 AND key = ''`)
  }

  /** Hands the subscription what its credit allows. Seats that may have more stay dirty. */
  claim(tx: Tx, member: Member): void {
    const { dirty } = member
    let left = Math.min(member.credit.messages, MAX_BATCH)
    let leftBytes = Math.min(member.credit.bytes, MAX_BATCH_BYTES)
    let taken = 0
    const looked: Seat[] = []
    for (let steps = dirty.size; steps > 0; steps--) {
      const seat = dirty.values().next().value as Seat
      dirty.delete(seat)
      looked.push(seat)
      const pass = new ClaimPass({ tx, seat, left, leftBytes, reader: this.#rules, fairShare: this.#fairShare })
      this.#look(tx, pass)
      if (pass.more) dirty.add(seat)
      if (pass.restrained) this.#restrained.add(seat)
      taken += pass.handed.length
      left = pass.left
      leftBytes = pass.leftBytes
      if (pass.full) break
    }
    if (taken > 0) this.#fairShare.fed(tx, member)
    else this.#fairShare.goesWithout(tx, member, looked)
  }

  /**
   * Marks seats that left something for other members to be looked at again: those members may not want it any more.
   * True when there were any.
   */
  recheck(): boolean {
    const { size } = this.#restrained
    for (const seat of this.#restrained) if (seat.member.seats.get(seat.at.id) === seat) seat.touch()
    this.#restrained.clear()
    return size > 0
  }

  #look(tx: Tx, pass: ClaimPass): void {
    const { at, member } = pass.seat
    const group = this.#groups.get(at.id)
    if (group === undefined) {
      this.#groups.remake(tx, at, this.#members, this.#replies)
      return
    }
    if (group.epoch !== at.epoch) {
      pass.more = true
      tx.after(() => this.#replies.moved(at, group))
      return
    }
    let { cursor } = group
    if (this.#takeReady(tx, pass)) {
      this.#takeParked(tx, pass)
      cursor = this.#takeUnread(tx, pass, cursor)
    }
    tx.after(() => {
      at.cursor = cursor
    })
    if (pass.handed.length === 0) return
    tx.after(() => {
      const firstToken = member.nextToken
      for (const { seq, key, targeted } of pass.handed) member.lease(pass.seat, seq, key, targeted)
      member.credit.spend(pass.writer.bytes, pass.handed.length)
      const batch = pass.writer.finish()
      this.#replies.add({ kind: 'deliver', sub: member.sub, firstToken, batch }, transferOf(batch))
    })
  }

  /** Takes older messages first. True when none of them that could be handed out is left. */
  #takeReady(tx: Tx, pass: ClaimPass): boolean {
    const { at, member } = pass.seat
    for (;;) {
      const limit = Math.min(pass.left, 100)
      const rows: ReadyRow[] = []
      let bytes = 0
      let last = true
      for (const row of this.#ready.iterate(at.id, limit)) {
        rows.push(row as ReadyRow)
        bytes += (row[11] as number | null) ?? 0
        if (bytes < pass.leftBytes && rows.length < limit) continue
        last = false
        break
      }
      for (const [seq, used, history, firstAt, claimKey, id, kind, messageKey, time, meta, body, size] of rows) {
        const key = pass.keyOf(messageKey)
        if (id === null) {
          this.#drop.run(at.id, seq)
          if (claimKey !== null && this.release(tx, at.id, claimKey, MIN_RELEASED)) {
            // What was released comes before later messages of its key.
            last = false
            break
          }
        } else if (key !== null && (pass.rules.blocksReady(key, seq) || pass.isFull(key))) {
          this.#parking.addClaim(at.id, key, seq)
          pass.rules.parked(key, seq)
          // It is behind a message that was parked before it, such as a delayed one: nothing else would release the
          // parked ones.
          if (!pass.has(key) && !pass.rules.isInPlay(key)) this.release(tx, at.id, key, MIN_RELEASED)
        } else if (!pass.takes(key)) return false
        else {
          const first = firstAt ?? tx.now
          this.#lease.run(member.owner, first, key, at.id, seq)
          // It was parked under another key while a consumer used another `order`: nothing else would release the rest
          // of that key.
          if (claimKey !== null && claimKey !== key) this.release(tx, at.id, claimKey, MIN_RELEASED)
          pass.handed.push({ seq, key, targeted: kind === KIND.targeted })
          pass.writer.add(seq, id, messageKey, time, meta, body, size, used + 1, history, first)
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

  /** Continues keys of which the seat has settled something with the messages parked behind it, as far as there is room. */
  #takeParked(tx: Tx, pass: ClaimPass): void {
    const { seat } = pass
    const keys = [...tx.advanced(seat)]
    // Ready messages come first, and some may have just become ready.
    if (keys.length === 0 || this.#anyReady.row(seat.at.id) !== undefined) return
    for (const key of keys) {
      if (pass.full) return
      // While the seat holds the key, no other member can have it: a member without messages must get its turn.
      if (tx.holds(seat, key) && this.#fairShare.restrains(seat)) continue
      if (pass.isFull(key)) tx.wentOn(seat, key)
      else this.#takeKey(tx, pass, key)
    }
  }

  #takeKey(tx: Tx, pass: ClaimPass, key: string): void {
    const { seat, writer } = pass
    const { at, member } = seat
    const heldFrom = pass.rules.holdsParked(key)
    let last: number | undefined
    for (const row of this.#parking.read(at.id, key, Math.min(pass.left, pass.room(key)))) {
      const [seq, used, history, firstAt, id, kind, messageKey, time, meta, body, size] = row as ParkedRow
      if (seq > heldFrom) {
        tx.wentOn(seat, key)
        break
      }
      // Unusual cases are handled once it is ready.
      if (pass.full || id === null || pass.keyOf(messageKey) !== key || !pass.takes(key)) break
      last = seq
      pass.handed.push({ seq, key, targeted: kind === KIND.targeted })
      writer.add(seq, id, messageKey, time, meta, body, size, used + 1, history, firstAt ?? tx.now)
      pass.left--
      pass.leftBytes -= size
    }
    if (last === undefined) return
    this.#parking.lease(at.id, key, last, { owner: member.owner, at: tx.now })
    pass.rules.tookParked(key)
    tx.wentOn(seat, key)
  }

  /** Returns the position up to which the group has read. */
  #takeUnread(tx: Tx, pass: ClaimPass, from: number): number {
    const scan: Scan = { cursor: from, passed: 0, scanned: 0, over: false }
    while (!scan.over && !pass.full && scan.scanned < MAX_SCAN) {
      this.#read(tx, pass, scan)
      if (!scan.over && !pass.full && scan.scanned < MAX_SCAN) this.#passOver(tx, pass, scan)
    }
    if (!scan.over) pass.more = true
    if (scan.cursor !== from) this.#groups.advance(pass.seat.at.id, scan.cursor, scan.passed)
    return scan.cursor
  }

  /**
   * Takes messages until something ends the scan, or until so many in a row had to be parked that `passOver` is
   * cheaper.
   */
  #read(tx: Tx, pass: ClaimPass, scan: Scan): void {
    const { at, member } = pass.seat
    let parked = 0
    for (const row of this.#unread.iterate(at.topic.id, scan.cursor, MAX_SCAN - scan.scanned)) {
      if (pass.full || parked >= LEAN_AFTER) return
      const [seq, kind, messageKey, dueAt, id, time, meta, body, size] = row as NewRow
      scan.scanned++
      if (kind === KIND.targeted) {
        scan.cursor = seq
        continue
      }
      const key = pass.keyOf(messageKey)
      if (dueAt !== null && dueAt > tx.now) this.#delay.run(at.id, seq, dueAt)
      else if (key !== null && (pass.rules.blocksNew(key) || pass.isFull(key))) {
        // In strict order everything that follows is blocked anyway.
        if (member.spec.order === 'strict') break
        this.#parking.add(at.id, key, seq)
        pass.rules.parked(key, seq)
        parked++
      } else if (!pass.takes(key)) break
      else {
        this.#insert.run(at.id, seq, member.owner, tx.now, key)
        pass.handed.push({ seq, key, targeted: false })
        pass.writer.add(seq, id, messageKey, time, meta, body, size, 1, HISTORY.new, tx.now)
        pass.left--
        pass.leftBytes -= size
        parked = 0
      }
      scan.cursor = seq
      scan.passed++
    }
    // A scan that has read its share continues in the next pass.
    if (scan.scanned < MAX_SCAN && !pass.full) scan.over = true
  }

  /** Parks messages of blocked keys, thousands at a time, up to the first one that is not blocked. */
  #passOver(tx: Tx, pass: ClaimPass, scan: Scan): void {
    const { at } = pass.seat
    let parkedTo = scan.cursor
    const park = (): void => {
      if (scan.cursor > parkedTo) this.#parking.addRun(at.id, at.topic.id, parkedTo, scan.cursor)
    }
    for (const row of this.#unreadKeys.iterate(at.topic.id, scan.cursor, MAX_SCAN - scan.scanned)) {
      const [seq, kind, key, dueAt] = row as readonly [number, number, string | null, number | null]
      if (kind !== KIND.targeted) {
        if (dueAt !== null && dueAt > tx.now) {
          park()
          this.#delay.run(at.id, seq, dueAt)
          parkedTo = seq
        } else if (key !== null && (pass.rules.blocksNew(key) || pass.isFull(key))) pass.rules.parked(key, seq)
        else break
        scan.passed++
      }
      scan.scanned++
      scan.cursor = seq
    }
    park()
  }

  /**
   * Puts some of the messages parked behind a key back into play, oldest first. The rest follows when those are done. False
   * when none is parked.
   */
  release(tx: Tx, groupId: number, key: string, count: number): boolean {
    if (!this.#parking.release(groupId, key, count)) return false
    this.#members.touchGroup(groupId)
    tx.changed.add(groupId)
    return true
  }

  /**
   * Releases keys that no seat continued: nothing of them is in play any more, but something is parked. Releases about
   * twice as many messages as were settled, so that no seat runs dry and other members need not park them again.
   */
  releaseRest(tx: Tx): void {
    for (const { seat, key, settled } of tx.leftBehind()) {
      if (tx.holds(seat, key)) continue
      const count = Math.min(seat.member.spec.maxPerKey, Math.max(MIN_RELEASED, 2 * settled))
      this.release(tx, seat.at.id, key, count)
    }
  }

  /**
   * A consumer joins, and earlier ones may have used another `order`: what they left waiting is ordered by other keys, and
   * would not hold back the messages behind it.
   */
  reorder(tx: Tx, groupId: number, order: 'key' | 'strict'): void {
    if (order === 'key') {
      this.release(tx, groupId, '', Number.MAX_SAFE_INTEGER)
      this.#retriesToKeys.run(groupId)
      return
    }
    // The order within each key does not give an order across all of them.
    if (this.#parking.any(groupId)) this.#parking.releaseAll(groupId)
    this.#retriesToStrict.run(groupId)
  }

  /** The message is deleted: no group needs it any more. */
  forget(tx: Tx, topic: Topic, key: string | null, seq: number): void {
    this.#forgetDelayed.run(seq, topic.id)
    this.#parking.forget(topic, key, seq)
    for (const row of this.#forget.rows(seq, topic.id)) {
      if (row[1] !== null) this.release(tx, row[0] as number, row[1] as string, MIN_RELEASED)
    }
  }
}
