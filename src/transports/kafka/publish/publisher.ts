import type { OutgoingMessage } from '../../../core/message.ts'
import { PublishError } from '../../../core/errors.ts'
import { isCopy, tooLarge } from '../../../core/publish/size-limit.ts'
import type { PublishOutcome } from '../../../core/transport.ts'
import { KafkaError, SendManyError } from '../../../kafka/index.ts'
import type { Producer, SentRange } from '../../../kafka/index.ts'
import type { KafkaContext } from '../context.ts'
import { toPublishError } from '../errors.ts'
import { positionOf } from '../wire/mapping.ts'
import { ackOptionsOf, partitionOf } from './publish-options.ts'
import type { AckOptions } from './publish-options.ts'

type Outcomes = (PublishOutcome | undefined)[]

/** Each has memory and connections of its own. */
const MOST_PRODUCERS = 8

/** Indexes of one batch's messages for one topic and producer. */
interface TopicPart {
  readonly topic: string
  readonly producer: Producer
  readonly indexes: number[]
}

/** Stores batches: one call of the producer, with one promise, for each topic of a batch. */
export class KafkaPublisher {
  readonly #context: KafkaContext
  readonly #producer: Producer
  /** Those with other options, by these. */
  readonly #others = new Map<string, Producer>()
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
      // A source is settled when its copy is confirmed: no leader alone may have it.
      const acks = isCopy(message) ? SAFE : ackOptionsOf(message)
      const name = acks === undefined ? topic : `${topic} ${nameOf(acks)}`
      const part = parts.get(name)
      if (part !== undefined) {
        part.indexes.push(index)
        continue
      }
      const producer = this.#producerFor(acks)
      if (producer === undefined) outcomes[index] = { error: tooManyError(topic) }
      else parts.set(name, { topic, producer, indexes: [index] })
    }
    const done = Promise.all([...parts.values()].map((part) => this.#publishTo(part, batch, outcomes, signal)))
    return settled(batch, outcomes, done, signal)
  }

  close(deadlineMs: number): Promise<void> {
    return Promise.all(
      [this.#producer, ...this.#others.values()].map((producer) => producer.close({ deadlineMs })),
    ).then(() => {})
  }

  /** Undefined when there would be too many. */
  #producerFor(acks: AckOptions | undefined): Producer | undefined {
    const { client, options } = this.#context
    const isUsual = (name: keyof AckOptions): boolean =>
      acks?.[name] === undefined || acks[name] === options.producer[name]
    if (acks === undefined || (isUsual('acks') && isUsual('ackTimeoutMs'))) return this.#producer
    const name = nameOf(acks)
    let producer = this.#others.get(name)
    if (producer !== undefined || this.#others.size >= MOST_PRODUCERS) return producer
    const { acks: which = options.producer.acks, ackTimeoutMs = options.producer.ackTimeoutMs } = acks
    producer = client.producer({ ...options.producer, acks: which, ackTimeoutMs })
    this.#others.set(name, producer)
    return producer
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
    { topic, indexes, producer }: TopicPart,
    batch: readonly OutgoingMessage[],
    outcomes: Outcomes,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { mapping } = this.#context
    const records = indexes.map((index) => {
      const message = batch[index] as OutgoingMessage
      const record = mapping.encode(message)
      const partition = partitionOf(message)
      return partition === undefined ? record : { ...record, partition }
    })
    try {
      confirm(await producer.sendMany(topic, records, { signal }), indexes, outcomes)
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

const SAFE: AckOptions = { acks: 'all' }

function nameOf({ acks, ackTimeoutMs }: AckOptions): string {
  return `${acks ?? ''}/${ackTimeoutMs ?? ''}`
}

function tooManyError(topic: string): PublishError {
  return new PublishError(
    `Publishing to "${topic}" failed: this bus publishes with more than ${MOST_PRODUCERS} different values of native.acks and native.ackTimeoutMs. Each needs a producer of its own: use fewer. It was not sent.`,
    { outcome: 'not-sent', retryable: false },
  )
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
