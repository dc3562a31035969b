import type { EncodedMessage } from '../../core/message.ts'
import type { Delivery, DeliveryHistory, Position } from '../../core/transport.ts'
import type { Lane } from './lane.ts'
import { positionOf } from './mapping.ts'

/** What was noted about the attempts at a message: the delivery after number `delivered` makes attempt `next`. */
export interface AttemptNote {
  readonly delivered: number
  readonly next: number
}

/**
 * The attempt that a delivery makes. The server counts deliveries, and so counts those too that were handed back untouched;
 * where that differs from our attempts, a note says so. `early`: the first delivery of a delayed message comes before its
 * time and is put off, which is no attempt.
 */
export function attemptOf(delivered: number, early: boolean, note: AttemptNote | undefined): number {
  // A server that was killed may count on from an older state than the note.
  if (note !== undefined) return note.next + Math.max(0, delivered - note.delivered - 1)
  return Math.max(1, early ? delivered - 1 : delivered)
}

/** One delivery of one stored message. */
export class NatsDelivery implements Delivery {
  previous: NatsDelivery | undefined = undefined
  next: NatsDelivery | undefined = undefined
  readonly lane: Lane
  readonly message: EncodedMessage
  /** Where acks go. Tells the server which delivery is meant, whatever connection it comes by. */
  readonly reply: string
  /** In the stream. */
  readonly seq: number
  /** How often the server has delivered it, this time included. */
  readonly delivered: number
  readonly bytes: number
  /** Of the lane, when it came. */
  readonly tenure: number
  /** For the arithmetic of attempts. */
  readonly early: boolean
  note: AttemptNote | undefined = undefined
  attempt = 1
  /** Whether it is known which attempt this is: of one that comes again, the note has to be read first. */
  numbered: boolean
  /** An attempt made here after this delivery, noted at the server. */
  noted = 0
  /** When the server last heard of us about it (monotonic ms): its ack wait counts from there. */
  touchedAt: number
  settled = false
  lost = false
  runtime: unknown = undefined

  constructor(
    lane: Lane,
    message: EncodedMessage,
    reply: string,
    seq: number,
    delivered: number,
    bytes: number,
    early: boolean,
    touchedAt: number,
  ) {
    this.lane = lane
    this.tenure = lane.tenure
    this.message = message
    this.reply = reply
    this.seq = seq
    this.delivered = delivered
    this.bytes = bytes
    this.early = early
    this.touchedAt = touchedAt
    this.numbered = delivered === 1
  }

  get history(): DeliveryHistory {
    return this.delivered === 1 ? 'new' : 'returned'
  }

  get position(): Position {
    return positionOf(this.lane.stream, this.seq)
  }

  /** The same delivery, to be handed over once more: it was released before anybody touched it. */
  again(): NatsDelivery {
    const { lane, message, reply, seq, delivered, bytes, early, touchedAt } = this
    const again = new NatsDelivery(lane, message, reply, seq, delivered, bytes, early, touchedAt)
    again.note = this.note
    again.noted = this.noted
    again.numbered = true
    again.attempt = this.noted > 0 ? this.noted + 1 : this.attempt
    return again
  }

  /** Finds out which attempt it is. */
  number(note: AttemptNote | undefined): void {
    this.note = note
    this.attempt = attemptOf(this.delivered, this.early, note)
    this.numbered = true
  }

  /** The attempt that the next delivery is to make, when it comes after a failure (or untouched). */
  nextAttempt(failed: boolean): number {
    const current = this.noted > 0 ? this.noted + 1 : this.attempt
    return failed ? current + 1 : current
  }

  /** What the next delivery would count as if nothing more were noted. */
  get countedNext(): number {
    return attemptOf(this.delivered + 1, this.early, this.note)
  }
}
