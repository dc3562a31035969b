import type { Member, GroupTopic } from './members.ts'
import type { Reply } from '../protocol.ts'

/** A group after it was moved or deleted. */
interface MovedGroup {
  readonly epoch: number
  readonly cursor: number
  /** It was deleted while it was consumed. */
  readonly deleted: boolean
}

/**
 * Messages from the database thread to the main thread, sent once per round. Answers are sent before deliveries and
 * separately: the caller of a command has acted on its answer before the first delivery is looked at.
 */
export class ReplyQueue {
  readonly #post: (replies: readonly Reply[], transfer: ArrayBuffer[]) => void
  #answers: Reply[] = []
  #answersTransfer: ArrayBuffer[] = []
  #deliveries: Reply[] = []
  #deliveriesTransfer: ArrayBuffer[] = []

  constructor(post: (replies: readonly Reply[], transfer: ArrayBuffer[]) => void) {
    this.#post = post
  }

  add(reply: Reply, transfer: readonly ArrayBuffer[] = []): void {
    const delivery = reply.kind === 'deliver'
    ;(delivery ? this.#deliveries : this.#answers).push(reply)
    ;(delivery ? this.#deliveriesTransfer : this.#answersTransfer).push(...transfer)
  }

  flush(): void {
    if (this.#answers.length > 0) {
      this.#post(this.#answers, this.#answersTransfer)
      this.#answers = []
      this.#answersTransfer = []
    }
    if (this.#deliveries.length > 0) {
      this.#post(this.#deliveries, this.#deliveriesTransfer)
      this.#deliveries = []
      this.#deliveriesTransfer = []
    }
  }

  /** The group was moved or deleted: its deliveries in flight are void. Undefined: its row was deleted as well. */
  moved(at: GroupTopic, group: MovedGroup | undefined): void {
    // A second look at the same change; the next claim creates the row of a deleted group again.
    if (group?.epoch === at.epoch) return
    if (group === undefined) {
      this.#lostOf(at, `the group "${at.group}" was deleted`)
      at.touch()
      return
    }
    if (group.deleted) this.deleted(at)
    else this.#lostOf(at, `the group "${at.group}" was moved`)
    at.epoch = group.epoch
    at.cursor = group.cursor
    at.touch()
  }

  /** The group was deleted while it is consumed here, and continues from its current position. */
  deleted(at: GroupTopic): void {
    this.#lostOf(at, `the group "${at.group}" was deleted`)
    const detail = `the group "${at.group}" of topic "${at.topic.name}" was deleted while it is consumed: it was made again where it had read to, and what was pending is forgotten. Close its consumers before you delete a group`
    this.add({ kind: 'warning', code: 'sqlite-group-deleted', detail })
  }

  #lostOf(at: GroupTopic, reason: string): void {
    for (const seat of at.seats) this.#lost(seat.member, seat.member.endAll(seat), reason)
  }

  /** The lease of the whole subscription was lost. */
  lostAll(member: Member, reason: string): void {
    this.#lost(member, member.loseAll(), reason)
  }

  #lost(member: Member, tokens: readonly number[], reason: string): void {
    if (tokens.length > 0) this.add({ kind: 'lost', sub: member.sub, tokens, reason })
  }
}
