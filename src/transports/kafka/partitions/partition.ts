// Over 250 lines: what is read, handed out, delayed and finished of one partition, which change together, and one record describes.
import type { Position } from '../../../core/message.ts'
import { messageBytes } from '../../../core/message.ts'
import { early } from '../../../core/partitions/attempt-state.ts'
import type { Acquired, AttemptState } from '../../../core/partitions/attempt-state.ts'
import { HeldPartition } from '../../../core/partitions/held-partition.ts'
import type { DelayedMessage } from '../../../core/partitions/held-partition.ts'
import { PartitionDelivery as CoreDelivery } from '../../../core/partitions/partition-delivery.ts'
import type { KafkaRecord } from '../../../kafka/index.ts'
import { CopyDelivery, copyState, earlyCopy, usedBefore } from '../retry/copy-delivery.ts'
import { positionOf } from '../wire/mapping.ts'
import type { Decoded } from '../wire/mapping.ts'
import type { CommitRecord, OffsetNote, OpenRun } from './commit-record.ts'
import { InheritedOffsets } from './inherited-offsets.ts'
import { RecordBudget } from './record-budget.ts'
import { UnreadRecords } from './unread-records.ts'

/** How far beyond `to` the least claim goes. */
const LEAST_AHEAD = 64
/** Messages of one partition that wait for their time: about 300 bytes each, without their bodies, and each commit names all of them. */
export const MAX_DELAYED = 10_000
const NONE: ReadonlySet<object> = new Set()

export type PartitionDelivery = CoreDelivery<Partition>
/** A record that waits for its time. */
export type Delayed = DelayedMessage<Partition>

/** What is taken with it: a decoder, whose group it is, and where to leave what must wait. */
export interface TakeHost {
  /** Undefined for a record that is no message of this group. */
  decode(record: KafkaRecord, partition: Partition): Decoded | undefined
  /** It must wait. `isAsRead`: its record says until when. */
  delay(delivery: PartitionDelivery, dueAt: number, isAsRead: boolean): void
}

/** What this member knows of a partition while it owns it; `to` and `reserved` are the first offsets that do not count. */
export class Partition extends HeldPartition<Partition> {
  readonly topic: string
  readonly index: number
  readonly name: string
  /** Of a partition of a retry topic: the one that it stands beside. */
  readonly source: Partition | undefined
  /** Changes whenever it comes or goes: what began before says nothing about it now. */
  span = 0
  /** The first unfinished when it was lost last; -1 before. */
  lastFloor = -1
  /** Where the group is moved to is known: nothing is handed out before. */
  isChecked = false
  /** How many of what waits here is moving to the retry topic; and whether more is taken only then. */
  moving = 0
  movesFirst = false
  /** Those that wait of which their records say all that there is to know. */
  readonly #asRead = new WeakSet<Delayed>()
  /** Its fetches rest because there is no room for more. */
  isPaused = false
  /** Stand-in for the id of the topic. */
  topicHash = 0
  /** The last move of the group that was carried out. */
  moved = 0
  /** Of the topic, when the group began. */
  partitions = 0
  readonly #unread = new UnreadRecords((offset, leaderEpoch) => this.#pass(offset, leaderEpoch))
  readonly #budget = new RecordBudget()
  /** The record of the owner before has been compared with the log. */
  #isTrusted = true
  /** Of the last record below `to`. */
  leaderEpoch = -1
  #ordinal = 0
  #writingClaim = 0
  /** The first that is not finished, in the record being written, and in the last one stored. */
  #writingFloor = 0
  storedFloor = 0
  #claimedFrom = 0
  /** Since another member had it: how it came, and up to where an owner that died had it. */
  #before: 'clean' | 'taken' = 'clean'
  #suspectTo = 0
  #inherited: InheritedOffsets

  constructor(topic: string, index: number, source?: Partition) {
    super()
    this.topic = topic
    this.index = index
    this.source = source
    this.name = `${topic}/${index}`
    this.#inherited = this.#inherit({ to: 0, open: [], notes: [] }, 'clean')
  }

