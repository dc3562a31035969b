import { check, checkItems } from './admin-context.ts'
import type { AdminContext } from './admin-context.ts'
import {
  brokerIds,
  checkArguments,
  having,
  list,
  oneOf,
  orNull,
  partitionIndex,
  topicName,
  topicPartitions as somePartitions,
} from './arguments.ts'
import { byTopic } from './by-topic.ts'

/** What a cluster consists of. */
export interface ClusterInfo {
  readonly clusterId: string | null
  readonly controllerId: number
  readonly brokers: readonly {
    readonly id: number
    readonly host: string
    readonly port: number
    readonly rack: string | null
  }[]
}

/** A log directory of a broker, and what is in it. */
export interface LogDirInfo {
  readonly broker: number
  readonly path: string
  /** -1 before Kafka 3.3. */
  readonly totalBytes: number
  readonly usableBytes: number
  readonly replicas: readonly {
    readonly topic: string
    readonly partition: number
    readonly bytes: number
    /** How many records it is behind the leader. */
    readonly offsetLag: number
  }[]
}

/** A partition whose replicas are being moved. */
export interface Reassignment {
  readonly topic: string
  readonly partition: number
  readonly replicas: readonly number[]
  readonly adding: readonly number[]
  readonly removing: readonly number[]
}

const ELECTION_NOT_NEEDED = 84
const ELECTIONS = { preferred: 0, unclean: 1 } as const
const MOVES = list(
  having({ topic: topicName, partition: partitionIndex, replicas: orNull(brokerIds) }),
  '{ topic, partition, replicas }',
)

/** Brokers and replicas: `admin.cluster`. */
export class ClusterAdmin {
  readonly #context: AdminContext

  /** @internal */
  constructor(context: AdminContext) {
    this.#context = context
  }

  /** The brokers that are up, and the controller. */
  async describe(): Promise<ClusterInfo> {
    const { cluster } = this.#context
    await this.#context.read('describe the cluster', () => cluster.refresh())
    const { clusterId, controllerId, nodes } = cluster.metadata
    return { clusterId, controllerId, brokers: [...nodes.values()] }
  }

  /** What is in the log directories of all brokers. */
  logDirs(): Promise<readonly LogDirInfo[]> {
    return this.#context.read('describe log dirs', async () => {
      const answers = await this.#context.toAll('DescribeLogDirs', { topics: null })
      return answers.flatMap(({ nodeId, response }) => {
        check(`describe log dirs of broker ${nodeId}`, response.errorCode)
        return response.results.map(({ errorCode, logDir, topics, totalBytes, usableBytes }) => {
          check(`describe log dir ${logDir} of broker ${nodeId}`, errorCode)
          const replicas = topics.flatMap(({ name, partitions }) =>
            partitions.map(({ partitionIndex, partitionSize, offsetLag }) => ({
              topic: name,
              partition: partitionIndex,
              bytes: partitionSize,
              offsetLag,
            })),
          )
          return { broker: nodeId, path: logDir, totalBytes, usableBytes, replicas }
        })
      })
    })
  }

  /**
   * Makes the preferred replica of each partition its leader; with `unclean`, any replica, which may lose records.
   * Does nothing for partitions that it already leads.
   */
  async electLeaders(
    partitions: readonly { readonly topic: string; readonly partition: number }[],
    kind: keyof typeof ELECTIONS = 'preferred',
  ): Promise<void> {
    checkArguments('admin.cluster.electLeaders', {
      partitions: [partitions, somePartitions],
      kind: [kind, oneOf(Object.keys(ELECTIONS))],
    })
    const { timeoutMs } = this.#context
    const topicPartitions = byTopic(partitions).map(([topic, some]) => ({
      topic,
      partitions: some.map(({ partition }) => partition),
    }))
    await this.#context.read('elect leaders', async () => {
      const body = { electionType: ELECTIONS[kind], topicPartitions, timeoutMs }
      const response = await this.#context.toController('ElectLeaders', body)
      check('elect leaders', response.errorCode)
      const answers = response.replicaElectionResults.flatMap(({ topic, partitionResult }) =>
        partitionResult.map(({ partitionId, errorCode, errorMessage }) => ({
          item: `${topic}[${partitionId}]`,
          errorCode: errorCode === ELECTION_NOT_NEEDED ? 0 : errorCode,
          errorMessage,
        })),
      )
      checkItems('elect a leader of', answers)
    })
  }

  /** Starts to move replicas to these brokers, in the background. Null cancels a move that is under way. */
  async reassign(
    moves: readonly {
      readonly topic: string
      readonly partition: number
      readonly replicas: readonly number[] | null
    }[],
  ): Promise<void> {
    checkArguments('admin.cluster.reassign', { moves: [moves, MOVES] })
    const { timeoutMs } = this.#context
    const topics = byTopic(moves).map(([name, some]) => ({
      name,
      partitions: some.map(({ partition, replicas }) => ({ partitionIndex: partition, replicas })),
    }))
    await this.#context.write('reassign partitions', async () => {
      const response = await this.#context.toController('AlterPartitionReassignments', { timeoutMs, topics })
      check('reassign partitions', response.errorCode, response.errorMessage)
      const answers = response.responses.flatMap(({ name, partitions }) =>
        partitions.map((each) => ({ ...each, item: `${name}[${each.partitionIndex}]` })),
      )
      checkItems('reassign', answers)
    })
  }

  /** The moves that are under way. */
  reassignments(): Promise<readonly Reassignment[]> {
    const { timeoutMs } = this.#context
    return this.#context.read('list reassignments', async () => {
      const response = await this.#context.toController('ListPartitionReassignments', { timeoutMs, topics: null })
      check('list reassignments', response.errorCode, response.errorMessage)
      return response.topics.flatMap(({ name, partitions }) =>
        partitions.map(({ partitionIndex, replicas, addingReplicas, removingReplicas }) => ({
          topic: name,
          partition: partitionIndex,
          replicas,
          adding: addingReplicas,
          removing: removingReplicas,
        })),
      )
    })
  }
}
