import type { Cluster } from '../cluster/cluster.ts'
import type { TrackedTopics } from '../cluster/metadata-refresher.ts'

/** The topics that a consumer reads: names, and those that match a pattern, which come and go. */
export class Subscription {
  readonly #cluster: Cluster
  readonly #names: readonly string[]
  readonly #patterns: readonly RegExp[]
  readonly #tracked: TrackedTopics
  readonly #ends: (() => void)[] = []
  #matched: readonly string[] = []

  /** `changed` is called when patterns match other topics than before. */
  constructor(cluster: Cluster, topics: readonly (string | RegExp)[], changed: (topics: readonly string[]) => void) {
    this.#cluster = cluster
    this.#names = topics.filter((topic) => typeof topic === 'string')
    // Without flags that make a match depend on the one before.
    this.#patterns = topics
      .filter((topic) => typeof topic !== 'string')
      .map(({ source, flags }) => new RegExp(`^(?:${source})$`, flags.replaceAll(/[gy]/g, '')))
    this.#tracked = cluster.track()
    for (const name of this.#names) this.#tracked.add(name)
    if (this.#patterns.length === 0) return
    this.#ends.push(
      cluster.trackAll(),
      cluster.onChange(() => {
        const matched = this.#match()
        if (matched.join() === this.#matched.join()) return
        this.#matched = matched
        changed(this.topics)
      }),
    )
  }

  get topics(): readonly string[] {
    return [...new Set([...this.#names, ...this.#matched])].sort()
  }

  end(): void {
    for (const end of this.#ends) end()
    this.#tracked.release()
  }

  #match(): readonly string[] {
    const found: string[] = []
    for (const { name, isInternal } of this.#cluster.metadata.topics()) {
      if (!isInternal && this.#patterns.some((pattern) => pattern.test(name))) found.push(name)
    }
    return found.sort()
  }
}
