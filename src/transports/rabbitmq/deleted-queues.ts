import { sleep } from '../../core/clock.ts'
import type { SubscriptionSpec, TransportHost } from '../../core/transport.ts'
import { DeclareChannel } from './declare-channel.ts'
import type { Session } from './link.ts'

/** RabbitMQ cancels the consumers of a deleted queue a moment before the queue is gone. */
const DELETED_WITHIN_MS = 500
const DELETED_POLL_MS = 20

/**
 * The queues of a group that somebody deleted. They are remembered until the whole group exists again, which may take
 * several attempts: the second one finds what the first one has declared.
 */
export class DeletedQueues {
  readonly #host: TransportHost
  readonly #spec: SubscriptionSpec
  readonly #queues: readonly string[]
  readonly #missing = new Set<string>()

  constructor(host: TransportHost, spec: SubscriptionSpec, queues: readonly string[]) {
    this.#host = host
    this.#spec = spec
    this.#queues = queues
  }

  /**
   * Looks for missing queues, before they are declared again: a queue that somebody else has declared again is not missed.
   * So each is declared by the member that lost its consumer, which `expected` to miss it soon.
   */
  async look(session: Session, which: 'all' | 'cancelled', expected: ReadonlySet<string>): Promise<void> {
    const { clock } = this.#host
    const declaring = new DeclareChannel(session)
    const until = clock.monotonic() + DELETED_WITHIN_MS
    let queues = which === 'all' ? this.#queues : this.#queues.filter((queue) => expected.has(queue))
    try {
      for (;;) {
        for (const queue of queues)
          if (!(await declaring.exists((channel) => channel.checkQueue(queue)))) this.#missing.add(queue)
        queues = queues.filter((queue) => expected.has(queue) && !this.#missing.has(queue))
        if (queues.length === 0 || clock.monotonic() >= until) return
        await sleep(clock, DELETED_POLL_MS)
      }
    } finally {
      await declaring.close()
    }
  }

  /** The group exists again, but what was in its queues is lost. */
  report(): void {
    if (this.#missing.size === 0) return
    const queues = [...this.#missing].map((queue) => `"${queue}"`).join(', ')
    this.#missing.clear()
    const { topic, group } = this.#spec
    this.#host.events.emit('loss', {
      transport: this.#host.name,
      topic,
      group,
      count: undefined,
      position: undefined,
      reason: `somebody deleted ${queues} while the group had members; the messages in it are lost. It was declared again`,
    })
  }
}
