import { errorFromBroker, KafkaError } from '../../errors.ts'
import type { FetchResponse } from '../../protocol/generated/api-types.ts'
import { scanBatches } from '../../records/record-batch.ts'
import type { FetchPartition } from './fetch-partition.ts'
import type { AnswerBytes, Chunk } from './partition-buffer.ts'
import { visibleBatches } from './visible-batches.ts'

export type PartitionAnswer = FetchResponse['responses'][number]['partitions'][number]

/** What an answer says about one partition. */
export type FetchOutcome =
  | { readonly type: 'records'; readonly chunk: Chunk }
  | { readonly type: 'nothing' }
  | { readonly type: 'replica'; readonly nodeId: number }
  | { readonly type: 'outOfRange' }
  /** The leader's log parts from what was read at `endOffset`; -1 if it can't say where. */
  | { readonly type: 'diverging'; readonly epoch: number; readonly endOffset: number }
  /** To be asked again after a pause, perhaps of another broker. */
  | { readonly type: 'retry'; readonly error: KafkaError }
  | { readonly type: 'failed'; readonly error: KafkaError }

const OFFSET_OUT_OF_RANGE = 1
const UNKNOWN_SERVER_ERROR = -1

/** Headers are looked at, records are not: they are decoded when they are delivered. */
export function readAnswer(
  partition: FetchPartition,
  answer: PartitionAnswer,
  isCommitted: boolean,
  bytes: AnswerBytes,
): FetchOutcome {
  const { errorCode, divergingEpoch, records, preferredReadReplica } = answer
  if (errorCode === OFFSET_OUT_OF_RANGE) return { type: 'outOfRange' }
  if (errorCode !== 0) return errorOutcome(partition, errorCode)
  if (divergingEpoch.epoch !== -1 || divergingEpoch.endOffset !== -1) return { type: 'diverging', ...divergingEpoch }
  if (preferredReadReplica !== -1) return { type: 'replica', nodeId: preferredReadReplica }
  if (records === null || records.length === 0) return { type: 'nothing' }
  try {
    const { offset } = partition.position
    const batches = scanBatches(records).filter(({ lastOffset }) => lastOffset >= offset)
    const last = batches.at(-1)
    if (last === undefined) return { type: 'nothing' }
    const visible = visibleBatches(batches, isCommitted ? answer.abortedTransactions : null)
    const size = visible.reduce((sum, batch) => sum + batch.bytes.length, 0)
    const chunk: Chunk = {
      batches: visible,
      bytes: size,
      fromOffset: offset,
      nextOffset: last.lastOffset + 1,
      lastEpoch: last.leaderEpoch,
      answer: visible.length > 0 ? bytes : undefined,
    }
    return { type: 'records', chunk }
  } catch (error) {
    if (error instanceof KafkaError) return { type: 'failed', error }
    throw error
  }
}

function errorOutcome({ topic, partition }: FetchPartition, errorCode: number): FetchOutcome {
  const error = errorFromBroker(errorCode, `Fetch of ${topic}[${partition}]`)
  return { type: error.retriable || errorCode === UNKNOWN_SERVER_ERROR ? 'retry' : 'failed', error }
}
