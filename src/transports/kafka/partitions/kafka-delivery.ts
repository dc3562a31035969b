import type { EncodedMessage, Position } from '../../../core/message.ts'
import type { Delivery, DeliveryHistory } from '../../../core/transport.ts'
import { positionOf } from '../wire/mapping.ts'
import type { OffsetNote } from './commit-record.ts'

/** What is known of a record when it is handed out. */
export type Known = Omit<OffsetNote, 'offset'>

/** What a delivery needs of the partition that it belongs to. */
export interface DeliveryOwner {
  /** Its name, as in `rebalance` events. */
  readonly name: string
  readonly index: number
}

/** A record of a partition that is ours: waiting to be handed out, or handed out. */
export class KafkaDelivery<Owner extends DeliveryOwner> implements Delivery {
  previous: KafkaDelivery<Owner> | undefined = undefined
  next: KafkaDelivery<Owner> | undefined = undefined
  readonly owner: Owner
  readonly message: EncodedMessage
  readonly offset: number
  /** Its place among the records of the partition that were read here. */
  readonly ordinal: number
  readonly bytes: number
  attempt: number
  readonly history: DeliveryHistory
  readonly notBefore: number | undefined
  /** Later messages of its key wait for `notBefore` too, so that it can be handed out before. */
  readonly inOrder: boolean
  /** Attempts used, as last noted; including a running one. */
  used: number
  /** A handler is running, as last noted. */
  running: boolean
  /** When the next attempt may start, as noted while it is handed out. */
  notedBefore: number | undefined = undefined
  /** It counts as finished in the record that is being made. */
  isEnding = false
  settled = false
  lost = false
  runtime: unknown = undefined

  constructor(owner: Owner, message: EncodedMessage, offset: number, ordinal: number, bytes: number, known: Known) {
    this.owner = owner
    this.message = message
    this.offset = offset
    this.ordinal = ordinal
    this.bytes = bytes
    this.attempt = known.used + 1
    this.history = known.history
    this.notBefore = known.notBefore
    this.inOrder = known.inOrder
    this.used = known.used
    this.running = known.running
  }

  get partition(): string {
    return this.owner.name
  }

  get position(): Position {
    return positionOf(this.owner.index, this.offset)
  }

  /** The same message, to be handed out again after it was returned. */
  again(used: number, notBefore: number | undefined, inOrder: boolean): KafkaDelivery<Owner> {
    const { owner, message, offset, ordinal, bytes } = this
    return new KafkaDelivery(owner, message, offset, ordinal, bytes, {
      history: 'returned',
      used,
      running: false,
      notBefore,
      inOrder,
    })
  }
}
