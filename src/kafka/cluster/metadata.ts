import { ZERO_UUID } from '../protocol/layout.ts'
import type { MetadataResponse, ProduceResponse } from '../protocol/generated/api-types.ts'

export interface Node {
  readonly id: number
  readonly host: string
  readonly port: number
  readonly rack: string | null
}

export interface PartitionLeader {
  /** Undefined while one is being elected. */
  readonly leader: number | undefined
  /** -1 if the broker is too old to say. */
  readonly epoch: number
}

export interface TopicState {
  readonly name: string
  /** Undefined if the cluster is too old to have ids. */
  readonly id: string | undefined
  readonly partitions: readonly PartitionLeader[]
  readonly isInternal: boolean
  /** What the last answer said about the topic: 0, or why its partitions may be outdated. */
  readonly errorCode: number
}

export type MetadataChange =
  /** Deleted and made again under its name: nothing that is known about the old one holds for the new one. */
  | { readonly type: 'recreated'; readonly topic: string; readonly oldId: string; readonly newId: string }
  | { readonly type: 'partitions'; readonly topic: string; readonly from: number; readonly to: number }
  | { readonly type: 'leader'; readonly topic: string; readonly partition: number; readonly leader: number | undefined }

/** The new leader that a broker names with its refusal (KIP-951). */
export interface LeaderHint {
  readonly topic: string
  readonly partition: number
  readonly leader: number
  readonly epoch: number
  readonly endpoints: ProduceResponse['nodeEndpoints']
}

interface Topic {
  name: string
  id: string | undefined
  formerIds: string[]
  partitions: PartitionLeader[]
  /** Of each partition. */
  replicas: (readonly number[])[]
  isInternal: boolean
  errorCode: number
}

/** The code of a topic that does not exist. */
export const UNKNOWN_TOPIC = 3

/** Ids of earlier topics of a name that are remembered. */
const MAX_FORMER_IDS = 16

/**
 * What is known about brokers and partitions. Answers come from brokers that may lag behind each other: for the same topic only an
 * epoch that is not older counts, and an id that the topic had before is ignored.
 */
export class Metadata {
  readonly #topics = new Map<string, Topic>()
  readonly #namesById = new Map<string, string>()
  #nodes: ReadonlyMap<number, Node> = new Map()
  #controllerId = -1
  #clusterId: string | null = null

  get nodes(): ReadonlyMap<number, Node> {
    return this.#nodes
  }

  /** -1 while it isn't known. */
  get controllerId(): number {
    return this.#controllerId
  }

  get clusterId(): string | null {
    return this.#clusterId
  }

  /** All topics that were asked for and not forgotten. */
  topics(): Iterable<TopicState> {
    return this.#topics.values()
  }

  topic(name: string): TopicState | undefined {
    return this.#topics.get(name)
  }

  topicOfId(id: string): TopicState | undefined {
    const name = this.#namesById.get(id)
    return name === undefined ? undefined : this.#topics.get(name)
  }

  leaderOf(topic: string, partition: number): PartitionLeader | undefined {
    return this.#topics.get(topic)?.partitions[partition]
  }

  /** Where the replicas of a partition are; without those of which no rack is known. */
  racksOf(topic: string, partition: number): readonly string[] {
    const replicas = this.#topics.get(topic)?.replicas[partition] ?? []
    return replicas.map((id) => this.#nodes.get(id)?.rack ?? null).filter((rack) => rack !== null)
  }

  /**
   * Takes what an answer says that is not older than what is known, and returns what has changed. `isComplete`: all topics were asked
   * for, so one that is not in the answer does not exist.
   */
  apply(response: MetadataResponse, isComplete = false): readonly MetadataChange[] {
    const changes: MetadataChange[] = []
    // An answer without brokers comes from one that has just started: nothing could be reached with it.
    if (response.brokers.length > 0) {
      this.#nodes = new Map(
        response.brokers.map(({ nodeId, host, port, rack }) => [nodeId, { id: nodeId, host, port, rack }]),
      )
    }
    this.#controllerId = response.controllerId
    this.#clusterId = response.clusterId ?? this.#clusterId
    for (const topic of response.topics) this.#applyTopic(topic, changes)
    if (isComplete) this.#markMissing(response)
    return changes
  }

