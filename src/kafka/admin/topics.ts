import { checkItems, refusal } from './admin-context.ts'
import type { AdminContext } from './admin-context.ts'
import {
  anyText,
  brokerIds,
  byName,
  checkArguments,
  list,
  only,
  optional,
  topicName,
  topicNames,
  trueOrFalse,
  whole,
} from './arguments.ts'
import type { Check } from './arguments.ts'

/** A topic to create. */
export interface NewTopic {
  /** Letters, digits, `.`, `_` and `-`; at most 249. */
  readonly name: string
  /** How many. @default the brokers' `num.partitions` */
  readonly partitions?: number | undefined
  /** How many brokers have each partition. @default the brokers' `default.replication.factor` */
  readonly replicationFactor?: number | undefined
  /** Brokers of each partition, in place of `partitions` and `replicationFactor`: the first is the preferred leader. */
  readonly replicas?: readonly (readonly number[])[] | undefined
  /** Such as `retention.ms`. @default those of the brokers */
  readonly configs?: Readonly<Record<string, string>> | undefined
}

/** Leader and replicas of a partition. */
export interface TopicPartitionInfo {
  readonly index: number
  /** Undefined while one is being elected. */
  readonly leader: number | undefined
  readonly leaderEpoch: number
  readonly replicas: readonly number[]
  readonly inSync: readonly number[]
  readonly offline: readonly number[]
}

/** A topic and its partitions. */
export interface TopicInfo {
  readonly name: string
  /** 22 characters of base64url; undefined on brokers before 2.8. */
  readonly id: string | undefined
  readonly isInternal: boolean
  readonly partitions: readonly TopicPartitionInfo[]
}

const NO_ID = 'AAAAAAAAAAAAAAAAAAAAAA'
const MAX_PARTITIONS = 2 ** 31 - 1
const MAX_REPLICAS = 2 ** 15 - 1

const FIELDS_OF_NEW_TOPIC = only(
  {
    name: topicName,
    partitions: optional(whole(1, MAX_PARTITIONS)),
    replicationFactor: optional(whole(1, MAX_REPLICAS)),
    replicas: optional(list(brokerIds, 'arrays of broker ids, one for each partition')),
    configs: optional(byName(anyText("text, '60000' for example"), "{ 'retention.ms': '60000' }")),
  },
  {
    topic: 'write name',
    numPartitions: 'write partitions',
    replicaAssignment: 'write replicas, an array of broker ids for each partition',
    configEntries: "write configs, { 'retention.ms': '60000' } for example",
  },
)

const newTopic: Check = (value, path, problems) => {
  FIELDS_OF_NEW_TOPIC(value, path, problems)
  const { replicas, ...rest } = (value ?? {}) as Partial<NewTopic>
  if (replicas === undefined) return
  for (const name of ['partitions', 'replicationFactor'] as const) {
    if (rest[name] === undefined) continue
    problems.push({ option: `${path}.${name}`, problem: 'is given beside replicas, which says it: leave it out' })
  }
}
const NEW_TOPICS = list(newTopic, "topics, [{ name: 'orders', partitions: 12 }] for example")

/** Topics: `admin.topics`. */
export class TopicsAdmin {
  readonly #context: AdminContext

  /** @internal */
  constructor(context: AdminContext) {
    this.#context = context
  }

