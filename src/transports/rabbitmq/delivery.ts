import type { EncodedMessage } from '../../core/message.ts'
import type { Delivery, DeliveryHistory, Position } from '../../core/transport.ts'
import type { QueueReader } from './queue-reader.ts'

/**
 * - `held`: here, not with the runtime.
 * - `handed`: with the runtime.
 * - `settling`: its outcome waits for a confirmed publish.
 * - `acked`: done, and the broker is to be told by the next ack.
 * - `gone`: the broker knows, or has it back.
 * - `replaced`: handed back untouched, and handed out again as another delivery with the same tag.
 */
export type DeliveryState = 'held' | 'handed' | 'settling' | 'acked' | 'gone' | 'replaced'

interface DeliveryParts {
  readonly message: EncodedMessage
  readonly reader: QueueReader
  readonly deliveryTag: number
  readonly offset: number | undefined
  readonly base: number
  readonly count: number
  readonly isCounted: boolean
  readonly firstDeliveredAt: number | undefined
  readonly bytes: number
}

export class RabbitMqDelivery implements Delivery {
  readonly message: EncodedMessage
  readonly reader: QueueReader
  /** Valid on the reader's present channel alone. */
  readonly deliveryTag: number
  /** In a stream. */
  readonly offset: number | undefined
  /** Attempts used up before this copy was made. */
  readonly base: number
  /** How often the broker has taken it back; 1 for once or more, where it does not count. */
  readonly count: number
  readonly isCounted: boolean
  readonly firstDeliveredAt: number | undefined
  readonly bytes: number
  attempt: number
  state: DeliveryState = 'held'
  lost = false
  runtime: unknown = undefined
  #successor: RabbitMqDelivery | undefined

  constructor(parts: DeliveryParts) {
    this.message = parts.message
    this.reader = parts.reader
    this.deliveryTag = parts.deliveryTag
    this.offset = parts.offset
    this.base = parts.base
    this.count = parts.count
    this.isCounted = parts.isCounted
    this.firstDeliveredAt = parts.firstDeliveredAt
    this.bytes = parts.bytes
    this.attempt = parts.base + parts.count + 1
  }

  get history(): DeliveryHistory {
    return this.count === 0 ? 'new' : 'returned'
  }

  get position(): Position {
    const { queue, epoch } = this.reader
    return this.offset === undefined ? { queue, deliveryTag: this.deliveryTag, epoch } : { queue, offset: this.offset }
  }

  /** Another delivery of the same message and tag: the runtime is done with this one, and settles no delivery twice. */
  again(attempt: number): RabbitMqDelivery {
    const next = new RabbitMqDelivery(this)
    next.attempt = attempt
    this.#successor = next
    this.state = 'replaced'
    return next
  }

  /** The delivery that its tag belongs to now. */
  get latest(): RabbitMqDelivery {
    return this.#successor === undefined ? this : this.#successor.latest
  }
}
