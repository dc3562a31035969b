import type { OutgoingMessage } from '../../../core/message.ts'
import { PublishError } from '../../../core/errors.ts'
import { isCopy, tooLarge } from '../../../core/publish/size-limit.ts'
import type { PublishOutcome } from '../../../core/transport.ts'
import { isDeadLetterTopic } from '../../../core/topic.ts'
import { KafkaError, SendManyError } from '../../../kafka/index.ts'
import type { Producer, SentRange } from '../../../kafka/index.ts'
import type { KafkaContext } from '../context.ts'
import { toPublishError } from '../errors.ts'
import { positionOf } from '../wire/mapping.ts'
import { LETTERS_PARTITION } from './send-in-transaction.ts'

type Outcomes = (PublishOutcome | undefined)[]

/** Indexes of one batch's messages for one topic. */
interface TopicPart {
  readonly topic: string
  /** A source is settled when it is confirmed: no leader alone may have it. */
  readonly isCopy: boolean
  readonly indexes: number[]
}

/** Stores batches: one call of the producer, with one promise, for each topic of a batch. */
export class KafkaPublisher {
  readonly #context: KafkaContext
  readonly #producer: Producer
  #copies: Producer | undefined
  /** What waits for a topic that is being made, in order: later batches wait behind it, or they would overtake. */
  readonly #preparing = new Map<string, Promise<void>>()

  constructor(context: KafkaContext) {
    this.#context = context
    this.#producer = context.client.producer(context.options.producer)
  }

  publish(batch: readonly OutgoingMessage[], signal: AbortSignal | undefined): Promise<readonly PublishOutcome[]> {
    const { maxMessageBytes } = this.#context.options
    const outcomes: Outcomes = Array.from({ length: batch.length })
    const parts = new Map<string, TopicPart>()
    for (const [index, message] of batch.entries()) {
      const { topic } = message
      const error =
        tooLarge(message, maxMessageBytes, 'Kafka') ?? (signal?.aborted === true ? abortedError(topic) : undefined)
      if (error !== undefined) {
        outcomes[index] = { error }
        continue
      }
      const isSafe = isCopy(message)
      const name = isSafe ? `${topic} copies` : topic
      const part = parts.get(name)
      if (part === undefined) parts.set(name, { topic, isCopy: isSafe, indexes: [index] })
      else part.indexes.push(index)
    }
    const done = Promise.all([...parts.values()].map((part) => this.#publishTo(part, batch, outcomes, signal)))
    return settled(batch, outcomes, done, signal)
  }

  close(deadlineMs: number): Promise<void> {
    const producers = this.#copies === undefined ? [this.#producer] : [this.#producer, this.#copies]
    return Promise.all(producers.map((producer) => producer.close({ deadlineMs }))).then(() => {})
  }

  /** What `acks` says is for what users publish: dead letters and redrives are confirmed by all replicas. */
  #producerFor(isCopy: boolean): Producer {
    const { client, options } = this.#context
    if (!isCopy || options.producer.acks === 'all') return this.#producer
    this.#copies ??= client.producer({ ...options.producer, acks: 'all' })
    return this.#copies
  }

  #publishTo(
    part: TopicPart,
    batch: readonly OutgoingMessage[],
    outcomes: Outcomes,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { topic } = part
    const before = this.#preparing.get(topic)
    if (before === undefined && this.#context.topics.isKnown(topic)) return this.#send(part, batch, outcomes, signal)
    let sent: Promise<void> = Promise.resolve()
    const preparing = (before ?? Promise.resolve()).then(async () => {
      try {
        await this.#context.topics.ensure(topic)
        if (signal?.aborted) throw abortedError(topic)
        sent = this.#send(part, batch, outcomes, signal)
      } catch (error) {
        // Nothing of it has been handed to the producer.
        const failure = toPublishError(error, topic, 'not-sent')
        for (const index of part.indexes) outcomes[index] ??= { error: failure }
      }
    })
    this.#preparing.set(topic, preparing)
    return preparing.then(() => {
      if (this.#preparing.get(topic) === preparing) this.#preparing.delete(topic)
      return sent
    })
  }

  async #send(
    { topic, indexes, isCopy: isSafe }: TopicPart,
    batch: readonly OutgoingMessage[],
    outcomes: Outcomes,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { mapping } = this.#context
    const isLetters = isDeadLetterTopic(topic)
    const records = indexes.map((index) => {
      const record = mapping.encode(batch[index] as OutgoingMessage)
      return isLetters ? { ...record, partition: LETTERS_PARTITION } : record
    })
    try {
      confirm(await this.#producerFor(isSafe).sendMany(topic, records, { signal }), indexes, outcomes)
    } catch (error) {
      if (error instanceof SendManyError) {
        confirm(error.sent, indexes, outcomes)
        for (const { index, error: failure } of error.failures) {
          this.#failed(failure, topic)
          outcomes[indexes[index] as number] ??= { error: toPublishError(failure, topic) }
        }
        return
      }
      this.#failed(error, topic)
      const failure = toPublishError(error, topic)
      for (const index of indexes) outcomes[index] ??= { error: failure }
    }
  }

  #failed(error: unknown, topic: string): void {
    if (!(error instanceof KafkaError)) return
    // It was deleted: the next publish makes it again.
    if (error.code === 'NOT_FOUND' || error.code === 'UNKNOWN_TOPIC_OR_PARTITION' || error.code === 'TOPIC_RECREATED')
      this.#context.topics.forget(topic)
  }
}

function confirm(ranges: readonly SentRange[], indexes: readonly number[], outcomes: Outcomes): void {
  for (const range of ranges) {
    const { partition, baseOffset } = range
    for (const [at, index] of range.indexes().entries())
      outcomes[indexes[index] as number] ??= {
        position: baseOffset < 0 ? undefined : positionOf(partition, baseOffset + at),
      }
  }
}

/** Resolves with the outcomes when all are known, or when the signal aborts: missing ones are then `unknown`. */
function settled(
  batch: readonly OutgoingMessage[],
  outcomes: Outcomes,
  done: Promise<unknown>,
  signal: AbortSignal | undefined,
): Promise<readonly PublishOutcome[]> {
  if (signal === undefined) return done.then(() => outcomes as PublishOutcome[])
  return new Promise((resolve) => {
    const abort = (): void => {
      // What the producer had not taken yet is reported by it: let that come first.
      setImmediate(() => {
        for (const [index, { topic }] of batch.entries())
          outcomes[index] ??= {
            error: new PublishError(
              `Publishing to "${topic}" failed: the wait for the confirmation was given up. Kafka may have it.`,
              { outcome: 'unknown', retryable: true, cause: signal.reason },
            ),
          }
        resolve(outcomes as PublishOutcome[])
      })
    }
    signal.addEventListener('abort', abort, { once: true })
    if (signal.aborted) abort()
    done.then(() => {
      signal.removeEventListener('abort', abort)
      resolve(outcomes as PublishOutcome[])
    }, abort)
  })
}

function abortedError(topic: string): PublishError {
  return new PublishError(`Publishing to "${topic}" failed: it was aborted. It was not sent.`, {
    outcome: 'not-sent',
    retryable: true,
  })
}
