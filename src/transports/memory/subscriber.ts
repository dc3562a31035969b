import { SettlementError } from '../../core/errors.ts'
import type { EncodedMessage } from '../../core/message.ts'
import { LinkedList } from '../../core/linked-list.ts'
import { contentBytes, tooLarge } from '../../core/size-limit.ts'
import type {
  Delivery,
  DeliverySink,
  Settlement,
  SettlementFailure,
  SubscriptionSpec,
  TransportSubscription,
} from '../../core/transport.ts'
import type { MemoryBroker } from './broker.ts'
import type { MemoryDelivery } from './delivery.ts'
import type { GroupQueue } from './group-queue.ts'

const NO_FAILURES: readonly SettlementFailure[] = Object.freeze([])

/** One member of a group. */
export class MemorySubscription implements TransportSubscription {
  readonly spec: SubscriptionSpec
  readonly outstanding: LinkedList<MemoryDelivery> = new LinkedList()
  readonly #broker: MemoryBroker
  readonly #sink: DeliverySink
  readonly #maxMessageBytes: number
  readonly queues: Set<GroupQueue> = new Set()
  /** Called once, when it is closed. */
  onClosed: () => void = () => {}
  #credit = 0
  #bytes = 0
  #paused = false
  #drained = false
  #closed = false

  constructor(broker: MemoryBroker, spec: SubscriptionSpec, sink: DeliverySink, maxMessageBytes: number) {
    this.#maxMessageBytes = maxMessageBytes
    this.#broker = broker
    this.spec = spec
    this.#sink = sink
  }

  request(credit: number, bytes: number): void {
    this.#credit += credit
    this.#bytes += bytes
    for (const queue of this.queues) this.#broker.wake(queue)
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    for (const queue of this.queues) this.#broker.wake(queue)
  }

  settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    let failures: SettlementFailure[] | undefined
    for (let index = 0; index < batch.length; index++) {
      const { delivery, outcome } = batch[index] as Settlement
      const error = this.#settleOne(delivery as MemoryDelivery, outcome)
      if (error !== undefined) (failures ??= []).push({ index, error })
    }
    this.#broker.settled(this.queues)
    return Promise.resolve(failures ?? NO_FAILURES)
  }

  #settleOne(delivery: MemoryDelivery, outcome: Settlement['outcome']): SettlementFailure['error'] | undefined {
    if (delivery.lost) return new SettlementError('The delivery was taken back; the message is delivered again')
    if (delivery.settled) return new SettlementError('The delivery has been settled before')
    if (outcome.type === 'reject' && outcome.deadLetter !== undefined) {
      // One synchronous step together with the ack below: nobody sees one without the other.
      // What another member could publish, whose limit is higher, can be dead-lettered here too.
      const limit = Math.max(this.#maxMessageBytes, contentBytes(delivery.message))
      const error = tooLarge(outcome.deadLetter, limit, 'memory') ?? this.#broker.appendNow(outcome.deadLetter)
      if (error !== undefined) return error
    }
    this.outstanding.remove(delivery)
    if (outcome.type === 'ack' || outcome.type === 'reject') delivery.queue.done(delivery)
    else delivery.queue.giveBack(delivery, outcome.delayMs, outcome.type === 'nack')
    return undefined
  }

  drain(): Promise<void> {
    this.#drained = true
    return Promise.resolve()
  }

  close(): Promise<void> {
    if (this.#closed) return Promise.resolve()
    this.#closed = true
    this.#drained = true
    for (const delivery of this.outstanding.toArray()) {
      delivery.lost = true
      this.outstanding.remove(delivery)
      delivery.queue.giveBack(delivery, 0, true)
    }
    this.#broker.leave(this)
    this.onClosed()
    return Promise.resolve()
  }

  // --- for the broker ----------------------------------------------------------------------------------------------

  wants(): boolean {
    return this.#credit > 0 && this.#bytes > 0 && !this.#paused && !this.#drained
  }

  charge(delivery: MemoryDelivery): void {
    this.#credit--
    this.#bytes -= delivery.bytes
    this.outstanding.push(delivery)
  }

  hand(batch: readonly Delivery[]): void {
    this.#sink.receive(batch)
  }

  /** What has to be one after another for this member. */
  keyOf(message: EncodedMessage): string | undefined {
    if (this.spec.order === 'key') return message.key
    return this.spec.order === 'strict' ? '' : undefined
  }

  /** Takes back what is out of one queue: the group was moved or deleted. */
  revoke(queue: GroupQueue, reason: string): void {
    const revoked = this.outstanding.toArray().filter((delivery) => delivery.queue === queue)
    for (const delivery of revoked) {
      delivery.lost = true
      this.outstanding.remove(delivery)
    }
    if (revoked.length > 0) this.#sink.lost(revoked, reason)
  }
}
