import { isDeadLetterTopic, mayBeBroadcast } from '../../../core/topic.ts'
import type { Topics } from './topics.ts'
import type { Claims } from './claims.ts'
import type { Database, Statement } from './database.ts'
import type { Log } from './log.ts'
import type { Losses } from './losses.ts'
import type { Topic } from './members.ts'
import type { ResolvedSqliteRetention } from '../options.ts'
import type { ReplyQueue } from './reply-queue.ts'
import type { Parking } from './parking.ts'
import type { Positions } from './positions.ts'
import { KIND } from './schema.ts'
import type { Tx } from './tx.ts'

/** Maximum number of messages that one transaction looks at: other writers wait for the file meanwhile. */
const STEP = 500

/** A topic whose messages up to `upTo` may be deleted; checked up to `at`. */
interface Job {
  readonly topic: Topic
  readonly upTo: number
  at: number
}

interface GroupState {
  readonly id: number
  readonly name: string
  readonly cursor: number
  /** False for a group that has only received redriven messages so far. */
  readonly started: boolean
}

interface Candidate {
  readonly seq: number
  readonly key: string | null
  readonly kind: number
  readonly size: number
}

/** Deletes messages that are no longer needed, in small steps between other work. */
export class Retention {
  readonly #limits: ResolvedSqliteRetention
  readonly #topics: Topics
  readonly #claims: Claims
  readonly #log: Log
  readonly #losses: Losses
  readonly #parking: Parking
  readonly #positions: Positions
  readonly #replies: ReplyQueue
  readonly #candidates: Statement
  readonly #groups: Statement
  readonly #claim: Statement
  readonly #delayed: Statement
  readonly #sizes: Statement
  /** Topics with messages that are too old. */
  #jobs: Job[] = []
  /** How far each topic was searched for space. */
  #looked = new Map<number, number>()
  #held = false

