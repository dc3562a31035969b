// Longer than most files: what was read, handed out and settled of a partition is one state, and one record describes it.
import { LinkedList } from '../../../../core/util/linked-list.ts'
import { InheritedMessages } from './inherited-messages.ts'
import type { Acquired } from './inherited-messages.ts'
import type { DeliveryOwner, PartitionDelivery } from './partition-delivery.ts'
import { AHEAD, floorOf, NOTHING_LEFT, spansOf } from './partition-record.ts'
import type { Known, OpenMessage, PartitionState, Waiting } from './partition-record.ts'

/** Maximum number of delayed messages, and of entries in the record. */
const MAX_DELAYED = 200_000
const MAX_OPEN = 20_000

/** A message that waits for its time, without its body. */
export interface Delayed extends Known {
  readonly seq: number
  readonly ordinal: number
  /** In ms since 1970. */
  readonly dueAt: number
}

/** Resolves with false when the partition was lost before what was to be written was stored. */
interface Waiter {
  readonly change: number
  readonly done: (isStored: boolean) => void
}

/**
 * What this member knows of a partition while it owns it: how far it has been read and handed out, and what of that is
 * not settled. All messages of a partition are read in order, so "up to `to`, except these" says everything.
 */
export class Partition implements DeliveryOwner {
  readonly name: string
  readonly streamName: string
  /** Subjects of its messages. */
  readonly filters: readonly string[]
  /** Sequence of the last message that was read. */
  readTo = 0
  /** Every message up to here is settled, or handed out, or waits (see `state`). */
  to = 0
  /** Nothing beyond may be handed out: the last record says so. */
  reserved = 0
  mine = false
  /** Being handed over: it is read no more. */
  leaving = false
  /** Read, and to be handed out in this order. */
  buffer: PartitionDelivery<Partition>[] = []
  bufferBytes = 0
  readonly outstanding: LinkedList<PartitionDelivery<Partition>> = new LinkedList()
  readonly delayed: Map<number, Delayed> = new Map()
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
  /** Increases with every change that has to be stored. */
  changes = 0
  /** The value of `changes` in the record being written, and in the last one stored. */
  #writing = 0
  stored = 0
  committedAt: number = -Infinity
  /** Number of deliveries that were settled; and of those whose settlement is in the record being written, or stored. */
  #finished = 0
  #writingFinished = 0
  #storedFinished = 0
  /** `to` in the last record. */
  storedTo = 0
  /** Number of entries in the last record. */
  records = 0
  /** `reserved` of the record being written. */
  #reserving = 0
  #reservedFrom = 0
  #waiters: Waiter[] = []
  #unsorted = false
  #ordinal = 0
  /** Since another member had it: the last message that was handed out here. */
  #handedOutTo = 0
  /** When it was lost: number of attempts that had ended here, by sequence. */
  #used = new Map<number, number>()
  #inherited = new InheritedMessages(NOTHING_LEFT, 'clean', 0, this.#used)

  constructor(name: string, streamName: string, filters: readonly string[]) {
    this.name = name
    this.streamName = streamName
    this.filters = filters
  }

