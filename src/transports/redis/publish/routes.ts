import type { EncodedMessage } from '../../../core/message.ts'
import type { Keys, PartitionKeys } from '../topology/keys.ts'
import { partitionOf } from '../topology/partitioner.ts'
import type { Retention, Watched } from '../topology/retention.ts'
import type { Topics } from '../topology/topics.ts'

/** One partition, as a publisher sees it. */
export interface PublishTarget {
  readonly keys: PartitionKeys
  readonly watched: Watched | undefined
  /** The command that adds an entry, up to the value of the field `ce`. */
  readonly head: Buffer
}

/**
 * Messages without a key go to one partition for a while and then to the next: batches stay large, and all partitions
 * get their share.
 */
const KEYLESS_RUN = 64
const MAX_ROUTES = 10_000

class Route {
  readonly #targets: readonly PublishTarget[]
  #turn = Math.floor(Math.random() * 1_000) * KEYLESS_RUN

  constructor(targets: readonly PublishTarget[]) {
    this.#targets = targets
  }

  targetOf(key: string | undefined): PublishTarget {
    const { length } = this.#targets
    const index = key === undefined ? Math.floor(this.#turn++ / KEYLESS_RUN) % length : partitionOf(key, length)
    return this.#targets[index] as PublishTarget
  }
}

/** Decides which partition a message goes to. */
export class Routes {
  readonly #keys: Keys
  readonly #topics: Topics
  readonly #retention: Retention
  readonly #routes = new Map<string, Route>()
  #last: { readonly topic: string; readonly route: Route } | undefined

  constructor(keys: Keys, topics: Topics, retention: Retention) {
    this.#keys = keys
    this.#topics = topics
    this.#retention = retention
  }

  /** Undefined while the topic's number of partitions is unknown. */
  targetOf(message: EncodedMessage): PublishTarget | undefined {
    const { topic } = message
    if (this.#last?.topic === topic) return this.#last.route.targetOf(message.key)
    const route = this.#routes.get(topic) ?? this.#make(topic)
    if (route === undefined) return undefined
    this.#last = { topic, route }
    return route.targetOf(message.key)
  }

  knows(topic: string): boolean {
    return this.#last?.topic === topic || this.#routes.has(topic) || this.#topics.known(topic) !== undefined
  }

  #make(topic: string): Route | undefined {
    const partitions = this.#topics.known(topic)
    if (partitions === undefined) return undefined
    if (this.#routes.size >= MAX_ROUTES) this.#routes.clear()
    const route = new Route(
      Array.from({ length: partitions }, (_, partition) => {
        const keys = this.#keys.partition(topic, partition)
        return { keys, watched: this.#retention.watch(keys, partitions), head: headOf(keys.stream) }
      }),
    )
    this.#routes.set(topic, route)
    return route
  }
}

function headOf(stream: string): Buffer {
  return Buffer.from(`*7\r\n$4\r\nXADD\r\n$${Buffer.byteLength(stream)}\r\n${stream}\r\n$1\r\n*\r\n$2\r\nce\r\n`)
}
