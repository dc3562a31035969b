import type { Cluster } from '../cluster/cluster.ts'
import type { TrackedTopics } from '../cluster/metadata-refresher.ts'

/** The topics that a consumer reads: names, and those that match a pattern, which come and go. */
export class Subscription {
  readonly #cluster: Cluster
  readonly #changed: (topics: readonly string[]) => void
  readonly #tracked: TrackedTopics
  #names: readonly string[] = []
  #patterns: readonly RegExp[] = []
  #ends: (() => void)[] = []
  #matched: readonly string[] = []

  /** `changed` is called when patterns match other topics than before. */
  constructor(cluster: Cluster, topics: readonly (string | RegExp)[], changed: (topics: readonly string[]) => void) {
    this.#cluster = cluster
    this.#changed = changed
    this.#tracked = cluster.track()
    this.#set(topics)
  }

  /** Other topics from now on. */
  set(topics: readonly (string | RegExp)[]): void {
    const before = this.topics.join()
    this.#set(topics)
    if (this.topics.join() !== before) this.#changed(this.topics)
  }

  #set(topics: readonly (string | RegExp)[]): void {
    const former = this.#names
    this.#names = topics.filter((topic) => typeof topic === 'string')
    for (const name of this.#names) this.#tracked.add(name)
    for (const name of former) if (!this.#names.includes(name)) this.#tracked.remove(name)
    // Without flags that make a match depend on the one before.
    this.#patterns = topics
      .filter((topic) => typeof topic !== 'string')
      .map(({ source, flags }) => new RegExp(`^(?:${source})$`, flags.replaceAll(/[gy]/g, '')))
    this.#matched = this.#match()
    if (this.#patterns.length === 0) return this.#endWatching()
    if (this.#ends.length > 0) return
    this.#ends.push(
      this.#cluster.trackAll(),
      this.#cluster.onChange(() => {
        const matched = this.#match()
        if (matched.join() === this.#matched.join()) return
        this.#matched = matched
        this.#changed(this.topics)
      }),
    )
  }

  get topics(): readonly string[] {
    return [...new Set([...this.#names, ...this.#matched])].sort()
  }

  end(): void {
    this.#endWatching()
    this.#tracked.release()
  }

  #endWatching(): void {
    for (const end of this.#ends) end()
    this.#ends = []
  }

  #match(): readonly string[] {
    if (this.#patterns.length === 0) return []
    const found: string[] = []
    for (const { name, isInternal } of this.#cluster.metadata.topics()) {
      if (!isInternal && this.#patterns.some((pattern) => pattern.test(name))) found.push(name)
    }
    return found.sort()
  }
}
