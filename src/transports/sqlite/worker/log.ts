import { isDeadLetterTopic } from '../../../core/topic.ts'
import type { Topics } from './topics.ts'
import type { Changes } from './changes.ts'
import type { Claims } from './claims.ts'
import { StoredWriter } from './columns.ts'
import type { Database, Statement } from './database.ts'
import type { Groups } from './groups.ts'
import type { Members, Topic } from './members.ts'
import { OUT } from '../protocol.ts'
import type { OutgoingColumns, StoredColumns } from '../protocol.ts'
import { KIND } from './schema.ts'
import type { Tx } from './tx.ts'

/** Maximum size of one answer to `read`; the caller asks for the rest. */
const READ_BYTES = 4_194_304
/** Size of a row without body, id, key and meta. */
const ROW_BYTES = 64

class Totals {
  stored = 0
  bytes = 0
  shared = 0
  last = 0
}

/** The messages themselves: appending, reading and deleting. */
export class Log {
  readonly #topics: Topics
  readonly #changes: Changes
  readonly #groups: Groups
  readonly #members: Members
  readonly #sequence: Statement
  readonly #setSequence: Statement
  readonly #insert: Statement
  readonly #same: Statement
  readonly #grow: Statement
  readonly #shrink: Statement
  readonly #read: Statement
  readonly #delete: Statement
  readonly #skipped: Statement
  readonly #oldest: Statement

