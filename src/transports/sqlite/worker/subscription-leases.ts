import type { Database, Statement } from './database.ts'
import type { Groups } from './groups.ts'
import type { Member, Members } from './members.ts'
import type { SubscribeSpec } from '../protocol.ts'
import type { Settling } from './settling.ts'
import type { Tx } from './tx.ts'

/**
 * Clock for leases, in ms: the same for all processes of a machine, and it can't be set. It restarts with the machine;
 * see `reap`.
 */
export function machineTime(): number {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1_000 + Math.floor(nanoseconds / 1_000_000)
}

/**
 * Which subscription holds what, across all processes. Each subscription has one row, whose lease covers all its
 * deliveries. Any process that finds an expired lease gives back what it covered; process ids are not checked, because
 * they are reused.
 */
export class SubscriptionLeases {
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
  readonly #liveOfGroup: Statement

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
    this.#liveOfGroup = db.prepare('SELECT pattern FROM owners WHERE group_name = ? AND lease_until > ?')
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

  /** Renews the leases of all our subscriptions; returns those that another process has taken for dead meanwhile. */
  renew(members: Members): Member[] {
    const until = this.#time() + this.#leaseMs
    const gone: Member[] = []
    for (const member of members.all()) if (this.#renew.run(until, member.owner) === 0) gone.push(member)
    return gone
  }

  /** Gives back what a subscription holds and removes it, with its group if that was for it alone. */
  remove(tx: Tx, owner: number, group: string, ephemeral: boolean): void {
    this.#remove(tx, owner, group, ephemeral, false)
  }

  #remove(tx: Tx, owner: number, group: string, ephemeral: boolean, dead: boolean): void {
    for (const row of this.#holding.rows(group)) this.#settling.giveBack(tx, row[0] as number, owner, dead)
    this.#delete.run(owner)
    if (ephemeral) this.#groups.removeEphemeral(group)
  }

  /** False when another process has taken it for dead: its deliveries belong to other members. */
  alive(owner: number): boolean {
    return this.#alive.row(owner) !== undefined
  }

  /** Removes subscriptions whose lease has expired. Returns their number. */
  reap(tx: Tx, members: Members): number {
    const now = this.#time()
    // Written before the machine was restarted: such a lease would last as long as the machine had been up.
    this.#clamp.run(now, now)
    return this.#removeAll(
      tx,
      this.#others(members).filter((row) => (row[3] as number) <= now),
      true,
    )
  }

  /** Rows of all subscriptions except our own live ones. */
  #others(members: Members): (readonly unknown[])[] {
    const ours = new Set<unknown>()
    for (const member of members.all()) ours.add(member.owner)
    return this.#all.rows().filter((row) => !ours.has(row[0]))
  }

  /** Removes what an earlier thread of this same transport left. The process lives: no attempt was used. */
  reapPredecessor(tx: Tx): number {
    return this.#removeAll(tx, this.#mine.rows(this.#instance), false)
  }

  #removeAll(tx: Tx, rows: readonly (readonly unknown[])[], dead: boolean): number {
    for (const row of rows) this.#remove(tx, row[0] as number, row[1] as string, row[2] === 1, dead)
    return rows.length
  }

  /** In how many ms the next lease of another process expires unless renewed; Infinity when there is none. */
  nextEndIn(members: Members): number {
    const ends = this.#others(members).map((row) => row[3] as number)
    return Math.max(0, Math.min(...ends) - this.#time())
  }

  /** Like `patternsOf`, without subscriptions whose lease has expired. */
  livePatternsOf(group: string): string[] {
    return this.#liveOfGroup.rows(group, this.#time()).map((row) => row[0] as string)
  }

  /** The topic or pattern of each subscription of a group, across all processes. */
  patternsOf(group: string): string[] {
    return this.#ofGroup.rows(group).map((row) => row[0] as string)
  }
}
