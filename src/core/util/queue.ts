const COMPACT_AT = 1024

/** First-in, first-out queue. `shift` is O(1) amortized; an array's is O(n). */
export class Queue<Item> {
  #items: (Item | undefined)[] = []
  #head = 0

  get size(): number {
    return this.#items.length - this.#head
  }

  push(item: Item): void {
    this.#items.push(item)
  }

  peek(): Item | undefined {
    return this.#items[this.#head]
  }

  shift(): Item | undefined {
    const items = this.#items
    if (this.#head === items.length) return undefined
    const item = items[this.#head]
    // Release the item at once: the array may live long.
    items[this.#head++] = undefined
    if (this.#head === items.length) {
      items.length = 0
      this.#head = 0
    } else if (this.#head >= COMPACT_AT && this.#head * 2 >= items.length) {
      this.#items = items.slice(this.#head)
      this.#head = 0
    }
    return item
  }

  /** From the oldest on. The queue must not change meanwhile. */
  *[Symbol.iterator](): Generator<Item, void, undefined> {
    for (let index = this.#head; index < this.#items.length; index++) yield this.#items[index] as Item
  }

  /** Empties the queue and returns its items. */
  drain(): Item[] {
    const rest = this.#items.slice(this.#head) as Item[]
    this.#items = []
    this.#head = 0
    return rest
  }
}
