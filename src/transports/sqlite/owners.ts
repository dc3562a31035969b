import type { Database, Statement } from './database.ts'
import type { Groups } from './groups.ts'
import type { Member, Members } from './members.ts'
import type { SubscribeSpec } from './protocol.ts'
import type { Settling } from './settling.ts'

/**
 * Time for leases, in ms: the same for all processes of a machine, and nobody can set it. It starts anew when the machine
 * does; see `reap`.
 */
export function machineTime(): number {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1_000 + Math.floor(nanoseconds / 1_000_000)
}

/**
 * Who holds what, over all processes. One row for each subscription, whose lease covers all its deliveries. Whoever finds a
 * lease that has ended gives back what it held; process ids are not asked, since they are used again.
 */
export class Owners {
  readonly #groups: Groups
  readonly #settling: Settling
  readonly #instance: string
  readonly #leaseMs: number
  readonly #time: () => number
  readonly #insert: Statement
  readonly #renew: Statement
  readonly #delete: Statement
  readonly #clamp: Statement
  readonly #alive: Statement
  readonly #all: Statement
  readonly #mine: Statement
  readonly #holding: Statement
  readonly #ofGroup: Statement

  constructor(parts: {
    db: Database
    groups: Groups
    settling: Settling
    instance: string
    leaseMs: number
    time: () => number
  }) {
    const { db } = parts
    this.#groups = parts.groups
    this.#settling = parts.settling
    this.#instance = parts.instance
    this.#leaseMs = parts.leaseMs
    this.#time = parts.time
    this.#insert = db.prepare(`
      INSERT INTO owners (instance, consumer, group_name, pattern, ephemeral, lease_until, lease_ms)
      VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id`)
    this.#renew = db.prepare('UPDATE owners SET lease_until = ? WHERE id = ?')
    this.#delete = db.prepare('DELETE FROM owners WHERE id = ?')
    this.#clamp = db.prepare('UPDATE owners SET lease_until = ? + lease_ms WHERE lease_until > ? + lease_ms')
    this.#alive = db.prepare('SELECT 1 FROM owners WHERE id = ?')
    this.#all = db.prepare('SELECT id, group_name, ephemeral, lease_until FROM owners')
    this.#mine = db.prepare('SELECT id, group_name, ephemeral FROM owners WHERE instance = ?')
    this.#holding = db.prepare('SELECT id FROM groups WHERE name = ?')
    this.#ofGroup = db.prepare('SELECT pattern FROM owners WHERE group_name = ?')
  }

  add(spec: SubscribeSpec): number {
    return this.#insert.number(
      this.#instance,
      spec.consumerId,
      spec.group,
      spec.topic,
      spec.ephemeral ? 1 : 0,
      this.#time() + this.#leaseMs,
      this.#leaseMs,
    )
  }

  /** Renews the leases of all our subscriptions; resolves to those that somebody has taken for dead meanwhile. */
  renew(members: Members): Member[] {
    const until = this.#time() + this.#leaseMs
    const gone: Member[] = []
    for (const member of members.all()) if (this.#renew.run(until, member.owner) === 0) gone.push(member)
    return gone
  }

  /** Gives back what a subscription holds and forgets it, with its group when that was for it alone. */
  remove(owner: number, group: string, ephemeral: boolean): void {
    for (const row of this.#holding.rows(group)) this.#settling.giveBack(row[0] as number, owner)
    this.#delete.run(owner)
    if (ephemeral) this.#groups.removeEphemeral(group)
  }

  /** False when somebody has taken it for dead: what it held is in other hands. */
  alive(owner: number): boolean {
    return this.#alive.row(owner) !== undefined
  }

  /** Does so for those whose lease has ended. Resolves to how many there were. */
  reap(members: Members): number {
    const now = this.#time()
    // Written before the machine was started anew: such a lease would last for as long as the machine had been up.
    this.#clamp.run(now, now)
    return this.#removeAll(this.#others(members).filter((row) => (row[3] as number) <= now))
  }

  /** Rows of all subscriptions but ours that are alive. */
  #others(members: Members): (readonly unknown[])[] {
    const ours = new Set<unknown>()
    for (const member of members.all()) ours.add(member.owner)
    return this.#all.rows().filter((row) => !ours.has(row[0]))
  }

  /** Does so for what an earlier thread of this very transport has left. */
  reapPredecessor(): number {
    return this.#removeAll(this.#mine.rows(this.#instance))
  }

  #removeAll(rows: readonly (readonly unknown[])[]): number {
    for (const row of rows) this.remove(row[0] as number, row[1] as string, row[2] === 1)
    return rows.length
  }

  /** In how many ms the next lease of another process ends unless it is renewed; Infinity when there is none. */
  nextEndIn(members: Members): number {
    const ends = this.#others(members).map((row) => row[3] as number)
    return Math.max(0, Math.min(...ends) - this.#time())
  }

  /** Subscriptions of a group, of all processes: the topic or pattern of each. */
  patternsOf(group: string): string[] {
    return this.#ofGroup.rows(group).map((row) => row[0] as string)
  }
}
