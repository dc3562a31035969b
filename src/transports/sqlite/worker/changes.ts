import type { Database, Statement } from './database.ts'
import type { Tx } from './tx.ts'

/** What other processes have changed. */
export interface Changed {
  /** Ids of topics with new messages. */
  readonly topics: readonly number[]
  /** Ids of groups with messages that became ready other than by publishing. */
  readonly groups: readonly number[]
  /** True when anything besides the topics changed. */
  readonly any: boolean
  readonly seq: number
  readonly change: number
}

/**
 * Tells other processes which topics and groups to look at, and finds the changes that they report. The cost depends
 * only on the number of changes.
 */
export class Changes {
  readonly #state: Statement
  readonly #topics: Statement
  readonly #groups: Statement
  readonly #count: Statement
  readonly #mark: Statement
  #seenSeq: number
  #seenChange: number

  constructor(db: Database) {
    this.#state = db.prepare('SELECT last_seq, changes FROM sequence')
    this.#topics = db.prepare('SELECT id FROM topics WHERE last_seq > ?')
    this.#groups = db.prepare('SELECT id FROM groups WHERE changed > ?')
    this.#count = db.prepare('UPDATE sequence SET changes = changes + 1 RETURNING changes')
    this.#mark = db.prepare('UPDATE groups SET changed = ? WHERE id = ?')
    const [seq, change] = this.#state.row() as readonly number[] as [number, number]
    this.#seenSeq = seq
    this.#seenChange = change
  }

  /** Records what the transaction made ready. */
  write(tx: Tx): void {
    if (tx.changed.size === 0 && !tx.lost) return
    const change = this.#count.number()
    for (const groupId of tx.changed) this.#mark.run(change, groupId)
    tx.after(() => {
      // Our own change needs no second look, unless others came in between.
      if (this.#seenChange === change - 1) this.#seenChange = change
    })
  }

  /** Records that messages up to `seq` were appended by this process, the first of them after `last`. */
  appended(tx: Tx, last: number, seq: number): void {
    tx.after(() => {
      if (this.#seenSeq === last) this.#seenSeq = seq
    })
  }

  /** What has changed since the last call of `seen`. */
  look(): Changed {
    const [seq, change] = this.#state.row() as readonly number[] as [number, number]
    const topics = seq === this.#seenSeq ? [] : this.#topics.rows(this.#seenSeq).map((row) => row[0] as number)
    const any = change !== this.#seenChange
    const groups = !any ? [] : this.#groups.rows(this.#seenChange).map((row) => row[0] as number)
    return { topics, groups, any, seq, change }
  }

  /** Marks these changes as handled. */
  seen({ seq, change }: Changed): void {
    this.#seenSeq = seq
    this.#seenChange = change
  }
}
