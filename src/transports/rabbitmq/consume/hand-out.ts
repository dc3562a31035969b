import type { SubscriptionSpec } from '../../../core/transport.ts'
import type { AssignedQueue } from '../partitions/queue-assignment.ts'
import type { ResolvedConsumerOptions } from './consumer-options.ts'
import type { QueueConsumer } from './queue-consumer.ts'
import { aheadLimit } from './queue-share.ts'
import type { AheadLimit } from './queue-share.ts'

/** The queues of one subscription take turns in portions of this size. */
const PORTION = 16

export interface HandOutHost {
  queues(): readonly AssignedQueue[]
  /** False during a pause, and after a drain has begun. */
  mayHandOut(): boolean
  /** What the broker has sent ahead is more than `prefetchBytes`. Called once. */
  tooLarge(bytes: number, limit: AheadLimit | undefined): void
}

/** Takes what waits for those who have asked for it. */
export interface Taker {
  /** False when nobody has credit left. */
  readonly hasCredit: boolean
  /** Takes at most that many messages of a queue; returns how many. */
  take(reader: QueueConsumer, most: number): number
  /** Hands out what was taken since the last call. */
  deliver(): void
}

/** Hands what waits in the queues of one member to the runtime, which has asked for so many messages and bytes. */
export class HandOut {
  readonly #spec: SubscriptionSpec
  readonly #options: ResolvedConsumerOptions
  readonly #taker: Taker
  readonly #host: HandOutHost
  #isScheduled = false
  /** The queue whose turn is next: one that always begins would take all when little is asked for at a time. */
  #next = 0
  /** What the broker sent ahead has been more than `prefetchBytes`, and was reported. */
  #wasTooLarge = false

  constructor(spec: SubscriptionSpec, options: ResolvedConsumerOptions, taker: Taker, host: HandOutHost) {
    this.#spec = spec
    this.#options = options
    this.#taker = taker
    this.#host = host
  }

  /** Something may be handed out. */
  schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    // After everything that arrived in one read of the socket.
    process.nextTick(() => {
      this.#isScheduled = false
      this.#handOut()
    })
  }

  #handOut(): void {
    if (!this.#host.mayHandOut()) return
    const queues = this.#host.queues()
    // Until no queue has given anything in its turn.
    for (let empty = 0; empty < queues.length && this.#taker.hasCredit;) {
      if (this.#next >= queues.length) this.#next = 0
      empty = this.#takeFrom(queues[this.#next++] as AssignedQueue) ? 0 : empty + 1
    }
    this.#taker.deliver()
    if (!this.#taker.hasCredit) this.#watchBytes()
  }

  #takeFrom({ reader, isLeaving }: AssignedQueue): boolean {
    // What came without acks exists nowhere else.
    if (isLeaving && !this.#options.noAck) return false
    return this.#taker.take(reader, PORTION) > 0
  }

  /** The broker counts messages, not bytes: it sends as many large ones ahead as small ones. */
  #watchBytes(): void {
    if (this.#wasTooLarge) return
    const queues = this.#host.queues()
    let [bytes, held, handed, reading] = [0, 0, 0, 0]
    for (const { reader, standsByFor } of queues) {
      // The broker gives the messages of a queue that another member owns to that member.
      if (reader.isOpen && (standsByFor === undefined || reader.hasReceived)) reading++
      bytes += reader.bytes
      held += reader.held.length
      handed += reader.handed
    }
    const { prefetchBytes } = this.#spec
    if (held === 0 || bytes <= prefetchBytes) return
    this.#wasTooLarge = true
    const fitting = Math.floor(((held + handed) * prefetchBytes) / bytes)
    const here = { handed, fitting, queues: queues.length, reading: Math.max(1, reading) }
    this.#host.tooLarge(bytes, aheadLimit(this.#options, here))
  }
}
