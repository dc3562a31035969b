import { compilePattern, isPattern } from '../../../core/topic.ts'
import type { StartFrom } from '../../../core/transport.ts'
import type { Topics } from './topics.ts'
import type { Database, Statement } from './database.ts'
import type { GroupTopic, Members, Topic } from './members.ts'
import type { ReplyQueue } from './reply-queue.ts'
import type { Parking } from './parking.ts'
import type { Positions } from './positions.ts'
import type { SubscribeSpec } from '../protocol.ts'
import type { Tx } from './tx.ts'

export interface GroupRow {
  readonly id: number
  readonly epoch: number
  readonly cursor: number
  /** The epoch began when the group was deleted while it was consumed. */
  readonly deleted: boolean
}

/**
 * The groups and how far they have read: one row for each topic and group. A group that subscribed with a pattern gets
 * its row for a new topic in the transaction that creates the topic, whichever process does that, so that the group
 * misses nothing while it is away.
 */
export class Groups {
  readonly #topics: Topics
  readonly #parking: Parking
  readonly #positions: Positions
  readonly #find: Statement
  readonly #get: Statement
  readonly #insert: Statement
  readonly #start: Statement
  readonly #advance: Statement
  readonly #move: Statement
  readonly #patterns: Statement
  readonly #addPattern: Statement
  readonly #dropPattern: Statement
  readonly #dropEphemeralPatterns: Statement
  readonly #ephemeral: Statement
  readonly #delete: Statement
  readonly #deleteClaims: Statement
  readonly #deleteDelayed: Statement
  readonly #keepTargeted: Statement
  readonly #dropShared: Statement
  readonly #dropSharedDelayed: Statement
  readonly #ofTopic: Statement
  readonly #skip: Statement
  readonly #addReady: Statement
  readonly #addDelayed: Statement
  readonly #reset: Statement
  readonly #dropLosses: Statement