  /** Where its messages come from. */
  get origin(): Partition {
    return this.source ?? this
  }

  positionAt(offset: number): Position {
    return positionOf(this.index, offset)
  }

  protected get unreadFrom(): number {
    return this.to
  }

  #inherit(record: Pick<CommitRecord, 'to' | 'open' | 'notes'>, how: Acquired): InheritedOffsets {
    const [handedOut, before, suspectTo, used] = [this.handedOutTo, this.#before, this.#suspectTo, this.used]
    return new InheritedOffsets(record, how, { handedOut, before, suspectTo, used })
  }

  /** Starts from what the owner before has left. */
  load(record: Omit<CommitRecord, 'owner' | 'free'>, how: Acquired): void {
    this.acquired(how)
    this.#unread.clear()
    this.span++
    this.isChecked = false
    this.isPaused = false
    if (how !== 'ours') {
      this.#before = how
      this.#suspectTo = record.claim
    }
    this.topicHash = record.topic
    this.moved = record.moved
    this.partitions = record.partitions
    this.#inherited = this.#inherit(record, how)
    this.#isTrusted = record.to === record.floor
    this.to = record.floor
    this.leaderEpoch = -1
    // An owner that died, or we, may have handed out that much, so we may now: whoever comes next doubts it anyway.
    this.reserved = how === 'clean' ? 0 : record.claim
    this.#claimedFrom = this.to
    this.#budget.made(0, [])
    this.changes++
  }

  override lose(): PartitionDelivery[] {
    if (this.mine) this.lastFloor = this.#floor
    this.span++
    const lost = super.lose()
    this.#unread.clear()
    return lost
  }

