import type { Clock } from '../../../core/clock.ts'
import type { AssignedQueue } from '../partitions/queue-assignment.ts'
import type { RabbitMqDelivery } from './delivery.ts'
import type { QueueConsumer } from './queue-consumer.ts'

export interface TurnOversHost {
  queues(): readonly AssignedQueue[]
  /** Asks the runtime for what it has not begun. */
  recall(deliveries: readonly RabbitMqDelivery[]): void
  /** Notes what goes back with the channel. */
  noteReturned(assigned: AssignedQueue): Promise<void>
  /** The queue is to be consumed again. */
  update(): void
  failed(error: unknown, doing: string): void
}

/**
 * Replaces the channels of queues whose messages have been here, unacked, for too long, or can't be read: everything goes back in order, and comes
 * again. A channel ends only while none of its messages runs.
 */
export class TurnOvers {
  readonly #clock: Clock
  readonly #host: TurnOversHost
  /** Queues whose channels are being replaced. */
  readonly #turning = new Set<AssignedQueue>()
  readonly #reasons = new WeakMap<QueueConsumer, string>()

  constructor(clock: Clock, host: TurnOversHost) {
    this.#clock = clock
    this.#host = host
  }

  /** From now on nothing of the queue is handed out; its channel ends as soon as it may. */
  begin(reader: QueueConsumer, reason: string): void {
    if (!reader.isTurning) {
      reader.isTurning = true
      this.#reasons.set(reader, reason)
      this.#host.recall(reader.unsettled())
    }
    this.check()
  }

  /** Something has ended, or waits: ends the channels that may end now. */
  check(): void {
    for (const assigned of this.#host.queues())
      if (!this.#turning.has(assigned) && this.#mayTurn(assigned)) {
        this.#turning.add(assigned)
        this.#turn(assigned)
          .catch((error: unknown) => this.#host.failed(error, 'giving messages back to a queue'))
          .finally(() => {
            this.#turning.delete(assigned)
            this.#host.update()
          })
      }
  }

  #mayTurn({ reader }: AssignedQueue): boolean {
    return reader.isTurning && reader.isOpen && reader.isAllWaiting(this.#clock.now())
  }

  async #turn(assigned: AssignedQueue): Promise<void> {
    const { opened } = assigned.reader
    await this.#host.noteReturned(assigned)
    // Meanwhile the channel may have ended by itself, or a handler whose time had come may have started: its end runs
    // this again.
    if (assigned.reader.opened === opened && this.#mayTurn(assigned))
      await assigned.reader.turnOver(this.#reasons.get(assigned.reader) ?? '')
  }
}
