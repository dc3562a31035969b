import type { Claims } from './claims.ts'
import type { Database, Statement } from './database.ts'
import type { Groups } from './groups.ts'
import type { Log } from './log.ts'
import type { GroupTopic, Lease, Member, Members, Seat } from './members.ts'
import type { Outbox } from './outbox.ts'
import { OUTCOME } from './protocol.ts'
import type { Command, SettleFailure } from './protocol.ts'
import type { Tx } from './tx.ts'

export type SettleCommand = Extract<Command, { kind: 'settle' }>

/** Takes the outcomes of deliveries. */
export class Settling {
  readonly #claims: Claims
  readonly #groups: Groups
  readonly #log: Log
  readonly #members: Members
  readonly #outbox: Outbox
  readonly #done: Statement
  readonly #ready: Statement
  readonly #retry: Statement
  readonly #note: Statement
  readonly #return: Statement

  constructor(parts: { db: Database; claims: Claims; groups: Groups; log: Log; members: Members; outbox: Outbox }) {
    this.#claims = parts.claims
    this.#groups = parts.groups
    this.#log = parts.log
    this.#members = parts.members
    this.#outbox = parts.outbox
    const ours = 'group_id = ? AND seq = ? AND owner = ? AND state = 1'
    this.#done = parts.db.prepare(`DELETE FROM claims WHERE ${ours}`)
    this.#ready = parts.db.prepare(`UPDATE claims SET state = 0, owner = NULL, attempt = attempt - ? WHERE ${ours}`)
    this.#retry = parts.db.prepare(
      `UPDATE claims SET state = 2, owner = NULL, attempt = attempt - ?, not_before = ?, since = ? WHERE ${ours}`,
    )
    this.#note = parts.db.prepare(`UPDATE claims SET attempt = ? WHERE ${ours}`)
    this.#return = parts.db.prepare(
      'UPDATE claims SET state = 0, owner = NULL WHERE group_id = ? AND owner = ? AND state = 1',
    )
  }

  /** Settles in the given order, and answers when the file has it. A delivery that is not ours any more is a failure. */
  settle(tx: Tx, member: Member, command: SettleCommand): void {
    const { tokens, outcomes, delays } = command
    const failures: SettleFailure[] = []
    const freed = new Map<Seat, Map<string, number>>()
    const moved = new Set<GroupTopic>()
    const checked = new Set<GroupTopic>()
    const letters: number[] = []
    let letter = 0
    for (let index = 0; index < tokens.length; index++) {
      const outcome = outcomes[index] as number
      const letterRow = outcome === OUTCOME.deadLetter ? letter++ : -1
      const lease = member.leases.get(tokens[index] as number)
      if (lease !== undefined && !checked.has(lease.seat.at)) {
        checked.add(lease.seat.at)
        if (!this.#standsStill(tx, lease.seat.at)) moved.add(lease.seat.at)
      }
      if (
        lease === undefined ||
        moved.has(lease.seat.at) ||
        !this.#settleOne(tx, member.owner, lease, outcome, delays?.[index] ?? 0)
      ) {
        failures.push({ index, error: undefined })
        continue
      }
      if (letterRow >= 0) letters.push(letterRow)
      if (lease.key !== null) noteFreed(tx, freed, lease.seat, lease.key)
    }
    if (letters.length > 0 && command.letters !== undefined) this.#log.append(tx, command.letters, letters)
    for (const [seat, keys] of freed) for (const [key, settled] of keys) this.#claims.unblock(seat.at.id, key, settled)
    for (const at of checked) at.touch()
    tx.after(() => {
      for (const token of tokens) member.end(token)
      this.#outbox.add({ kind: 'settled', call: command.call, failures })
    })
  }

  #settleOne(tx: Tx, owner: number, lease: Lease, outcome: number, delayMs: number): boolean {
    const { seat, seq } = lease
    const group = seat.at.id
    if (outcome === OUTCOME.nack || outcome === OUTCOME.release) {
      const uncounted = outcome === OUTCOME.release ? 1 : 0
      return delayMs > 0
        ? this.#retry.run(uncounted, tx.now + delayMs, tx.now, group, seq, owner) === 1
        : this.#ready.run(uncounted, group, seq, owner) === 1
    }
    if (this.#done.run(group, seq, owner) !== 1) return false
    if (lease.targeted) this.#log.removeTargeted(seat.at.topic, seq)
    return true
  }

  /** Its holder tries again without giving it back. A later death of the process goes on counting from there. */
  note(owner: number, { seat, seq }: Lease, attempt: number): void {
    this.#note.run(attempt, seat.at.id, seq, owner)
  }

  /** False when the group was moved or deleted since the deliveries were handed out. */
  #standsStill(tx: Tx, at: GroupTopic): boolean {
    const group = this.#groups.get(at.id)
    if (group?.epoch === at.epoch) return true
    tx.after(() => this.#outbox.moved(this.#members, at, group?.epoch))
    return false
  }

  /** Gives back everything that an owner has of a group. Each counts as an attempt: nobody knows how far it came. */
  giveBack(groupId: number, owner: number): void {
    this.#return.run(groupId, owner)
    this.#claims.unblockAll(groupId)
  }

  /** An outcome could not be written: nobody handles the delivery any more, and nothing of its key may pass it. */
  abandon(member: Member, tokens: readonly number[]): void {
    for (const token of tokens) {
      const lease = member.leases.get(token)
      if (lease !== undefined && lease.key !== null) lease.seat.stuck.add(lease.key)
    }
  }

  /** Gives back what was abandoned. */
  giveBackLeases(tx: Tx, member: Member, tokens: readonly number[]): void {
    const seats = new Set<Seat>()
    for (const token of tokens) {
      const lease = member.leases.get(token)
      if (lease === undefined) continue
      seats.add(lease.seat)
      this.#ready.run(0, lease.seat.at.id, lease.seq, member.owner)
    }
    for (const seat of seats) this.#claims.unblockAll(seat.at.id)
    tx.after(() => {
      for (const token of tokens) {
        const lease = member.end(token)
        if (lease !== undefined && lease.key !== null) lease.seat.stuck.remove(lease.key)
      }
    })
  }
}

/** Notes a key of which nothing else is out there, and how much of it was: what stands behind it may go. */
function noteFreed(tx: Tx, freed: Map<Seat, Map<string, number>>, seat: Seat, key: string): void {
  const settled = tx.free(seat, key)
  if (settled < seat.held.get(key)) return
  const keys = freed.get(seat)
  if (keys === undefined) freed.set(seat, new Map([[key, settled]]))
  else keys.set(key, settled)
}
