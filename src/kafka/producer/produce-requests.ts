import type { Connections } from '../cluster/connections.ts'
import type { LeaderHint, Metadata } from '../cluster/metadata.ts'
import type { KafkaError } from '../errors.ts'
import type { ProduceRequest, ProduceResponse } from '../protocol/generated/api-types.ts'
import type { Codec } from '../records/batch-format.ts'
import { stampBatch } from '../records/batch-builder.ts'
import type { BatchAnswer } from './partition-queue.ts'
import type { ProducerBatch } from './producer-batch.ts'
import type { ProduceOrder } from './sender.ts'

export interface ProduceRequestsOptions {
  readonly connections: Connections
  readonly metadata: Pick<Metadata, 'topic'>
  readonly acks: -1 | 0 | 1
  readonly ackTimeoutMs: number
  readonly compression: Codec
  readonly now: () => number
  /** As it is when a request is made. */
  readonly transaction: () => TransactionStamp | undefined
  /** `answers` are in the order of the parts; undefined if no answer was asked for. */
  readonly answered: (order: ProduceOrder<ProducerBatch>, answers: readonly BatchAnswer[] | undefined) => void
  readonly lost: (order: ProduceOrder<ProducerBatch>, error: KafkaError) => void
  /** A broker names the new leader with its refusal (KIP-951). */
  readonly hinted: (hint: LeaderHint) => void
}

export interface TransactionStamp {
  readonly transactionalId: string
  /** Brokers add partitions to the transaction by themselves (KIP-890). */
  readonly isV2: boolean
}

interface OrderedTopic {
  readonly name: string
  /** As it was when the request was made: the topic may be another one when the answer comes. */
  readonly id: string | undefined
  readonly partitionData: { readonly index: number; readonly records: Buffer }[]
  /** Index of each partition's part in the order. */
  readonly places: number[]
}

type PartitionAnswer = BatchAnswer &
  Pick<ProduceResponse['responses'][number]['partitionResponses'][number], 'index' | 'currentLeader'>

const LAST_VERSION_BY_NAME = 12
const LAST_VERSION_OF_V1 = 11

/** Writes what the sender orders as Produce requests, and reads the answers. */
export class ProduceRequests {
  readonly #options: ProduceRequestsOptions
  /** By broker, while a batch of an order before is still being compressed. */
  readonly #lines = new Map<number, Promise<void>>()

  constructor(options: ProduceRequestsOptions) {
    this.#options = options
  }

  send(order: ProduceOrder<ProducerBatch>): void {
    const line = this.#lines.get(order.broker)
    const batches = order.parts.map(({ entry }) => entry.batch.bytes(this.#options.compression))
    if (line === undefined && batches.every((bytes) => Buffer.isBuffer(bytes))) return this.#write(order, batches)
    const next = this.#writeLater(order, batches, line).finally(() => {
      if (this.#lines.get(order.broker) === next) this.#lines.delete(order.broker)
    })
    this.#lines.set(order.broker, next)
  }

  async #writeLater(
    order: ProduceOrder<ProducerBatch>,
    batches: readonly (Buffer | Promise<Buffer>)[],
    before: Promise<void> | undefined,
  ): Promise<void> {
    const ready = await Promise.all(batches.map((bytes) => Promise.resolve(bytes)))
    await before
    this.#write(order, ready)
  }

  #write(order: ProduceOrder<ProducerBatch>, batches: readonly Buffer[]): void {
    const { connections, acks, ackTimeoutMs, now } = this.#options
    const transaction = this.#options.transaction()
    let deadline = Infinity
    for (const [index, { entry, identity }] of order.parts.entries()) {
      const { baseSequence, batch } = entry
      deadline = Math.min(deadline, batch.deadline)
      const isTransactional = transaction !== undefined
      const stamp = identity.producerId < 0 ? { ...identity, baseSequence: -1 } : { ...identity, baseSequence }
      stampBatch(batches[index] as Buffer, { ...stamp, isTransactional })
    }
    const topics = this.#topicsOf(order, batches)
    const hasIds = topics.every(({ id }) => id !== undefined)
    const transactionalId = transaction?.transactionalId ?? null
    const limit = transaction?.isV2 === false ? LAST_VERSION_OF_V1 : hasIds ? Infinity : LAST_VERSION_BY_NAME
    connections.request(order.broker, {
      name: 'Produce',
      body: (version): ProduceRequest => {
        const byId = version > LAST_VERSION_BY_NAME
        const topicData = topics.map(({ name, id = '', partitionData }) =>
          byId ? { topicId: id, partitionData } : { name, partitionData },
        )
        return { transactionalId, acks, timeoutMs: ackTimeoutMs, topicData }
      },
      maxVersion: limit,
      writeWithinMs: Math.max(0, deadline - now()),
      hasAnswer: acks !== 0,
      done: (error, response) => {
        if (error !== undefined) this.#options.lost(order, error)
        else if (response === undefined) this.#options.answered(order, undefined)
        else this.#answered(order, topics, response)
      },
    })
  }

  #topicsOf(order: ProduceOrder<ProducerBatch>, batches: readonly Buffer[]): readonly OrderedTopic[] {
    const topics = new Map<string, OrderedTopic>()
    for (const [at, { queue }] of order.parts.entries()) {
      let topic = topics.get(queue.topic)
      if (topic === undefined) {
        topic = { name: queue.topic, id: this.#options.metadata.topic(queue.topic)?.id, partitionData: [], places: [] }
        topics.set(queue.topic, topic)
      }
      topic.partitionData.push({ index: queue.partition, records: batches[at] as Buffer })
      topic.places[queue.partition] = at
    }
    return [...topics.values()]
  }

  #answered(order: ProduceOrder<ProducerBatch>, topics: readonly OrderedTopic[], response: ProduceResponse): void {
    const answers: PartitionAnswer[] = order.parts.map(() => NOT_ANSWERED)
    for (const { name, topicId, partitionResponses } of response.responses) {
      const topic = topics.find((asked) => (name === '' ? asked.id === topicId : asked.name === name))
      for (const partition of partitionResponses) {
        const at = topic?.places[partition.index]
        if (topic === undefined || at === undefined) continue
        answers[at] = partition
      }
    }
    this.#options.answered(order, answers)
    for (const [at, { queue }] of order.parts.entries()) this.#hint(queue.topic, answers[at], response)
  }

  #hint(topic: string, answer: PartitionAnswer | undefined, { nodeEndpoints: endpoints }: ProduceResponse): void {
    const { leaderId: leader, leaderEpoch: epoch } = answer?.currentLeader ?? NO_LEADER
    if (answer !== undefined && leader >= 0) {
      this.#options.hinted({ topic, partition: answer.index, leader, epoch, endpoints })
    }
  }
}

const NO_LEADER = { leaderId: -1, leaderEpoch: -1 }
const NOT_ANSWERED: PartitionAnswer = {
  index: -1,
  currentLeader: NO_LEADER,
  errorCode: -1,
  baseOffset: -1,
  logAppendTimeMs: -1,
  errorMessage: 'it did not name the partition',
}
