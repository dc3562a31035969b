import type { Member, Members, GroupTopic } from './members.ts'
import type { Reply } from './protocol.ts'

/**
 * What the database thread has to say; it leaves once per round. Answers go ahead of deliveries and in a message of their
 * own: whoever waits for an answer has acted on it before the first delivery is looked at.
 */
export class Outbox {
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

  /** Somebody moved the group (`epoch`) or deleted it (undefined): what was handed out of it is nobody's any more. */
  moved(members: Members, at: GroupTopic, epoch: number | undefined): void {
    const reason = epoch === undefined ? `the group "${at.group}" was deleted` : `the group "${at.group}" was moved`
    for (const seat of at.seats) this.#lost(seat.member, seat.member.endAll(seat), reason)
    if (epoch === undefined) {
      if (at.seats.some((seat) => !seat.member.spec.ephemeral)) {
        const detail = `the group "${at.group}" of topic "${at.topic.name}" was deleted while it was consumed: its consumers get nothing of that topic until they subscribe again`
        this.add({ kind: 'warning', code: 'sqlite-group-deleted', detail })
      }
      members.dissolve(at)
    } else {
      at.epoch = epoch
      at.touch()
    }
  }

  /** The lease of the whole subscription is gone. */
  lostAll(member: Member, reason: string): void {
    this.#lost(member, member.endAll(), reason)
  }

  #lost(member: Member, tokens: readonly number[], reason: string): void {
    if (tokens.length > 0) this.add({ kind: 'lost', sub: member.sub, tokens, reason })
  }
}
