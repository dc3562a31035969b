import type { EncodedMessage, Position } from '../../../../core/message.ts'
import type { Delivery, DeliveryHistory } from '../../../../core/transport.ts'
import { positionOf } from '../../wire/mapping.ts'
import type { Known } from './partition-record.ts'

/** What a delivery needs of the partition that it belongs to. */
export interface DeliveryOwner {
  readonly name: string
  readonly streamName: string
}

/** A message of a partition that is ours: in the buffer, or handed out. */
export class PartitionDelivery<Owner extends DeliveryOwner> implements Delivery {
  previous: PartitionDelivery<Owner> | undefined = undefined
  next: PartitionDelivery<Owner> | undefined = undefined
  readonly owner: Owner
  readonly message: EncodedMessage
  readonly destination: string
  /** Its sequence in the stream. */
  readonly seq: number
  /** Its place among the messages of the partition that were read. */
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
  settled = false
  lost = false
  runtime: unknown = undefined

  constructor(
    owner: Owner,
    message: EncodedMessage,
    destination: string,
    seq: number,
    ordinal: number,
    bytes: number,
    known: Known,
  ) {
    this.owner = owner
    this.message = message
    this.destination = destination
    this.seq = seq
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
    return positionOf(this.owner.streamName, this.seq)
  }

  /** The same message, to be handed out again after it was returned. */
  again(used: number, notBefore: number | undefined, inOrder: boolean): PartitionDelivery<Owner> {
    const { owner, message, destination, seq, ordinal, bytes } = this
    const known = { history: 'returned', used, running: false, notBefore, inOrder } as const
    return new PartitionDelivery(owner, message, destination, seq, ordinal, bytes, known)
  }
}
