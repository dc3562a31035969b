// Longer than most files: what was read, handed out and settled of a partition is one state, and one record describes it.
import type { Position } from '../../../../core/message.ts'
import type { Acquired, AttemptState } from '../../../../core/partitions/attempt-state.ts'
import { HeldPartition } from '../../../../core/partitions/held-partition.ts'
import type { DelayedMessage } from '../../../../core/partitions/held-partition.ts'
import type { PartitionDelivery as CoreDelivery } from '../../../../core/partitions/partition-delivery.ts'
import { positionOf } from '../../wire/mapping.ts'
import { InheritedMessages } from './inherited-messages.ts'
import { AHEAD, floorOf, NOTHING_LEFT, spansOf } from './partition-record.ts'
import type { OpenMessage, PartitionState, Waiting } from './partition-record.ts'

/** Maximum number of delayed messages, and of entries in the record. */
const MAX_DELAYED = 200_000
const MAX_OPEN = 20_000

export type PartitionDelivery = CoreDelivery<Partition>
export type Delayed = DelayedMessage<Partition>

/** What this member knows of a partition while it owns it; `to` and `reserved` are sequences that count as looked at. */
export class Partition extends HeldPartition<Partition> {
  readonly name: string
  readonly streamName: string
  /** Subjects of its messages. */
  readonly filters: readonly string[]
  /** Sequence of the last message that was read. */
  readTo = 0
  /** Identity of the stream. */
  stream = ''
  life = ''
  /** The first message that was handed out; 0 before. */
  first = 0
  waiting: Waiting | undefined = undefined
  /** Number of messages that were left open and are no longer in the stream; not reported yet. */
  missing = 0
  /** It came to us after the reader was made. */
  isFresh = false
  /** When it came to us (monotonic ms). */
  loadedAt: number = Infinity
  /** When it was lost: number of messages that were known to wait. */
  unread = 0
  /** It is read apart from the others, because it had no room for what came. */
  isApart = false
  /** The last of its messages that was dropped for that reason. */
  droppedTo = 0
  committedAt: number = -Infinity
  /** `to` in the last record. */
  storedTo = 0
  /** Number of entries in the last record. */
  records = 0
  /** `reserved` of the record being written. */
  #reserving = 0
  #reservedFrom = 0
  #ordinal = 0
  #inherited = new InheritedMessages(NOTHING_LEFT, 'clean', 0, this.used)

  constructor(name: string, streamName: string, filters: readonly string[]) {
    super()
    this.name = name
    this.streamName = streamName
    this.filters = filters
  }

  /** Starts from what the owner before has left. */
  load(state: PartitionState, how: Acquired): void {
    // What was handed over may be here again before it was dropped.
    this.acquired(how)
    this.isFresh = true
    this.stream = state.stream
    this.life = state.life
    this.first = state.first
    this.to = state.to
    this.waiting = state.waiting
    this.isApart = false
    this.droppedTo = 0
    this.#inherited = new InheritedMessages(state, how, this.handedOutTo, this.used)
    this.readTo = floorOf(state)
    this.reserved = Math.max(state.reserved, state.to + AHEAD)
    this.#reservedFrom = state.to
    // The claim has stored all of that.
    this.stored = this.changes
    this.storedTo = state.to
  }

  /** Starts at the beginning of a stream, with nothing settled. */
  restart(stream: string): void {
    this.load({ ...NOTHING_LEFT, stream, life: this.life }, 'clean')
    this.changes++
  }

  positionAt(seq: number): Position {
    return positionOf(this.streamName, seq)
  }

  protected get unreadFrom(): number {
    return this.readTo + 1
  }

