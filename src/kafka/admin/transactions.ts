import { errorFromBroker } from '../errors.ts'
import type { AdminContext } from './admin-context.ts'
import {
  bigint,
  checkArguments,
  having,
  leaderEpoch,
  list,
  oneOf,
  only,
  optional,
  partitionIndex,
  text,
  topicName,
  whole,
} from './arguments.ts'

/** A transaction in the list of transactions. */
export interface TransactionListing {
  readonly transactionalId: string
  readonly producerId: bigint
  /** `Ongoing`, `PrepareCommit`, `CompleteAbort`, … */
  readonly state: string
}

/** What a coordinator knows of a transaction. */
export interface TransactionInfo extends TransactionListing {
  readonly producerEpoch: number
  readonly timeoutMs: number
  /** Milliseconds; -1 while none is open. */
  readonly startTime: number
  readonly partitions: readonly { readonly topic: string; readonly partitions: readonly number[] }[]
}

/** A producer as the leader of a partition knows it. */
export interface ActiveProducer {
  readonly producerId: bigint
  readonly producerEpoch: number
  readonly lastSequence: number
  readonly lastTimestamp: number
  readonly coordinatorEpoch: number
  /** -1 if it has no open transaction here. */
  readonly transactionStartOffset: number
}

/** The states that brokers of Kafka 4 know; they answer a word that is none with no transactions. */
const STATES = [
  'Empty',
  'Ongoing',
  'PrepareCommit',
  'PrepareAbort',
  'CompleteCommit',
  'CompleteAbort',
  'Dead',
  'PrepareEpochFence',
]
/** Of a transaction that nobody begins. */
const FENCE_TIMEOUT_MS = 1_000
const MAX_PRODUCER_EPOCH = 2 ** 15 - 1

const PRODUCER = having({
  producerId: bigint,
  producerEpoch: whole(0, MAX_PRODUCER_EPOCH),
  coordinatorEpoch: leaderEpoch,
})

/** Transactions, including hanging ones: `admin.transactions` (KIP-664). */
export class TransactionsAdmin {
  readonly #context: AdminContext

  /** @internal */
  constructor(context: AdminContext) {
    this.#context = context
  }

  /** The transactions of all brokers; with `states`, only those in one of these states. */
  async list(
    options: { readonly states?: readonly string[] | undefined } = {},
  ): Promise<readonly TransactionListing[]> {
    checkArguments('admin.transactions.list', {
      options: [options, only({ states: optional(list(oneOf(STATES), 'states')) })],
    })
    const { states = [] } = options
    return this.#context.read('list transactions', async () => {
      const answers = await this.#context.toAll('ListTransactions', { stateFilters: states, producerIdFilters: [] })
      return answers.flatMap(({ nodeId, response }) => {
        if (response.errorCode !== 0) throw errorFromBroker(response.errorCode, `list transactions of broker ${nodeId}`)
        return response.transactionStates.map(({ transactionalId, producerId, transactionState }) => ({
          transactionalId,
          producerId,
          state: transactionState,
        }))
      })
    })
  }

  /** The state of a transaction. Rejects with TRANSACTIONAL_ID_NOT_FOUND if there is none. */
  async describe(transactionalId: string): Promise<TransactionInfo> {
    checkArguments('admin.transactions.describe', {
      transactionalId: [transactionalId, text('the transactional id of a producer')],
    })
    const what = `describe transaction ${transactionalId}`
    return this.#context.read(what, async () => {
      const body = { transactionalIds: [transactionalId] }
      const answer = await this.#context.toCoordinator('transaction', transactionalId, 'DescribeTransactions', body)
      const [found] = answer.transactionStates
      this.#context.checkCoordinator('transaction', transactionalId, found?.errorCode ?? -1, what)
      if (found === undefined) throw errorFromBroker(-1, what)
      return {
        transactionalId,
        producerId: found.producerId,
        producerEpoch: found.producerEpoch,
        state: found.transactionState,
        timeoutMs: found.transactionTimeoutMs,
        startTime: found.transactionStartTimeMs,
        partitions: found.topics,
      }
    })
  }

  /**
   * Aborts the open transaction of a transactional id, if there is one, and fences its producer: as a new producer with
   * that id would. An id that was never used is remembered by the brokers from then on.
   */
  async fence(transactionalId: string): Promise<void> {
    checkArguments('admin.transactions.fence', {
      transactionalId: [transactionalId, text('the transactional id of a producer')],
    })
    const what = `fence ${transactionalId}`
    await this.#context.read(what, async () => {
      const body = { transactionalId, transactionTimeoutMs: FENCE_TIMEOUT_MS }
      const answer = await this.#context.toCoordinator('transaction', transactionalId, 'InitProducerId', body)
      this.#context.checkCoordinator('transaction', transactionalId, answer.errorCode, what)
    })
  }

  /** The producers that the leader of a partition knows. */
  async producers(topic: string, partition: number): Promise<readonly ActiveProducer[]> {
    checkArguments('admin.transactions.producers', {
      topic: [topic, topicName],
      partition: [partition, partitionIndex],
    })
    const what = `describe producers of ${topic}[${partition}]`
    return this.#onLeader(topic, partition, what, async (leader) => {
      const topics = [{ name: topic, partitionIndexes: [partition] }]
      const { response } = await this.#context.cluster.send(leader, 'DescribeProducers', { topics })
      const found = response.topics[0]?.partitions[0]
      const value = (found?.activeProducers ?? []).map(({ currentTxnStartOffset, ...producer }) => ({
        ...producer,
        transactionStartOffset: currentTxnStartOffset,
      }))
      return { errorCode: found?.errorCode ?? -1, value }
    })
  }

  /**
   * Aborts a hanging transaction on one partition: one that its coordinator has forgotten, and that therefore blocks
   * readers of committed records. `producer` comes from {@link TransactionsAdmin.producers}.
   */
  async abort(
    topic: string,
    partition: number,
    producer: Pick<ActiveProducer, 'producerId' | 'producerEpoch' | 'coordinatorEpoch'>,
  ): Promise<void> {
    checkArguments('admin.transactions.abort', {
      topic: [topic, topicName],
      partition: [partition, partitionIndex],
      producer: [producer, PRODUCER],
    })
    await this.#onLeader(topic, partition, `abort on ${topic}[${partition}]`, async (leader) => {
      const { producerId, producerEpoch, coordinatorEpoch } = producer
      const topics = [{ name: topic, partitionIndexes: [partition] }]
      const marker = { producerId, producerEpoch, coordinatorEpoch, transactionResult: false, topics }
      const { response } = await this.#context.cluster.send(
        leader,
        'WriteTxnMarkers',
        { markers: [marker] },
        { maxVersion: 1 },
      )
      return { errorCode: response.markers[0]?.topics[0]?.partitions[0]?.errorCode ?? -1, value: undefined }
    })
  }

  #onLeader<T>(
    topic: string,
    partition: number,
    what: string,
    ask: (leader: number) => Promise<{ readonly errorCode: number; readonly value: T }>,
  ): Promise<T> {
    return this.#context.withTopics([topic], () =>
      this.#context.read(what, async () => {
        const { leader } = await this.#context.cluster.leader(topic, partition)
        const { errorCode, value } = await ask(leader)
        if (errorCode !== 0) throw errorFromBroker(errorCode, what)
        return value
      }),
    )
  }
}
