import type { EncodedMessage, Position } from '../../core/message.ts'
import type { Delivery, DeliveryHistory } from '../../core/transport.ts'
import type { KeyState } from './key-state.ts'
import type { LogEntry } from './log.ts'
import type { GroupQueue } from './group-queue.ts'

/** A message that waits in a group: for its time, behind others of its key, or because it came back. */
export interface Item {
  readonly entry: LogEntry
  /** Order in which it became visible to the group. It stays the same over redeliveries, which keeps the order of a key. */
  readonly sequence: number
  /** Attempts used. */
  readonly used: number
  readonly history: DeliveryHistory
  readonly firstDeliveredAt: number | undefined
  /** Not before that time (monotonic ms). */
  readonly notBefore: number
}

export class MemoryDelivery implements Delivery {
  previous: MemoryDelivery | undefined = undefined
  next: MemoryDelivery | undefined = undefined
  readonly entry: LogEntry
  readonly queue: GroupQueue
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
    queue: GroupQueue,
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
