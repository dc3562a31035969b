import { SimLog } from './log.ts'
import { ProducerState } from './producer-state.ts'
import type { Random } from './random.ts'

export interface SimPartition {
  readonly index: number
  readonly log: SimLog
  readonly producers: ProducerState
  readonly replicas: readonly number[]
  /** Where the logs of followers that lag behind end. */
  readonly replicaEnds: Map<number, number>
  leader: number | undefined
  epoch: number
}

export interface SimTopic {
  readonly name: string
  readonly id: string
  readonly partitions: SimPartition[]
  maxMessageBytes: number
}

/** The topics of the cluster, as the controller knows them. */
export class Topics {
  readonly #byName = new Map<string, SimTopic>()
  readonly #byId = new Map<string, SimTopic>()
  readonly #random: Random
  readonly #brokers: () => readonly number[]

  constructor(random: Random, brokers: () => readonly number[]) {
    this.#random = random
    this.#brokers = brokers
  }

  all(): Iterable<SimTopic> {
    return this.#byName.values()
  }

  named(name: string): SimTopic | undefined {
    return this.#byName.get(name)
  }

  ofId(id: string): SimTopic | undefined {
    return this.#byId.get(id)
  }

  create(name: string, partitions: number): SimTopic {
    const topic: SimTopic = { name, id: this.#random.uuid(), partitions: [], maxMessageBytes: 1_048_588 }
    this.#byName.set(name, topic)
    this.#byId.set(topic.id, topic)
    this.grow(topic, partitions)
    return topic
  }

  /** Adds partitions up to `count`. */
  grow(topic: SimTopic, count: number): void {
    const brokers = this.#brokers()
    while (topic.partitions.length < count) {
      const index = topic.partitions.length
      const replicas = brokers.map((_, step) => brokers[(index + step) % brokers.length] as number)
      const leader = replicas[0]
      const producers = new ProducerState()
      const replicaEnds = new Map<number, number>()
      topic.partitions.push({ index, log: new SimLog(), producers, replicas, replicaEnds, leader, epoch: 0 })
    }
  }

  delete(name: string): void {
    const topic = this.#byName.get(name)
    this.#byName.delete(name)
    if (topic !== undefined) this.#byId.delete(topic.id)
  }
}
