interface Due {
  /** In ms since 1970. */
  readonly dueAt: number
}

/** A queue in the order of when its entries are due. */
export class DueHeap<Entry extends Due> {
  /** Each entry is due no later than the two at twice its index plus one and plus two. */
  #entries: Entry[] = []

  get size(): number {
    return this.#entries.length
  }

  /** The one that is due first. */
  get first(): Entry | undefined {
    return this.#entries[0]
  }

  push(entry: Entry): void {
    let at = this.#entries.push(entry) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (this.#dueAt(parent) <= entry.dueAt) return
      this.#swap(at, parent)
      at = parent
    }
  }

  /** Removes the first one. */
  shift(): Entry | undefined {
    const entries = this.#entries
    const { first } = this
    const last = entries.pop()
    if (entries.length === 0 || last === undefined) return first
    entries[0] = last
    for (let at = 0; ;) {
      const left = 2 * at + 1
      let least = at
      if (this.#dueAt(left) < this.#dueAt(least)) least = left
      if (this.#dueAt(left + 1) < this.#dueAt(least)) least = left + 1
      if (least === at) return first
      this.#swap(at, least)
      at = least
    }
  }

  /** Removes all others. */
  keep(isWanted: (entry: Entry) => boolean): void {
    // What is sorted is a heap.
    this.#entries = this.#entries.filter(isWanted).sort((a, b) => a.dueAt - b.dueAt)
  }

  #dueAt(at: number): number {
    return this.#entries[at]?.dueAt ?? Infinity
  }

  #swap(a: number, b: number): void {
    const first = this.#entries[a] as Entry
    this.#entries[a] = this.#entries[b] as Entry
    this.#entries[b] = first
  }
}
