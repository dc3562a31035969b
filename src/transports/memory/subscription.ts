import { SettlementError } from '../../core/errors.ts'
import type { PublishError } from '../../core/errors.ts'
import type { EncodedMessage, OutgoingMessage } from '../../core/message.ts'
import { CreditBalance } from '../../core/util/credit-balance.ts'
import { LinkedList } from '../../core/util/linked-list.ts'
import { tooLarge } from '../../core/publish/size-limit.ts'
import type {
  Delivery,
  DeliverySink,
  Settlement,
  SettlementFailure,
  SubscriptionSpec,
  TransportSubscription,
} from '../../core/transport.ts'
import type { DeliveryQueue, MemoryDelivery } from './delivery.ts'
import type { GroupQueue, Member } from './group-queue.ts'

const NO_FAILURES: readonly SettlementFailure[] = Object.freeze([])

/** What a subscription needs of its broker. */
export interface SubscriptionHost {
  /** Schedules the queue to distribute. */
  wake(queue: GroupQueue): void
  /** Stores what goes with the outcome of a delivery: all of it, or nothing and returns the reason why not. */
  appendNow(messages: readonly OutgoingMessage[], settled: MemoryDelivery): PublishError | undefined
  /** Deliveries of these queues were settled: there may be room for waiting publishers. */
  settled(queues: Iterable<DeliveryQueue>): void
  leave(subscription: MemorySubscription): void
}

/** One member of a group. */
export class MemorySubscription implements TransportSubscription, Member {
  readonly spec: SubscriptionSpec
  readonly outstanding: LinkedList<MemoryDelivery> = new LinkedList()
  readonly #broker: SubscriptionHost
  readonly #sink: DeliverySink
  readonly #maxMessageBytes: number
  readonly queues: Set<GroupQueue> = new Set()
  /** Queues that left this member out because it wanted nothing: there may be something for it when it does. */
  readonly behind: Set<GroupQueue> = new Set()
  /** Called once, when it is closed. */
  onClosed: () => void = () => {}
  readonly #credit = new CreditBalance()
  #paused = false
  #drained = false
  #closed = false

  constructor(broker: SubscriptionHost, spec: SubscriptionSpec, sink: DeliverySink, maxMessageBytes: number) {
    this.#maxMessageBytes = maxMessageBytes
    this.#broker = broker
    this.spec = spec
    this.#sink = sink
  }

  request(credit: number, bytes: number): void {
    this.#credit.add(credit, bytes)
    this.#wake()
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#wake()
  }

  #wake(): void {
    if (this.behind.size === 0 || !this.wants()) return
    for (const queue of this.behind) this.#broker.wake(queue)
    this.behind.clear()
  }

  settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    let failures: SettlementFailure[] | undefined
    let queue: DeliveryQueue | undefined
    let queues: Set<DeliveryQueue> | undefined
    for (let index = 0; index < batch.length; index++) {
      const { delivery, outcome } = batch[index] as Settlement
      const error = this.#settleOne(delivery as MemoryDelivery, outcome)
      const { queue: its } = delivery as MemoryDelivery
      if (its !== queue) {
        if (queue !== undefined) (queues ??= new Set([queue])).add(its)
        queue = its
      }
      if (error !== undefined) (failures ??= []).push({ index, error })
    }
    if (queue !== undefined) this.#broker.settled(queues ?? [queue])
    return Promise.resolve(failures ?? NO_FAILURES)
  }

  #settleOne(delivery: MemoryDelivery, outcome: Settlement['outcome']): SettlementFailure['error'] | undefined {
    if (delivery.lost) return new SettlementError('The delivery was taken back; the message is delivered again')
    if (delivery.settled) return new SettlementError('The delivery has been settled before')
    if (outcome.type === 'reject' && outcome.deadLetter !== undefined) {
      // One synchronous step together with the ack below: neither is visible without the other.
      const error =
        tooLarge(outcome.deadLetter, this.#maxMessageBytes, 'memory') ??
        this.#broker.appendNow([outcome.deadLetter], delivery)
      if (error !== undefined) return error
    }
    if (outcome.type === 'ack' && outcome.publish !== undefined) {
      const error = this.#broker.appendNow(outcome.publish, delivery)
      if (error !== undefined) return error
    }
    this.outstanding.remove(delivery)
    if (outcome.type === 'ack' || outcome.type === 'reject') delivery.queue.done(delivery)
    else {
      const used = outcome.type === 'nack' ? delivery.attempt : delivery.attempt - 1
      delivery.queue.giveBack(delivery, outcome.delayMs, used)
    }
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
      // The attempts that its handlers may have started do not count.
      delivery.queue.giveBack(delivery, 0, delivery.attempt - 1)
    }
    this.#broker.leave(this)
    this.onClosed()
    return Promise.resolve()
  }

  // --- for the broker ----------------------------------------------------------------------------------------------

  wants(): boolean {
    return this.#credit.isLeft && !this.#paused && !this.#drained
  }

  charge(delivery: MemoryDelivery): void {
    this.#credit.spend(delivery.bytes)
    this.outstanding.push(delivery)
  }

  hand(batch: readonly Delivery[]): void {
    this.#sink.receive(batch)
  }

  /** The scope of a message's order for this member. */
  keyOf(message: EncodedMessage): string | undefined {
    if (this.spec.order === 'key') return message.key
    return this.spec.order === 'strict' ? '' : undefined
  }

  /** Takes back what is in flight from one queue, and returns it: the group was moved or deleted. */
  revoke(queue: GroupQueue, reason: string): readonly MemoryDelivery[] {
    const revoked = this.outstanding.toArray().filter((delivery) => delivery.queue === queue)
    for (const delivery of revoked) {
      delivery.lost = true
      this.outstanding.remove(delivery)
    }
    if (revoked.length > 0) this.#sink.lost(revoked, reason)
    return revoked
  }
}
