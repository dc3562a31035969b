import type { EncodedMessage } from '../../core/message.ts'
import type { Delivery, DeliveryHistory, Position } from '../../core/transport.ts'
import type { Lane } from './lane.ts'
import { positionOf } from './mapping.ts'

/** What is stored about a message between two of its deliveries. */
export interface StoredNote {
  /** Attempts that are used up, including one that is running. */
  readonly used: number
  /** A handler was running when this was written. */
  readonly running: boolean
  /** The server's count of deliveries when this was written: a later delivery without a later note ended without a word. */
  readonly delivered: number
  /** No attempt before this instant, in ms since 1970. */
  readonly notBefore?: number | undefined
  /** Later messages of its key wait for `notBefore` too. */
  readonly inOrder?: boolean | undefined
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
  /** The message was delayed when it was published: its first delivery came before its time. */
  readonly early: boolean
  note: StoredNote | undefined = undefined
  /** Of the record that we wrote the note into. */
  noteSeq: number | undefined = undefined
  attempt = 1
  history: DeliveryHistory = 'new'
  notBefore: number | undefined = undefined
  /** Whether its past is known: of a message that comes again, the note has to be read first. */
  known: boolean
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
    known: boolean,
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
    this.known = known
    this.touchedAt = touchedAt
  }

  get position(): Position {
    return positionOf(this.lane.stream, this.seq)
  }

  /** The same delivery, to be handed over once more: it was handed back, and stays in this process. */
  again(used: number, notBefore: number | undefined): NatsDelivery {
    const { lane, message, reply, seq, delivered, bytes, early, touchedAt } = this
    const again = new NatsDelivery(lane, message, reply, seq, delivered, bytes, early, true, touchedAt)
    again.note = this.note
    again.noteSeq = this.noteSeq
    again.attempt = used + 1
    again.history = 'returned'
    again.notBefore = notBefore
    return again
  }

  /** Takes its past from what was noted. `ours`: all earlier deliveries came to this process, which lives. */
  learn(note: StoredNote | undefined, ours: boolean): void {
    this.known = true
    this.note = note
    if (note === undefined) {
      // The first delivery of a delayed message comes before its time, and goes back at once.
      this.history = ours || (this.early && this.delivered === 2) ? 'returned' : 'unknown'
      return
    }
    this.notBefore = note.notBefore
    this.attempt = note.used + 1
    if (ours) {
      this.history = 'returned'
      // Lost while its handler was running here: that attempt is not used.
      if (note.running) this.attempt = note.used
    } else if (note.running) this.history = 'died'
    else this.history = note.delivered >= this.delivered - 1 ? 'returned' : 'unknown'
  }
}
