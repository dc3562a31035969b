import type { Item } from './delivery.ts'
import type { MemorySubscription } from './subscriber.ts'

const COMPACT_AT = 1_024

/**
 * The messages of one key in one group that are not done: some are with one member, the others wait. As long as any is
 * out, or the first one waits for its retry, no other member gets any of the key.
 */
export class KeyState {
  readonly key: string
  owner: MemorySubscription | undefined = undefined
  inFlight = 0
  /** It stands in the group's list of keys that may be handed out. */
  listed = false
  /** By sequence, from `#head` on: the backlog of a hot key is long, and is taken from its start. */
  #waiting: (Item | undefined)[] = []
  #head = 0

  constructor(key: string) {
    this.key = key
  }

  /** How many wait. */
  get size(): number {
    return this.#waiting.length - this.#head
  }

  /** The next one. */
  get first(): Item | undefined {
    return this.#waiting[this.#head]
  }

  waiting(): Item[] {
    return this.#waiting.slice(this.#head) as Item[]
  }

  /** Its owner has as many as it may have. */
  get isFull(): boolean {
    return this.owner !== undefined && this.inFlight >= this.owner.spec.maxPerKey
  }

  shift(): Item | undefined {
    const item = this.#waiting[this.#head]
    if (item === undefined) return undefined
    this.#waiting[this.#head++] = undefined
    if (this.#head === this.#waiting.length || (this.#head >= COMPACT_AT && this.#head * 2 >= this.#waiting.length)) {
      this.#waiting = this.#waiting.slice(this.#head)
      this.#head = 0
    }
    return item
  }

  /** Puts one in its place. What comes back is older than all that wait, and what is new younger, nearly always. */
  insert(item: Item): void {
    insertBySequence(this.#waiting as Item[], item, this.#head)
  }
}

/** Puts an item in its place in a list by sequence that begins at `from`. */
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
