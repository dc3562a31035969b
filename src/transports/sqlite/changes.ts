import type { Database, Statement } from './database.ts'
import type { Tx } from './tx.ts'

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

  /** Ids of the topics and groups that have changed since the last look; `any`: something other than the topics. */
  look(): { topics: number[]; groups: number[]; any: boolean } {
    const [seq, change] = this.#state.row() as readonly number[] as [number, number]
    const topics = seq === this.#seenSeq ? [] : this.#topics.rows(this.#seenSeq).map((row) => row[0] as number)
    const any = change !== this.#seenChange
    const groups = !any ? [] : this.#groups.rows(this.#seenChange).map((row) => row[0] as number)
    this.#seenSeq = seq
    this.#seenChange = change
    return { topics, groups, any }
  }
}
