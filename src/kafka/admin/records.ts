import { errorFromBroker } from '../errors.ts'
import type { AdminContext } from './admin-context.ts'

/** The first offset, the one after the last record, or the first whose record is not older than a time. */
export type OffsetSpec = 'earliest' | 'latest' | { readonly timestamp: number }

/** An offset of one partition. */
export interface PartitionOffset {
  readonly partition: number
  /** -1: no record is as new as the time that was asked for. */
  readonly offset: number
}

const LATEST = -1
const EARLIEST = -2

/** What is in the logs: `admin.records`. */
export class RecordsAdmin {
  readonly #context: AdminContext

  /** @internal */
  constructor(context: AdminContext) {
    this.#context = context
  }

  /** Offsets of all partitions of a topic. `committed`: as readers of committed records see the end. */
  offsets(
    topic: string,
    at: OffsetSpec,
    { committed = false }: { readonly committed?: boolean } = {},
  ): Promise<readonly PartitionOffset[]> {
    const timestamp = at === 'latest' ? LATEST : at === 'earliest' ? EARLIEST : at.timestamp
    const isolationLevel = committed ? 1 : 0
    return this.#onLeaders(topic, 'list offsets of', async (leader, partition) => {
      const topics = [{ name: topic, partitions: [{ partitionIndex: partition, timestamp }] }]
      const { response } = await this.#context.cluster.send(leader, 'ListOffsets', {
        replicaId: -1,
        isolationLevel,
        topics,
      })
      const found = response.topics[0]?.partitions[0]
      return { errorCode: found?.errorCode ?? -1, value: { partition, offset: found?.offset ?? -1 } }
    })
  }

  /** Deletes the records before an offset; `-1` is the end. Resolves with the first offsets that are left. */
  deleteBefore(topic: string, offsets: Readonly<Record<number, number>>): Promise<readonly PartitionOffset[]> {
    const wanted = new Map(Object.entries(offsets).map(([partition, offset]) => [Number(partition), offset]))
    const { timeoutMs } = this.#context
    return this.#onLeaders(
      topic,
      'delete records of',
      async (leader, partition) => {
        const topics = [
          { name: topic, partitions: [{ partitionIndex: partition, offset: wanted.get(partition) ?? 0 }] },
        ]
        const { response } = await this.#context.cluster.send(leader, 'DeleteRecords', { topics, timeoutMs })
        const left = response.topics[0]?.partitions[0]
        return { errorCode: left?.errorCode ?? -1, value: { partition, offset: left?.lowWatermark ?? -1 } }
      },
      [...wanted.keys()],
    )
  }

  /** Asks the leader of each partition, and a new leader when it has moved. */
  #onLeaders<T>(
    topic: string,
    what: string,
    ask: (leader: number, partition: number) => Promise<{ readonly errorCode: number; readonly value: T }>,
    only?: readonly number[],
  ): Promise<readonly T[]> {
    const { cluster } = this.#context
    return this.#context.withTopics([topic], async () => {
      const count = cluster.metadata.topic(topic)?.partitions.length ?? 0
      const partitions = only ?? Array.from({ length: count }, (_, index) => index)
      return Promise.all(
        partitions.map((partition) =>
          this.#context.read(`${what} ${topic}[${partition}]`, async () => {
            const { leader } = await cluster.leader(topic, partition)
            const { errorCode, value } = await ask(leader, partition)
            if (errorCode !== 0) throw errorFromBroker(errorCode, `${what} ${topic}[${partition}]`)
            return value
          }),
        ),
      )
    })
  }
}