  /** Takes a leader that a broker names; false if that is older than what is known. */
  applyHint({ topic, partition, leader, epoch, endpoints }: LeaderHint): boolean {
    const known = this.#topics.get(topic)
    const current = known?.partitions[partition]
    if (known === undefined || current === undefined || leader < 0 || epoch <= current.epoch) return false
    const missing = endpoints.filter(({ nodeId }) => !this.#nodes.has(nodeId))
    if (missing.length > 0) {
      const nodes = missing.map(({ nodeId, host, port, rack }): [number, Node] => [
        nodeId,
        { id: nodeId, host, port, rack },
      ])
      this.#nodes = new Map([...this.#nodes, ...nodes])
    }
    // A leader without address can't be used: the refresh that follows brings both.
    if (!this.#nodes.has(leader)) return false
    known.partitions[partition] = { leader, epoch }
    return true
  }

  /** Takes a broker that another answer names, until the next one with all brokers. A known one keeps its address. */
  addNode(node: Node): void {
    if (!this.#nodes.has(node.id)) this.#nodes = new Map([...this.#nodes, [node.id, node]])
  }

  /** Forgets a topic that nobody uses any more. */
  forget(name: string): void {
    const id = this.#topics.get(name)?.id
    if (id !== undefined) this.#namesById.delete(id)
    this.#topics.delete(name)
  }

  #markMissing(response: MetadataResponse): void {
    const names = new Set(response.topics.map(({ name }) => name))
    for (const [name, topic] of this.#topics) if (!names.has(name)) topic.errorCode = UNKNOWN_TOPIC
  }

  #applyTopic(answer: MetadataResponse['topics'][number], changes: MetadataChange[]): void {
    const id = answer.topicId === ZERO_UUID ? undefined : answer.topicId
    const name = answer.name ?? (id === undefined ? undefined : this.#namesById.get(id))
    if (name === undefined) return
    let topic = this.#topics.get(name)
    if (topic === undefined) {
      topic = {
        name,
        id,
        formerIds: [],
        partitions: [],
        replicas: [],
        isInternal: answer.isInternal,
        errorCode: answer.errorCode,
      }
      this.#topics.set(name, topic)
      if (id !== undefined) this.#namesById.set(id, name)
    }
    if (id !== undefined && id !== topic.id) {
      if (topic.formerIds.includes(id)) return
      this.#becomeNew(topic, id, changes)
    }
    topic.errorCode = answer.errorCode
    if (answer.errorCode !== 0) return
    topic.isInternal = answer.isInternal
    this.#applyPartitions(topic, answer.partitions, changes)
  }

  #becomeNew(topic: Topic, id: string, changes: MetadataChange[]): void {
    if (topic.id !== undefined) {
      changes.push({ type: 'recreated', topic: topic.name, oldId: topic.id, newId: id })
      topic.formerIds = [topic.id, ...topic.formerIds].slice(0, MAX_FORMER_IDS)
      topic.partitions = []
      topic.replicas = []
      this.#namesById.delete(topic.id)
    }
    topic.id = id
    this.#namesById.set(id, topic.name)
  }

  #applyPartitions(
    topic: Topic,
    answers: MetadataResponse['topics'][number]['partitions'],
    changes: MetadataChange[],
  ): void {
    const before = topic.partitions.length
    for (const { partitionIndex, leaderId, leaderEpoch, replicaNodes } of answers.toSorted(
      (a, b) => a.partitionIndex - b.partitionIndex,
    )) {
      // Partitions are numbered without gaps; a gap is an answer that makes no sense.
      if (partitionIndex > topic.partitions.length) break
      const known = topic.partitions[partitionIndex]
      if (known !== undefined && leaderEpoch !== -1 && leaderEpoch < known.epoch) continue
      const leader = leaderId < 0 ? undefined : leaderId
      topic.partitions[partitionIndex] = { leader, epoch: leaderEpoch }
      topic.replicas[partitionIndex] = replicaNodes
      if (known !== undefined && known.leader !== leader) {
        changes.push({ type: 'leader', topic: topic.name, partition: partitionIndex, leader })
      }
    }
    const after = topic.partitions.length
    if (before > 0 && after > before) changes.push({ type: 'partitions', topic: topic.name, from: before, to: after })
  }
}
