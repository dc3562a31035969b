import type { EncodedMessage, Position } from '../../../core/message.ts'
import { messageBytes } from '../../../core/message.ts'
import type { Delivery, DeliveryHistory } from '../../../core/transport.ts'
import { partitionName } from '../topology/keys.ts'
import type { Source } from './source.ts'

/** What is known of an entry's attempts when it is handed out. */
export interface KnownAttempts {
  readonly attempt: number
  readonly history: DeliveryHistory
  readonly notBefore: number | undefined
  /** There is a note, which must be deleted with the ack. */
  readonly noted: boolean
}

const FIRST: KnownAttempts = Object.freeze({ attempt: 1, history: 'new', notBefore: undefined, noted: false })

/** One entry of a stream, in flight with this member. */
export class RedisDelivery implements Delivery {
  previous: RedisDelivery | undefined = undefined
  next: RedisDelivery | undefined = undefined
  readonly message: EncodedMessage
  attempt: number
  readonly history: DeliveryHistory
  readonly notBefore: number | undefined
  /** There may be a note of its attempts at the server, which is deleted with the ack. */
  noted: boolean
  readonly bytes: number
  readonly source: Source
  readonly id: string
  /** The group's generation when it was handed out: once that changes, it can't be settled any more. */
  readonly generation: string
  /** Until then (monotonic) no other member can have claimed it; only where partitions have no owners. */
  heldUntil: number
  lost = false
  settled = false
  /** It is in the list of deliveries in flight. */
  listed = false
  runtime: unknown = undefined

  constructor(source: Source, id: string, message: EncodedMessage, heldUntil: number, known: KnownAttempts = FIRST) {
    this.source = source
    this.id = id
    this.message = message
    this.attempt = known.attempt
    this.history = known.history
    this.notBefore = known.notBefore
    this.noted = known.noted
    this.heldUntil = heldUntil
    this.generation = source.partition.generation
    this.bytes = messageBytes(message)
  }

  get destination(): string {
    return this.source.stream
  }

  get partition(): string {
    return partitionName(this.source.partition.keys)
  }

  get position(): Position {
    const { partition } = this.source.partition.keys
    // A copy for this group alone has an id of a separate stream.
    return this.source.isSide
      ? { partition, id: this.id, side: this.source.partition.group.group }
      : { partition, id: this.id }
  }
}
