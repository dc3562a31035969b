import type { Claims } from './claims.ts'
import type { Database, Statement } from './database.ts'
import type { Groups } from './groups.ts'
import type { Log } from './log.ts'
import type { GroupTopic, Lease, Member, Members, Seat } from './members.ts'
import type { ReplyQueue } from './reply-queue.ts'
import type { Parking } from './parking.ts'
import { OUTCOME } from '../protocol.ts'
import type { Command, SettleFailure } from '../protocol.ts'
import { HISTORY } from './schema.ts'
import type { Tx } from './tx.ts'

export type SettleCommand = Extract<Command, { kind: 'settle' }>
export type NoteCommand = Extract<Command, { kind: 'note' }>

/** Some consecutive outcomes of a command: `from` is the first, `to` the one after the last. */
export interface OutcomeRange {
  readonly command: SettleCommand
  readonly from: number
  readonly to: number
}

/** Stores the outcomes of deliveries, and notes about those that have none yet. */
export class Settling {
  readonly #claims: Claims
  readonly #groups: Groups
  readonly #log: Log
  readonly #members: Members
  readonly #replies: ReplyQueue
  readonly #parking: Parking
  readonly #done: Statement
  readonly #ready: Statement
  readonly #retry: Statement
  readonly #unseen: Statement
  readonly #note: Statement
  readonly #takeBack: Statement
  readonly #returnOne: Statement
  readonly #return: Statement
  readonly #orphan: Statement

