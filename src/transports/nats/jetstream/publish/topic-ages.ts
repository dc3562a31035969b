import { compilePattern } from '../../../../core/topic.ts'
import type { ResolvedNatsRetentionOptions } from '../../options.ts'

/** Maximum number of topics that are remembered. */
const MAX_KNOWN = 10_000

/** How long the messages of a topic are kept. */
export interface TopicAge {
  /** Undefined: forever. */
  readonly maxAgeMs: number | undefined
  /** As the server reads it: in seconds. */
  readonly ttl: string
}

/** Topics that are kept for another time than their stream (`retention.topics`). */
export class TopicAges {
  readonly #rules: readonly { readonly matches: (topic: string) => boolean; readonly age: TopicAge }[]
  readonly #known = new Map<string, TopicAge | undefined>()

  constructor({ topics }: ResolvedNatsRetentionOptions) {
    this.#rules = topics.map(({ pattern, maxAgeMs }) => ({
      matches: compilePattern(pattern),
      age: { maxAgeMs, ttl: maxAgeMs === undefined ? 'never' : `${Math.ceil(maxAgeMs / 1_000)}s` },
    }))
  }

  /** Undefined: as the stream. */
  of(topic: string): TopicAge | undefined {
    if (this.#rules.length === 0) return undefined
    if (this.#known.has(topic)) return this.#known.get(topic)
    const age = this.#rules.find(({ matches }) => matches(topic))?.age
    if (this.#known.size >= MAX_KNOWN) this.#known.clear()
    this.#known.set(topic, age)
    return age
  }
}
