import type { EncodedMessage, Position } from '../../../../core/message.ts'
import type { Delivery, DeliveryHistory } from '../../../../core/transport.ts'
import type { LinkedList } from '../../../../core/util/linked-list.ts'
import type { RecentAcks } from './recent-acks.ts'
import type { Incoming } from '../../connection/incoming.ts'
import type { WriteBuffer } from '../../connection/write-buffer.ts'
import { positionOf } from '../../wire/mapping.ts'

/** What is stored about a message between two deliveries. */
export interface StoredNote {
  /** Attempts used, including one that is running. */
  readonly used: number
  /** A handler was running when this was written. */
  readonly running: boolean
  /** The server's count of deliveries at that time: a later delivery without a later note ended silently. */
  readonly delivered: number
  /** No attempt before this time, in ms since 1970. */
  readonly notBefore?: number | undefined
  /** Later messages of its key wait for `notBefore` too. */
  readonly inOrder?: boolean | undefined
}

/** What a delivery, and those that settle it, need of the consumer that it came from. */
export interface DeliveringConsumer {
  readonly stream: string
  readonly name: string
  readonly partition: string
  /** Changes when the consumer is replaced by another one of the same name. */
  readonly identity: string
  /** Increments each time that what we had of it was taken away. */
  readonly leaseGeneration: number
  readonly ackWaitMs: number
  /** Handed over but not settled. */
  readonly outstanding: LinkedList<NatsDelivery>
  readonly acked: RecentAcks
  /** Used while a batch is settled: index of its last delivery. */
  lastIndex: number
}

/** One delivery of one stored message. */
export class NatsDelivery implements Delivery {
  previous: NatsDelivery | undefined = undefined
  next: NatsDelivery | undefined = undefined
  readonly consumer: DeliveringConsumer
  readonly message: EncodedMessage
  readonly destination: string
  /** Where acks go, as received: see `reply`. */
  readonly #replyBytes: Buffer
  readonly #replyAt: number
  readonly #replyEnd: number
  /** Its sequence in the stream. */
  readonly seq: number
  /** How often the server has delivered it, including this time. */
  readonly delivered: number
  readonly bytes: number
  /** That of the consumer when it came. */
  readonly leaseGeneration: number
  /** The message was published with a delay: its first delivery comes before its time. */
  readonly early: boolean
  note: StoredNote | undefined = undefined
  /** Sequence of the record that holds our note. */
  noteSeq: number | undefined = undefined
  attempt = 1
  history: DeliveryHistory = 'new'
  notBefore: number | undefined = undefined
  /** Whether its history is known: for a message that comes again, the note has to be read first. */
  known: boolean
  /** When the server last received a sign from us about it (monotonic ms): its ack wait starts there. */
  touchedAt: number
  settled = false
  lost = false
  runtime: unknown = undefined

  constructor(
    consumer: DeliveringConsumer,
    message: EncodedMessage,
    destination: string,
    native: Incoming,
    seq: number,
    delivered: number,
    early: boolean,
    known: boolean,
    touchedAt: number,
  ) {
    this.consumer = consumer
    this.leaseGeneration = consumer.leaseGeneration
    this.message = message
    this.destination = destination
    const { replyAt } = native
    this.#replyBytes = replyAt < 0 ? Buffer.from(native.reply, 'latin1') : native.bytes
    this.#replyAt = Math.max(0, replyAt)
    this.#replyEnd = replyAt < 0 ? this.#replyBytes.length : native.replyEnd
    this.seq = seq
    this.delivered = delivered
    this.bytes = native.size
    this.early = early
    this.known = known
    this.touchedAt = touchedAt
  }

  /** Where acks go. Identifies the delivery to the server on any connection. */
  get reply(): string {
    return this.#replyBytes.toString('latin1', this.#replyAt, this.#replyEnd)
  }

  /** Sends that there; `inbox`: where the answer goes, or empty. */
  answer(writeBuffer: WriteBuffer, inbox: string, body: Uint8Array): void {
    writeBuffer.publishTo(this.#replyBytes, this.#replyAt, this.#replyEnd, inbox, body)
  }

  get partition(): string {
    return this.consumer.partition
  }

  get position(): Position {
    return positionOf(this.consumer.stream, this.seq)
  }

  /** Sets its history from the note. */
  learn(note: StoredNote | undefined): void {
    this.known = true
    this.note = note
    if (note === undefined) {
      // The first delivery of a delayed message comes before its time, and is handed back at once.
      this.history = this.early && this.delivered === 2 ? 'returned' : 'unknown'
      return
    }
    this.notBefore = note.notBefore
    this.attempt = note.used + 1
    if (note.running) this.history = 'died'
    else this.history = note.delivered >= this.delivered - 1 ? 'returned' : 'unknown'
  }
}
