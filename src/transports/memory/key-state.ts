import type { DeliveryHistory, SubscriptionSpec } from '../../core/transport.ts'
import type { LogEntry } from './log.ts'

const COMPACT_AT = 1_024
/** Never written to. */
const NONE: (Item | undefined)[] = []

/** A message that waits in a group: for its time, behind others of its key, or because it came back. */
export interface Item {
  readonly entry: LogEntry
  /** Order in which it became visible to the group. It stays the same over redeliveries, which keeps the order of a key. */
  readonly sequence: number
  /** Attempts used. */
  readonly used: number
  readonly history: DeliveryHistory
  readonly firstDeliveredAt: number | undefined
  /** Not before that time (monotonic ms). */
  readonly notBefore: number
}

/** The member that has messages of a key. */
export interface KeyOwner {
  readonly spec: Pick<SubscriptionSpec, 'maxPerKey'>
}

/**
 * The unfinished messages of one key in one group: some are with one member, the others wait. As long as any is in
 * flight, or the first one waits for its retry, no other member gets any of the key.
 */
export class KeyState {
  readonly key: string
  owner: KeyOwner | undefined = undefined
  inFlight = 0
  /** It is in the group's list of keys that may be handed out. */
  listed = false
  /** By sequence, from `#head` on: the backlog of a hot key is long, and is taken from its start. Most keys have none. */
  #waiting: (Item | undefined)[] = NONE
  #head = 0

  constructor(key: string) {
    this.key = key
  }

  /** Number of waiting messages. */
  get size(): number {
    return this.#waiting.length - this.#head
  }

  /** The next message. */
  get first(): Item | undefined {
    return this.#waiting[this.#head]
  }

  waiting(): Item[] {
    return this.#waiting.slice(this.#head) as Item[]
  }

  /** Its owner has the maximum number of messages. */
  get isFull(): boolean {
    return this.owner !== undefined && this.inFlight >= this.owner.spec.maxPerKey
  }

  shift(): Item | undefined {
    const item = this.#waiting[this.#head]
    if (item === undefined) return undefined
    this.#waiting[this.#head++] = undefined
    if (this.#head === this.#waiting.length) {
      this.#waiting.length = 0
      this.#head = 0
    } else if (this.#head >= COMPACT_AT && this.#head * 2 >= this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#head)
      this.#head = 0
    }
    return item
  }

  /** Inserts a message at its place. Nearly always, returned ones are older than all that wait, and new ones younger. */
  insert(item: Item): void {
    if (this.#waiting === NONE) this.#waiting = []
    insertBySequence(this.#waiting as Item[], item, this.#head)
  }
}

/** Inserts an item at its place in a list by sequence that begins at `from`. */
export function insertBySequence(items: Item[], item: Item, from = 0): void {
  let low = from
  let high = items.length
  if (high > low && (items[high - 1] as Item).sequence < item.sequence) low = high
  while (low < high) {
    const middle = (low + high) >> 1
    if ((items[middle] as Item).sequence < item.sequence) low = middle + 1
    else high = middle
  }
  if (low === items.length) items.push(item)
  else items.splice(low, 0, item)
}
