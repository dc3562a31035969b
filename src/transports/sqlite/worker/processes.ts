import type { Database, Statement } from './database.ts'
import type { ResolvedSqliteOptions } from '../options.ts'
import type { ReplyQueue } from './reply-queue.ts'
import type { Tx } from './tx.ts'

/** The processes that have the file open, and their settings. */
export class Processes {
  readonly #instance: string
  readonly #leaseMs: number
  readonly #retention: string
  readonly #replies: ReplyQueue
  readonly #time: () => number
  readonly #enter: Statement
  readonly #dropDead: Statement
  readonly #others: Statement
  readonly #leave: Statement
  readonly #warned = new Set<string>()

  constructor(parts: {
    db: Database
    replies: ReplyQueue
    instance: string
    options: ResolvedSqliteOptions
    /** Lease time. */
    time: () => number
  }) {
    const { db, options } = parts
    this.#instance = parts.instance
    this.#leaseMs = options.leaseMs
    this.#replies = parts.replies
    this.#time = parts.time
    this.#retention = describe(options.retention)
    this.#enter = db.prepare(`
      INSERT INTO processes VALUES (?, ?, ?, ?)
      ON CONFLICT (instance) DO UPDATE SET lease_until = excluded.lease_until`)
    // A row from before the machine's restart would last as long as the machine had been up.
    this.#dropDead = db.prepare('DELETE FROM processes WHERE lease_until <= ? OR lease_until > ? + lease_ms')
    this.#others = db.prepare('SELECT DISTINCT retention FROM processes WHERE retention <> ?')
    this.#leave = db.prepare('DELETE FROM processes WHERE instance = ?')
  }

  /** Registers this process, and warns when another one has different retention limits. */
  enter(tx: Tx): void {
    const now = this.#time()
    this.#dropDead.run(now, now)
    this.#enter.run(this.#instance, this.#retention, now + this.#leaseMs, this.#leaseMs)
    for (const row of this.#others.rows(this.#retention)) {
      const theirs = row[0] as string
      if (this.#warned.has(theirs)) continue
      const detail = `another process deletes messages of this file by other rules: here ${this.#retention}, there ${theirs}. Each process applies its own; give all of them the same "retention"`
      tx.after(() => {
        this.#warned.add(theirs)
        this.#replies.add({ kind: 'warning', code: 'sqlite-retention-differs', detail })
      })
    }
  }

  leave(): void {
    this.#leave.run(this.#instance)
  }
}

function describe(retention: ResolvedSqliteOptions['retention']): string {
  if (retention === undefined) return 'retention: false'
  const { maxAgeMs, maxBytes, keepUnacked, deadLetterMaxAgeMs } = retention
  const letters = deadLetterMaxAgeMs === undefined ? '' : `, deadLetterMaxAgeMs: ${deadLetterMaxAgeMs}`
  return `retention: { maxAgeMs: ${maxAgeMs}, maxBytes: ${maxBytes}, keepUnacked: ${keepUnacked}${letters} }`
}
