// Over 250 lines: what is read, handed out, delayed and finished of one partition, which change together.
import { messageBytes } from '../../../core/message.ts'
import { LinkedList } from '../../../core/util/linked-list.ts'
import type { KafkaRecord } from '../../../kafka/index.ts'
import type { Decoded } from '../wire/mapping.ts'
import { MAX_RECORD_CHARACTERS, RESERVED_PER_DELIVERY, RESERVED_PER_NOTE } from './commit-record.ts'
import type { CommitRecord, OffsetNote, OpenRun } from './commit-record.ts'
import { early, InheritedOffsets } from './inherited-offsets.ts'
import type { Acquired } from './inherited-offsets.ts'
import { KafkaDelivery } from './kafka-delivery.ts'
import type { DeliveryOwner, Known } from './kafka-delivery.ts'

/** How far beyond `to` the least claim goes. */
const LEAST_AHEAD = 64
/** Messages of one partition that wait for their time: about 300 bytes each, without their bodies, and each commit names all of them. */
export const MAX_DELAYED = 10_000
/** Owner, offsets, and the like. */
const FIXED_BYTES = 64

export type PartitionDelivery = KafkaDelivery<Partition>

/** A record that waits for its time. */
export interface Delayed extends Known {
  readonly offset: number
  readonly ordinal: number
  /** In ms since 1970. */
  readonly dueAt: number
  /** As it was read; undefined when it has to be read again, because there was no room to keep it. */
  readonly delivery: PartitionDelivery | undefined
}

/** Records as the client delivered them; those before `at` have been looked at. */
interface Incoming {
  readonly records: readonly KafkaRecord[]
  readonly nextOffset: number
  readonly leaderEpoch: number
  at: number
}

/** What is taken with it: a decoder, whose group it is, and where to leave what must wait. */
export interface TakeHost {
  /** Undefined for a record that is no message of this group. */
  decode(record: KafkaRecord, partition: Partition): Decoded | undefined
  delay(partition: Partition, delayed: Delayed): void
  /** Whether the body of another message that waits may be kept. */
  mayKeep(bytes: number): boolean
}

/** Settlements of all partitions of a subscription that are not stored. */
export interface Unstored {
  count: number
}

/** Resolves with false when the partition was lost before what was to be written was stored. */
interface Waiter {
  readonly change: number
  readonly done: (isStored: boolean) => void
}

/**
 * What this member knows of a partition while it owns it: how far it has been handed out, and what of that is not settled. All
 * records of a partition are looked at in order, so "below `to`, all but these" says everything.
 */
export class Partition implements DeliveryOwner {
  readonly topic: string
  readonly index: number
  readonly name: string
  mine = false
  /** Being handed over: nothing more of it is handed out. */
  leaving = false
  /** Changes whenever it comes or goes: what began before says nothing about it now. */
  span = 0
  /** The first unfinished when it was lost last; -1 before. */
  lastFloor = -1
  /** Where the group is moved to is known: nothing is handed out before. */
  isChecked = false
  /** Its fetches rest because there is no room for more. */
  isPaused = false
  /** Every record below is settled, or handed out, or waits (see `record`). */
  to = 0
  /** Nothing from here on may be handed out: the last record says so. */
  reserved = 0
  /** Stand-in for the id of the topic. */
  topicHash = 0
  /** The last move of the group that was carried out. */
  moved = 0
  /** The record that was found said more than can be true. To be reported once. */
  isForeign = false
  /** Of the topic, when the group began. */
  partitions = 0
  readonly outstanding: LinkedList<PartitionDelivery> = new LinkedList()
  readonly delayed: Map<number, Delayed> = new Map()
  /** Of what is kept in `delayed`. */
  delayedBytes = 0
  /** To be handed out again, in order, before anything that was not looked at yet. */
  #returned: PartitionDelivery[] = []
  #incoming: Incoming[] = []
  #incomingCount = 0
  #incomingBytes = 0
  /** The record of the owner before has been compared with the log. */
  #isTrusted = true
  /** Of the last record below `to`. */
  leaderEpoch = -1
  /** Increases with every change that has to be stored. */
  changes = 0
  /** The value of `changes` in the record being written, and in the last one stored. */
  #writing = 0
  stored = 0
  /** Number of deliveries that were settled; and of those whose settlement is in the record being written, or stored. */
  #finished = 0
  #writingFinished = 0
  #storedFinished = 0
  /** What it counts into. */
  unstored: Unstored = { count: 0 }
  #waiters: Waiter[] = []
  #ordinal = 0
  /** Size of the last record, and how many records were opened since. */
  #recordBytes = FIXED_BYTES
  #maxRecordBytes = bytesOf(MAX_RECORD_CHARACTERS)
  #openedSince = 0
  /** Of the last record: deliveries that were handed out, and of which nothing is noted yet. */
  #unnoted = 0
  #writingClaim = 0
  #claimedFrom = 0
  /** Since another member had it: how far it was handed out here, how it came, and up to where an owner that died had it. */
  #handedOutTo = 0
  #before: 'clean' | 'taken' = 'clean'
  #suspectTo = 0
  /** When it was lost: number of attempts that had ended here, by offset. */
  #used = new Map<number, number>()
  #inherited: InheritedOffsets

