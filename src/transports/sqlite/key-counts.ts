/** A counter for each key; keys with a count of zero take no memory. */
export class KeyCounts {
  readonly #counts = new Map<string, number>()

  get size(): number {
    return this.#counts.size
  }

  has(key: string): boolean {
    return this.#counts.size > 0 && this.#counts.has(key)
  }

  get(key: string): number {
    return this.#counts.get(key) ?? 0
  }

  keys(): Iterable<string> {
    return this.#counts.keys()
  }

  add(key: string): number {
    const count = this.get(key) + 1
    this.#counts.set(key, count)
    return count
  }

  remove(key: string): void {
    const left = this.get(key) - 1
    if (left > 0) this.#counts.set(key, left)
    else this.#counts.delete(key)
  }
}