  /**
   * Creates topics. Resolves when the controller has created them; other brokers learn of them a moment later.
   * `validateOnly` only checks whether they could be created.
   */
  async create(
    topics: readonly NewTopic[],
    options: { readonly validateOnly?: boolean | undefined } = {},
  ): Promise<void> {
    checkArguments('admin.topics.create', {
      topics: [topics, NEW_TOPICS],
      options: [options, only({ validateOnly: optional(trueOrFalse) })],
    })
    const { validateOnly = false } = options
    const { timeoutMs } = this.#context
    const body = {
      timeoutMs,
      validateOnly,
      topics: topics.map(({ name, partitions = -1, replicationFactor = -1, replicas, configs = {} }) => ({
        name,
        numPartitions: replicas === undefined ? partitions : -1,
        replicationFactor: replicas === undefined ? replicationFactor : -1,
        assignments: (replicas ?? []).map((brokerIds, partitionIndex) => ({ partitionIndex, brokerIds })),
        configs: Object.entries(configs).map(([key, value]) => ({ name: key, value })),
      })),
    }
    await this.#context.write('create topics', async () => {
      const response = await this.#context.toController('CreateTopics', body)
      checkItems(
        'create topic',
        response.topics.map((topic) => ({ ...topic, item: topic.name })),
      )
    })
  }

  /** Deletes topics with all their records. */
  async delete(names: readonly string[]): Promise<void> {
    checkArguments('admin.topics.delete', { names: [names, topicNames] })
    const { timeoutMs } = this.#context
    await this.#context.write('delete topics', async () => {
      const topics = { topicNames: names, topics: names.map((name) => ({ name, topicId: NO_ID })) }
      const response = await this.#context.toController('DeleteTopics', (version) =>
        version >= 6 ? { topics: topics.topics, timeoutMs } : { topicNames: topics.topicNames, timeoutMs },
      )
      checkItems(
        'delete topic',
        response.responses.map((topic) => ({ ...topic, item: topic.name ?? '' })),
      )
    })
  }

  /** Increases the number of partitions: `{ orders: 12 }`. Keys then map to other partitions than before. */
  async addPartitions(counts: Readonly<Record<string, number>>): Promise<void> {
    checkArguments('admin.topics.addPartitions', {
      counts: [counts, byName(whole(1, MAX_PARTITIONS), '{ orders: 12 }')],
    })
    const { timeoutMs } = this.#context
    const topics = Object.entries(counts).map(([name, count]) => ({ name, count, assignments: null }))
    await this.#context.write('add partitions', async () => {
      const { results } = await this.#context.toController('CreatePartitions', {
        topics,
        timeoutMs,
        validateOnly: false,
      })
      checkItems(
        'add partitions to',
        results.map((topic) => ({ ...topic, item: topic.name })),
      )
    })
  }

  /** The names of all topics that the client may see. */
  async list(options: { readonly includeInternal?: boolean | undefined } = {}): Promise<readonly string[]> {
    checkArguments('admin.topics.list', { options: [options, only({ includeInternal: optional(trueOrFalse) })] })
    const { includeInternal = false } = options
    const topics = await this.#ask(null)
    return topics.filter(({ isInternal }) => includeInternal || !isInternal).map(({ name }) => name)
  }

  /** Partitions, leaders and replicas. Rejects if a topic does not exist. */
  async describe(names: readonly string[]): Promise<readonly TopicInfo[]> {
    checkArguments('admin.topics.describe', { names: [names, topicNames] })
    return this.#ask(names)
  }

  #ask(names: readonly string[] | null): Promise<readonly TopicInfo[]> {
    return this.#context.read('describe topics', async () => {
      const topics = names === null ? null : names.map((name) => ({ name }))
      const response = await this.#context.cluster.sendToAny('Metadata', { topics, allowAutoTopicCreation: false })
      return response.topics.map((topic) => {
        const name = topic.name ?? ''
        if (topic.errorCode !== 0) throw refusal(topic.errorCode, `describe topic ${name}`)
        return {
          name,
          id: topic.topicId === NO_ID ? undefined : topic.topicId,
          isInternal: topic.isInternal,
          partitions: topic.partitions
            .map((partition) => ({
              index: partition.partitionIndex,
              leader: partition.leaderId < 0 ? undefined : partition.leaderId,
              leaderEpoch: partition.leaderEpoch,
              replicas: partition.replicaNodes,
              inSync: partition.isrNodes,
              offline: partition.offlineReplicas,
            }))
            .toSorted((a, b) => a.index - b.index),
        }
      })
    })
  }
}
