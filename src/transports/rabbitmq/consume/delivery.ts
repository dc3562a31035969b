import type { EncodedMessage, Position } from '../../../core/message.ts'
import type { Delivery, DeliveryHistory } from '../../../core/transport.ts'
import type { CarriedProperties } from '../wire/carried-properties.ts'
import { unbucketed } from '../topology/names.ts'
import type { OverflowPlace } from './overflow-file.ts'

/**
 * - `held`: here, not with the runtime.
 * - `handed`: with the runtime.
 * - `settling`: its outcome waits for a confirmed publish.
 * - `acked`: done; the next ack will report it to the broker.
 * - `gone`: the broker knows the outcome, or has it back.
 * - `replaced`: handed back untouched, and handed out again as another delivery with the same tag.
 */
export type DeliveryState = 'held' | 'handed' | 'settling' | 'acked' | 'gone' | 'replaced'

/** What was last noted at the broker about an unsettled delivery. */
export interface NotedState {
  readonly used: number
  readonly running: boolean
  readonly notBefore: number | undefined
}

/** Where a delivery came from, and what can be done with it there. All but `hold` take effect with the reader's next flush. */
export interface DeliveryReader {
  readonly queue: string
  /** Of its current connection. */
  readonly epoch: number
  ack(delivery: RabbitMqDelivery): void
  /** Returns it to the queue, for any consumer. */
  requeue(delivery: RabbitMqDelivery): void
  /** Rejects it to wherever the queue puts rejected messages, if anywhere. */
  reject(delivery: RabbitMqDelivery): void
  /** Takes a delivery back from the runtime: it waits again, in its old place, for its next turn. */
  hold(delivery: RabbitMqDelivery, attempt: number, notBefore: number | undefined): RabbitMqDelivery
  /** Resolves with true when the broker has read what was sent so far, with false when the channel ended first. */
  heard(): Promise<boolean>
}

interface DeliveryParts {
  readonly message: EncodedMessage
  readonly reader: DeliveryReader
  readonly exchange: string
  readonly routingKey: string
  readonly deliveryTag: number
  readonly offset: number | undefined
  readonly base: number
  readonly isRedelivered: boolean
  readonly count: number | undefined
  readonly firstDeliveredAt: number | undefined
  readonly bytes: number
  readonly carried: CarriedProperties | undefined
}

export class RabbitMqDelivery implements Delivery {
  /** Without its body while that is on disk. */
  message: EncodedMessage
  place: OverflowPlace | undefined = undefined
  readonly reader: DeliveryReader
  readonly exchange: string
  readonly routingKey: string
  /** Valid only on the reader's current channel. */
  readonly deliveryTag: number
  /** Offset in a stream. */
  readonly offset: number | undefined
  /** Attempts used before this copy was made. */
  readonly base: number
  readonly isRedelivered: boolean
  /** How often the broker delivered it before; undefined where the queue does not count. */
  readonly count: number | undefined
  readonly firstDeliveredAt: number | undefined
  readonly bytes: number
  /** AMQP properties to keep on copies of the message. */
  readonly carried: CarriedProperties | undefined
  attempt: number
  history: DeliveryHistory
  notBefore: number | undefined = undefined
  /** Number of this delivery of the message, as counted in notes: a note about an older one states its outcome. */
  generation = 0
  /** False while the next attempt's number is being looked up: the delivery is not handed out before. */
  isKnown = true
  noted: NotedState | undefined = undefined
  state: DeliveryState = 'held'
  lost = false
  runtime: unknown = undefined
  #successor: RabbitMqDelivery | undefined

  constructor(parts: DeliveryParts) {
    this.message = parts.message
    this.reader = parts.reader
    this.exchange = parts.exchange
    this.routingKey = parts.routingKey
    this.deliveryTag = parts.deliveryTag
    this.offset = parts.offset
    this.base = parts.base
    this.isRedelivered = parts.isRedelivered
    this.count = parts.count
    this.firstDeliveredAt = parts.firstDeliveredAt
    this.bytes = parts.bytes
    this.carried = parts.carried
    this.attempt = parts.base + 1
    // A copy itself states what became of the deliveries before it.
    this.history = parts.firstDeliveredAt === undefined && parts.base === 0 ? 'new' : 'returned'
  }

  /** Without the bucket of its key: that is a part of the address, but says no more than the queue. */
  get destination(): string {
    const { queue } = this.reader
    const routingKey = unbucketed(this.routingKey)
    return [this.exchange, routingKey, routingKey === queue ? '' : queue].filter((part) => part !== '').join(':')
  }

  get partition(): string {
    return this.reader.queue
  }

  get position(): Position {
    const { queue, epoch } = this.reader
    return this.offset === undefined ? { queue, deliveryTag: this.deliveryTag, epoch } : { queue, offset: this.offset }
  }

  /** True when it waits for its next attempt beyond that time: none of its handlers runs. */
  isWaitingAt(now: number): boolean {
    return (this.notBefore ?? 0) > now && this.noted?.running !== true
  }

  /** Another delivery of the same message and tag: the runtime is done with this one, and settles no delivery twice. */
  again(attempt: number, notBefore: number | undefined): RabbitMqDelivery {
    const next = new RabbitMqDelivery(this)
    next.attempt = attempt
    next.history = 'returned'
    next.notBefore = notBefore
    next.generation = this.generation
    next.noted = this.noted
    this.#successor = next
    this.state = 'replaced'
    return next
  }

  /** The delivery that its tag belongs to now. */
  get latest(): RabbitMqDelivery {
    return this.#successor === undefined ? this : this.#successor.latest
  }
}
