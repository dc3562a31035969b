import { MalformedError } from '../../../../src/kafka/errors.ts'
import { checkCrc, scanBatches } from '../../../../src/kafka/records/record-batch.ts'
import type { RecordBatch } from '../../../../src/kafka/records/record-batch.ts'
import type { Call, Handlers } from './broker.ts'
import { CODE } from './codes.ts'
import type { SimCluster } from './sim-cluster.ts'
import type { SimPartition, SimTopic } from './topics.ts'
import type { Answer, Asked } from './wire.ts'

const LATEST = -1
const EARLIEST = -2
const MAX_TIMESTAMP = -3
const LOCAL_EARLIEST = -4

type PartitionResponse = NonNullable<NonNullable<Answer<'Produce'>['responses']>[number]['partitionResponses']>[number]

/** Produce, ListOffsets, OffsetForLeaderEpoch. */
export function dataApis(cluster: SimCluster): Handlers {
  return {
    Produce: async (request, call) => {
      const responses = request.topicData.map(({ name, topicId, partitionData }) => {
        const topic = cluster.topicFor(call.broker, call.version >= 13 ? { id: topicId } : { name })
        const partitionResponses = partitionData.map(({ index, records }) => {
          const partition = topic?.partitions[index]
          if (topic === undefined && call.version >= 13) return failed(index, CODE.UNKNOWN_TOPIC_ID)
          if (topic === undefined || partition === undefined) return failed(index, CODE.UNKNOWN_TOPIC_OR_PARTITION)
          if (partition.leader !== call.broker.id) return notLeader(index, partition)
          return append(cluster, topic, partition, records, request, call)
        })
        return { name, topicId, partitionResponses }
      })
      await cluster.clock.wait(cluster.random.between(0, cluster.replicationMs))
      if (request.acks === 0) return undefined
      return { responses, nodeEndpoints: cluster.endpoints() }
    },

    ListOffsets: ({ topics, isolationLevel }, call) => ({
      topics: topics.map(({ name, partitions }) => ({
        name,
        partitions: partitions.map(({ partitionIndex, currentLeaderEpoch, timestamp }) => {
          const partition = cluster.topicFor(call.broker, { name })?.partitions[partitionIndex]
          const errorCode = checkLeader(partition, call, currentLeaderEpoch)
          if (partition === undefined || errorCode !== 0) return { partitionIndex, errorCode }
          return { partitionIndex, ...offsetAt(partition, timestamp, isolationLevel === 1) }
        }),
      })),
    }),

    OffsetForLeaderEpoch: ({ topics }, call) => ({
      topics: topics.map(({ topic, partitions }) => ({
        topic,
        partitions: partitions.map(({ partition: index, currentLeaderEpoch, leaderEpoch }) => {
          const partition = cluster.topicFor(call.broker, { name: topic })?.partitions[index]
          const errorCode = checkLeader(partition, call, currentLeaderEpoch)
          if (partition === undefined || errorCode !== 0) return { partition: index, errorCode }
          const { epoch, endOffset } = partition.log.endOfEpoch(leaderEpoch)
          return { partition: index, errorCode: 0, leaderEpoch: epoch, endOffset }
        }),
      })),
    }),
  }
}

/** Whether a broker answers for a partition to a client that knows this epoch of its leader; -1: none. */
export function checkLeader(partition: SimPartition | undefined, call: Call, epoch: number): number {
  if (partition === undefined) return CODE.UNKNOWN_TOPIC_OR_PARTITION
  if (partition.leader !== call.broker.id) return CODE.NOT_LEADER_OR_FOLLOWER
  if (epoch !== -1 && epoch < partition.epoch) return CODE.FENCED_LEADER_EPOCH
  return epoch > partition.epoch ? CODE.UNKNOWN_LEADER_EPOCH : 0
}

function append(
  cluster: SimCluster,
  topic: SimTopic,
  partition: SimPartition,
  records: Asked<'Produce'>['topicData'][number]['partitionData'][number]['records'],
  request: Asked<'Produce'>,
  call: Call,
): PartitionResponse {
  const { index, log, producers } = partition
  const batch = theBatch(records)
  if (batch === undefined) return failed(index, CODE.CORRUPT_MESSAGE)
  if (batch.bytes.length > topic.maxMessageBytes) return failed(index, CODE.MESSAGE_TOO_LARGE)
  if (batch.isTransactional) {
    const { transactionalId } = request
    const errorCode = cluster.transactions.checkProduce(transactionalId, batch, `${topic.name}/${index}`, call.version)
    if (errorCode !== 0) return failed(index, errorCode)
  }
  const verdict = batch.producerId >= 0 ? producers.check(batch) : ({ type: 'append' } as const)
  if (verdict.type === 'error') return failed(index, verdict.code)
  const { startOffset } = log
  if (verdict.type === 'duplicate') {
    return { index, errorCode: 0, baseOffset: verdict.baseOffset, logAppendTimeMs: -1, logStartOffset: startOffset }
  }
  const appended = log.append(batch.bytes, partition.epoch)
  if (batch.producerId >= 0) producers.appended(appended)
  cluster.appended()
  return { index, errorCode: 0, baseOffset: appended.baseOffset, logAppendTimeMs: -1, logStartOffset: startOffset }
}

/** The one batch that a request may have for a partition. */
function theBatch(records: Buffer | readonly Buffer[] | null): RecordBatch | undefined {
  try {
    const bytes = Buffer.isBuffer(records) ? records : Buffer.alloc(0)
    const batches = scanBatches(bytes)
    const [batch] = batches
    if (batch === undefined || batches.length !== 1 || batch.bytes.length !== bytes.length) return undefined
    if (batch.magic !== 2 || batch.count <= 0 || batch.isControl) return undefined
    checkCrc(batch)
    return batch
  } catch (error) {
    if (error instanceof MalformedError) return undefined
    throw error
  }
}

function failed(index: number, errorCode: number): PartitionResponse {
  return { index, errorCode, baseOffset: -1 }
}

/** With the new leader (KIP-951). */
function notLeader(index: number, { leader = -1, epoch }: SimPartition): PartitionResponse {
  return {
    ...failed(index, CODE.NOT_LEADER_OR_FOLLOWER),
    currentLeader: { leaderId: leader, leaderEpoch: epoch },
  }
}

function offsetAt({ log }: SimPartition, timestamp: number, isCommitted: boolean) {
  const end = isCommitted ? log.lastStableOffset : log.endOffset
  const at = (offset: number, time = -1) => ({
    errorCode: 0,
    offset,
    timestamp: time,
    leaderEpoch: log.epochAt(offset),
  })
  if (timestamp === LATEST) return at(end)
  if (timestamp === EARLIEST || timestamp === LOCAL_EARLIEST) return at(log.startOffset)
  const wanted =
    timestamp === MAX_TIMESTAMP ? Math.max(0, ...log.batches.map((batch) => batch.maxTimestamp)) : timestamp
  const found = log.findTime(wanted)
  return found === undefined || found.offset >= end ? at(-1) : at(found.offset, found.timestamp)
}
