import type { RecordBatch } from '../../../../src/kafka/records/record-batch.ts'
import type { Call, Handlers } from './broker.ts'
import { CODE } from './codes.ts'
import type { SimCluster } from './sim-cluster.ts'

const MAX_EPOCH = 32_766
const FIRST_VERSION_2 = { produce: 12, txnOffsetCommit: 5, endTxn: 5 }

interface Transaction {
  readonly id: string
  producerId: bigint
  epoch: number
  state: 'empty' | 'open' | 'ending' | 'ended'
  wasCommitted: boolean
  timeoutMs: number
  /** As `topic/partition`. */
  readonly partitions: Set<string>
  readonly groups: Set<string>
  cancelTimeout: (() => void) | undefined
}

/** Producer ids, and the transactions of all transactional ids, whichever broker coordinates them. */
export class SimTransactions {
  readonly #cluster: SimCluster
  readonly #byId = new Map<string, Transaction>()
  /** Beyond what a double holds: brokers may use all 63 bits. */
  #nextProducerId = 2n ** 62n
  /** Until the markers of a transaction that ends are written. */
  completionMs = 5

  constructor(cluster: SimCluster) {
    this.#cluster = cluster
  }

  /** What is known of a transactional id, for tests. */
  state(id: string): Readonly<Pick<Transaction, 'producerId' | 'epoch' | 'state' | 'wasCommitted'>> | undefined {
    return this.#byId.get(id)
  }

  /** As when its timeout is over: aborted, and the producer fenced. */
  expire(id: string): void {
    const transaction = this.#byId.get(id)
    if (transaction?.state === 'open') this.#fence(transaction)
  }

