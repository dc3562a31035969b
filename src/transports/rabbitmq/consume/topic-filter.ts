import { compilePattern, isPattern, topicProblem } from '../../../core/topic.ts'
import type { IncomingMessage } from '../wire/incoming-message.ts'
import { topicOf } from '../wire/read-message.ts'
import { hasBucket } from '../topology/names.ts'

/** Finds the topics of messages in a subscription's queues, and which of them don't concern it. */
export class TopicFilter {
  readonly #wanted: string
  readonly #matches: ((topic: string) => boolean) | undefined
  readonly #hasOthers: boolean

  /** `hasOthers`: the user has bound queues, or named one, so messages with any routing key may come. */
  constructor(wanted: string, hasOthers: boolean) {
    this.#wanted = wanted
    this.#matches = isPattern(wanted) ? compilePattern(wanted) : undefined
    this.#hasOthers = hasOthers
  }

  /** Undefined for a message that matched a binding but does not belong to the topic. */
  topicOf(arrival: IncomingMessage): string | undefined {
    const wanted = this.#wanted
    if (this.#matches === undefined) {
      // A message with a bucket is ours, and bound exactly.
      const { routingKey } = arrival
      return this.#hasOthers || routingKey === wanted || hasBucket(routingKey) || topicOf(arrival) === wanted
        ? wanted
        : undefined
    }
    const topic = topicOf(arrival)
    if (this.#matches(topic)) return topic
    if (!this.#hasOthers) return undefined
    // From elsewhere, through the user's binding: its routing key may be anything.
    return topicProblem(topic, false) === undefined
      ? topic
      : topic.replace(/[^A-Za-z0-9_.-]+|^\.|\.$|\.(?=\.)/g, '_') || '_'
  }
}
