import type { EncodedMessage } from '../../core/message.ts'
import type { Delivery, DeliveryHistory, Position } from '../../core/transport.ts'
import { toPosition } from './mapping.ts'

/** A delivery as the subscription knows it: `token` is what the database thread calls it. */
export class SqliteDelivery implements Delivery {
  readonly message: EncodedMessage
  attempt: number
  readonly history: DeliveryHistory
  readonly firstDeliveredAt: number
  readonly bytes: number
  readonly token: number
  readonly #seq: number
  lost = false
  runtime: unknown = undefined

  constructor(message: EncodedMessage, seq: number, token: number, attempt: number, firstAt: number, bytes: number) {
    this.message = message
    this.#seq = seq
    this.token = token
    this.attempt = attempt
    this.history = attempt === 1 ? 'new' : 'returned'
    this.firstDeliveredAt = firstAt
    this.bytes = bytes
  }

  get position(): Position {
    return toPosition(this.#seq)
  }
}