  /** Whether a transactional batch may be appended; version 2 adds its partition by that. */
  checkProduce(id: string | null, batch: RecordBatch, partition: string, version: number): number {
    const transaction = this.#byId.get(id ?? '')
    if (transaction === undefined || transaction.producerId !== batch.producerId)
      return CODE.INVALID_PRODUCER_ID_MAPPING
    if (batch.producerEpoch !== transaction.epoch) return CODE.INVALID_PRODUCER_EPOCH
    if (this.#isVersion2 && version >= FIRST_VERSION_2.produce) return this.#add(transaction, [partition])
    return transaction.state === 'open' && transaction.partitions.has(partition) ? 0 : CODE.INVALID_TXN_STATE
  }

  handlers(): Handlers {
    return {
      InitProducerId: (request, call) => {
        const { transactionalId, transactionTimeoutMs, producerId, producerEpoch } = request
        if (transactionalId === null) return { errorCode: 0, producerId: this.#nextProducerId++, producerEpoch: 0 }
        const errorCode = this.#coordinates(call, transactionalId)
        if (errorCode !== 0) return { errorCode, producerEpoch: -1 }
        return this.#init(transactionalId, transactionTimeoutMs, producerId, producerEpoch)
      },

      AddPartitionsToTxn: (request, call) => {
        const single = {
          transactionalId: request.v3AndBelowTransactionalId,
          producerId: request.v3AndBelowProducerId,
          producerEpoch: request.v3AndBelowProducerEpoch,
          topics: request.v3AndBelowTopics,
        }
        const answers = (call.version < 4 ? [single] : request.transactions).map((each) => {
          const names = each.topics.flatMap(({ name, partitions }) => partitions.map((index) => `${name}/${index}`))
          const code =
            this.#coordinates(call, each.transactionalId) ||
            this.#checkOwner(each.transactionalId, each.producerId, each.producerEpoch) ||
            this.#add(this.#byId.get(each.transactionalId), names)
          const topicResults = each.topics.map(({ name, partitions }) => ({
            name,
            resultsByPartition: partitions.map((partitionIndex) => ({ partitionIndex, partitionErrorCode: code })),
          }))
          return { transactionalId: each.transactionalId, topicResults }
        })
        return call.version < 4
          ? { resultsByTopicV3AndBelow: answers[0]?.topicResults ?? [] }
          : { errorCode: 0, resultsByTransaction: answers }
      },

      AddOffsetsToTxn: ({ transactionalId, producerId, producerEpoch, groupId }, call) => {
        const errorCode =
          this.#coordinates(call, transactionalId) || this.#checkOwner(transactionalId, producerId, producerEpoch)
        return { errorCode: errorCode || this.#add(this.#byId.get(transactionalId), [], groupId) }
      },

      TxnOffsetCommit: (request, call) => {
        const { groupId, memberId, groupInstanceId, generationId, transactionalId, producerId, producerEpoch } = request
        const { groups, coordinators } = this.#cluster
        const isOutside = memberId === '' && generationId < 0
        const code =
          coordinators.check('group', groupId, call.broker.id) ||
          (isOutside ? 0 : groups.checkMember(groupId, memberId, groupInstanceId, generationId)) ||
          this.#checkOffsets(transactionalId, producerId, producerEpoch, groupId, call.version)
        return {
          topics: request.topics.map(({ name, partitions }) => ({
            name,
            partitions: partitions.map((each) => {
              const { partitionIndex, committedOffset, committedLeaderEpoch, committedMetadata } = each
              const committed = {
                offset: committedOffset,
                leaderEpoch: committedLeaderEpoch,
                metadata: committedMetadata,
              }
              if (code === 0) groups.offsets(groupId).commitLater(producerId, name, partitionIndex, committed)
              return { partitionIndex, errorCode: code }
            }),
          })),
        }
      },

      EndTxn: ({ transactionalId, producerId, producerEpoch, committed }, call) => {
        const errorCode = this.#coordinates(call, transactionalId)
        if (errorCode !== 0) return { errorCode }
        return this.#end(transactionalId, producerId, producerEpoch, committed, call.version)
      },
    }
  }

  get #isVersion2(): boolean {
    return (this.#cluster.features.get('transaction.version') ?? 0) >= 2
  }

  #coordinates(call: Call, id: string): number {
    return this.#cluster.coordinators.check('transaction', id, call.broker.id)
  }

  #checkOwner(id: string, producerId: bigint, epoch: number): number {
    const transaction = this.#byId.get(id)
    if (transaction === undefined || transaction.producerId !== producerId) return CODE.INVALID_PRODUCER_ID_MAPPING
    return transaction.epoch === epoch ? 0 : CODE.PRODUCER_FENCED
  }

  #init(id: string, timeoutMs: number, producerId: bigint, epoch: number) {
    const known = this.#byId.get(id)
    if (known === undefined) {
      const made: Transaction = {
        id,
        producerId: this.#nextProducerId++,
        epoch: 0,
        state: 'empty',
        wasCommitted: false,
        timeoutMs,
        partitions: new Set(),
        groups: new Set(),
        cancelTimeout: undefined,
      }
      this.#byId.set(id, made)
      return { errorCode: 0, producerId: made.producerId, producerEpoch: made.epoch }
    }
    // Who names its id and epoch wants to go on, and must still be the current one.
    const isMine = producerId === known.producerId && epoch === known.epoch
    if (producerId >= 0 && !isMine) return { errorCode: CODE.PRODUCER_FENCED, producerEpoch: -1 }
    if (known.state === 'open') this.#fence(known)
    if (known.state === 'ending') return { errorCode: CODE.CONCURRENT_TRANSACTIONS, producerEpoch: -1 }
    this.#bump(known)
    known.state = 'empty'
    known.timeoutMs = timeoutMs
    return { errorCode: 0, producerId: known.producerId, producerEpoch: known.epoch }
  }

  #add(transaction: Transaction | undefined, partitions: readonly string[], group?: string): number {
    if (transaction === undefined) return CODE.INVALID_PRODUCER_ID_MAPPING
    if (transaction.state === 'ending') return CODE.CONCURRENT_TRANSACTIONS
    if (transaction.state !== 'open') {
      transaction.state = 'open'
      const { clock } = this.#cluster
      transaction.cancelTimeout = clock.setTimer(() => this.#fence(transaction), transaction.timeoutMs)
    }
    for (const partition of partitions) transaction.partitions.add(partition)
    if (group !== undefined) transaction.groups.add(group)
    return 0
  }

