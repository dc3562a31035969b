import { sleep } from '../../../core/clock.ts'
import type { SubscriptionSpec, TransportHost } from '../../../core/transport.ts'
import { DeclareChannel } from './declare-channel.ts'
import type { Declaring } from '../partitions/queue-assignment.ts'
import type { Session } from '../connection/link.ts'

/** RabbitMQ cancels the consumers of a deleted queue a moment before the queue is gone. */
const DELETED_WITHIN_MS = 500
const DELETED_POLL_MS = 20

/**
 * Queues of a group that were deleted from outside. They are remembered until the whole group exists again, which may take
 * several attempts: the second one finds what the first one has declared.
 */
export class DeletedQueues {
  readonly #host: TransportHost
  readonly #spec: SubscriptionSpec
  readonly #queues: readonly string[]
  readonly #missing = new Set<string>()
  /** Deleted, and declared again by another member. */
  readonly #remade = new Set<string>()

  constructor(host: TransportHost, spec: SubscriptionSpec, queues: readonly string[]) {
    this.#host = host
    this.#spec = spec
    this.#queues = queues
  }

  /**
   * Returns the missing queues. Only these may be declared again: if a member declared a queue that it had not lost, the
   * one that had lost it would find it there and report nothing. `expected`: their consumers were ended, so they may
   * disappear soon. `lost`: those that were certainly deleted.
   */
  async look(
    session: Session,
    which: Declaring,
    expected: ReadonlySet<string>,
    lost: Set<string>,
  ): Promise<ReadonlySet<string>> {
    const { clock } = this.#host
    const declaring = new DeclareChannel(session)
    const until = clock.monotonic() + DELETED_WITHIN_MS
    let queues = which === 'cancelled' ? this.#queues.filter((queue) => expected.has(queue)) : this.#queues
    try {
      for (;;) {
        for (const queue of queues)
          if (!(await declaring.exists((channel) => channel.checkQueue(queue)))) this.#missing.add(queue)
        queues = queues.filter((queue) => expected.has(queue) && !this.#missing.has(queue))
        if (queues.length === 0 || clock.monotonic() >= until) {
          // A member that has just joined may have declared it first.
          for (const queue of expected) if (lost.delete(queue) && !this.#missing.has(queue)) this.#remade.add(queue)
          return this.#missing
        }
        await sleep(clock, DELETED_POLL_MS)
      }
    } finally {
      await declaring.close()
    }
  }

  /** The group exists again, but what was in its queues is lost. */
  report(): void {
    const lost = new Set([...this.#missing, ...this.#remade])
    this.#missing.clear()
    this.#remade.clear()
    if (lost.size === 0) return
    const queues = [...lost].map((queue) => `"${queue}"`).join(', ')
    const were = lost.size === 1 ? 'was' : 'were'
    const { topic, group } = this.#spec
    this.#host.events.emit('loss', {
      transport: this.#host.name,
      topic,
      group,
      count: undefined,
      position: undefined,
      reason: `${queues} ${were} deleted while the group had members, and declared again; the messages are lost`,
    })
  }
}
