import type { TopicPartitions } from '../protocol/embedded.ts'

/** A partition of a topic. */
export interface TopicPartition {
  readonly topic: string
  readonly partition: number
}

/** A set of partitions. Iterates by topic, then by partition, in the order in which they came. */
export class PartitionSet implements Iterable<TopicPartition> {
  readonly #topics = new Map<string, Set<number>>()
  #size = 0

  constructor(partitions: Iterable<TopicPartition> = []) {
    for (const { topic, partition } of partitions) this.add(topic, partition)
  }

  static fromTopics(topics: readonly TopicPartitions[]): PartitionSet {
    const set = new PartitionSet()
    for (const { topic, partitions } of topics) for (const partition of partitions) set.add(topic, partition)
    return set
  }

  get size(): number {
    return this.#size
  }

  has(topic: string, partition: number): boolean {
    return this.#topics.get(topic)?.has(partition) ?? false
  }

  /** False if it was there. */
  add(topic: string, partition: number): boolean {
    let partitions = this.#topics.get(topic)
    if (partitions === undefined) this.#topics.set(topic, (partitions = new Set()))
    if (partitions.has(partition)) return false
    partitions.add(partition)
    this.#size++
    return true
  }

  /** False if it was not there. */
  delete(topic: string, partition: number): boolean {
    const partitions = this.#topics.get(topic)
    if (partitions === undefined || !partitions.delete(partition)) return false
    if (partitions.size === 0) this.#topics.delete(topic)
    this.#size--
    return true
  }

  minus(other: PartitionSet): PartitionSet {
    const rest = new PartitionSet()
    for (const { topic, partition } of this) if (!other.has(topic, partition)) rest.add(topic, partition)
    return rest
  }

  equals(other: PartitionSet): boolean {
    return this.#size === other.size && this.minus(other).size === 0
  }

  *[Symbol.iterator](): Iterator<TopicPartition> {
    for (const [topic, partitions] of this.#topics) for (const partition of partitions) yield { topic, partition }
  }

  /** As the protocol wants it, sorted. */
  toTopics(): readonly TopicPartitions[] {
    return [...this.#topics]
      .map(([topic, partitions]) => ({ topic, partitions: [...partitions].sort((a, b) => a - b) }))
      .sort((a, b) => compareText(a.topic, b.topic))
  }
}

/** By UTF-16 code units, as Java compares. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
