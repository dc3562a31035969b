import type { TopicInfo } from '../../../core/transport.ts'
import type { Database, Statement } from './database.ts'
import type { Topic } from './members.ts'
import type { Tx } from './tx.ts'

/** The topics of the file. A topic is created by its first use and never removed. */
export class Topics {
  readonly #byName = new Map<string, Topic>()
  readonly #byId = new Map<number, Topic>()
  /** All topics up to this id are known. */
  #refreshedTo = 0
  readonly #find: Statement
  readonly #insert: Statement
  readonly #newer: Statement
  readonly #info: Statement
  /** Called inside the transaction that creates a topic. */
  onCreate: (topic: Topic) => void = () => {}
  /** Called when a topic becomes known to this process, whichever process created it. */
  onKnown: (topic: Topic) => void = () => {}

  constructor(db: Database) {
    this.#find = db.prepare('SELECT id FROM topics WHERE name = ?')
    this.#insert = db.prepare('INSERT INTO topics (name) VALUES (?) RETURNING id')
    this.#newer = db.prepare('SELECT id, name FROM topics WHERE id > ? ORDER BY id')
    this.#info = db.prepare(`
      SELECT t.name, t.messages, t.bytes, (
        SELECT m.published_at FROM messages m WHERE m.topic_id = t.id ORDER BY m.seq LIMIT 1
      ) FROM topics t ORDER BY t.name`)
    this.refresh()
  }

  /** Topics known to this process. `refresh` adds those of other processes. */
  all(): Iterable<Topic> {
    return this.#byName.values()
  }

  /**
   * All topics that the transaction sees. New ones become known only when it has succeeded: it may have created them
   * itself.
   */
  allIn(tx: Tx): Topic[] {
    const fresh: Topic[] = []
    for (const topic of this.#since(this.#refreshedTo)) if (!this.#byId.has(topic.id)) fresh.push(topic)
    tx.after(() => {
      for (const topic of fresh) this.#add(topic)
    })
    return [...this.#byName.values(), ...fresh]
  }

  byId(id: number): Topic | undefined {
    return this.#byId.get(id)
  }

  /** The topic of that name, created if it does not exist. */
  ensure(tx: Tx, name: string): Topic {
    const known = this.#byName.get(name)
    if (known !== undefined) return known
    const found = this.#find.row(name)
    if (found !== undefined) {
      const topic = { id: found[0] as number, name }
      tx.after(() => this.#add(topic))
      return topic
    }
    const topic = { id: this.#insert.number(name), name }
    this.onCreate(topic)
    tx.after(() => this.#add(topic))
    return topic
  }

  /** The topic of that name, or undefined. */
  find(name: string): Topic | undefined {
    const known = this.#byName.get(name)
    if (known !== undefined) return known
    const found = this.#find.row(name)
    return found === undefined ? undefined : { id: found[0] as number, name }
  }

  /** Looks for topics that other processes created. Not inside a transaction, which may still be rolled back. */
  refresh(): void {
    for (const topic of this.#since(this.#refreshedTo)) {
      this.#add(topic)
      this.#refreshedTo = topic.id
    }
  }

  #since(id: number): Topic[] {
    return this.#newer.rows(id).map((row) => ({ id: row[0] as number, name: row[1] as string }))
  }

  #add(topic: Topic): void {
    if (this.#byId.has(topic.id)) return
    // If this fails, the topic is not known yet: the next refresh tries again.
    this.onKnown(topic)
    this.#byName.set(topic.name, topic)
    this.#byId.set(topic.id, topic)
  }

  info(): TopicInfo[] {
    return this.#info.rows().map((row) => ({
      topic: row[0] as string,
      messages: row[1] as number,
      bytes: row[2] as number,
      oldestAt: (row[3] as number | null) ?? undefined,
    }))
  }
}
