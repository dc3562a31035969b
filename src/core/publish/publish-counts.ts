/** Messages of one topic, or of several, since the bus was made. */
export interface PublishCount {
  /** Confirmed by the broker. */
  readonly confirmed: number
  /** Not confirmed: each had a `publishFailed` event. The broker may have some of them. */
  readonly failed: number
}

/** Most topics of one transport that are counted each for itself. */
const MAX_TOPICS = 256

/** Counts the messages of one transport by topic, without allocating anything per message. */
export class PublishCounts {
  readonly #topics = new Map<string, { confirmed: number; failed: number }>()
  /** Of topics beyond the first `MAX_TOPICS`. */
  readonly others: { confirmed: number; failed: number } = { confirmed: 0, failed: 0 }
  #lastTopic: string | undefined
  #last = this.others

  get topics(): ReadonlyMap<string, PublishCount> {
    return this.#topics
  }

  of(topic: string): { confirmed: number; failed: number } {
    // Most messages have the topic of the one before.
    if (topic === this.#lastTopic) return this.#last
    let count = this.#topics.get(topic)
    if (count === undefined) {
      count = this.#topics.size < MAX_TOPICS ? { confirmed: 0, failed: 0 } : this.others
      if (count !== this.others) this.#topics.set(topic, count)
    }
    this.#lastTopic = topic
    return (this.#last = count)
  }
}
