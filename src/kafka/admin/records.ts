import { errorFromBroker } from '../errors.ts'
import { shown } from '../options-reader.ts'
import type { AdminContext } from './admin-context.ts'
import { checkArguments, isPlain, only, optional, partitionIndex, topicName, trueOrFalse, whole } from './arguments.ts'
import type { Check } from './arguments.ts'
import { readRange } from './record-reader.ts'
import type { ReadRecords } from './record-reader.ts'

/**
 * The first offset, the offset after the last record, or that of the first record that is not older than a time
 * (milliseconds since 1970).
 */
export type OffsetSpec = 'earliest' | 'latest' | { readonly timestampMs: number }

/** An offset of one partition. */
export interface PartitionOffset {
  readonly partition: number
  /** -1 if no record is as new as the given time. */
  readonly offset: number
}

interface Answer {
  readonly errorCode: number
  readonly value: PartitionOffset
}

/** The answer leaves the partition out. */
const UNANSWERED = -1
/** Unless the caller wants more. */
const MAX_READ_BYTES = 16 * 1024 * 1024
const LATEST = -1
const EARLIEST = -2
const END = -1

const FIELDS_OF_TIME = only(
  { timestampMs: whole(0, undefined, 'milliseconds since 1970') },
  { offset: 'set it with admin.offsets.alter' },
)

/** Of an {@link OffsetSpec}. */
export const offsetSpec: Check = (value, path, problems) => {
  if (value === 'earliest' || value === 'latest') return
  if (isPlain(value)) return FIELDS_OF_TIME(value, path, problems)
  problems.push({ option: path, problem: `is ${shown(value)}: give 'earliest', 'latest' or { timestampMs }` })
}

const firstOffsets: Check = (value, path, problems) => {
  if (!isPlain(value)) {
    problems.push({
      option: path,
      problem: `is ${shown(value)}: give an offset for each partition, { 0: 42 } for example`,
    })
    return
  }
  const checkOffset = whole(END, undefined, 'or -1 for the end')
  for (const [partition, offset] of Object.entries(value)) {
    if (!/^\d{1,10}$/.test(partition)) {
      problems.push({ option: path, problem: `has the key ${shown(partition)}: give numbers of partitions` })
    }
    checkOffset(offset, `${path}[${partition}]`, problems)
  }
}

/** What is in the logs: `admin.records`. */
export class RecordsAdmin {
  readonly #context: AdminContext

  /** @internal */
  constructor(context: AdminContext) {
    this.#context = context
  }

