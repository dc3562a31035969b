import { compilePattern } from '../../../core/topic.ts'
import type { GroupInfo } from '../../../core/transport.ts'
import type { Position } from '../../../core/message.ts'
import type { Database, Statement } from './database.ts'
import type { Members } from './members.ts'
import type { SubscriptionLeases } from './subscription-leases.ts'
import type { Parking } from './parking.ts'
import { CLAIM } from './schema.ts'

/** The groups and their state, for people and tools. */
export class GroupStats {
  readonly #members: Members
  readonly #subscriptionLeases: SubscriptionLeases
  readonly #parking: Parking
  readonly #groups: Statement
  readonly #claims: Statement
  readonly #parked: Statement
  readonly #delayed: Statement
  readonly #future: Statement
  readonly #oldest: Statement
  readonly #ends: Statement
  readonly #before: Statement

  constructor(db: Database, members: Members, subscriptionLeases: SubscriptionLeases, parking: Parking) {
    this.#parking = parking
    this.#members = members
    this.#subscriptionLeases = subscriptionLeases
    this.#groups = db.prepare(`
      SELECT g.id, t.id, t.name, g.name, g.cursor, g.passed, g.started, t.appended
      FROM groups g JOIN topics t ON t.id = g.topic_id ORDER BY t.name, g.name`)
    this.#claims = db.prepare('SELECT state, count(*) FROM claims WHERE group_id = ? GROUP BY state')
    this.#parked = db.prepare('SELECT count(*) FROM parked WHERE group_id = ?')
    this.#delayed = db.prepare('SELECT count(*) FROM delayed WHERE group_id = ?')
    this.#future = db.prepare(
      'SELECT count(*) FROM messages WHERE topic_id = ? AND deliver_at IS NOT NULL AND deliver_at > ? AND seq > ? AND kind <> 1',
    )
    // Not ?1 twice: Node 22 can't bind a numbered parameter by its place.
    this.#ends = db.prepare(`
      SELECT
        (SELECT seq FROM messages WHERE topic_id = ? AND kind <> 1 ORDER BY seq LIMIT 1),
        (SELECT seq FROM messages WHERE topic_id = ? AND kind <> 1 ORDER BY seq DESC LIMIT 1)`)
    this.#before = db.prepare(
      'SELECT seq FROM messages WHERE topic_id = ? AND seq < ? AND kind <> 1 ORDER BY seq DESC LIMIT 1',
    )
    this.#oldest = db.prepare(`
      SELECT seq, published_at FROM messages WHERE seq IN (
        SELECT min(seq) FROM claims WHERE group_id = ?
        UNION ALL SELECT min(seq) FROM parked WHERE group_id = ?
        UNION ALL SELECT min(seq) FROM delayed WHERE group_id = ?
        UNION ALL SELECT * FROM (
          SELECT seq FROM messages WHERE ? = 1 AND topic_id = ? AND seq > ? AND kind <> 1 ORDER BY seq LIMIT 1
        )
      ) ORDER BY seq LIMIT 1`)
  }

  groups(topic: string | undefined, now: number): GroupInfo[] {
    const infos: GroupInfo[] = []
    for (const row of this.#groups.rows()) if (topic === undefined || row[2] === topic) infos.push(this.#one(row, now))
    return infos
  }

  #one(row: readonly unknown[], now: number): GroupInfo {
    const [id, topicId, topic, group, cursor, passed, started, appended] = row as readonly [
      number,
      number,
      string,
      string,
      number,
      number,
      number,
      number,
    ]
    const states = new Map(this.#claims.rows(id).map((state) => [state[0] as number, state[1] as number]))
    const inFlight = states.get(CLAIM.leased) ?? 0
    const delayed = this.#delayed.number(id)
    const unread = started === 1 ? Math.max(0, appended - passed) : 0
    let claimed = this.#parked.number(id)
    // Messages parked behind something in play wait for it. Messages parked behind nothing should be on their way; if
    // they are not, they are stalled.
    const idle =
      claimed === 0 ? 0 : this.#parking.idleKeys(id).reduce((sum, key) => sum + this.#parking.count(id, key), 0)
    for (const count of states.values()) claimed += count
    const waits = inFlight > 0 || (states.get(CLAIM.retry) ?? 0) > 0
    const unreadNow = unread === 0 ? 0 : Math.max(0, unread - this.#future.number(topicId, now, cursor))
    const oldest = this.#oldest.row(id, id, id, started, topicId, cursor) as readonly [number, number] | undefined
    const counts = {
      lag: unread + claimed + delayed,
      inFlight,
      // In strict order everything waits for the messages in flight.
      ready: waits && this.#strict(id) ? 0 : (states.get(CLAIM.ready) ?? 0) + unreadNow + idle,
      oldestUnackedAt: oldest?.[1],
    }
    const [start, head] = (this.#ends.row(topicId, topicId) ?? []) as readonly (number | null)[]
    const unsettled = oldest?.[0] ?? cursor + 1
    const settled = this.#before.row(topicId, unsettled)?.[0] as number | undefined
    // What it has settled may be deleted since.
    const position = settled ?? (passed > claimed + delayed ? unsettled - 1 : undefined)
    return {
      topic,
      group,
      ...counts,
      members: this.#subscriptionLeases.patternsOf(group).filter((pattern) => compilePattern(pattern)(topic)).length,
      partitions: [
        {
          partition: '0',
          ...counts,
          position: started === 1 ? at(position) : undefined,
          head: at(head),
          start: at(start),
        },
      ],
    }
  }

  #strict(id: number): boolean {
    return this.#members.group(id)?.seats.some((seat) => seat.member.spec.order === 'strict') ?? false
  }
}

function at(seq: number | null | undefined): Position | undefined {
  return typeof seq === 'number' ? { seq } : undefined
}
