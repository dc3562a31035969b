import type { Cluster } from '../../cluster/cluster.ts'
import type { Connections } from '../../cluster/connections.ts'
import { errorFromBroker } from '../../errors.ts'
import type { KafkaError } from '../../errors.ts'
import type { FetchPartition } from './fetch-partition.ts'
import type { ResetPolicy } from './position.ts'

/** What was found out about one partition; undefined where the policy finds nothing. */
export interface FoundOffset {
  readonly partition: FetchPartition
  readonly offset: number
  readonly epoch: number
  readonly error: KafkaError | undefined
}

const LATEST = -1
const EARLIEST = -2
const CONSUMER = -1
const FIRST_WITH_ISOLATION = 2

/** Asks the leader of partitions, all of the same, where a policy says that reading starts. Rejects if it can't be asked. */
export async function lookUpOffsets(
  cluster: Cluster,
  connections: Connections,
  nodeId: number,
  partitions: readonly FetchPartition[],
  policy: Exclude<ResetPolicy, 'fail'>,
  isCommitted: boolean,
): Promise<readonly FoundOffset[]> {
  const timestamp = policy === 'latest' ? LATEST : policy === 'earliest' ? EARLIEST : policy.timestampMs
  const found = await ask(cluster, connections, nodeId, partitions, timestamp, isCommitted)
  // A time behind the last record: what comes next is later.
  const behind = found.filter(({ offset, error }) => error === undefined && offset === -1)
  if (behind.length === 0 || timestamp === LATEST) return found
  const rest = behind.map(({ partition }) => partition)
  const ends = await ask(cluster, connections, nodeId, rest, LATEST, isCommitted)
  return [...found.filter((each) => !behind.includes(each)), ...ends]
}

async function ask(
  cluster: Cluster,
  connections: Connections,
  nodeId: number,
  partitions: readonly FetchPartition[],
  timestamp: number,
  isCommitted: boolean,
): Promise<readonly FoundOffset[]> {
  const { response } = await connections.send(nodeId, 'ListOffsets', (version) => ({
    replicaId: CONSUMER,
    ...(version < FIRST_WITH_ISOLATION ? {} : { isolationLevel: isCommitted ? 1 : 0 }),
    topics: byTopic(partitions).map(([name, group]) => ({
      name,
      partitions: group.map(({ partition }) => ({
        partitionIndex: partition,
        currentLeaderEpoch: cluster.metadata.leaderOf(name, partition)?.epoch ?? -1,
        timestamp,
      })),
    })),
  }))
  return response.topics.flatMap(({ name, partitions: answers }) =>
    answers.flatMap(({ partitionIndex, errorCode, offset, leaderEpoch }) => {
      const partition = partitions.find((each) => each.topic === name && each.partition === partitionIndex)
      if (partition === undefined) return []
      const error =
        errorCode === 0 ? undefined : errorFromBroker(errorCode, `ListOffsets of ${name}[${partitionIndex}]`)
      return [{ partition, offset, epoch: leaderEpoch, error }]
    }),
  )
}

/** Asks the leader where its log of each partition's last epoch ends (KIP-320). */
export async function lookUpEpochEnds(
  cluster: Cluster,
  connections: Connections,
  nodeId: number,
  partitions: readonly FetchPartition[],
): Promise<readonly FoundOffset[]> {
  const { response } = await connections.send(nodeId, 'OffsetForLeaderEpoch', {
    replicaId: CONSUMER,
    topics: byTopic(partitions).map(([topic, group]) => ({
      topic,
      partitions: group.map(({ partition, position }) => ({
        partition,
        currentLeaderEpoch: cluster.metadata.leaderOf(topic, partition)?.epoch ?? -1,
        leaderEpoch: position.lastEpoch,
      })),
    })),
  })
  return response.topics.flatMap(({ topic, partitions: answers }) =>
    answers.flatMap(({ partition: index, errorCode, leaderEpoch, endOffset }) => {
      const partition = partitions.find((each) => each.topic === topic && each.partition === index)
      if (partition === undefined) return []
      const error =
        errorCode === 0 ? undefined : errorFromBroker(errorCode, `OffsetForLeaderEpoch of ${topic}[${index}]`)
      return [{ partition, offset: endOffset, epoch: leaderEpoch, error }]
    }),
  )
}

function byTopic(partitions: readonly FetchPartition[]): readonly (readonly [string, readonly FetchPartition[]])[] {
  return [...Map.groupBy(partitions, ({ topic }) => topic)]
}
