import type { Cluster } from '../cluster/cluster.ts'
import type { Connections } from '../cluster/connections.ts'
import type { CoordinatorType } from '../cluster/coordinators.ts'
import { errorFromBroker, KafkaError } from '../errors.ts'
import { withOutcome } from '../network/connection-errors.ts'
import { commonVersion } from '../protocol/api-versions.ts'
import type { ApiName, Requests, Responses, TxnOffsetCommitResponse } from '../protocol/generated/api-types.ts'
import type { Identity } from './partition-queue.ts'
import type { TopicPartitions } from './transaction-state.ts'

/** The member of a group whose offsets a transaction commits (KIP-447): brokers refuse those of a former member. */
export interface GroupMetadata {
  readonly groupId: string
  /** -1 for a group without members. */
  readonly generationId: number
  readonly memberId: string
  readonly groupInstanceId?: string | null | undefined
}

/** Where a group continues: the offset of the next record. */
export interface TransactionOffset {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** @default unknown */
  readonly leaderEpoch?: number | undefined
  readonly metadata?: string | null | undefined
}

export interface TransactionRequestsOptions {
  readonly cluster: Cluster
  /** To coordinators: what they are asked does not wait behind records. */
  readonly connections: Connections
  readonly transactionTimeoutMs: number
  /** How long one request is repeated while its errors pass. */
  readonly timeoutMs: number
}

/** Versions from which brokers work by KIP-890. */
const V2 = { Produce: 12, TxnOffsetCommit: 5, EndTxn: 5 } as const
const LAST_V1 = { TxnOffsetCommit: 4, EndTxn: 4 } as const
const LAST_ADD_PARTITIONS_OF_CLIENTS = 3

/** The requests of a producer to its coordinators: repeated while their errors pass, and until their answer is definite. */
export class TransactionRequests {
  readonly #options: TransactionRequestsOptions

  constructor(options: TransactionRequestsOptions) {
    this.#options = options
  }

  /** A producer id without transactions, of any broker. */
  async producerId(signal: AbortSignal): Promise<Identity> {
    const { cluster, transactionTimeoutMs } = this.#options
    const attempt = async () => {
      const answer = await cluster.sendToAny('InitProducerId', { transactionalId: null, transactionTimeoutMs })
      throwIf(answer.errorCode, 'InitProducerId')
      return identityOf(answer)
    }
    return cluster.retry('InitProducerId', attempt, { signal })
  }

