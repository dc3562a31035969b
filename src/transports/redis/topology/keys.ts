import { isDeadLetterTopic } from '../../../core/topic.ts'

/** Names of the keys of one partition in Redis. All of them share a hash tag, and so a slot of the cluster. */
export interface PartitionKeys {
  readonly topic: string
  readonly partition: number
  /** The stream itself: foreign programs write to it and read from it. */
  readonly stream: string
  /** Sorted set of messages that are not due. */
  readonly delayed: string
  /** Counter that keeps delayed messages of one time apart and in order. */
  readonly sequence: string
}

/** Keys of one group besides its consumer group on the stream. */
export interface GroupKeys {
  readonly group: string
  /** Hash: generation, owner and floor of each partition; in a cluster of this one. */
  readonly meta: string
  /** Sorted set: entries of the stream that were handed back, by the time when they may come again. */
  readonly later: string
  /** Hash: notes about attempts at entries of the stream, by their ids; see `AttemptNotes`. */
  readonly notes: string
  /** Stream of copies for this group alone. */
  readonly side: string
  readonly sideLater: string
  readonly sideNotes: string
  /** Sorted set of copies for this group alone that are not due. */
  readonly delayed: string
}

/**
 * The topic whose hash tag a topic has: its own, or for dead letters that of the source topic, so that a message can be
 * moved to them in one atomic step.
 */
export function baseTopic(topic: string): string {
  let base = topic
  while (isDeadLetterTopic(base)) {
    const tokens = base.split('.')
    // `<topic>.<group>.dlq`; a shorter name is a topic that only looks like one.
    if (tokens.length < 3) return base
    base = tokens.slice(0, -2).join('.')
  }
  return base
}

/** Keeps only the name of the stream: a process may have many thousands of partitions, and needs the other names rarely. */
class NamedPartition implements PartitionKeys {
  readonly topic: string
  readonly partition: number
  readonly stream: string

  constructor(topic: string, partition: number, stream: string) {
    this.topic = topic
    this.partition = partition
    this.stream = stream
  }

  get delayed(): string {
    return `${this.stream}:delayed`
  }

  get sequence(): string {
    return `${this.stream}:sequence`
  }
}

class NamedGroup implements GroupKeys {
  readonly group: string
  readonly meta: string
  readonly #stream: string

  constructor(group: string, meta: string, stream: string) {
    this.group = group
    this.meta = meta
    this.#stream = stream
  }

  get later(): string {
    return `${this.#stream}:later:${this.group}`
  }

  get notes(): string {
    return `${this.#stream}:notes:${this.group}`
  }

  get side(): string {
    return `${this.#stream}:side:${this.group}`
  }

  get sideLater(): string {
    return `${this.side}:later`
  }

  get sideNotes(): string {
    return `${this.side}:notes`
  }

  get delayed(): string {
    return `${this.#stream}:delayed:${this.group}`
  }
}

/** Makes the names of keys. Braces surround the part that decides the slot. */
export class Keys {
  /** Hash of all topics: name to number of partitions. */
  readonly topics: string
  /**
   * Sorted set of groups that belong to one subscription: `topic` and group, by the time when they are no longer in
   * use.
   */
  readonly ephemeral: string
  /** Sorted set of processes that consume, by the end of their lease. */
  readonly leases: string
  /** Stream of short notices from process to process: who should look at which group. */
  readonly notices: string
  /** Version of all this. */
  readonly layout: string
  readonly #prefix: string
  readonly #cluster: boolean
  #lastMeta = ''

  /** `cluster`: each partition may be on a server of its own, and shares no key with others. */
  constructor(prefix: string, cluster: boolean) {
    this.#prefix = prefix
    this.#cluster = cluster
    this.layout = `${prefix}layout`
    this.topics = `${prefix}topics`
    this.ephemeral = `${prefix}ephemeral`
    this.leases = `${prefix}leases`
    this.notices = `${prefix}notices`
  }

  partition(topic: string, partition: number): PartitionKeys {
    const base = baseTopic(topic)
    const tag = partition === 0 ? base : `${base}/${partition}`
    return new NamedPartition(topic, partition, `${this.#prefix}{${tag}}${topic.slice(base.length)}`)
  }

  group({ stream, topic }: PartitionKeys, group: string): GroupKeys {
    return new NamedGroup(group, this.#metaOf(this.#cluster ? stream : this.partition(topic, 0).stream, group), stream)
  }

  /** One string for all partitions of a topic, because they are named one after the other. */
  #metaOf(stream: string, group: string): string {
    const meta = `${stream}:group:${group}`
    if (this.#lastMeta !== meta) this.#lastMeta = meta
    return this.#lastMeta
  }

  /** Hash: members of a group, and which of them has which partition. Stored with partition 0. */
  assignment(topic: string, group: string): string {
    return `${this.partition(topic, 0).stream}:assignment:${group}`
  }
}

/** The name of a partition, for people. */
export function partitionName({ topic, partition }: PartitionKeys): string {
  return `${topic}/${partition}`
}
