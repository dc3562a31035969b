import type { EncodedMessage, Position } from '../../core/message.ts'
import type { Delivery, DeliveryHistory } from '../../core/transport.ts'
import type { Item, KeyState } from './key-state.ts'
import type { LogEntry } from './log.ts'

/** What a delivery needs of the queue that it came from. */
export interface DeliveryQueue {
  readonly topic: string
  /** Ack or reject. */
  done(delivery: MemoryDelivery): void
  /** Nack or release, or its member has closed. `used`: the attempts used. */
  giveBack(delivery: MemoryDelivery, delayMs: number, used: number): void
}

export class MemoryDelivery implements Delivery {
  previous: MemoryDelivery | undefined = undefined
  next: MemoryDelivery | undefined = undefined
  readonly entry: LogEntry
  readonly queue: DeliveryQueue
  readonly key: KeyState | undefined
  readonly sequence: number
  attempt: number
  readonly history: DeliveryHistory
  readonly firstDeliveredAt: number
  settled = false
  lost = false
  runtime: unknown = undefined

  constructor(
    entry: LogEntry,
    queue: DeliveryQueue,
    key: KeyState | undefined,
    sequence: number,
    attempt: number,
    history: DeliveryHistory,
    firstDeliveredAt: number,
  ) {
    this.entry = entry
    this.queue = queue
    this.key = key
    this.sequence = sequence
    this.attempt = attempt
    this.history = history
    this.firstDeliveredAt = firstDeliveredAt
  }

  get message(): EncodedMessage {
    return this.entry.message
  }

  get bytes(): number {
    return this.entry.bytes
  }

  get position(): Position {
    return this.entry.position
  }

  /** What waits when the message comes back. */
  returned(used: number, notBefore: number): Item {
    const { entry, sequence, firstDeliveredAt } = this
    return { entry, sequence, used, history: 'returned', firstDeliveredAt, notBefore }
  }
}
