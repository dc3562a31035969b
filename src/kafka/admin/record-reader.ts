import { visibleBatches } from '../consumer/fetch/visible-batches.ts'
import { errorFromBroker } from '../errors.ts'
import type { FetchResponse } from '../protocol/generated/api-types.ts'
import { readRecords } from '../records/read-records.ts'
import type { KafkaRecord } from '../records/record.ts'
import { scanBatches } from '../records/record-batch.ts'
import type { AdminContext } from './admin-context.ts'

/** Where to read, and how much. */
export interface ReadRange {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly maxRecords: number
  readonly maxBytes: number
  readonly isCommitted: boolean
}

/** What {@link RecordsAdmin.read} resolves with. */
export interface ReadRecords {
  readonly records: readonly KafkaRecord[]
  /** Where to read on: behind the last record, or behind what holds no record for this reader. */
  readonly nextOffset: number
  /** Where the log ended when reading began: no more is read. */
  readonly endOffset: number
}

type PartitionAnswer = FetchResponse['responses'][number]['partitions'][number]

/** Of one request. A batch that is larger comes in any case. */
const REQUEST_BYTES = 1024 * 1024
/** A fetch of its own, in no session. */
const NO_SESSION = { sessionId: 0, sessionEpoch: -1 }
const FIRST_VERSION_WITH_SESSIONS = 7
const FIRST_VERSION_WITH_IDS = 13
const UNKNOWN_SERVER_ERROR = -1
const NO_BYTES = Buffer.alloc(0)

/** What was read so far. */
interface Found {
  readonly records: KafkaRecord[]
  bytes: number
}

/** Reads from the leader, a request after the other, until there are enough records or bytes, or the log ends. */
export async function readRange(context: AdminContext, range: ReadRange): Promise<ReadRecords> {
  const found: Found = { records: [], bytes: 0 }
  let nextOffset = range.offset
  let endOffset = -1
  while (!isEnough(found, range)) {
    const answer = await fetchOnce(context, range, nextOffset)
    if (endOffset < 0) endOffset = range.isCommitted ? answer.lastStableOffset : answer.highWatermark
    const behind = await take(answer, range, nextOffset, found)
    // Nothing is before the end but what was just compacted away.
    if (behind === nextOffset) break
    nextOffset = behind
    if (nextOffset >= endOffset) break
  }
  return { records: found.records, nextOffset, endOffset }
}

function fetchOnce(context: AdminContext, range: ReadRange, offset: number): Promise<PartitionAnswer> {
  const { topic, partition, isCommitted } = range
  const what = `read ${topic}[${partition}] from ${offset}`
  return context.read(what, async () => {
    const { cluster } = context
    const { leader } = await cluster.leader(topic, partition)
    const { id } = await cluster.topic(topic)
    const partitions = [{ partition, fetchOffset: offset, partitionMaxBytes: REQUEST_BYTES }]
    const body = { maxWaitMs: 0, minBytes: 0, maxBytes: REQUEST_BYTES, isolationLevel: isCommitted ? 1 : 0, rackId: '' }
    const { response } = await cluster.send(leader, 'Fetch', (version) => ({
      ...body,
      ...(version < FIRST_VERSION_WITH_SESSIONS ? {} : { ...NO_SESSION, forgottenTopicsData: [] }),
      topics: [{ ...(version < FIRST_VERSION_WITH_IDS ? { topic } : { topicId: id ?? '' }), partitions }],
    }))
    const answer = response.responses[0]?.partitions[0]
    const errorCode = response.errorCode || (answer?.errorCode ?? UNKNOWN_SERVER_ERROR)
    if (answer === undefined || errorCode !== 0) throw errorFromBroker(errorCode, what)
    return answer
  })
}

/** Adds the records of an answer; resolves with the offset behind what it has brought. */
async function take(answer: PartitionAnswer, range: ReadRange, offset: number, into: Found): Promise<number> {
  const batches = scanBatches(answer.records ?? NO_BYTES).filter(({ lastOffset }) => lastOffset >= offset)
  for (const batch of visibleBatches(batches, range.isCommitted ? answer.abortedTransactions : null)) {
    for (const record of await readRecords(batch)) {
      if (record.offset < offset) continue
      if (isEnough(into, range)) return record.offset
      // The answer that it came in can be freed.
      into.records.push(record.copy())
      into.bytes += Math.max(0, record.keySize) + Math.max(0, record.valueSize)
    }
  }
  const last = batches.at(-1)
  return last === undefined ? offset : last.lastOffset + 1
}

function isEnough({ records, bytes }: Found, { maxRecords, maxBytes }: ReadRange): boolean {
  return records.length >= maxRecords || bytes >= maxBytes
}