  #checkOffsets(id: string, producerId: bigint, epoch: number, group: string, version: number): number {
    const code = this.#checkOwner(id, producerId, epoch)
    if (code !== 0) return code === CODE.PRODUCER_FENCED ? CODE.INVALID_PRODUCER_EPOCH : code
    const transaction = this.#byId.get(id)
    if (this.#isVersion2 && version >= FIRST_VERSION_2.txnOffsetCommit) return this.#add(transaction, [], group)
    return transaction?.state === 'open' && transaction.groups.has(group) ? 0 : CODE.INVALID_TXN_STATE
  }

  #end(id: string, producerId: bigint, epoch: number, isCommit: boolean, version: number) {
    const transaction = this.#byId.get(id)
    const isVersion2 = this.#isVersion2 && version >= FIRST_VERSION_2.endTxn
    if (transaction === undefined || transaction.producerId !== producerId) {
      return { errorCode: CODE.INVALID_PRODUCER_ID_MAPPING }
    }
    const done = () => ({ errorCode: 0, producerId: transaction.producerId, producerEpoch: transaction.epoch })
    const isRepeated = transaction.wasCommitted === isCommit && epoch === transaction.epoch - (isVersion2 ? 1 : 0)
    if (transaction.state === 'ended' && isRepeated) return done()
    if (transaction.state === 'ending' && isRepeated) return { errorCode: CODE.CONCURRENT_TRANSACTIONS }
    const isLast = isVersion2 && epoch === transaction.epoch - 1
    if (isLast && transaction.state !== 'open') return { errorCode: CODE.INVALID_TXN_STATE }
    if (epoch !== transaction.epoch) return { errorCode: CODE.PRODUCER_FENCED }
    if (transaction.state !== 'open') {
      if (!isVersion2 || isCommit) return { errorCode: CODE.INVALID_TXN_STATE }
      this.#bump(transaction)
      return done()
    }
    this.#finish(transaction, isCommit, isVersion2)
    return done()
  }

  /** Aborts, with an epoch that its producer does not have. */
  #fence(transaction: Transaction): void {
    this.#finish(transaction, false, true)
  }

  /** With `bumps`, the markers have the next epoch, and the producer needs it too. */
  #finish(transaction: Transaction, isCommit: boolean, bumps: boolean): void {
    const { producerId, partitions, groups } = transaction
    const epoch = transaction.epoch + (bumps ? 1 : 0)
    if (bumps) this.#bump(transaction)
    transaction.cancelTimeout?.()
    transaction.cancelTimeout = undefined
    transaction.state = 'ending'
    transaction.wasCommitted = isCommit
    this.#cluster.clock.setTimer(() => {
      for (const key of partitions) this.#mark(key, producerId, epoch, isCommit)
      for (const group of groups) this.#cluster.groups.endTransaction(group, producerId, isCommit)
      partitions.clear()
      groups.clear()
      if (transaction.state === 'ending') transaction.state = 'ended'
      this.#cluster.appended()
    }, this.completionMs)
  }

  #mark(key: string, producerId: bigint, epoch: number, isCommit: boolean): void {
    const at = key.lastIndexOf('/')
    const partition = this.#cluster.topics.named(key.slice(0, at))?.partitions[Number(key.slice(at + 1))]
    if (partition === undefined) return
    partition.log.appendMarker(producerId, epoch, isCommit, partition.epoch, this.#cluster.clock.now())
    partition.producers.marked(producerId, epoch)
  }

  #bump(transaction: Transaction): void {
    if (transaction.epoch < MAX_EPOCH) {
      transaction.epoch++
      return
    }
    transaction.producerId = this.#nextProducerId++
    transaction.epoch = 0
  }
}
