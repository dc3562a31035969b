import type { Database, Statement } from './database.ts'
import type { Tx } from './tx.ts'

/** What other processes have changed. */
export interface Changed {
  /** Ids of topics with new messages. */
  readonly topics: readonly number[]
  /** Ids of groups of which messages became ready by other means. */
  readonly groups: readonly number[]
  /** Something other than the topics. */
  readonly any: boolean
  readonly seq: number
  readonly change: number
}

/** Tells other processes which topics and groups to look at, and finds what they tell: the cost is that of what changed. */
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

  /** Writes down what the transaction has made ready. */
  write(tx: Tx): void {
    if (tx.changed.size === 0 && !tx.lost) return
    const change = this.#count.number()
    for (const groupId of tx.changed) this.#mark.run(change, groupId)
    tx.after(() => {
      // Ours need no second look, unless others came in between.
      if (this.#seenChange === change - 1) this.#seenChange = change
    })
  }

  /** Messages up to `seq` were appended here, the first of them after `last`. */
  appended(tx: Tx, last: number, seq: number): void {
    tx.after(() => {
      if (this.#seenSeq === last) this.#seenSeq = seq
    })
  }

  /** What has changed since what was `seen` last. */
  look(): Changed {
    const [seq, change] = this.#state.row() as readonly number[] as [number, number]
    const topics = seq === this.#seenSeq ? [] : this.#topics.rows(this.#seenSeq).map((row) => row[0] as number)
    const any = change !== this.#seenChange
    const groups = !any ? [] : this.#groups.rows(this.#seenChange).map((row) => row[0] as number)
    return { topics, groups, any, seq, change }
  }

  /** All of it was looked at: nothing of it needs a second look. */
  seen({ seq, change }: Changed): void {
    this.#seenSeq = seq
    this.#seenChange = change
  }
}