  /** The first that is not finished. */
  get #floor(): number {
    let floor =
      this.#inherited.runsFrom(this.to)[0]?.[0] ?? (this.#isTrusted ? Math.max(this.to, this.#inherited.to) : this.to)
    for (let delivery = this.outstanding.first; delivery !== undefined; delivery = delivery.next)
      floor = Math.min(floor, delivery.place)
    for (const { place } of this.buffer) floor = Math.min(floor, place)
    for (const offset of this.delayed.keys()) floor = Math.min(floor, offset)
    return floor
  }

  // --- reading -----------------------------------------------------------------------------------------------------

  /** The record of the owner before may be of another log. Nothing is looked at before it has been compared with where the log ends. */
  get isTrusted(): boolean {
    return this.#isTrusted
  }

  /** The record knows so many more offsets than a log that ends there has: 0 or less if it may be of that log, which is then taken for granted. */
  compare(end: number): number {
    const excess = this.#inherited.to - end
    if (excess <= 0) this.#isTrusted = true
    return excess
  }

  /** The record is of another log, or made up: everything is handled from the floor on. */
  distrust(): void {
    this.#isTrusted = true
    this.#suspectTo = this.to
    this.#inherited = this.#inherit({ to: this.to, open: [], notes: [] }, 'clean')
    this.changes++
  }

  /** The client has delivered records. */
  arrived(records: readonly KafkaRecord[], nextOffset: number, leaderEpoch: number): void {
    this.#unread.push(records, nextOffset, leaderEpoch)
  }

  /** The log no longer has what is between: returns how much of that was not finished. What came before stays. */
  skipped(from: number, to: number): number {
    this.#unread.push([], to, -1)
    return this.#inherited.openBetween(from, to)
  }

  /** Number of records that wait to be looked at. */
  get unread(): number {
    return this.#unread.count
  }

  get unreadBytes(): number {
    return this.#unread.bytes
  }

  get hasWork(): boolean {
    return this.buffer.length > 0 || !this.#unread.isEmpty
  }

  /** What comes may be handed out. */
  get isReady(): boolean {
    return this.isChecked && this.reserved > this.to
  }

  // --- handing out -------------------------------------------------------------------------------------------------

  /** What is left can't be handed out before the next record is stored. */
  get isHeldUp(): boolean {
    const { next } = this.#unread
    return this.buffer.length === 0 && next !== undefined && next.offset >= this.reserved
  }

  /** Whether one more unfinished record would still fit into the commit, and into memory if it is delayed. */
  get hasRoom(): boolean {
    return this.delayed.size < MAX_DELAYED && !this.movesFirst && this.#budget.hasRoom
  }

  /** The record is larger than half of what it may be. */
  get isTight(): boolean {
    return this.#budget.isTight
  }

  /** Hands out up to `count` messages, in order, until they take `bytes`; the last one may be larger. */
  take(count: number, bytes: number, now: number, host: TakeHost): PartitionDelivery[] {
    this.sort()
    const taken: PartitionDelivery[] = []
    let used = 0
    let again = 0
    for (; again < this.buffer.length && taken.length < count && used < bytes; again++) {
      const delivery = this.buffer[again] as PartitionDelivery
      used += delivery.bytes
      this.bufferBytes -= delivery.bytes
      this.outstanding.push(delivery)
      taken.push(delivery)
    }
    this.removeFirst(again)
    while (taken.length < count && used < bytes && this.#isTrusted) {
      const record = this.#unread.peek()
      if (record === undefined || record.offset >= this.reserved || !this.hasRoom) break
      const delivery = this.#look(record, now, host)
      this.#unread.take(record)
      if (delivery === undefined) continue
      used += delivery.bytes
      this.outstanding.push(delivery)
      taken.push(delivery)
    }
    return taken
  }

  /** Undefined for a record that is finished, or waits. */
  #look(record: KafkaRecord, now: number, host: TakeHost): PartitionDelivery | undefined {
    const { offset } = record
    this.#ordinal++
    const inherited = this.#inherited.next(offset)
    if (inherited === undefined) return undefined
    const decoded = host.decode(record, this)
    if (decoded === undefined) return undefined
    const { deliverAt, retried } = decoded
    const isEarly = deliverAt !== undefined && inherited.notBefore === undefined && deliverAt > now
    let known = retried === undefined ? inherited : copyState(inherited, retried)
    if (isEarly) known = retried === undefined ? early(known, deliverAt) : earlyCopy(known, retried, deliverAt)
    const delivery = this.deliveryOf(decoded, offset, this.#ordinal, known)
    this.#budget.opened()
    if (known.notBefore === undefined || known.notBefore <= now || known.inOrder) return delivery
    const isAsRead = isEarly && known.used === usedBefore(delivery) && known.history !== 'died'
    host.delay(delivery, known.notBefore, isAsRead)
    return undefined
  }

  deliveryOf({ message, retried }: Decoded, offset: number, ordinal: number, known: AttemptState): PartitionDelivery {
    const bytes = messageBytes(message)
    return retried === undefined
      ? new CoreDelivery<Partition>(this, message, offset, ordinal, bytes, known)
      : new CopyDelivery<Partition>(retried, this, message, offset, ordinal, bytes, known)
  }

  /** It waits; its record says all that there is to know of it. */
  keptAsRead(delayed: Delayed): void {
    this.#asRead.add(delayed)
  }

  #pass(offset: number, leaderEpoch: number): void {
    if (offset <= this.to) return
    this.to = offset
    if (leaderEpoch >= 0) this.leaderEpoch = leaderEpoch
    this.changes++
  }

  // --- settling ----------------------------------------------------------------------------------------------------

  /** A record with what the last call of `record` said was stored. */
  committed(): void {
    this.reserved = Math.max(this.reserved, this.#writingClaim)
    this.storedFloor = this.#writingFloor
    this.written()
  }

  /**
   * They are finished, and the record that was made last, which has them as finished, is stored. `moved`: these waited here, and are stored
   * elsewhere now.
   */
  endedWith(ended: readonly PartitionDelivery[], moved: readonly Delayed[]): void {
    this.finishWritten(ended)
    for (const { place, delivery } of moved) {
      this.delayed.delete(place)
      if (delivery !== undefined) this.delayedBytes -= delivery.bytes
    }
    this.committed()
  }

  /** Nothing is stored anywhere, for nobody takes over: what happens here is all there is. */
  keep(): void {
    this.writing()
    this.#writingClaim = Infinity
    this.#budget.lift()
    this.committed()
  }

  /**
   * What to store. `free`: for the next owner, who may begin beyond the claim as if nothing had been handed out there. `ending`: what
   * is finished as soon as this is stored.
   */
  record(free: boolean, ending: ReadonlySet<object> = NONE): Omit<CommitRecord, 'owner'> {
    this.writing()
    const open: { readonly place: number; readonly ordinal: number }[] = [...this.buffer]
    const notes: OffsetNote[] = []
    for (const delayed of this.delayed.values()) {
      if (ending.has(delayed)) continue
      open.push(delayed)
      const { place: offset, history, used, running, notBefore } = delayed
      if (!this.#asRead.has(delayed)) notes.push({ offset, history, used, running, notBefore, inOrder: false })
    }
    let unnoted = 0
    for (let delivery = this.outstanding.first; delivery !== undefined; delivery = delivery.next) {
      if (ending.has(delivery)) continue
      open.push(delivery)
      const { place: offset, history, used, running, notedBefore: notBefore } = delivery
      if (
        used > usedBefore(delivery) ||
        running ||
        notBefore !== undefined ||
        history === 'died' ||
        (free && history === 'unknown')
      )
        notes.push({ offset, history, used, running, notBefore, inOrder: notBefore !== undefined })
      else unnoted++
    }
    for (const delivery of this.buffer) {
      const { place: offset, history, used, running, notBefore, inOrder } = delivery
      const isKnown = used > usedBefore(delivery) || notBefore !== undefined || history === 'died'
      if (isKnown || (free && history === 'unknown')) notes.push({ offset, history, used, running, notBefore, inOrder })
    }
    this.#budget.made(unnoted, notes)
    open.sort((a, b) => a.place - b.place)
    notes.sort((a, b) => a.offset - b.offset)
    const runs = runsOf(open)
    runs.push(...this.#inherited.runsFrom(this.to))
    notes.push(...this.#inherited.notesFrom(this.to))
    this.#writingClaim = free ? Math.max(this.to, this.#suspectTo) : this.#claim()
    let to = Math.max(this.to, this.#inherited.to)
    // It had been lost, and has come back: what was handed out before then is read again by whoever comes next.
    if (free && this.handedOutTo > to) {
      runs.push([to, this.handedOutTo - 1])
      to = this.handedOutTo
    }
    const floor = runs[0]?.[0] ?? (this.#isTrusted ? to : this.to)
    // A transaction commits only what the client has delivered; what is finished beyond that is in `to`.
    this.#writingFloor = ending === NONE ? floor : Math.min(floor, this.to)
    return {
      floor: this.#writingFloor,
      topic: this.topicHash,
      free,
      to,
      claim: Math.max(to, this.#writingClaim),
      moved: this.moved,
      partitions: this.partitions,
      open: runs,
      notes,
    }
  }

  /** The record has that size, and may have that much, in characters. */
  measured(characters: number, maxCharacters: number): void {
    this.#budget.measured(characters, maxCharacters)
  }

  /** Twice as far as was handed out since the last record, so that the next one comes in time. */
  #claim(): number {
    const ahead = Math.max(LEAST_AHEAD, 2 * (this.to - this.#claimedFrom))
    this.#claimedFrom = this.to
    return Math.max(this.reserved, this.#suspectTo, this.to + ahead)
  }
}

/** Consecutive ones become one run: offsets between them have no record. */
function runsOf(open: readonly { readonly place: number; readonly ordinal: number }[]): OpenRun[] {
  const runs: [number, number][] = []
  let before = Number.NaN
  for (const { place, ordinal } of open) {
    const last = runs.at(-1)
    if (last !== undefined && ordinal === before + 1) last[1] = place
    else runs.push([place, place])
    before = ordinal
  }
  return runs
}