  constructor(parts: { db: Database; topics: Topics; changes: Changes; groups: Groups; members: Members }) {
    const { db } = parts
    this.#topics = parts.topics
    this.#changes = parts.changes
    this.#groups = parts.groups
    this.#members = parts.members
    this.#sequence = db.prepare('SELECT last_seq, last_at FROM sequence')
    this.#setSequence = db.prepare('UPDATE sequence SET last_seq = ?, last_at = ?')
    this.#insert = db.prepare(
      // Node 22 binds an empty Uint8Array as NULL.
      `INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, coalesce(?, x''))
       ON CONFLICT (topic_id, id, meta ->> '$.source') WHERE kind = 0 DO NOTHING`,
    )
    this.#same = db.prepare(
      "SELECT seq FROM messages WHERE topic_id = ? AND id = ? AND meta ->> '$.source' = ? ->> '$.source' AND kind = 0",
    )
    this.#grow = db.prepare(
      'UPDATE topics SET last_seq = max(last_seq, ?), appended = appended + ?, messages = messages + ?, bytes = bytes + ? WHERE id = ?',
    )
    this.#shrink = db.prepare('UPDATE topics SET messages = messages - ?, bytes = bytes - ? WHERE id = ?')
    this.#read = db.prepare(
      'SELECT seq, id, key, time, meta, body, size FROM messages WHERE topic_id = ? AND seq > ? ORDER BY seq LIMIT ?',
    )
    this.#delete = db.prepare('DELETE FROM messages WHERE seq = ? AND topic_id = ? RETURNING kind, size, key')
    this.#skipped = db.prepare('UPDATE groups SET passed = passed + 1 WHERE topic_id = ? AND cursor < ?')
    this.#oldest = db.prepare('SELECT seq, size FROM messages WHERE topic_id = ? AND seq <= ? ORDER BY seq LIMIT ?')
  }

  /**
   * Appends the messages of a batch, or those of the given rows, in order; returns the seq of each. A message whose
   * id and source already exist in its topic is not stored again: it gets the seq of the first.
   */
  append(tx: Tx, batch: OutgoingColumns, rows?: readonly number[]): Float64Array {
    const { numbers, bodies } = batch
    const topics = batch.topics.map((name) => this.#topics.ensure(tx, name))
    const deadLetters = batch.topics.map((name) => isDeadLetterTopic(name))
    const totals = topics.map(() => new Totals())
    const [last, lastAt] = this.#sequence.row() as readonly number[] as [number, number]
    let seq = last
    // Times never decrease along the log, even when the clock is set back: replay by time relies on that.
    const publishedAt = Math.max(tx.now, lastAt)
    const count = batch.ids.length
    const seqs = new Float64Array(count)
    let bodyAt = 0
    let nextRow = 0
    for (let index = 0; index < count; index++) {
      const at = index * OUT.stride
      const bodyBytes = numbers[at + OUT.bodyBytes] as number
      const bodyStart = bodyAt
      bodyAt += bodyBytes
      if (rows !== undefined) {
        if (rows[nextRow] !== index) continue
        nextRow++
      }
      const which = numbers[at + OUT.topic] as number
      const topic = topics[which] as Topic
      const id = batch.ids[index] as string
      const key = batch.keys[index] as string | null
      const meta = batch.metas[numbers[at + OUT.meta] as number] as string
      const dueAt = numbers[at + OUT.deliverAt] as number
      const due = dueAt > tx.now ? dueAt : undefined
      const target = batch.targets[numbers[at + OUT.target] as number]
      const kind = target !== undefined ? KIND.targeted : deadLetters[which] === true ? KIND.deadLetter : KIND.shared
      const size = bodyBytes + meta.length + id.length + (key?.length ?? 0) + ROW_BYTES
      const body = bodies.subarray(bodyStart, bodyAt)
      const time = numbers[at + OUT.time] as number
      const stored = this.#insert.run(
        seq + 1,
        topic.id,
        kind,
        id,
        key,
        time,
        publishedAt,
        due ?? null,
        target ?? null,
        size,
        meta,
        body,
      )
      if (stored === 0) {
        seqs[index] = this.#same.number(topic.id, id, meta)
        continue
      }
      seqs[index] = ++seq
      const total = totals[which] as Totals
      total.stored++
      total.bytes += size
      total.last = seq
      if (target === undefined) total.shared++
      else {
        const group = this.#groups.target(topic, target, seq, key, due)
        this.#members.touchGroup(group)
      }
    }
    if (seq === last) return seqs
    this.#setSequence.run(seq, publishedAt)
    this.#changes.appended(tx, last, seq)
    for (const [which, total] of totals.entries()) {
      if (total.stored === 0) continue
      const { id } = topics[which] as Topic
      this.#grow.run(total.last, total.shared, total.stored, total.bytes, id)
      this.#members.touchTopic(id)
    }
    return seqs
  }

  /** Stored messages of a topic after a seq; fewer than `limit` if the answer would become too large. */
  read(topic: Topic, after: number, limit: number): { columns: StoredColumns; more: boolean } {
    const writer = new StoredWriter(topic.name)
    for (const row of this.#read.iterate(topic.id, after, limit)) {
      const [seq, id, key, time, meta, body, size] = row as [
        number,
        string,
        string | null,
        number,
        string,
        Uint8Array,
        number,
      ]
      writer.add(seq, id, key, time, meta, body, size, 0, 0, 0)
      if (writer.bytes >= READ_BYTES) return { columns: writer.finish(), more: true }
    }
    return { columns: writer.finish(), more: false }
  }

  /** Deletes the first messages of a topic that no group needs, up to a seq. Returns their number. */
  purge(topic: Topic, upTo: number, limit: number): number {
    const rows = this.#oldest.rows(topic.id, upTo, limit)
    let bytes = 0
    for (const row of rows) {
      this.#delete.run(row[0] as number, topic.id)
      bytes += row[1] as number
    }
    if (rows.length > 0) this.#shrink.run(rows.length, bytes, topic.id)
    return rows.length
  }

  /** Rewrites existing data: succeeds when the file can be written. */
  probe(): void {
    const [last, lastAt] = this.#sequence.row() as readonly number[] as [number, number]
    this.#setSequence.run(last, lastAt)
  }

  /** Deletes single messages; those in flight can still be settled. Returns the number deleted. */
  remove(tx: Tx, topic: Topic, seqs: readonly number[], claims: Claims): number {
    let removed = 0
    let bytes = 0
    for (const seq of seqs) {
      const row = this.#delete.row(seq, topic.id)
      if (row === undefined) continue
      removed++
      bytes += row[1] as number
      if (row[0] !== KIND.targeted) this.#skipped.run(topic.id, seq)
      claims.forget(tx, topic, row[2] as string | null, seq)
    }
    if (removed > 0) this.#shrink.run(removed, bytes, topic.id)
    return removed
  }

  /** Deletes a message that was for one group alone and is done. */
  removeTargeted(topic: Topic, seq: number): void {
    const row = this.#delete.row(seq, topic.id)
    if (row !== undefined) this.#shrink.run(1, row[1] as number, topic.id)
  }
}
