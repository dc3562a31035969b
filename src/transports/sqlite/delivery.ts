import type { EncodedMessage, Position } from '../../core/message.ts'
import type { Delivery, DeliveryHistory } from '../../core/transport.ts'
import { toPosition } from './mapping.ts'

const HISTORIES: readonly DeliveryHistory[] = ['new', 'returned', 'unknown', 'died']

/** A delivery as the subscription knows it: `token` identifies it in the database thread. */
export class SqliteDelivery implements Delivery {
  readonly message: EncodedMessage
  attempt: number
  readonly history: DeliveryHistory
  readonly firstDeliveredAt: number
  readonly bytes: number
  readonly token: number
  readonly #seq: number
  lost = false
  /** Tokens belong to one database thread: the number of threads that the subscription has had. */
  readonly generation: number
  runtime: unknown = undefined

  constructor(
    message: EncodedMessage,
    parts: {
      seq: number
      token: number
      generation: number
      attempt: number
      history: number
      firstAt: number
      bytes: number
    },
  ) {
    this.message = message
    this.#seq = parts.seq
    this.token = parts.token
    this.generation = parts.generation
    this.attempt = parts.attempt
    this.history = HISTORIES[parts.history] as DeliveryHistory
    this.firstDeliveredAt = parts.firstAt
    this.bytes = parts.bytes
  }

  get position(): Position {
    return toPosition(this.#seq)
  }
}
