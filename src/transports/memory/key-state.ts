import type { Item } from './delivery.ts'
import type { MemorySubscription } from './subscriber.ts'

/**
 * The messages of one key in one group that are not done: some are with one member, the others wait. As long as any is
 * out, or the first one waits for its retry, no other member gets any of the key.
 */
export class KeyState {
  readonly key: string
  owner: MemorySubscription | undefined = undefined
  inFlight = 0
  /** By sequence. */
  readonly waiting: Item[] = []
  /** It stands in the group's list of keys that may be handed out. */
  listed = false

  constructor(key: string) {
    this.key = key
  }

  /** Puts one in its place: what comes back is older than what waits, nearly always. */
  insert(item: Item): void {
    let at = 0
    while (at < this.waiting.length && (this.waiting[at] as Item).sequence < item.sequence) at++
    this.waiting.splice(at, 0, item)
  }
}
