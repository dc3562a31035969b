import type { Clock } from '../../core/clock.ts'
import type { EncodedMessage, OutgoingMessage } from '../../core/message.ts'
import type { Delivery, DeliveryHistory } from '../../core/transport.ts'
import type { LinkedList } from '../../core/util/linked-list.ts'
import { MemoryDelivery } from './delivery.ts'
import type { DeliveryQueue } from './delivery.ts'
import { insertBySequence, KeyState } from './key-state.ts'
import type { Item, KeyOwner } from './key-state.ts'
import { LogEntry } from './log.ts'
import type { TopicLog } from './log.ts'
import { WakeUps } from './wake-ups.ts'

/** Members of a group take turns in portions of this size; a single member takes all that it has credit for. */
const PORTION = 32

/** What a queue needs of a member of its group. */
export interface Member extends KeyOwner {
  /** Handed to it and not settled, of all its queues. */
  readonly outstanding: LinkedList<MemoryDelivery>
  /** Queues that left it out because it wanted nothing. */
  readonly behind: Set<GroupQueue>
  wants(): boolean
  /** Takes the delivery off its credit. */
  charge(delivery: MemoryDelivery): void
  hand(batch: readonly Delivery[]): void
  /** The scope of a message's order; undefined for none. */
  keyOf(message: EncodedMessage): string | undefined
  /** Takes back what is in flight from one queue, and returns it. */
  revoke(queue: GroupQueue, reason: string): readonly MemoryDelivery[]
}

/** What one group has yet to receive of one topic, and which member has what. */
export class GroupQueue implements DeliveryQueue {
  readonly topic: string
  readonly group: string
  readonly members: Member[] = []
  /** Bytes published for the group and not acked by it. */
  pendingBytes = 0
  inFlight = 0
  /** Offset of the next log entry that the group has not read. */
  cursor: number
  /** False for a group that has only received redriven messages so far: its first member decides where it starts. */
  started: boolean
  readonly #log: TopicLog
  readonly #clock: Clock
  readonly #onReady: (queue: GroupQueue) => void
  /** Returned messages, and those for this group alone, that have no key to wait for. By sequence. */
  #returned: Item[] = []
  readonly #keys = new Map<string, KeyState>()
  #readyKeys: KeyState[] = []
  readonly #later: WakeUps<Item | KeyState>
  #sequence = 0
  #turn = 0
  /** Wall-clock time of the batch that is being handed out. */
  #handedAt = 0

