import { compilePattern, isPattern, topicProblem } from '../../core/topic.ts'
import type { Arrival } from './arrival.ts'
import { topicOf } from './mapping.ts'

/** Tells the topics of what arrives in a subscription's queues, and what of it is none of its business. */
export class TopicFilter {
  readonly #wanted: string
  readonly #matches: ((topic: string) => boolean) | undefined
  readonly #hasOthers: boolean

  /** `hasOthers`: the user has bound queues, or named one, so that messages of any routing key may come. */
  constructor(wanted: string, hasOthers: boolean) {
    this.#wanted = wanted
    this.#matches = isPattern(wanted) ? compilePattern(wanted) : undefined
    this.#hasOthers = hasOthers
  }

  /** Undefined for a message that a binding let through and that is not of the topic. */
  topicOf(arrival: Arrival): string | undefined {
    const wanted = this.#wanted
    if (this.#matches === undefined) {
      // What has a bucket is ours, and bound exactly.
      const { routingKey } = arrival
      return this.#hasOthers || routingKey === wanted || routingKey.includes('.~') || topicOf(arrival) === wanted
        ? wanted
        : undefined
    }
    const topic = topicOf(arrival)
    if (this.#matches(topic)) return topic
    if (!this.#hasOthers) return undefined
    // From elsewhere, by a binding of the user's: its routing key may be anything.
    return topicProblem(topic, false) === undefined
      ? topic
      : topic.replace(/[^A-Za-z0-9_.-]+|^\.|\.$|\.(?=\.)/g, '_') || '_'
  }
}
