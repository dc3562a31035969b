import type { Database, Statement } from './database.ts'
import type { Member, Seat } from './members.ts'
import type { Parking } from './parking.ts'
import type { Tx } from './tx.ts'

/** How long a note that a member goes without messages is valid, in ms. */
const HUNGER_MS = 250

/**
 * Keeps one member from holding all keys. The member that settles the last message of a key hands itself the next ones
 * in the same transaction, so a member that joined later in another process would never get any. A member that has
 * nothing while messages wait behind keys of others notes that in the file; as long as it does, the others take no keys
 * beyond their share.
 */
export class FairShare {
  readonly #parking: Parking
  readonly #time: () => number
  readonly #others: Statement
  readonly #keys: Statement
  readonly #note: Statement

  /** `time` is lease time. */
  constructor(db: Database, parking: Parking, time: () => number) {
    this.#parking = parking
    this.#time = time
    this.#others = db.prepare('SELECT count(*), max(hungry_at) FROM owners WHERE group_name = ? AND id <> ?')
    this.#keys = db.prepare('SELECT count(DISTINCT key) FROM claims WHERE group_id = ? AND state = 1')
    this.#note = db.prepare('UPDATE owners SET hungry_at = ? WHERE id = ?')
  }

  /** How many more keys the seat may take now. */
  newKeys(tx: Tx, seat: Seat): number {
    const others = this.#hungryOthers(seat)
    if (others === undefined) return Infinity
    const share = Math.max(1, Math.ceil(this.#keys.number(seat.at.id) / (others + 1)))
    return Math.max(0, share - tx.keysHeld(seat))
  }

  /** True while another member of the group goes without messages. */
  restrains(seat: Seat): boolean {
    return this.#hungryOthers(seat) !== undefined
  }

  #hungryOthers(seat: Seat): number | undefined {
    const [others, hungryAt] = this.#others.row(seat.at.group, seat.member.owner) as readonly [number, number | null]
    return hungryAt === null || hungryAt + HUNGER_MS <= this.#time() ? undefined : others
  }

  /** The subscription wanted messages, looked at some seats, and got nothing. */
  goesWithout(tx: Tx, member: Member, looked: readonly Seat[]): void {
    if (member.leases.size > 0 || member.spec.order !== 'key') return
    const now = this.#time()
    if (now - member.hungryAt < HUNGER_MS / 2) return
    if (!looked.some((seat) => this.#parking.any(seat.at.id))) return
    this.#note.run(now, member.owner)
    tx.after(() => {
      member.hungryAt = now
    })
  }

  fed(tx: Tx, member: Member): void {
    if (member.hungryAt === 0) return
    this.#note.run(0, member.owner)
    tx.after(() => {
      member.hungryAt = 0
    })
  }
}