  constructor(parts: {
    topic: string
    group: string
    cursor: number
    started: boolean
    log: TopicLog
    clock: Clock
    onReady: (queue: GroupQueue) => void
  }) {
    this.topic = parts.topic
    this.group = parts.group
    this.cursor = parts.cursor
    this.started = parts.started
    this.#log = parts.log
    this.#clock = parts.clock
    this.#onReady = parts.onReady
    this.#later = new WakeUps(parts.clock, (subject) => {
      if (subject instanceof KeyState) this.#list(subject)
      else this.#comeBack(subject)
      this.#onReady(this)
    })
  }

  // --- handing out -------------------------------------------------------------------------------------------------

  /** Hands messages to members in turn, until nothing is left or no member wants more. */
  distribute(): void {
    const portion = this.members.length === 1 ? Infinity : PORTION
    for (let idle = 0; idle < this.members.length;) {
      const member = this.members[this.#turn++ % this.members.length] as Member
      const wants = member.wants()
      const batch = wants ? this.#take(member, portion) : []
      if (!wants && this.#hasSome) member.behind.add(this)
      if (batch.length === 0) idle++
      else {
        idle = 0
        member.hand(batch)
      }
    }
  }

  /** There may be something for members that want more. */
  get #hasSome(): boolean {
    return this.#returned.length > 0 || this.#readyKeys.length > 0 || this.cursor < this.#log.end
  }

  #take(member: Member, most: number): MemoryDelivery[] {
    const batch: MemoryDelivery[] = []
    this.#handedAt = this.#clock.now()
    while (batch.length < most && member.wants()) {
      const delivery = this.#takeReturned(member) ?? this.#takeOfKey(member) ?? this.#takeNew(member)
      if (delivery === undefined) break
      member.charge(delivery)
      batch.push(delivery)
    }
    return batch
  }

  #takeReturned(member: Member): MemoryDelivery | undefined {
    while (this.#returned.length > 0) {
      const delivery = this.#offer(this.#returned.shift() as Item, member)
      if (delivery !== undefined) return delivery
    }
    return undefined
  }

  /**
   * Takes from a key that no other member holds, oldest first. The key stays with the member while any of it is in
   * flight.
   */
  #takeOfKey(member: Member): MemoryDelivery | undefined {
    for (let state = this.#readyKeys[0]; state !== undefined; state = this.#readyKeys[0]) {
      const item = state.first
      const mine = state.owner === undefined || (state.owner === member && !state.isFull)
      if (item !== undefined && mine && item.notBefore <= this.#clock.monotonic()) {
        state.shift()
        return this.#handOut(item, member, state)
      }
      this.#readyKeys.shift()
      state.listed = false
      if (state.owner === undefined) this.#settleKey(state)
    }
    return undefined
  }

  #takeNew(member: Member): MemoryDelivery | undefined {
    while (this.cursor < this.#log.end) {
      const entry = this.#log.get(this.cursor++)
      if (entry === undefined) continue
      const { deliverAt } = entry.message
      const wait = deliverAt === undefined ? 0 : deliverAt - this.#clock.now()
      if (wait > 0) {
        const item = this.#newItem(entry, this.#clock.monotonic() + wait)
        this.#later.add(item.notBefore, item)
        continue
      }
      const state = this.#keyStateFor(entry.message, member)
      // Most messages go straight from the log to a member: no item is made for them.
      if (state === undefined || !isBusy(state, member))
        return this.#deliver(entry, member, state, this.#sequence++, 1, 'new', this.#handedAt)
      state.insert(this.#newItem(entry, 0))
    }
    return undefined
  }

  /** Gives a visible item to the member, unless its key is busy: then it waits with its key. */
  #offer(item: Item, member: Member): MemoryDelivery | undefined {
    const state = this.#keyStateFor(item.entry.message, member)
    if (state === undefined || !isBusy(state, member)) return this.#handOut(item, member, state)
    state.insert(item)
    return undefined
  }

  /** Undefined for a message that waits for no other. */
  #keyStateFor(message: OutgoingMessage, member: Member): KeyState | undefined {
    const key = member.keyOf(message)
    if (key === undefined) return undefined
    let state = this.#keys.get(key)
    if (state === undefined) this.#keys.set(key, (state = new KeyState(key)))
    return state
  }

  #handOut(item: Item, member: Member, state: KeyState | undefined): MemoryDelivery {
    const { entry, sequence, used, history, firstDeliveredAt = this.#handedAt } = item
    return this.#deliver(entry, member, state, sequence, used + 1, history, firstDeliveredAt)
  }

  #deliver(
    entry: LogEntry,
    member: Member,
    state: KeyState | undefined,
    sequence: number,
    attempt: number,
    history: DeliveryHistory,
    firstDeliveredAt: number,
  ): MemoryDelivery {
    if (state !== undefined) {
      state.owner = member
      state.inFlight++
    }
    this.inFlight++
    return new MemoryDelivery(entry, this, state, sequence, attempt, history, firstDeliveredAt)
  }

  #newItem(entry: LogEntry, notBefore: number): Item {
    return { entry, sequence: this.#sequence++, used: 0, history: 'new', firstDeliveredAt: undefined, notBefore }
  }

  // --- coming back -------------------------------------------------------------------------------------------------

  /** Ack or reject: the group is done with it. */
  done(delivery: MemoryDelivery): void {
    this.#out(delivery)
    this.pendingBytes -= delivery.bytes
    if (delivery.key !== undefined) this.#settleKey(delivery.key)
  }

  /** Nack or release, or its member has closed. `used`: the attempts used. */
  giveBack(delivery: MemoryDelivery, delayMs: number, used: number): void {
    const { key } = delivery
    this.#out(delivery)
    const item = delivery.returned(used, delayMs > 0 ? this.#clock.monotonic() + delayMs : 0)
    if (key !== undefined) {
      key.insert(item)
      this.#settleKey(key)
    } else if (delayMs > 0) this.#later.add(item.notBefore, item)
    else this.#comeBack(item)
    this.#onReady(this)
  }

  /** A copy for this group alone. */
  addTargeted(message: OutgoingMessage, publishedAt: number, bytes: number, delayMs: number): void {
    this.pendingBytes += bytes
    const entry = new LogEntry(message, -1, publishedAt, bytes)
    const item = this.#newItem(entry, delayMs > 0 ? this.#clock.monotonic() + delayMs : 0)
    if (delayMs > 0) this.#later.add(item.notBefore, item)
    else this.#comeBack(item)
    this.#onReady(this)
  }

  #out(delivery: MemoryDelivery): void {
    delivery.settled = true
    this.inFlight--
    if (delivery.key !== undefined && --delivery.key.inFlight === 0) delivery.key.owner = undefined
  }

  #comeBack(item: Item): void {
    // A message published with a delay takes its place in the order when the delay is over.
    insertBySequence(this.#returned, item)
  }

  /** After something of the key was settled: removes the key, hands out its next message, or waits for that to be due. */
  #settleKey(state: KeyState): void {
    const head = state.first
    if (head === undefined) {
      if (state.inFlight === 0) this.#keys.delete(state.key)
    } else if (head.notBefore > this.#clock.monotonic()) {
      if (state.inFlight === 0) this.#later.add(head.notBefore, state)
    } else if (!state.isFull) {
      this.#list(state)
      this.#onReady(this)
    }
  }

  #list(state: KeyState): void {
    if (state.listed || state.isFull || state.size === 0) return
    state.listed = true
    this.#readyKeys.push(state)
  }

  // --- looking -----------------------------------------------------------------------------------------------------

  /** Number of messages that wait for any reason, without those in flight. */
  get waiting(): number {
    let waiting = this.#returned.length + this.#unread()
    for (const state of this.#keys.values()) waiting += state.size
    for (const subject of this.#later.subjects()) if (!(subject instanceof KeyState)) waiting++
    return waiting
  }

  /** How many of those could be handed out now. */
  get ready(): number {
    let ready = this.#returned.length + this.#unread()
    // The rest of a key waits behind what is in flight.
    for (const state of this.#readyKeys) if (state.inFlight === 0) ready += state.size
    return ready
  }

  #unread(): number {
    if (!this.started) return 0
    let unread = 0
    for (let offset = Math.max(this.cursor, this.#log.start); offset < this.#log.end; offset++)
      if (this.#log.get(offset) !== undefined) unread++
    return unread
  }

  /** Publish time of the oldest unacked message. */
  get oldestUnackedAt(): number | undefined {
    let oldest = Infinity
    if (this.started) oldest = this.#log.get(Math.max(this.cursor, this.#log.start))?.publishedAt ?? Infinity
    for (const { publishedAt } of this.#unsettled()) oldest = Math.min(oldest, publishedAt)
    return oldest === Infinity ? undefined : oldest
  }

  /** Offset of the last message that is settled together with all before it. */
  get settledTo(): number | undefined {
    if (!this.started) return undefined
    let low = this.cursor
    for (const entry of this.#unsettled()) if (!entry.isTargeted) low = Math.min(low, entry.offset)
    return this.#log.lastBefore(low)?.offset ?? (low > 0 ? low - 1 : undefined)
  }

  /** What was taken from the log, or sent to this group alone, and is not settled. */
  #unsettled(): LogEntry[] {
    const entries = this.#waitingItems().map(({ entry }) => entry)
    for (const member of this.members)
      for (const { queue, entry } of member.outstanding.toArray()) if (queue === this) entries.push(entry)
    return entries
  }

  #waitingItems(): Item[] {
    const items = [...this.#returned]
    for (const state of this.#keys.values()) items.push(...state.waiting())
    for (const subject of this.#later.subjects()) if (!(subject instanceof KeyState)) items.push(subject)
    return items
  }

  // --- moving ------------------------------------------------------------------------------------------------------

  /** The group has its first member, and begins there. */
  start(cursor: number): void {
    if (this.started) return
    this.started = true
    this.cursor = cursor
    this.pendingBytes += this.#bytesFrom(cursor)
  }

  /**
   * Moves the group. `out` was taken back from its members. Messages for this group alone stay: they are not in the
   * log, and would otherwise be lost.
   */
  seek(cursor: number, out: readonly MemoryDelivery[]): void {
    const kept = this.#waitingItems().filter(({ entry }) => entry.isTargeted)
    // Taken back from a live member: the attempt that it may have started does not count.
    for (const delivery of out) if (delivery.entry.isTargeted) kept.push(delivery.returned(delivery.attempt - 1, 0))
    this.reset(cursor)
    for (const item of kept) {
      this.pendingBytes += item.entry.bytes
      if (item.notBefore > this.#clock.monotonic()) this.#later.add(item.notBefore, item)
      else this.#comeBack(item)
    }
    this.#onReady(this)
  }

  /** Removes everything that waits; the caller has taken back what is in flight. */
  reset(cursor: number, started = true): void {
    this.started = started
    this.cursor = cursor
    this.#returned = []
    this.#keys.clear()
    this.#readyKeys = []
    this.#later.clear()
    this.inFlight = 0
    this.pendingBytes = started ? this.#bytesFrom(cursor) : 0
  }

  #bytesFrom(cursor: number): number {
    let bytes = 0
    for (let offset = Math.max(cursor, this.#log.start); offset < this.#log.end; offset++)
      bytes += this.#log.get(offset)?.bytes ?? 0
    return bytes
  }

  /** A message was removed from the log: if the group has not read it, it never will. */
  removed(offset: number, bytes: number): void {
    if (this.started && offset >= this.cursor) this.pendingBytes -= bytes
  }

  close(): void {
    this.#later.clear()
  }
}

/** A message that the member gets now would overtake others of its key, or run beside them at another member. */
function isBusy(state: KeyState, member: Member): boolean {
  return state.size > 0 || state.isFull || (state.owner !== undefined && state.owner !== member)
}
