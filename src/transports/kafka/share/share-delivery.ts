import type { EncodedMessage, Position } from '../../../core/message.ts'
import { messageBytes } from '../../../core/message.ts'
import type { Delivery, DeliveryHistory } from '../../../core/transport.ts'
import type { ShareRecord } from '../../../kafka/index.ts'
import { positionOf } from '../wire/mapping.ts'

/** A record that this member has acquired, as it is handed out. It stays locked until it has a verdict. */
export class ShareDelivery implements Delivery {
  readonly record: ShareRecord
  readonly message: EncodedMessage
  readonly bytes: number
  attempt: number
  readonly history: DeliveryHistory
  /** Not handed out before, in ms since 1970. */
  readonly dueAt: number
  /** Messages are being stored before its verdict. */
  isEnding = false
  settled = false
  lost = false
  runtime: unknown = undefined

  /** `used`: attempts before this delivery. */
  constructor(
    record: ShareRecord,
    message: EncodedMessage,
    known: {
      readonly used: number
      readonly history: DeliveryHistory
      readonly dueAt: number
      readonly bytes?: number
    },
  ) {
    this.record = record
    this.message = message
    this.bytes = known.bytes ?? messageBytes(message)
    this.attempt = known.used + 1
    this.history = known.history
    this.dueAt = known.dueAt
  }

  /** Another process had it before, which may have died of it. */
  get isSuspect(): boolean {
    return this.history === 'unknown'
  }

  get partition(): string {
    return `${this.record.topic}/${this.record.partition}`
  }

  get position(): Position {
    return positionOf(this.record.partition, this.record.offset)
  }

  /** The same record, to be handed out again here. */
  again(used: number, dueAt: number): ShareDelivery {
    const { record, message, bytes } = this
    return new ShareDelivery(record, message, { used, history: 'returned', dueAt, bytes })
  }
}
