import type { EncodedMessage, Position } from '../message.ts'
import type { Delivery, DeliveryHistory } from '../transport.ts'
import type { AttemptState } from './attempt-state.ts'

/** What a delivery needs of the partition that it belongs to. */
export interface DeliveryOwner {
  /** As in `rebalance` events. */
  readonly name: string
  positionAt(place: number): Position
}

/** A message of a partition that is ours: waiting to be handed out, or handed out. */
export class PartitionDelivery<Owner extends DeliveryOwner> implements Delivery {
  previous: PartitionDelivery<Owner> | undefined = undefined
  next: PartitionDelivery<Owner> | undefined = undefined
  readonly owner: Owner
  readonly message: EncodedMessage
  /** Where it is in its partition: an offset, a sequence. Increases from message to message. */
  readonly place: number
  /** Its number among the messages of the partition that were read here. */
  readonly ordinal: number
  readonly bytes: number
  readonly destination: string | undefined
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
  /** A transaction that is being committed finishes it: it can't be given back before that has ended. */
  isEnding = false
  lost = false
  runtime: unknown = undefined

  constructor(
    owner: Owner,
    message: EncodedMessage,
    place: number,
    ordinal: number,
    bytes: number,
    known: AttemptState,
    destination?: string,
  ) {
    this.owner = owner
    this.message = message
    this.place = place
    this.ordinal = ordinal
    this.bytes = bytes
    this.destination = destination
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
    return this.owner.positionAt(this.place)
  }

  /** The same message, to be handed out again after it was returned. */
  again(used: number, notBefore: number | undefined, inOrder: boolean): PartitionDelivery<Owner> {
    return this.with({ history: 'returned', used, running: false, notBefore, inOrder })
  }

  /** The same message, of which this is known. */
  with(known: AttemptState): PartitionDelivery<Owner> {
    const { owner, message, place, ordinal, bytes, destination } = this
    return new PartitionDelivery(owner, message, place, ordinal, bytes, known, destination)
  }
}
