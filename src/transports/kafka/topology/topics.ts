import { isDeadLetterTopic, compilePattern } from '../../../core/topic.ts'
import { KafkaError, PartialFailureError } from '../../../kafka/index.ts'
import type { KafkaClient } from '../../../kafka/index.ts'
import { repeatInDoubt } from '../admin/repeat-in-doubt.ts'
import { isAuthorization } from '../errors.ts'
import type { ResolvedKafkaOptions } from '../options.ts'
import type { Reports } from '../reports.ts'

/** Dead letters are in the first partition, in the order in which they failed; the second one has a log of those that were removed. */
export const DEAD_LETTER_PARTITIONS = 2
/** Where a dead letter goes. */
export const LETTERS_PARTITION = 0

/** Topics on the broker: makes those that are missing, as the options say. */
export class Topics {
  readonly #options: Pick<
    ResolvedKafkaOptions,
    'createTopics' | 'partitions' | 'replicationFactor' | 'topicConfigs' | 'producer'
  >
  readonly #client: KafkaClient
  readonly #reports: Reports
  readonly #known = new Set<string>()
  /** Those that are asked for in this turn, or on their way. */
  readonly #pending = new Map<string, PromiseWithResolvers<void>>()
  #gathered: string[] = []
  #isChecked = false

  constructor(options: ResolvedKafkaOptions, client: KafkaClient, reports: Reports) {
    this.#options = options
    this.#client = client
    this.#reports = reports
  }

  /** It was there when it was looked at last. */
  isKnown(topic: string): boolean {
    return this.#known.has(topic)
  }

  /** It is there: somebody else has looked. */
  found(topic: string): void {
    this.#known.add(topic)
  }

  /** It may be missing: the next `ensure` looks again. */
  forget(topic: string): void {
    this.#known.delete(topic)
  }

  /** Resolves when the topic exists; all that are asked for in one turn of the event loop are made by one request. */
  ensure(topic: string): Promise<void> {
    if (this.#known.has(topic)) return Promise.resolve()
    const waiting = this.#pending.get(topic)
    if (waiting !== undefined) return waiting.promise
    const made = Promise.withResolvers<void>()
    // Whoever asks also waits; nobody else needs to know.
    made.promise.catch(() => {})
    this.#pending.set(topic, made)
    if (this.#gathered.push(topic) === 1) setImmediate(() => void this.#make())
    return made.promise
  }

  async #make(): Promise<void> {
    const topics = this.#gathered
    this.#gathered = []
    const failures = this.#options.createTopics ? await this.#create(topics) : new Map<string, unknown>()
    await Promise.all(topics.map((topic) => this.#settle(topic, failures.get(topic))))
    void this.#checkSafety(topics.filter((topic) => this.#known.has(topic) && !isDeadLetterTopic(topic)))
  }

  /** Warns of topics whose messages are lost with one broker. Of settings that all topics inherit, the first one that is used says enough. */
  async #checkSafety(topics: readonly string[]): Promise<void> {
    const [first] = topics
    if (first === undefined) return
    const admin = this.#client.admin()
    try {
      // Where there is one broker, nothing can be done about it.
      if ((await admin.cluster.describe()).brokers.length < 2) return
      for (const { name, partitions } of await admin.topics.describe(topics)) {
        if (partitions.every(({ replicas }) => replicas.length > 1)) continue
        this.#reports.warnOnce(
          'replication-1',
          `topic "${name}" has one replica: what is in it is lost with its broker. Make topics with replicationFactor: 3`,
        )
      }
      if (this.#isChecked) return
      this.#isChecked = true
      const [entry] = await admin.configs.describe({ type: 'topic', name: first }, ['min.insync.replicas'])
      if (entry?.value !== '1' || this.#options.producer.acks !== 'all') return
      this.#reports.warnOnce(
        'min-isr-1',
        `topic "${first}" has min.insync.replicas = 1: with acks: 'all', a message may be confirmed that one broker alone has, and be lost with it. Set it to 2`,
      )
    } catch (error) {
      // A client that may not look at that may still publish and consume.
      if (!isAuthorization(error)) this.#reports.error(error, 'looking at how safe topics are')
    }
  }

  /** Errors by topic; none for one that is there already. */
  async #create(topics: readonly string[]): Promise<ReadonlyMap<string, unknown>> {
    const failures = new Map<string, unknown>()
    try {
      const shapes = topics.map((name) => ({ name, ...this.#shape(name) }))
      await repeatInDoubt(() => this.#client.admin().topics.create(shapes))
    } catch (error) {
      for (const topic of topics) {
        const own = error instanceof PartialFailureError ? error.failures.get(topic) : error
        if (own === undefined || isThere(own)) continue
        failures.set(topic, own)
      }
    }
    return failures
  }

  async #settle(topic: string, failure: unknown): Promise<void> {
    const made = this.#pending.get(topic)
    try {
      // It may exist although this client may not create it.
      if (failure !== undefined || !this.#options.createTopics) await this.#find(topic, failure)
      this.#known.add(topic)
      made?.resolve()
    } catch (error) {
      made?.reject(error)
    } finally {
      this.#pending.delete(topic)
    }
  }

  async #find(topic: string, failure: unknown): Promise<void> {
    try {
      await this.#client.admin().topics.describe([topic])
    } catch (error) {
      throw failure ?? error
    }
  }

  #shape(topic: string): { readonly partitions: number; readonly configs: Readonly<Record<string, string>> } {
    const { replicationFactor, topicConfigs, partitions } = this.#options
    const count = isDeadLetterTopic(topic)
      ? DEAD_LETTER_PARTITIONS
      : (partitions.find(({ pattern }) => compilePattern(pattern)(topic))?.count ?? 1)
    // Dead letters are kept until somebody removes them.
    const configs = isDeadLetterTopic(topic) ? { 'retention.ms': '-1', ...topicConfigs } : topicConfigs
    return { partitions: count, ...(replicationFactor === undefined ? {} : { replicationFactor }), configs }
  }
}

function isThere(error: unknown): boolean {
  return error instanceof KafkaError && error.code === 'TOPIC_ALREADY_EXISTS'
}