  constructor(db: Database, topics: Topics, positions: Positions, parking: Parking) {
    this.#topics = topics
    this.#parking = parking
    this.#positions = positions
    this.#find = db.prepare(
      'SELECT id, epoch, cursor, deleted_epoch, started FROM groups WHERE topic_id = ? AND name = ?',
    )
    this.#get = db.prepare('SELECT id, epoch, cursor, deleted_epoch FROM groups WHERE id = ?')
    this.#insert = db.prepare(
      'INSERT INTO groups (topic_id, name, cursor, passed, started, ephemeral) VALUES (?, ?, ?, ?, ?, ?) RETURNING id, epoch, cursor, deleted_epoch',
    )
    this.#start = db.prepare('UPDATE groups SET cursor = ?, passed = ?, started = 1, ephemeral = ? WHERE id = ?')
    this.#advance = db.prepare('UPDATE groups SET cursor = ?, passed = passed + ? WHERE id = ?')
    this.#move = db.prepare('UPDATE groups SET cursor = ?, passed = ?, started = 1, epoch = epoch + 1 WHERE id = ?')
    this.#patterns = db.prepare('SELECT group_name, pattern, ephemeral FROM patterns')
    this.#addPattern = db.prepare('INSERT OR IGNORE INTO patterns VALUES (?, ?, ?)')
    this.#dropPattern = db.prepare('DELETE FROM patterns WHERE group_name = ? AND pattern = ?')
    this.#dropEphemeralPatterns = db.prepare('DELETE FROM patterns WHERE group_name = ? AND ephemeral = 1')
    this.#ephemeral = db.prepare('SELECT id FROM groups WHERE name = ? AND ephemeral = 1')
    this.#delete = db.prepare('DELETE FROM groups WHERE id = ?')
    this.#deleteClaims = db.prepare('DELETE FROM claims WHERE group_id = ?')
    this.#deleteDelayed = db.prepare('DELETE FROM delayed WHERE group_id = ?')
    const shared =
      'group_id = ? AND seq NOT IN (SELECT seq FROM messages WHERE topic_id = ? AND kind = 1 AND target = ?)'
    this.#dropShared = db.prepare(`DELETE FROM claims WHERE ${shared}`)
    this.#dropSharedDelayed = db.prepare(`DELETE FROM delayed WHERE ${shared}`)
    this.#keepTargeted = db.prepare(
      `UPDATE claims SET state = 0, owner = NULL, not_before = NULL, since = NULL, used = used - running, running = 0,
        history = iif(state = 1, max(history, 1), history) WHERE group_id = ?`,
    )
    this.#ofTopic = db.prepare('SELECT id FROM groups WHERE topic_id = ?')
    this.#skip = db.prepare('UPDATE groups SET cursor = ?, passed = ?, epoch = epoch + 1 WHERE topic_id = ?')
    this.#addReady = db.prepare('INSERT INTO claims (group_id, seq, state, used, key) VALUES (?, ?, 0, 0, ?)')
    this.#addDelayed = db.prepare('INSERT INTO delayed VALUES (?, ?, ?)')
    this.#reset = db.prepare('UPDATE groups SET epoch = epoch + 1, deleted_epoch = epoch + 1 WHERE id = ?')
    this.#dropLosses = db.prepare('DELETE FROM losses WHERE group_name = ? AND topic = ?')
    topics.onCreate = (topic) => this.#greet(topic)
  }

  find(topic: Topic, name: string): GroupRow | undefined {
    return toGroup(this.#find.row(topic.id, name))
  }

  get(id: number): GroupRow | undefined {
    return toGroup(this.#get.row(id))
  }

  /** Joins the group at every topic of the subscription; a new group starts at `from`. */
  join(tx: Tx, spec: SubscribeSpec): { topic: Topic; group: GroupRow }[] {
    const topics: Topic[] = []
    if (isPattern(spec.topic)) {
      this.#addPattern.run(spec.group, spec.topic, spec.ephemeral ? 1 : 0)
      const matches = compilePattern(spec.topic)
      for (const topic of this.#topics.allIn(tx)) if (matches(topic.name)) topics.push(topic)
    } else topics.push(this.#topics.ensure(tx, spec.topic))
    return topics.map((topic) => ({ topic, group: this.#joinOne(topic, spec) }))
  }

  #joinOne(topic: Topic, spec: SubscribeSpec): GroupRow {
    const found = this.#find.row(topic.id, spec.group)
    if (found !== undefined && found[4] === 1) return toGroup(found) as GroupRow
    const start = this.#positions.start(topic, spec.from)
    if (found === undefined) return this.#create(topic, spec.group, start, true, spec.ephemeral)
    // Redriven messages were here before the group itself.
    this.#start.run(start.cursor, start.passed, spec.ephemeral ? 1 : 0, found[0] as number)
    return { id: found[0] as number, epoch: found[1] as number, cursor: start.cursor, deleted: false }
  }

  #create(
    topic: Topic,
    name: string,
    start: { cursor: number; passed: number },
    started: boolean,
    ephemeral: boolean,
  ): GroupRow {
    const row = this.#insert.row(topic.id, name, start.cursor, start.passed, started ? 1 : 0, ephemeral ? 1 : 0)
    return toGroup(row) as GroupRow
  }

  /** Handles a new topic: groups that follow it by pattern read it from its first message. */
  #greet(topic: Topic): void {
    for (const row of this.#patterns.rows()) {
      const [name, pattern, ephemeral] = row as [string, string, number]
      if (compilePattern(pattern)(topic.name) && this.find(topic, name) === undefined)
        this.#create(topic, name, { cursor: 0, passed: 0 }, true, ephemeral === 1)
    }
  }

  /** Gives a message to one group alone, whether the group exists or not. Returns the group's id. */
  target(topic: Topic, name: string, seq: number, key: string | null, due: number | undefined): number {
    const group = this.find(topic, name) ?? this.#create(topic, name, { cursor: 0, passed: 0 }, false, false)
    if (due === undefined) this.#addReady.run(group.id, seq, key)
    else this.#addDelayed.run(group.id, seq, due)
    return group.id
  }

  advance(id: number, cursor: number, passed: number): void {
    this.#advance.run(cursor, passed, id)
  }

  /** Moves the group. Its deliveries in flight are lost; messages for this group alone stay. */
  seek(tx: Tx, topic: Topic, name: string, to: StartFrom): GroupRow {
    const start = this.#positions.start(topic, to)
    const found = this.find(topic, name) ?? this.#create(topic, name, start, true, false)
    this.#dropShared.run(found.id, topic.id, name)
    this.#dropSharedDelayed.run(found.id, topic.id, name)
    this.#parking.reset(found.id, topic, name)
    this.#keepTargeted.run(found.id)
    this.#move.run(start.cursor, start.passed, found.id)
    tx.changed.add(found.id)
    return { id: found.id, epoch: found.epoch + 1, cursor: start.cursor, deleted: false }
  }

  /** Moves all groups of a topic behind its last message, with nothing left to do. Returns that message's seq. */
  skipAll(tx: Tx, topic: Topic): number {
    const { cursor, passed } = this.#positions.start(topic, 'latest')
    for (const row of this.#ofTopic.rows(topic.id)) {
      this.#dropPending(row[0] as number)
      tx.changed.add(row[0] as number)
    }
    this.#skip.run(cursor, passed, topic.id)
    return cursor
  }

  /**
   * Deletes the group at one topic, or at all topics of a pattern, with everything pending. Where it has members it
   * continues from its current position, so that they are not cut off. Returns the ids of the groups that continue.
   */
  remove(tx: Tx, topicOrPattern: string, name: string, patterns: readonly string[]): number[] {
    if (!patterns.includes(topicOrPattern)) this.#dropPattern.run(name, topicOrPattern)
    const reset: number[] = []
    const matches = compilePattern(topicOrPattern)
    const consumed = patterns.map((pattern) => compilePattern(pattern))
    for (const topic of this.#topics.allIn(tx)) {
      const group = matches(topic.name) ? this.find(topic, name) : undefined
      if (group === undefined) continue
      this.#dropLosses.run(name, topic.name)
      if (consumed.some((consumes) => consumes(topic.name))) {
        this.#dropPending(group.id)
        this.#reset.run(group.id)
        tx.changed.add(group.id)
        reset.push(group.id)
      } else this.#removeOne(group.id)
    }
    return reset
  }

  /** Its row is missing although it is consumed here: it was deleted by a program that ignores members. */
  remake(tx: Tx, at: GroupTopic, members: Members, replies: ReplyQueue): void {
    if (!tx.first(at)) return
    const { topic, group: name, cursor } = at
    const ephemeral = at.seats.every(({ member }) => member.spec.ephemeral)
    const made =
      this.find(topic, name) ??
      this.#create(topic, name, this.#positions.start(topic, { position: { seq: cursor + 1 } }), true, ephemeral)
    tx.after(() => {
      replies.deleted(at)
      for (const member of members.dissolve(at)) members.sit(member, topic, made)
    })
  }

  /** Its only subscription has ended. */
  removeEphemeral(name: string): void {
    this.#dropEphemeralPatterns.run(name)
    for (const row of this.#ephemeral.rows(name)) this.#removeOne(row[0] as number)
  }

  #removeOne(id: number): void {
    this.#dropPending(id)
    this.#delete.run(id)
  }

  #dropPending(id: number): void {
    this.#deleteClaims.run(id)
    this.#deleteDelayed.run(id)
    this.#parking.dropAll(id)
  }
}

function toGroup(row: readonly unknown[] | undefined): GroupRow | undefined {
  if (row === undefined) return undefined
  const [id, epoch, cursor, deletedEpoch] = row as readonly [number, number, number, number]
  return { id, epoch, cursor, deleted: deletedEpoch === epoch && epoch > 0 }
}