  constructor(parts: {
    db: Database
    claims: Claims
    groups: Groups
    log: Log
    members: Members
    replies: ReplyQueue
    parking: Parking
  }) {
    const { db } = parts
    this.#claims = parts.claims
    this.#groups = parts.groups
    this.#log = parts.log
    this.#members = parts.members
    this.#replies = parts.replies
    this.#parking = parts.parking
    const ours = 'group_id = ? AND seq = ? AND owner = ? AND state = 1'
    this.#done = db.prepare(`DELETE FROM claims WHERE ${ours}`)
    // Kept for deliveries that no handler has finished meanwhile: they may still be what killed their process.
    const givenBack = `owner = NULL, running = 0, used = ?, history = max(iif(? = 1, history, 0), ${HISTORY.returned})`
    this.#ready = db.prepare(`UPDATE claims SET state = 0, not_before = NULL, since = NULL, ${givenBack} WHERE ${ours}`)
    this.#retry = db.prepare(`UPDATE claims SET state = 2, not_before = ?, since = ?, ${givenBack} WHERE ${ours}`)
    this.#unseen = db.prepare(`UPDATE claims SET state = 0, owner = NULL WHERE ${ours}`)
    this.#note = db.prepare(
      `UPDATE claims SET used = ?, running = ?, history = iif(? = 1, history, ${HISTORY.returned}), not_before = ?, since = ?
      WHERE ${ours}`,
    )
    this.#takeBack = db.prepare(`
      UPDATE claims SET taken_back = taken_back + ?,
        history = iif(owner = ? AND state <> 1 AND history = ${HISTORY.died}, ${HISTORY.returned}, history)
      WHERE group_id = ? AND seq = ?`)
    // An attempt that its holder noted as waiting for its time continues to wait.
    const back = 'state = iif(not_before > ?, 2, 0), running = 0'
    const alive = `${back}, owner = NULL, used = used - running, history = max(history, ${HISTORY.returned})`
    this.#returnOne = db.prepare(`UPDATE claims SET ${alive} WHERE ${ours}`)
    this.#return = db.prepare(`UPDATE claims SET ${alive} WHERE group_id = ? AND owner = ? AND state = 1`)
    this.#orphan = db.prepare(`
      UPDATE claims SET ${back},
        history = iif(running = 1 OR history = ${HISTORY.died}, ${HISTORY.died}, ${HISTORY.unknown})
      WHERE group_id = ? AND owner = ? AND state = 1`)
  }

  /** Settles in the given order, and answers when it is committed. A delivery that is no longer ours is a failure. */
  settle(
    tx: Tx,
    member: Member,
    { command, from, to }: OutcomeRange,
    answer: (failures: readonly SettleFailure[]) => void,
  ): void {
    const { tokens, outcomes, messageCounts } = command
    const failures: SettleFailure[] = []
    const freed = new Map<Seat, Map<string, number>>()
    const moved = new Set<GroupTopic>()
    const checked = new Set<GroupTopic>()
    const rows: number[] = []
    let next = messageCounts === undefined ? 0 : sum(messageCounts, from)
    for (let index = from; index < to; index++) {
      const outcome = outcomes[index] as number
      const first = next
      next += messageCounts?.[index] ?? 0
      const lease = member.leases.get(tokens[index] as number)
      if (lease !== undefined && !checked.has(lease.seat.at)) {
        checked.add(lease.seat.at)
        if (!this.#standsStill(tx, lease.seat.at)) moved.add(lease.seat.at)
      }
      if (
        lease === undefined ||
        moved.has(lease.seat.at) ||
        !this.#settleOne(tx, member.owner, lease, command, index)
      ) {
        failures.push({ index, error: undefined })
        continue
      }
      for (let row = first; row < next; row++) rows.push(row)
      if (lease.key === null) continue
      tx.free(lease.seat, lease.key)
      // A returned message releases what is behind it when its turn comes.
      if (!isReturned(outcome)) count(freed, lease.seat, lease.key)
      if (member.spec.order === 'strict') tx.changed.add(lease.seat.at.id)
    }
    if (rows.length > 0 && command.messages !== undefined) this.#log.append(tx, command.messages, rows)
    for (const [seat, keys] of freed) {
      if (!this.#parking.any(seat.at.id)) continue
      for (const [key, settled] of keys) tx.advance(seat, key, settled)
    }
    for (const at of checked) at.touch()
    tx.after(() => {
      for (let index = from; index < to; index++) member.end(tokens[index] as number)
      answer(failures)
    })
  }

  #settleOne(tx: Tx, owner: number, lease: Lease, command: SettleCommand, index: number): boolean {
    const { seat, seq } = lease
    const group = seat.at.id
    const outcome = command.outcomes[index] as number
    if (!isReturned(outcome)) {
      if (this.#done.run(group, seq, owner) !== 1) return false
      if (lease.targeted) this.#log.removeTargeted(seat.at.topic, seq)
      return true
    }
    const delayMs = command.delays?.[index] ?? 0
    if (delayMs <= 0) tx.changed.add(group)
    if (outcome === OUTCOME.unseen) return this.#unseen.run(group, seq, owner) === 1
    const used = command.used?.[index] ?? 0
    const keep = outcome === OUTCOME.release ? 1 : 0
    return delayMs > 0
      ? this.#retry.run(tx.now + delayMs, tx.now, used, keep, group, seq, owner) === 1
      : this.#ready.run(used, keep, group, seq, owner) === 1
  }

  /** See `TransportSubscription.noteAttempts`. */
  note(tx: Tx, member: Member, { tokens, used, running, notBefore }: NoteCommand): void {
    for (let index = 0; index < tokens.length; index++) {
      const token = tokens[index] as number
      const attempts = used[index] as number
      const lease = member.leases.get(token)
      if (lease === undefined) {
        this.#takeBackNote(tx, member, token, attempts)
        continue
      }
      const runs = running[index] === 1
      const at = notBefore[index] as number
      const waits = !runs && at > tx.now
      this.#note.run(
        attempts,
        runs ? 1 : 0,
        runs ? 1 : 0,
        waits ? at : null,
        waits ? tx.now : null,
        lease.seat.at.id,
        lease.seq,
        member.owner,
      )
      tx.after(() => {
        lease.noted = runs ? attempts : 0
      })
    }
  }

  /** Its lease was lost while its handler ran, and other members believe that the process died of it. */
  #takeBackNote(tx: Tx, member: Member, token: number, used: number): void {
    const lost = member.lostNotes.get(token)
    if (lost === undefined || lost.noted <= used) return
    tx.after(() => member.lostNotes.delete(token))
    if (this.#groups.get(lost.groupId)?.epoch !== lost.epoch) return
    const attempts = lost.noted - used
    this.#takeBack.run(attempts, lost.owner, lost.groupId, lost.seq)
    if (lost.key !== null) this.#parking.takeBack(lost.groupId, lost.key, lost.seq, lost.owner, attempts)
  }

  /** False when the group was moved or deleted since the deliveries were handed out. */
  #standsStill(tx: Tx, at: GroupTopic): boolean {
    const group = this.#groups.get(at.id)
    if (group?.epoch === at.epoch) return true
    tx.after(() => this.#replies.moved(at, group))
    return false
  }

  /** Gives back everything that an owner holds of a group. `dead`: how far the owner got is unknown. */
  giveBack(tx: Tx, groupId: number, owner: number, dead: boolean): void {
    const statement = dead ? this.#orphan : this.#return
    if (statement.run(tx.now, groupId, owner) === 0) return
    this.#members.touchGroup(groupId)
    tx.changed.add(groupId)
  }

  /**
   * Gives back abandoned deliveries. Those that had failed or were handed back have used the attempts that their
   * outcome states.
   */
  giveBackLeases(tx: Tx, member: Member, command: SettleCommand, indexes: readonly number[]): void {
    for (const index of indexes) {
      const lease = member.leases.get(command.tokens[index] as number)
      if (lease === undefined) continue
      const { seat, seq, key } = lease
      if (isReturned(command.outcomes[index] as number)) this.#settleOne(tx, member.owner, lease, command, index)
      else this.#returnOne.run(tx.now, seat.at.id, seq, member.owner)
      // Members may take it in the same transaction.
      if (key !== null) {
        tx.free(seat, key)
        tx.unstick(seat, key)
        this.#claims.release(tx, seat.at.id, key, indexes.length)
      }
      seat.at.touch()
      tx.changed.add(seat.at.id)
    }
    tx.after(() => {
      for (const index of indexes) member.end(command.tokens[index] as number)
    })
  }
}

function isReturned(outcome: number): boolean {
  return outcome === OUTCOME.nack || outcome === OUTCOME.release || outcome === OUTCOME.unseen
}

/** The sum of the first `count` numbers. */
function sum(numbers: Uint32Array, count: number): number {
  let total = 0
  for (let index = 0; index < count; index++) total += numbers[index] as number
  return total
}

function count(freed: Map<Seat, Map<string, number>>, seat: Seat, key: string): void {
  let keys = freed.get(seat)
  if (keys === undefined) freed.set(seat, (keys = new Map()))
  keys.set(key, (keys.get(key) ?? 0) + 1)
}