  constructor(topic: string, index: number) {
    this.topic = topic
    this.index = index
    this.name = `${topic}/${index}`
    this.#inherited = this.#inherit({ to: 0, open: [], notes: [] }, 'clean')
  }

  #inherit(record: Pick<CommitRecord, 'to' | 'open' | 'notes'>, how: Acquired): InheritedOffsets {
    const [handedOut, before, suspectTo, used] = [this.#handedOutTo, this.#before, this.#suspectTo, this.#used]
    return new InheritedOffsets(record, how, { handedOut, before, suspectTo, used })
  }

  /** Starts from what the owner before has left. */
  load(record: Omit<CommitRecord, 'owner' | 'free'>, how: Acquired): void {
    this.span++
    this.mine = true
    this.leaving = false
    this.isChecked = false
    this.isPaused = false
    // It may come back, and be lost again, before it has been read.
    this.#handedOutTo = how === 'ours' ? Math.max(this.#handedOutTo, this.to) : 0
    if (how !== 'ours') {
      this.#before = how
      this.#suspectTo = record.claim
      // Another owner has counted on.
      this.#used = new Map()
    }
    this.#dropRead()
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
    this.#openedSince = 0
    this.#unnoted = 0
    this.changes++
  }

  /** Everything that is here was lost; returns what was handed out. */
  lose(): PartitionDelivery[] {
    if (this.mine) this.lastFloor = this.#floor
    this.span++
    this.mine = false
    this.leaving = false
    const lost = this.outstanding.toArray()
    this.#keepUsed(lost)
    for (const delivery of lost) {
      delivery.lost = true
      this.outstanding.remove(delivery)
    }
    this.#dropRead()
    this.#stored(this.#finished)
    for (const { done } of this.#waiters.splice(0)) done(false)
    return lost
  }

  /** The first that is not finished. */
  get #floor(): number {
    let floor =
      this.#inherited.runsFrom(this.to)[0]?.[0] ?? (this.#isTrusted ? Math.max(this.to, this.#inherited.to) : this.to)
    for (let delivery = this.outstanding.first; delivery !== undefined; delivery = delivery.next)
      floor = Math.min(floor, delivery.offset)
    for (const { offset } of this.#returned) floor = Math.min(floor, offset)
    for (const offset of this.delayed.keys()) floor = Math.min(floor, offset)
    return floor
  }

  /** A partition may be lost because nothing could be stored: then only we know of these attempts, should it come back. */
  #keepUsed(outstanding: readonly PartitionDelivery[]): void {
    const kept = new Map<number, number>()
    for (const [offset, used] of this.#used) if (offset >= this.to) kept.set(offset, used)
    for (const { offset, used, running } of [...outstanding, ...this.#returned, ...this.delayed.values()]) {
      // Lost while its handler is running: that attempt does not count.
      const ended = running ? used - 1 : used
      if (ended > 0) kept.set(offset, ended)
    }
    this.#used = kept
  }

  #dropRead(): void {
    this.#returned = []
    this.#incoming = []
    this.#incomingCount = 0
    this.#incomingBytes = 0
    this.delayed.clear()
    this.delayedBytes = 0
  }

  // --- reading -----------------------------------------------------------------------------------------------------

  /** Where the log ends has to be known before anything is read. */
  get mustCompare(): boolean {
    return !this.#isTrusted
  }

  /** The client has delivered records. `end`: where the log ends. */
  arrived(records: readonly KafkaRecord[], nextOffset: number, leaderEpoch: number, end: number): void {
    if (!this.#isTrusted) this.#compare(end)
    this.#incoming.push({ records, nextOffset, leaderEpoch, at: 0 })
    this.#incomingCount += records.length
    for (const { keySize, valueSize } of records) this.#incomingBytes += Math.max(0, keySize) + Math.max(0, valueSize)
  }

  /** The log no longer has what is between: returns how much of that was not finished. What came before stays. */
  skipped(from: number, to: number): number {
    this.#incoming.push({ records: [], nextOffset: to, leaderEpoch: -1, at: 0 })
    return this.#inherited.openBetween(from, to)
  }

  /** A record that knows more than the log has is of another log, or made up: then everything is handled from the floor on. */
  #compare(end: number): void {
    if (end < 0) return
    this.#isTrusted = true
    if (this.#inherited.to <= end) return
    this.isForeign = true
    this.#suspectTo = this.to
    this.#inherited = this.#inherit({ to: this.to, open: [], notes: [] }, 'clean')
    this.changes++
  }

  /** Number of records that wait to be looked at. */
  get unread(): number {
    return this.#incomingCount
  }

  get unreadBytes(): number {
    return this.#incomingBytes
  }

  get hasWork(): boolean {
    return this.#returned.length > 0 || this.#incoming.length > 0
  }

  /** What comes may be handed out. */
  get isReady(): boolean {
    return this.isChecked && this.reserved > this.to
  }

  // --- handing out -------------------------------------------------------------------------------------------------

  /** What has come back, or become due, and waits to be handed out. */
  get toHandOut(): { readonly count: number; readonly bytes: number } {
    let bytes = 0
    for (const delivery of this.#returned) bytes += delivery.bytes
    return { count: this.#returned.length, bytes }
  }

  /** What is left can't be handed out before the next record is stored. */
  get isHeldUp(): boolean {
    const [incoming] = this.#incoming
    const next = incoming?.records[incoming.at]
    return this.#returned.length === 0 && next !== undefined && next.offset >= this.reserved
  }

  /** Whether one more unfinished record would still fit into the commit, and into memory if it is delayed. */
  get hasRoom(): boolean {
    if (this.delayed.size >= MAX_DELAYED) return false
    // Handlers that hang are noted later than that their messages were handed out.
    const reserved = RESERVED_PER_DELIVERY * (this.#openedSince + 1) + RESERVED_PER_NOTE * this.#unnoted
    return this.#recordBytes + reserved <= this.#maxRecordBytes
  }

  /** Hands out up to `count` messages, in order, until they take `bytes`; the last one may be larger. */
  take(count: number, bytes: number, now: number, host: TakeHost): PartitionDelivery[] {
    const taken: PartitionDelivery[] = []
    let used = 0
    let again = 0
    for (; again < this.#returned.length && taken.length < count && used < bytes; again++) {
      const delivery = this.#returned[again] as PartitionDelivery
      used += delivery.bytes
      this.outstanding.push(delivery)
      taken.push(delivery)
    }
    if (again > 0) this.#returned.splice(0, again)
    while (taken.length < count && used < bytes) {
      const [incoming] = this.#incoming
      if (incoming === undefined) break
      const record = incoming.records[incoming.at]
      if (record === undefined) {
        this.#incoming.shift()
        this.#pass(incoming.nextOffset, incoming.leaderEpoch)
        continue
      }
      if (record.offset >= this.reserved || !this.hasRoom) break
      incoming.at++
      const delivery = this.#look(record, now, host)
      this.#pass(record.offset + 1, incoming.leaderEpoch)
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
    this.#incomingCount--
    this.#incomingBytes -= Math.max(0, record.keySize) + Math.max(0, record.valueSize)
    const inherited = this.#inherited.next(offset)
    if (inherited === undefined) return undefined
    const decoded = host.decode(record, this)
    if (decoded === undefined) return undefined
    const { message, deliverAt } = decoded
    const isEarly = deliverAt !== undefined && inherited.notBefore === undefined && deliverAt > now
    const known = isEarly ? early(inherited, deliverAt) : inherited
    const delivery = new KafkaDelivery<Partition>(this, message, offset, this.#ordinal, messageBytes(message), known)
    this.#openedSince++
    if (known.notBefore === undefined || known.notBefore <= now || known.inOrder) return delivery
    host.delay(this, this.putAside(delivery, known.notBefore, host.mayKeep(delivery.bytes)))
    return undefined
  }

  #pass(offset: number, leaderEpoch: number): void {
    if (offset <= this.to) return
    this.to = offset
    if (leaderEpoch >= 0) this.leaderEpoch = leaderEpoch
    this.changes++
  }

  /** `keep`: its body stays in memory. */
  putAside(delivery: PartitionDelivery, dueAt: number, keep: boolean): Delayed {
    const { offset, ordinal, history, used, running } = delivery
    const kept = keep ? delivery : undefined
    const delayed = { offset, ordinal, dueAt, history, used, running, notBefore: dueAt, inOrder: false, delivery: kept }
    this.delayed.set(offset, delayed)
    if (keep) this.delayedBytes += delivery.bytes
    return delayed
  }

  /** The time of a delayed message has come. `delivery`: it, if it was read again. */
  due(delayed: Delayed, delivery: PartitionDelivery | undefined = delayed.delivery): void {
    this.delayed.delete(delayed.offset)
    if (delayed.delivery !== undefined) this.delayedBytes -= delayed.delivery.bytes
    if (delivery === undefined) return
    const { history, used, running } = delayed
    const { message, offset, ordinal, bytes } = delivery
    const known = { history, used, running, notBefore: undefined, inOrder: false }
    this.giveBackOne(new KafkaDelivery<Partition>(this, message, offset, ordinal, bytes, known))
  }

  /** Into its place among those to be handed out again. */
  giveBackOne(delivery: PartitionDelivery): void {
    let at = this.#returned.length
    while (at > 0 && (this.#returned[at - 1] as PartitionDelivery).offset > delivery.offset) at--
    this.#returned.splice(at, 0, delivery)
  }

  /** What was handed out and is not settled goes back, for the next owner; it has used no attempt. */
  giveBack(now: number): PartitionDelivery[] {
    const begun = this.outstanding.toArray()
    for (const delivery of begun) {
      delivery.lost = true
      this.outstanding.remove(delivery)
      const notBefore = delivery.notedBefore ?? delivery.notBefore
      const waits = notBefore !== undefined && notBefore > now
      this.giveBackOne(delivery.again(delivery.attempt - 1, waits ? notBefore : undefined, waits))
    }
    if (begun.length > 0) this.changes++
    return begun
  }

  // --- settling ----------------------------------------------------------------------------------------------------

  /** It is done, or is put back by the caller. */
  finish(delivery: PartitionDelivery): void {
    delivery.settled = true
    this.#finished++
    this.unstored.count++
    this.outstanding.remove(delivery)
    this.changes++
  }

  /** Resolves when everything up to now is stored: with false when the partition was lost before. */
  whenStored(): Promise<boolean> {
    if (!this.mine) return Promise.resolve(false)
    if (this.stored >= this.changes) return Promise.resolve(true)
    return new Promise((done) => this.#waiters.push({ change: this.changes, done }))
  }

  /** A record with what the last call of `record` said was stored. */
  committed(): void {
    this.stored = this.#writing
    this.#stored(this.#writingFinished)
    this.reserved = Math.max(this.reserved, this.#writingClaim)
    let count = 0
    for (; count < this.#waiters.length; count++) {
      const waiter = this.#waiters[count] as Waiter
      if (waiter.change > this.stored) break
      waiter.done(true)
    }
    this.#waiters.splice(0, count)
  }

  /**
   * They are finished, and the record that was made last, which has them as finished, is stored: with nothing else since, it is all there
   * is to store.
   */
  endedWith(ended: readonly PartitionDelivery[]): void {
    const isCurrent = this.changes === this.#writing
    for (const delivery of ended) this.finish(delivery)
    if (isCurrent) this.#writing = this.changes
    this.#writingFinished += ended.length
    this.committed()
  }

  /** Nothing is stored anywhere, for nobody takes over: what happens here is all there is. */
  keep(): void {
    this.#writing = this.changes
    this.#writingFinished = this.#finished
    this.#writingClaim = Infinity
    this.#maxRecordBytes = Infinity
    this.committed()
  }

  /** Settlements up to this one are stored, or void. */
  #stored(finished: number): void {
    this.unstored.count -= finished - this.#storedFinished
    this.#storedFinished = finished
  }

  /** Some of its settlements are not stored. */
  get hasUnstored(): boolean {
    return this.#finished > this.#storedFinished
  }

  /** What to store. `free`: for the next owner, who may begin beyond the claim as if nothing had been handed out there. */
  record(free: boolean): Omit<CommitRecord, 'owner'> {
    this.#writing = this.changes
    this.#writingFinished = this.#finished
    this.#openedSince = 0
    this.#unnoted = 0
    const open: { readonly offset: number; readonly ordinal: number }[] = [...this.#returned, ...this.delayed.values()]
    const notes: OffsetNote[] = []
    for (let delivery = this.outstanding.first; delivery !== undefined; delivery = delivery.next) {
      if (delivery.isEnding) continue
      open.push(delivery)
      const { offset, history, used, running, notedBefore: notBefore } = delivery
      if (used > 0 || running || notBefore !== undefined || history === 'died' || (free && history === 'unknown'))
        notes.push({ offset, history, used, running, notBefore, inOrder: notBefore !== undefined })
      else this.#unnoted++
    }
    for (const { offset, history, used, running, notBefore, inOrder } of this.#returned)
      if (used > 0 || notBefore !== undefined || history === 'died' || (free && history === 'unknown'))
        notes.push({ offset, history, used, running, notBefore, inOrder })
    for (const { offset, history, used, running, notBefore } of this.delayed.values())
      // Its own header says when it is due.
      if (history !== 'new' || used > 0) notes.push({ offset, history, used, running, notBefore, inOrder: false })
    open.sort((a, b) => a.offset - b.offset)
    notes.sort((a, b) => a.offset - b.offset)
    const runs = runsOf(open)
    runs.push(...this.#inherited.runsFrom(this.to))
    notes.push(...this.#inherited.notesFrom(this.to))
    this.#writingClaim = free ? Math.max(this.to, this.#suspectTo) : this.#claim()
    let to = Math.max(this.to, this.#inherited.to)
    // It had been lost, and has come back: what was handed out before then is read again by whoever comes next.
    if (free && this.#handedOutTo > to) {
      runs.push([to, this.#handedOutTo - 1])
      to = this.#handedOutTo
    }
    return {
      floor: runs[0]?.[0] ?? (this.#isTrusted ? to : this.to),
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
    this.#recordBytes = bytesOf(characters)
    this.#maxRecordBytes = bytesOf(maxCharacters)
  }

  /** Twice as far as was handed out since the last record, so that the next one comes in time. */
  #claim(): number {
    const ahead = Math.max(LEAST_AHEAD, 2 * (this.to - this.#claimedFrom))
    this.#claimedFrom = this.to
    return Math.max(this.reserved, this.#suspectTo, this.to + ahead)
  }
}

/** Base64 makes four characters of three bytes; the prefix takes four. */
function bytesOf(characters: number): number {
  return Math.floor(((characters - 4) * 3) / 4)
}

/** Consecutive ones become one run: offsets between them have no record. */
function runsOf(open: readonly { readonly offset: number; readonly ordinal: number }[]): OpenRun[] {
  const runs: [number, number][] = []
  let before = Number.NaN
  for (const { offset, ordinal } of open) {
    const last = runs.at(-1)
    if (last !== undefined && ordinal === before + 1) last[1] = offset
    else runs.push([offset, offset])
    before = ordinal
  }
  return runs
}