  /** Starts from what the owner before has left. */
  load(state: PartitionState, how: Acquired): void {
    this.mine = true
    this.leaving = false
    this.isFresh = true
    this.stream = state.stream
    this.life = state.life
    this.first = state.first
    // It may come back, and be lost again, before it has been read.
    this.#handedOutTo = how === 'ours' ? Math.max(this.#handedOutTo, this.to) : 0
    // Another owner has counted on.
    if (how !== 'ours') this.#used = new Map()
    this.to = state.to
    this.waiting = state.waiting
    this.isApart = false
    this.droppedTo = 0
    // What was handed over may be here again before it was dropped.
    this.dropBuffer()
    this.delayed.clear()
    this.#inherited = new InheritedMessages(state, how, this.#handedOutTo, this.#used)
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

  /** Everything that is here was lost; returns what was handed out. */
  lose(): PartitionDelivery<Partition>[] {
    this.mine = false
    this.leaving = false
    const lost = this.outstanding.toArray()
    this.#keepUsed(lost)
    for (const delivery of lost) {
      delivery.lost = true
      this.outstanding.remove(delivery)
    }
    this.dropBuffer()
    this.delayed.clear()
    this.#storedFinished = this.#finished
    for (const { done } of this.#waiters.splice(0)) done(false)
    return lost
  }

  /** A partition may be lost because nothing could be stored: then only we know of these attempts, should it come back. */
  #keepUsed(outstanding: readonly PartitionDelivery<Partition>[]): void {
    const kept = new Map<number, number>()
    for (const [seq, used] of this.#used) if (seq > this.readTo) kept.set(seq, used)
    for (const { seq, used, running } of [...outstanding, ...this.buffer, ...this.delayed.values()]) {
      // Lost while its handler is running: that attempt does not count.
      const ended = running ? used - 1 : used
      if (ended > 0) kept.set(seq, ended)
    }
    this.#used = kept
  }

  dropBuffer(): void {
    this.buffer = []
    this.bufferBytes = 0
  }

  /**
   * Gives up reading ahead: what was read beyond `to` is read again when there is room. What is below stays; it is
   * bounded by the record.
   */
  dropAhead(): void {
    this.#sort()
    const from = this.buffer.findIndex(({ seq }) => seq > Math.max(this.to, this.#inherited.to))
    if (from < 0) return
    const dropped = this.buffer.splice(from)
    for (const { bytes } of dropped) this.bufferBytes -= bytes
    this.droppedTo = Math.max(this.droppedTo, this.readTo)
    this.readTo = (dropped[0] as PartitionDelivery<Partition>).seq - 1
    if (this.waiting !== undefined) {
      const { last, read, count } = this.waiting
      this.waiting = { count, last, read: read - dropped.filter(({ seq }) => seq <= last).length }
    }
  }

  // --- reading -----------------------------------------------------------------------------------------------------

  /** A message was read; undefined when it is settled, or here already. */
  arrived(seq: number): Known | undefined {
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

  push(delivery: PartitionDelivery<Partition>): void {
    if (delivery.seq < (this.buffer.at(-1)?.seq ?? 0)) this.#unsorted = true
    this.buffer.push(delivery)
    this.bufferBytes += delivery.bytes
  }

  // --- handing out -------------------------------------------------------------------------------------------------

  /** Nothing can be handed out before the next record is stored. */
  get isHeldUp(): boolean {
    const [first] = this.buffer
    return first !== undefined && !this.#unsorted && first.seq > this.reserved
  }

  #sort(): void {
    if (!this.#unsorted) return
    this.buffer.sort((a, b) => a.seq - b.seq)
    this.#unsorted = false
  }

  /**
   * Hands out up to `count` messages, in order, until they take `bytes`; the last one may be larger. Messages that must
   * wait go to `delayed` instead: `delay` is called for each.
   */
  take(count: number, bytes: number, now: number, delay: (delayed: Delayed) => void): PartitionDelivery<Partition>[] {
    this.#sort()
    const taken: PartitionDelivery<Partition>[] = []
    let at = 0
    let used = 0
    for (; at < this.buffer.length && taken.length < count && used < bytes; at++) {
      const delivery = this.buffer[at] as PartitionDelivery<Partition>
      const { seq } = delivery
      if (seq > this.reserved) break
      this.bufferBytes -= delivery.bytes
      if (seq > this.to) this.to = seq
      if (this.first === 0) this.first = seq
      const { notBefore } = delivery
      if (notBefore !== undefined && notBefore > now && !delivery.inOrder) {
        this.changes++
        delay(this.putAside(delivery, notBefore))
        continue
      }
      used += delivery.bytes
      this.outstanding.push(delivery)
      taken.push(delivery)
    }
    if (at === this.buffer.length) {
      this.buffer = []
      this.passed()
    } else if (at > 0) this.buffer.splice(0, at)
    return taken
  }

  /** Nothing is in the buffer: all that was read is settled, handed out, or delayed. */
  passed(): void {
    if (this.buffer.length > 0 || this.readTo <= this.to) return
    this.to = this.readTo
    this.changes++
  }

  /** Drops the body of a message that must wait. */
  putAside({ seq, ordinal, history, used, running }: PartitionDelivery<Partition>, dueAt: number): Delayed {
    const delayed = { seq, ordinal, dueAt, history, used, running, notBefore: dueAt, inOrder: false }
    this.delayed.set(seq, delayed)
    return delayed
  }

  /** What was handed out and is not settled goes back into the buffer, for the next owner; it has used no attempt. */
  giveBack(now: number): PartitionDelivery<Partition>[] {
    const begun = this.outstanding.toArray()
    for (const delivery of begun) {
      delivery.lost = true
      this.outstanding.remove(delivery)
      const notBefore = delivery.notedBefore ?? delivery.notBefore
      const waits = notBefore !== undefined && notBefore > now
      this.push(delivery.again(delivery.attempt - 1, waits ? notBefore : undefined, waits))
    }
    if (begun.length > 0) this.changes++
    return begun
  }

  // --- settling ----------------------------------------------------------------------------------------------------

  /** Number of settlements that are not stored. */
  get unstored(): number {
    return this.#finished - this.#storedFinished
  }

  /** It is done, or is put back by the caller. */
  finish(delivery: PartitionDelivery<Partition>): void {
    delivery.settled = true
    this.#finished++
    this.outstanding.remove(delivery)
    this.changes++
  }

  /** Resolves when everything up to now is stored: with false when the partition was lost before. */
  whenStored(): Promise<boolean> {
    if (!this.mine) return Promise.resolve(false)
    if (this.stored >= this.changes) return Promise.resolve(true)
    return new Promise((done) => this.#waiters.push({ change: this.changes, done }))
  }

  /** A record with the state of the last call of `state` was stored. */
  committed(at: number): void {
    this.stored = this.#writing
    this.#storedFinished = this.#writingFinished
    this.reserved = Math.max(this.reserved, this.#reserving)
    this.committedAt = at
    let count = 0
    for (; count < this.#waiters.length; count++) {
      const waiter = this.#waiters[count] as Waiter
      if (waiter.change > this.stored) break
      waiter.done(true)
    }
    this.#waiters.splice(0, count)
  }

  /** What to store. `free`: for the next owner, who may begin beyond `reserved` as if nothing had been handed out there. */
  state(free: boolean): PartitionState {
    this.#writing = this.changes
    this.#writingFinished = this.#finished
    this.storedTo = this.to
    const open: OpenMessage[] = []
    for (let delivery = this.outstanding.first; delivery !== undefined; delivery = delivery.next) {
      const { seq, history, used, running, notedBefore } = delivery
      open.push({ seq, out: !free, history, used, running, notBefore: notedBefore, inOrder: notedBefore !== undefined })
    }
    for (const { seq, history, used, running, notBefore, inOrder } of this.buffer)
      if (seq <= this.to) open.push({ seq, out: false, history, used, running, notBefore, inOrder })
    open.push(...this.#inherited.leftOpen)
    const plain: Delayed[] = []
    for (const delayed of this.delayed.values()) {
      if (delayed.history === 'new' && delayed.used === 0) plain.push(delayed)
      else open.push({ ...delayed, out: false })
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
    for (const { seq } of this.buffer) if (seq > to && seq <= waiting.last) ahead++
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
