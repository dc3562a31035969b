import { sleep } from '../../../core/clock.ts'
import type { SubscriptionSpec, TransportHost } from '../../../core/transport.ts'
import { DeclareChannel } from './declare-channel.ts'
import { CONSUMERS_END_MS } from './group-topology.ts'
import type { Declaring } from '../partitions/queue-assignment.ts'
import type { LiveConnection } from '../connection/live-connection.ts'

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
   * disappear soon. `lost`: those that were certainly deleted. `watched`: those with a consumer of this member, which the
   * broker ends if they are deleted. Declared before that, they would keep the consumer, unnoticed, and RabbitMQ 3 takes
   * the first messages in them for ones that it had delivered before.
   */
  async look(
    live: LiveConnection,
    which: Declaring,
    expected: ReadonlySet<string>,
    lost: Set<string>,
    watched: ReadonlySet<string>,
  ): Promise<ReadonlySet<string>> {
    const { clock } = this.#host
    const declaring = new DeclareChannel(live)
    const until = clock.monotonic() + CONSUMERS_END_MS
    let queues = this.#queues.filter((queue) => (which === 'cancelled' ? expected.has(queue) : !watched.has(queue)))
    try {
      for (;;) {
        const isLast = clock.monotonic() >= until
        const left: string[] = []
        for (const queue of queues) {
          const isGone = !(await declaring.exists((channel) => channel.checkQueue(queue)))
          // Another member that has lost its consumer declares it again.
          if (isGone && (isLast || expected.has(queue))) this.#missing.add(queue)
          else if (isGone || expected.has(queue)) left.push(queue)
        }
        queues = left
        if (queues.length === 0 || isLast) {
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