  /** Offsets of all partitions of a topic. `committed`: the end as readers of committed records see it. */
  async offsets(
    topic: string,
    at: OffsetSpec,
    options: { readonly committed?: boolean | undefined } = {},
  ): Promise<readonly PartitionOffset[]> {
    checkArguments('admin.records.offsets', {
      topic: [topic, topicName],
      at: [at, offsetSpec],
      options: [options, only({ committed: optional(trueOrFalse) })],
    })
    const { committed = false } = options
    const timestamp = at === 'latest' ? LATEST : at === 'earliest' ? EARLIEST : at.timestampMs
    const isolationLevel = committed ? 1 : 0
    return this.#onLeaders(topic, 'list offsets of', async (leader, partitions) => {
      const topics = [{ name: topic, partitions: partitions.map((partitionIndex) => ({ partitionIndex, timestamp })) }]
      const { response } = await this.#context.cluster.send(leader, 'ListOffsets', {
        replicaId: -1,
        isolationLevel,
        topics,
      })
      return (response.topics[0]?.partitions ?? []).map(({ partitionIndex: partition, errorCode, offset }) => {
        return { errorCode, value: { partition, offset } }
      })
    })
  }

  /**
   * Reads records of one partition from an offset on, without a group: up to `maxRecords`, to the record with which they take
   * `maxBytes`, or to where the log ended when reading began. They are in memory of their own. Rejects with OFFSET_OUT_OF_RANGE if the log does not have the offset.
   *
   * - `maxRecords`: 1 or more. @default 100
   * - `maxBytes`: of keys and values. @default 16_777_216 (16 MiB)
   * - `committed`: leaves out records of transactions that are not committed. @default true
   */
  async read(
    place: { readonly topic: string; readonly partition: number; readonly offset: number },
    options: {
      readonly maxRecords?: number | undefined
      readonly maxBytes?: number | undefined
      readonly committed?: boolean | undefined
    } = {},
  ): Promise<ReadRecords> {
    checkArguments('admin.records.read', {
      place: [place, only({ topic: topicName, partition: partitionIndex, offset: whole(0) })],
      options: [
        options,
        only({ maxRecords: optional(whole(1)), maxBytes: optional(whole(1)), committed: optional(trueOrFalse) }),
      ],
    })
    const { maxRecords = 100, maxBytes = MAX_READ_BYTES, committed = true } = options
    return this.#context.withTopics([place.topic], () =>
      readRange(this.#context, { ...place, maxRecords, maxBytes, isCommitted: committed }),
    )
  }

  /** Deletes the records before an offset; `-1` is the end. Resolves with the first offsets that are left. */
  async deleteBefore(topic: string, offsets: Readonly<Record<number, number>>): Promise<readonly PartitionOffset[]> {
    checkArguments('admin.records.deleteBefore', { topic: [topic, topicName], offsets: [offsets, firstOffsets] })
    const wanted = new Map(Object.entries(offsets).map(([partition, offset]) => [Number(partition), offset]))
    const { timeoutMs } = this.#context
    return this.#onLeaders(
      topic,
      'delete records of',
      async (leader, partitions) => {
        const places = partitions.map((partition) => ({
          partitionIndex: partition,
          offset: wanted.get(partition) ?? 0,
        }))
        const topics = [{ name: topic, partitions: places }]
        const { response } = await this.#context.cluster.send(leader, 'DeleteRecords', { topics, timeoutMs })
        return (response.topics[0]?.partitions ?? []).map(({ partitionIndex: partition, errorCode, lowWatermark }) => {
          return { errorCode, value: { partition, offset: lowWatermark } }
        })
      },
      [...wanted.keys()],
    )
  }

  /** Asks each leader once for all of its partitions; those that were not answered again, of new leaders where they have moved. */
  #onLeaders(
    topic: string,
    what: string,
    ask: (leader: number, partitions: readonly number[]) => Promise<readonly Answer[]>,
    only?: readonly number[],
  ): Promise<readonly PartitionOffset[]> {
    const { cluster } = this.#context
    return this.#context.withTopics([topic], async () => {
      const count = cluster.metadata.topic(topic)?.partitions.length ?? 0
      const partitions = only ?? Array.from({ length: count }, (_, index) => index)
      const found = new Map<number, PartitionOffset>()
      await this.#context.read(`${what} ${topic}`, async () => {
        const missing = partitions.filter((partition) => !found.has(partition))
        const leaders = await Promise.all(missing.map((partition) => cluster.leader(topic, partition)))
        const byLeader = Map.groupBy(missing.entries(), ([index]) => leaders[index]?.leader ?? -1)
        const answers = await Promise.all(
          [...byLeader].map(([leader, asked]) =>
            ask(
              leader,
              asked.map(([, partition]) => partition),
            ),
          ),
        )
        const refused = answers.flat().filter(({ errorCode, value }) => {
          if (errorCode === 0) found.set(value.partition, value)
          return errorCode !== 0
        })
        const errors = refused.map(({ errorCode, value }) =>
          errorFromBroker(errorCode, `${what} ${topic}[${value.partition}]`),
        )
        const unanswered = partitions.find((partition) => !found.has(partition))
        if (unanswered === undefined) return
        // One that stays ends the call, whatever passes.
        const lasting = errors.find(({ retriable }) => !retriable)
        throw lasting ?? errors[0] ?? errorFromBroker(UNANSWERED, `${what} ${topic}[${unanswered}]`)
      })
      return partitions.flatMap((partition) => found.get(partition) ?? [])
    })
  }
}

/** As `offsets`, but with the end if no record is as new as the given time. */
export async function placesOf(
  records: RecordsAdmin,
  topic: string,
  at: OffsetSpec,
): Promise<readonly PartitionOffset[]> {
  const found = await records.offsets(topic, at)
  if (found.every(({ offset }) => offset >= 0)) return found
  const ends = new Map((await records.offsets(topic, 'latest')).map(({ partition, offset }) => [partition, offset]))
  return found.map(({ partition, offset }) => ({ partition, offset: offset < 0 ? (ends.get(partition) ?? 0) : offset }))
}
