import type { StartFrom } from '../../../core/transport.ts'
import type { Database, Statement } from './database.ts'
import type { Topic } from './members.ts'

/** Finds positions in the log. */
export class Positions {
  readonly #topic: Statement
  readonly #later: Statement
  readonly #last: Statement
  readonly #next: Statement

  constructor(db: Database) {
    this.#topic = db.prepare('SELECT last_seq, appended FROM topics WHERE id = ?')
    this.#later = db.prepare('SELECT count(*) FROM messages WHERE topic_id = ? AND seq > ? AND kind <> 1')
    this.#last = db.prepare('SELECT last_seq FROM sequence')
    this.#next = db.prepare('SELECT seq, published_at FROM messages WHERE seq >= ? ORDER BY seq LIMIT 1')
  }

  /** The cursor of a group that starts (or is set) there, and how many messages count as passed by it. */
  start(topic: Topic, from: StartFrom): { cursor: number; passed: number } {
    const [last, appended] = this.#topic.row(topic.id) as readonly number[] as [number, number]
    if (from === 'latest') return { cursor: last, passed: appended }
    const cursor = Math.min(
      last,
      from === 'earliest' ? 0 : 'timeMs' in from ? this.beforeTime(from.timeMs) : beforePosition(from.position),
    )
    return { cursor, passed: appended - this.#later.number(topic.id, cursor) }
  }

  /** The seq before the first message published at that time or later. Publication times never decrease along the log. */
  beforeTime(timeMs: number): number {
    let low = 1
    let high = this.#last.number() + 1
    // Invariant: everything stored before `low` is older; everything stored from `high` on is not.
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      const row = this.#next.row(middle)
      if (row === undefined || (row[1] as number) >= timeMs) high = middle
      else low = (row[0] as number) + 1
    }
    return low - 1
  }
}

/** A group that starts at a position receives that very message first. */
function beforePosition(position: Readonly<Record<string, string | number>>): number {
  const seq = Number(position['seq'])
  return Number.isFinite(seq) ? Math.max(0, seq - 1) : 0
}
