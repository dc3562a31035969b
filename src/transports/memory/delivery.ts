import type { EncodedMessage } from '../../core/message.ts'
import type { Delivery, DeliveryHistory, Position } from '../../core/transport.ts'
import type { KeyState } from './key-state.ts'
import type { MemorySubscription } from './subscriber.ts'
import type { GroupQueue } from './group-queue.ts'

/** What one group knows about a message. */
export interface Item {
  readonly message: EncodedMessage
  readonly offset: number
  readonly publishedAt: number
  readonly bytes: number
  /** Order in which it became visible to the group. It stays the same over redeliveries, which keeps the order of a key. */
  readonly sequence: number
  /** Attempts used. */
  used: number
  history: DeliveryHistory
  firstDeliveredAt: number | undefined
  /** Not before that time (monotonic ms). */
  notBefore: number
}

export class MemoryDelivery implements Delivery {
  previous: MemoryDelivery | undefined = undefined
  next: MemoryDelivery | undefined = undefined
  readonly item: Item
  readonly queue: GroupQueue
  readonly member: MemorySubscription
  readonly key: KeyState | undefined
  attempt: number
  readonly history: DeliveryHistory
  settled = false
  lost = false
  runtime: unknown = undefined

  constructor(item: Item, queue: GroupQueue, member: MemorySubscription, key: KeyState | undefined) {
    this.item = item
    this.queue = queue
    this.member = member
    this.key = key
    this.attempt = item.used + 1
    this.history = item.history
  }

  get message(): EncodedMessage {
    return this.item.message
  }

  get bytes(): number {
    return this.item.bytes
  }

  get firstDeliveredAt(): number | undefined {
    return this.item.firstDeliveredAt
  }

  get position(): Position {
    return { topic: this.item.message.topic, offset: this.item.offset }
  }
}