  constructor(parts: {
    db: Database
    limits: ResolvedSqliteRetention
    topics: Topics
    claims: Claims
    log: Log
    losses: Losses
    parking: Parking
    positions: Positions
    replies: ReplyQueue
  }) {
    this.#limits = parts.limits
    this.#topics = parts.topics
    this.#claims = parts.claims
    this.#log = parts.log
    this.#losses = parts.losses
    this.#parking = parts.parking
    this.#positions = parts.positions
    this.#replies = parts.replies
    this.#candidates = parts.db.prepare(`
      SELECT seq, kind, size, deliver_at, key FROM messages WHERE topic_id = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ${STEP}`)
    this.#groups = parts.db.prepare('SELECT id, name, cursor, started FROM groups WHERE topic_id = ?')
    const ofTopic = 'seq = ? AND group_id IN (SELECT id FROM groups WHERE topic_id = ?)'
    this.#claim = parts.db.prepare(`SELECT group_id, state FROM claims WHERE ${ofTopic}`)
    this.#delayed = parts.db.prepare(`SELECT group_id FROM delayed WHERE ${ofTopic}`)
    this.#sizes = parts.db.prepare('SELECT id, bytes FROM topics WHERE messages > 0')
  }

  /** Starts a run: `step` until it returns false. */
  begin(now: number): void {
    const { maxAgeMs, deadLetterMaxAgeMs } = this.#limits
    this.#topics.refresh()
    this.#looked = new Map()
    this.#jobs = []
    const old = this.#positions.beforeTime(now - maxAgeMs)
    const oldLetters = deadLetterMaxAgeMs === undefined ? 0 : this.#positions.beforeTime(now - deadLetterMaxAgeMs)
    for (const topic of this.#topics.all()) {
      const upTo = isDeadLetterTopic(topic.name) ? oldLetters : old
      if (upTo > 0) this.#jobs.push({ topic, upTo, at: 0 })
    }
  }

  /** One small step. False when the run is complete. */
  step(tx: Tx): boolean {
    const job = this.#jobs.at(-1)
    if (job === undefined) return this.#makeRoom(tx)
    const at = this.#trim(tx, job.topic, job.at, job.upTo, Infinity)
    if (at === undefined) this.#jobs.pop()
    else job.at = at
    return true
  }

  /** Deletes the oldest messages while the total is above its limit. */
  #makeRoom(tx: Tx): boolean {
    let over = -this.#limits.maxBytes
    let oldest: { topic: Topic; first: number } | undefined
    for (const row of this.#sizes.rows()) {
      const topic = this.#topics.byId(row[0] as number)
      if (topic === undefined || isDeadLetterTopic(topic.name)) continue
      over += row[1] as number
      const looked = this.#looked.get(topic.id) ?? 0
      if (looked === Infinity) continue
      const first = this.#candidates.row(topic.id, looked, Number.MAX_SAFE_INTEGER)?.[0] as number | undefined
      if (first !== undefined && (oldest === undefined || first < oldest.first)) oldest = { topic, first }
    }
    if (over <= 0) {
      this.#held = false
      return false
    }
    if (oldest === undefined) {
      if (!this.#held) {
        const detail = `${over} bytes more than retention.maxBytes are kept: some group has not acked them, or they are not due yet`
        tx.after(() => this.#replies.add({ kind: 'warning', code: 'sqlite-retention-held', detail }))
      }
      this.#held = true
      return false
    }
    const at = this.#trim(tx, oldest.topic, oldest.first - 1, Number.MAX_SAFE_INTEGER, over)
    this.#looked.set(oldest.topic.id, at ?? Infinity)
    return true
  }

  /**
   * Checks the next messages of a topic and deletes those that may go, until `bytes` are freed. Returns the last
   * one checked, or undefined when nothing after it may go.
   */
  #trim(tx: Tx, topic: Topic, after: number, upTo: number, bytes: number): number | undefined {
    const rows = this.#candidates.rows(topic.id, after, upTo)
    const groups = this.#groups.rows(topic.id).map((row) => ({
      id: row[0] as number,
      name: row[1] as string,
      cursor: row[2] as number,
      started: row[3] === 1,
    }))
    const started = groups.filter((group) => group.started)
    const slowest = Math.min(...started.map((group) => group.cursor))
    let unseen: { count: number; first: number } | undefined
    const losses = new Map<number, { count: number; first: number }>()
    const seqs: number[] = []
    let won = 0
    let at = after
    let end = rows.length < STEP
    for (const row of rows) {
      if (won >= bytes) {
        end = false
        break
      }
      const [seq, kind, size, deliverAt, key] = row as readonly [number, number, number, number | null, string | null]
      if (this.#limits.keepUnacked && kind !== KIND.targeted && seq > slowest) {
        // So is everything behind it, except messages to one group alone, which are deleted with their ack.
        end = true
        break
      }
      at = seq
      if (deliverAt !== null && deliverAt > tx.now) continue
      if (!this.#mayGo(topic, { seq, key, kind, size }, started, losses)) continue
      if (started.length === 0 && kind !== KIND.targeted) {
        if (unseen === undefined) unseen = { count: 1, first: seq }
        else unseen.count++
      }
      seqs.push(seq)
      won += size
    }
    if (seqs.length > 0) this.#log.remove(tx, topic, seqs, this.#claims)
    this.#recordLosses(tx, topic, groups, losses)
    if (unseen !== undefined) this.#reportUnseen(tx, topic, unseen)
    return end ? undefined : at
  }

  #mayGo(
    topic: Topic,
    candidate: Candidate,
    groups: readonly GroupState[],
    losses: Map<number, { count: number; first: number }>,
  ): boolean {
    const { seq, kind } = candidate
    const claims = this.#claim.rows(seq, topic.id)
    const waiting = this.#delayed.rows(seq, topic.id).map((row) => row[0] as number)
    waiting.push(...this.#parking.groupsOf(topic, candidate.key, seq))
    if (this.#limits.keepUnacked) return claims.length === 0 && waiting.length === 0
    // In flight: it will be settled, or come back before the next run.
    if (claims.some((row) => row[1] === 1)) return false
    for (const row of claims) waiting.push(row[0] as number)
    if (kind !== KIND.targeted) for (const group of groups) if (group.cursor < seq) waiting.push(group.id)
    for (const id of waiting) {
      const loss = losses.get(id)
      if (loss === undefined) losses.set(id, { count: 1, first: seq })
      else loss.count++
    }
    return true
  }

  #recordLosses(
    tx: Tx,
    topic: Topic,
    groups: readonly GroupState[],
    losses: ReadonlyMap<number, { count: number; first: number }>,
  ): void {
    const reason = 'retention deleted messages that the group had not acked'
    for (const { id, name } of groups) {
      const loss = losses.get(id)
      if (loss === undefined) continue
      this.#losses.record(tx, {
        groupId: id,
        group: name,
        topic: topic.name,
        reason,
        count: loss.count,
        firstSeq: loss.first,
      })
    }
  }

  /** No group has read the topic. Dead letters concern the group that failed, which is part of their topic's name. */
  #reportUnseen(tx: Tx, topic: Topic, { count, first }: { count: number; first: number }): void {
    const failed = isDeadLetterTopic(topic.name) ? topic.name.split('.').at(-2) : undefined
    const reason =
      failed === undefined
        ? 'retention deleted messages that no group had read'
        : 'retention deleted dead letters older than deadLetterMaxAgeMs'
    if (failed !== undefined && !mayBeBroadcast(failed)) {
      this.#losses.record(tx, { group: failed, topic: topic.name, reason, count, firstSeq: first })
      return
    }
    tx.after(() => this.#replies.add({ kind: 'loss', topic: topic.name, group: failed, count, seq: first, reason }))
  }
}