  /**
   * Gives up reading ahead: what was read beyond `to` is read again when there is room. What is below stays; it is
   * bounded by the record.
   */
  dropAhead(): void {
    this.sort()
    const from = this.buffer.findIndex(({ place }) => place > Math.max(this.to, this.#inherited.to))
    if (from < 0) return
    const dropped = this.buffer.splice(from)
    for (const { bytes } of dropped) this.bufferBytes -= bytes
    this.droppedTo = Math.max(this.droppedTo, this.readTo)
    this.readTo = (dropped[0] as PartitionDelivery).place - 1
    if (this.waiting !== undefined) {
      const { last, read, count } = this.waiting
      this.waiting = { count, last, read: read - dropped.filter(({ place }) => place <= last).length }
    }
  }

  // --- reading -----------------------------------------------------------------------------------------------------

  /** A message was read; undefined when it is settled, or here already. */
  arrived(seq: number): AttemptState | undefined {
    if (seq <= this.readTo) return undefined
    this.readTo = seq
    this.#ordinal++
    if (seq > this.#inherited.to) {
      if (this.left > 0) this.readAll()
      if (this.waiting !== undefined) this.#countRead(this.waiting, seq)
    }
    return this.#inherited.next(seq)
  }

  #countRead(waiting: Waiting, seq: number): void {
    if (seq <= waiting.last) this.waiting = { ...waiting, read: waiting.read + 1 }
    else this.endWait()
  }

  /** Everything that was waiting has been read, or is no longer in the stream. */
  endWait(): void {
    const { waiting } = this
    if (waiting === undefined || waiting.last === Infinity) return
    this.missing += Math.max(0, waiting.count - waiting.read)
    this.waiting = undefined
    this.changes++
  }

  get ordinal(): number {
    return this.#ordinal
  }

  /** Number of messages that the owner before has left open and that have not been read yet. */
  get left(): number {
    return this.#inherited.left
  }

  /** Everything that the owner before has left has been read: what has not come is no longer in the stream. */
  readAll(): void {
    this.missing += this.#inherited.end()
    if (this.missing > 0) this.changes++
  }

  // --- handing out -------------------------------------------------------------------------------------------------

  /** Nothing can be handed out before the next record is stored. */
  get isHeldUp(): boolean {
    const [first] = this.buffer
    return first !== undefined && !this.isUnsorted && first.place > this.reserved
  }

  /**
   * Hands out up to `count` messages, in order, until they take `bytes`; the last one may be larger. Messages that must
   * wait go to `delayed` instead: `delay` is called for each.
   */
  take(count: number, bytes: number, now: number, delay: (delayed: Delayed) => void): PartitionDelivery[] {
    this.sort()
    const taken: PartitionDelivery[] = []
    let at = 0
    let used = 0
    for (; at < this.buffer.length && taken.length < count && used < bytes; at++) {
      const delivery = this.buffer[at] as PartitionDelivery
      const { place } = delivery
      if (place > this.reserved) break
      this.bufferBytes -= delivery.bytes
      if (place > this.to) this.to = place
      if (this.first === 0) this.first = place
      const { notBefore } = delivery
      if (notBefore !== undefined && notBefore > now && !delivery.inOrder) {
        this.changes++
        delay(this.putAside(delivery, notBefore, false))
        continue
      }
      used += delivery.bytes
      this.outstanding.push(delivery)
      taken.push(delivery)
    }
    this.removeFirst(at)
    if (this.buffer.length === 0) this.passed()
    return taken
  }

  /** Nothing is in the buffer: all that was read is settled, handed out, or delayed. */
  passed(): void {
    if (this.buffer.length > 0 || this.readTo <= this.to) return
    this.to = this.readTo
    this.changes++
  }

  // --- settling ----------------------------------------------------------------------------------------------------

  /** A record with the state of the last call of `state` was stored. */
  committed(at: number): void {
    this.reserved = Math.max(this.reserved, this.#reserving)
    this.committedAt = at
    this.written()
  }

  /** What to store. `free`: for the next owner, who may begin beyond `reserved` as if nothing had been handed out there. */
  state(free: boolean): PartitionState {
    this.writing()
    this.storedTo = this.to
    const open: OpenMessage[] = []
    for (let delivery = this.outstanding.first; delivery !== undefined; delivery = delivery.next) {
      const { place: seq, history, used, running, notedBefore } = delivery
      open.push({ seq, out: !free, history, used, running, notBefore: notedBefore, inOrder: notedBefore !== undefined })
    }
    for (const { place: seq, history, used, running, notBefore, inOrder } of this.buffer)
      if (seq <= this.to) open.push({ seq, out: false, history, used, running, notBefore, inOrder })
    open.push(...this.#inherited.leftOpen)
    const plain: Delayed[] = []
    for (const delayed of this.delayed.values()) {
      if (delayed.history === 'new' && delayed.used === 0) plain.push(delayed)
      else {
        const { place: seq, history, used, running, notBefore, inOrder } = delayed
        open.push({ seq, out: false, history, used, running, notBefore, inOrder })
      }
    }
    open.sort((a, b) => a.seq - b.seq)
    const spans = spansOf(plain)
    this.records = open.length + spans.length
    spans.push(...this.#inherited.spansBehind(this.readTo))
    this.#reserving = free ? Math.max(this.to, this.#inherited.suspectTo) : this.#reserve()
    return {
      stream: this.stream,
      life: this.life,
      first: this.first,
      to: this.to,
      reserved: this.#reserving,
      open,
      spans,
      waiting: this.#waitingAt(),
    }
  }

  /** Twice as far as was handed out since the last record, so that the next one comes in time. */
  #reserve(): number {
    const ahead = Math.max(AHEAD, 2 * (this.to - this.#reservedFrom))
    this.#reservedFrom = this.to
    return Math.max(this.reserved, this.to + ahead, this.readTo + AHEAD)
  }

  /** As seen from `to`: what is in the buffer beyond will be read again by the next owner. */
  #waitingAt(): Waiting | undefined {
    const { waiting, to } = this
    if (waiting === undefined) return undefined
    let ahead = 0
    for (const { place } of this.buffer) if (place > to && place <= waiting.last) ahead++
    return { ...waiting, read: waiting.read - ahead }
  }

  /** Number of messages that were read and are not settled. */
  get held(): number {
    return this.outstanding.size + this.buffer.length + this.delayed.size + this.left
  }

  /** The record would become too large, or too much would have to be remembered: nothing more is read. */
  get isFull(): boolean {
    return this.delayed.size >= MAX_DELAYED || this.records >= MAX_OPEN
  }
}
