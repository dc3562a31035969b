import { errorFromBroker } from '../errors.ts'
import { shown } from '../options-reader.ts'
import type { AdminContext } from './admin-context.ts'
import { checkArguments, isPlain, only, optional, partitionIndex, topicName, trueOrFalse, whole } from './arguments.ts'
import type { Check } from './arguments.ts'
import { readRange } from './record-reader.ts'
import type { ReadRecords } from './record-reader.ts'

/** The first offset, the one after the last record, or the first whose record is not older than a time (milliseconds since 1970). */
export type OffsetSpec = 'earliest' | 'latest' | { readonly timestampMs: number }

/** An offset of one partition. */
export interface PartitionOffset {
  readonly partition: number
  /** -1: no record is as new as the time that was asked for. */
  readonly offset: number
}

interface LeaderAnswer extends PartitionOffset {
  readonly errorCode: number
}

const LATEST = -1
const EARLIEST = -2
const END = -1
const UNKNOWN_SERVER_ERROR = -1

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

  /** Offsets of all partitions of a topic. `committed`: as readers of committed records see the end. */
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
      const wanted = partitions.map((partitionIndex) => ({ partitionIndex, timestamp }))
      const topics = [{ name: topic, partitions: wanted }]
      const { response } = await this.#context.cluster.send(leader, 'ListOffsets', {
        replicaId: -1,
        isolationLevel,
        topics,
      })
      const answers = response.topics[0]?.partitions ?? []
      return answers.map(({ partitionIndex, offset, errorCode }) => ({ partition: partitionIndex, offset, errorCode }))
    })
  }

  /**
   * Reads records of one partition from an offset on, without a group: up to `maxRecords`, or to where the log ended when reading began. They
   * are in memory of their own. Rejects with OFFSET_OUT_OF_RANGE if the log no longer has the offset, or does not have it yet.
   *
   * - `maxRecords`: 1 or more. @default 100
   * - `committed`: leaves out what transactions have not committed. @default true
   */
  async read(
    place: { readonly topic: string; readonly partition: number; readonly offset: number },
    options: { readonly maxRecords?: number | undefined; readonly committed?: boolean | undefined } = {},
  ): Promise<ReadRecords> {
    checkArguments('admin.records.read', {
      place: [place, only({ topic: topicName, partition: partitionIndex, offset: whole(0) })],
      options: [options, only({ maxRecords: optional(whole(1)), committed: optional(trueOrFalse) })],
    })
    const { maxRecords = 100, committed = true } = options
    return this.#context.withTopics([place.topic], () =>
      readRange(this.#context, { ...place, maxRecords, isCommitted: committed }),
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
      async (leader, some) => {
        const partitions = some.map((each) => ({ partitionIndex: each, offset: wanted.get(each) ?? 0 }))
        const topics = [{ name: topic, partitions }]
        const { response } = await this.#context.cluster.send(leader, 'DeleteRecords', { topics, timeoutMs })
        const answers = response.topics[0]?.partitions ?? []
        return answers.map(({ partitionIndex, lowWatermark, errorCode }) => ({
          partition: partitionIndex,
          offset: lowWatermark,
          errorCode,
        }))
      },
      [...wanted.keys()],
    )
  }

  /** One request to each leader; what a leader does not have any more is asked of the next one. In the order of the partitions. */
  #onLeaders(
    topic: string,
    what: string,
    ask: (leader: number, partitions: readonly number[]) => Promise<readonly LeaderAnswer[]>,
    only?: readonly number[],
  ): Promise<readonly PartitionOffset[]> {
    const { cluster } = this.#context
    return this.#context.withTopics([topic], async () => {
      const count = cluster.metadata.topic(topic)?.partitions.length ?? 0
      const partitions = only ?? Array.from({ length: count }, (_, index) => index)
      const found = new Map<number, PartitionOffset>()
      await this.#context.read(`${what} ${topic}`, async () => {
        const missing = partitions.filter((partition) => !found.has(partition))
        const leaders = await Promise.all(missing.map(async (each) => (await cluster.leader(topic, each)).leader))
        const byLeader = Map.groupBy(missing.keys(), (at) => leaders[at] as number)
        const asked = await Promise.allSettled(
          [...byLeader].map(([leader, at]) =>
            ask(
              leader,
              at.map((index) => missing[index] as number),
            ),
          ),
        )
        const answers = asked.flatMap((each) => (each.status === 'fulfilled' ? each.value : []))
        for (const { partition, offset, errorCode } of answers) {
          if (errorCode === 0) found.set(partition, { partition, offset })
        }
        for (const each of asked) if (each.status === 'rejected') throw each.reason
        for (const { partition, errorCode } of answers) {
          if (errorCode !== 0) throw errorFromBroker(errorCode, `${what} ${topic}[${partition}]`)
        }
        const unanswered = missing.find((partition) => !found.has(partition))
        if (unanswered !== undefined) throw errorFromBroker(UNKNOWN_SERVER_ERROR, `${what} ${topic}[${unanswered}]`)
      })
      return partitions.map((partition) => found.get(partition) as PartitionOffset)
    })
  }
}