  /**
   * The producer id of a transactional id. Ends an unfinished transaction of it. With `former`, brokers of Kafka 2.5 and newer refuse it
   * if another producer has taken the id since.
   */
  async initialize(
    transactionalId: string,
    former: Identity | undefined,
  ): Promise<{ readonly identity: Identity; readonly isV2: boolean }> {
    const { transactionTimeoutMs } = this.#options
    const { response, nodeId } = await this.#ask('transaction', transactionalId, 'InitProducerId', (version) => ({
      transactionalId,
      transactionTimeoutMs,
      ...(former === undefined || version < 3 ? {} : former),
    }))
    return { identity: identityOf(response), isV2: this.#isV2(nodeId) }
  }

  async addPartitions(transactionalId: string, identity: Identity, topics: readonly TopicPartitions[]): Promise<void> {
    const what = 'AddPartitionsToTxn'
    const check = ({ resultsByTopicV3AndBelow }: Responses['AddPartitionsToTxn']) => {
      for (const { name, resultsByPartition } of resultsByTopicV3AndBelow) {
        for (const { partitionIndex, partitionErrorCode } of resultsByPartition) {
          throwIf(partitionErrorCode, `${what} of ${name}[${partitionIndex}]`)
        }
      }
    }
    await this.#ask(
      'transaction',
      transactionalId,
      what,
      {
        v3AndBelowTransactionalId: transactionalId,
        v3AndBelowProducerId: identity.producerId,
        v3AndBelowProducerEpoch: identity.producerEpoch,
        v3AndBelowTopics: topics,
      },
      { check, maxVersion: LAST_ADD_PARTITIONS_OF_CLIENTS },
    )
  }

  /** Adds offsets of a group. Version 1 announces them to the transaction's coordinator first. */
  async commitOffsets(
    transactionalId: string,
    identity: Identity,
    isV2: boolean,
    group: GroupMetadata,
    offsets: readonly TransactionOffset[],
  ): Promise<void> {
    const { groupId, generationId, memberId, groupInstanceId = null } = group
    const producer = { transactionalId, ...identity }
    if (!isV2) await this.#ask('transaction', transactionalId, 'AddOffsetsToTxn', { ...producer, groupId })
    const body = { ...producer, groupId, generationId, memberId, groupInstanceId, topics: byTopic(offsets) }
    await this.#ask('group', groupId, 'TxnOffsetCommit', body, {
      check: checkOffsets,
      ...(isV2 ? {} : { maxVersion: LAST_V1.TxnOffsetCommit }),
    })
  }

  /** Resolves with the new epoch that version 2 brings. */
  async end(
    transactionalId: string,
    identity: Identity,
    isV2: boolean,
    committed: boolean,
  ): Promise<Identity | undefined> {
    const body = { transactionalId, ...identity, committed }
    const { response, version } = await this.#ask(
      'transaction',
      transactionalId,
      'EndTxn',
      body,
      isV2 ? {} : { maxVersion: LAST_V1.EndTxn },
    )
    return version >= V2.EndTxn && response.producerId >= 0 ? identityOf(response) : undefined
  }

  /** Whether the cluster has agreed on version 2. It is asked once for each producer id, so it can't change within a transaction. */
  #isV2(nodeId: number): boolean {
    const apis = this.#options.connections.apis(nodeId)
    if (apis === undefined || (apis.features.get('transaction.version') ?? 0) < 2) return false
    return Object.entries(V2).every(([name, version]) => (commonVersion(apis, name as ApiName) ?? 0) >= version)
  }

  /** `check` throws for errors that are not in the answer's `errorCode`. */
  #ask<N extends ApiName>(
    type: CoordinatorType,
    key: string,
    name: N,
    body: Requests[N] | ((version: number) => Requests[N]),
    { check, maxVersion }: { readonly check?: (response: Responses[N]) => void; readonly maxVersion?: number } = {},
  ) {
    const { cluster, connections, timeoutMs } = this.#options
    const what = `${name} of ${key}`
    let isInDoubt = false
    const attempt = async () => {
      const options = maxVersion === undefined ? {} : { maxVersion }
      try {
        const sent = await cluster.coordinators.send(connections, { type, key }, name, body, options)
        if ('errorCode' in sent.response) throwIf(sent.response.errorCode, what)
        check?.(sent.response)
        return sent
      } catch (error) {
        if (!(error instanceof KafkaError)) throw error
        if (error.action === 'rediscover') cluster.coordinators.forget(type, key)
        if (error.outcome === 'unknown') isInDoubt = true
        throw error
      }
    }
    return cluster.retry(what, attempt, { timeoutMs }).catch((error: unknown) => {
      const isLate = error instanceof KafkaError && error.code === 'WAIT_TIMEOUT'
      throw error instanceof KafkaError && (isInDoubt || isLate) ? withOutcome(error, 'unknown') : error
    })
  }
}

function checkOffsets({ topics }: TxnOffsetCommitResponse): void {
  for (const { name, partitions } of topics) {
    for (const { partitionIndex, errorCode } of partitions) {
      throwIf(errorCode, `TxnOffsetCommit of ${name}[${partitionIndex}]`)
    }
  }
}

function throwIf(code: number, what: string): void {
  if (code !== 0) throw errorFromBroker(code, what)
}

function identityOf({ producerId, producerEpoch }: Identity): Identity {
  return { producerId, producerEpoch }
}

function byTopic(offsets: readonly TransactionOffset[]) {
  const topics = new Map<string, Requests['TxnOffsetCommit']['topics'][number]['partitions'][number][]>()
  for (const { topic, partition, offset, leaderEpoch = -1, metadata = null } of offsets) {
    const partitions = topics.get(topic) ?? []
    partitions.push({
      partitionIndex: partition,
      committedOffset: offset,
      committedLeaderEpoch: leaderEpoch,
      committedMetadata: metadata,
    })
    topics.set(topic, partitions)
  }
  return [...topics].map(([name, partitions]) => ({ name, partitions }))
}
