import { UnsupportedError } from '../../../core/errors.ts'
import type { Admin } from '../../../kafka/index.ts'
import { codeOf } from '../admin/error-code.ts'
import type { KafkaContext } from '../context.ts'
import { isRetryTopic, LOGS } from './retry-topic.ts'

/** What the copy of a message may have that the message had not: the headers that say when it is due and what it is a copy of. */
const COPY_ROOM_BYTES = 65_536
const MiB = 1_048_576

/** Nothing of this topic moves, because a transaction of it could be lost halfway with its only broker. */
export class StaysError extends Error {
  override name = 'StaysError'
}

/** Retry topics on the broker: which ones there are, and making one when it is first needed. */
export class RetryTopics {
  readonly #context: KafkaContext
  /** Those with room beside each of so many partitions. */
  readonly #known = new Map<string, number>()
  #looking: Promise<ReadonlySet<string>> | undefined

  constructor(context: KafkaContext) {
    this.#context = context
  }

  /** All that there are. One look for all who ask in a turn of the event loop. */
  existing(): Promise<ReadonlySet<string>> {
    this.#looking ??= this.#look()
    return this.#looking
  }

  async #look(): Promise<ReadonlySet<string>> {
    await new Promise(setImmediate)
    this.#looking = undefined
    const names = await this.#admin.topics.list()
    return new Set(names.filter(isRetryTopic))
  }

  /**
   * Resolves when the retry topic has room beside the partition. It has as many replicas as its source; what is in it is kept until it was
   * handled, however long that takes.
   */
  async ensure(name: string, source: { readonly topic: string; readonly index: number }): Promise<void> {
    if (source.index < (this.#known.get(name) ?? 0)) return
    const [info] = await this.#admin.topics.describe([source.topic])
    const replicas = info?.partitions[0]?.replicas.length
    if (replicas === 1 && this.#context.options.retryTopics === undefined) throw new StaysError()
    const count = Math.max(info?.partitions.length ?? 0, source.index + 1)
    await this.#make(name, count, replicas)
    this.#known.set(name, count)
    this.#context.topics.found(name)
  }

  /** It may be missing: the next `ensure` looks again. */
  forget(name: string): void {
    this.#known.delete(name)
    this.#context.topics.forget(name)
  }

  async #make(name: string, count: number, replicas: number | undefined): Promise<void> {
    const { createTopics, topicConfigs, replicationFactor = replicas, maxMessageBytes } = this.#context.options
    const wanted = count * LOGS
    const there = await this.#countOf(name)
    if (there >= wanted) return
    if (!createTopics)
      throw new UnsupportedError(
        `The topic "${name}" ${there === 0 ? 'does not exist' : `has ${there} partitions`}, and createTopics is false: make it with ${wanted} partitions and retention.ms = -1`,
      )
    if (there > 0) return this.#admin.topics.addPartitions({ [name]: wanted })
    const configs = {
      ...topicConfigs,
      'cleanup.policy': 'delete',
      'retention.ms': '-1',
      'retention.bytes': '-1',
      'max.message.bytes': String(Math.max(MiB, maxMessageBytes) + COPY_ROOM_BYTES),
    }
    try {
      await this.#admin.topics.create([{ name, partitions: wanted, replicationFactor, configs }])
    } catch (error) {
      // Another member was faster.
      if (codeOf(error) !== 'TOPIC_ALREADY_EXISTS') throw error
    }
  }

  async #countOf(name: string): Promise<number> {
    try {
      const [info] = await this.#admin.topics.describe([name])
      return info?.partitions.length ?? 0
    } catch (error) {
      if (codeOf(error) === 'UNKNOWN_TOPIC_OR_PARTITION') return 0
      throw error
    }
  }

  get #admin(): Admin {
    return this.#context.client.admin()
  }
}
