import { baseTopic } from './keys.ts'
import type { Keys } from './keys.ts'
import { REDIS_DEFAULTS } from '../resolve-options.ts'
import type { ResolvedRedisOptions } from '../options.ts'
import type { Reports } from '../reports.ts'
import type { Commands } from '../connection/commands.ts'

/** A program that invents topic names without end must not fill the memory. */
const MAX_KNOWN = 10_000

type Listener = (topic: string, partitions: number) => void

/**
 * The list of topics, stored in Redis: the number of partitions of each, and the topics that patterns match. The first
 * process to use a topic sets its partitions; all others follow.
 */
export class Topics {
  readonly #commands: Commands
  readonly #keys: Keys
  readonly #options: ResolvedRedisOptions
  readonly #reports: Reports
  readonly #known = new Map<string, number>()
  readonly #asking = new Map<string, Promise<number>>()
  readonly #listeners = new Set<Listener>()

  constructor(commands: Commands, keys: Keys, options: ResolvedRedisOptions, reports: Reports) {
    this.#reports = reports
    this.#commands = commands
    this.#keys = keys
    this.#options = options
  }

  /** Number of partitions, if known here. */
  known(topic: string): number | undefined {
    return this.#known.get(topic)
  }

  /**
   * Adds the topic to the list if it is new. `wanted`: the number of partitions that it then gets, instead of the
   * option's.
   */
  async register(topic: string, wanted?: number): Promise<number> {
    const known = this.#known.get(topic)
    if (known !== undefined) return known
    let asking = this.#asking.get(topic)
    if (asking === undefined) {
      asking = this.#register(topic, wanted).finally(() => this.#asking.delete(topic))
      this.#asking.set(topic, asking)
    }
    return asking
  }

  async #register(topic: string, wanted: number | undefined): Promise<number> {
    const base = baseTopic(topic)
    const asked = this.#options.partitions[base] ?? this.#options.partitions['*']
    const partitions = await this.#put(base, wanted ?? asked ?? REDIS_DEFAULTS.partitions)
    if (asked !== undefined && wanted === undefined && asked !== partitions)
      this.#reports.warnOnce(
        'redis-partitions',
        `The topic "${base}" has ${partitions} partitions, and not ${asked} as the options of this process say: the number is decided by the first process that uses a topic, and can't change, because keys would lose their order. Use the same number everywhere, or a new topic.`,
      )
    // Dead letters are next to their source, partition by partition.
    if (topic !== base) await this.#put(topic, partitions)
    this.#note(topic, partitions)
    return partitions
  }

  async #put(topic: string, wanted: number): Promise<number> {
    const { topics } = this.#keys
    // Two commands in one write, so in order: the second sees what the first, or an earlier process, has stored.
    const [, count] = await Promise.all([
      this.#commands.call(topics, ['HSETNX', topics, topic, String(wanted)]),
      this.#commands.call(topics, ['HGET', topics, topic]),
    ])
    return Number(count)
  }

  #note(topic: string, partitions: number): void {
    if (this.#known.has(topic)) return
    if (this.#known.size >= MAX_KNOWN) this.#known.clear()
    this.#known.set(topic, partitions)
    for (const listener of this.#listeners) listener(topic, partitions)
  }

  /** All topics, including those of other processes. */
  async list(): Promise<ReadonlyMap<string, number>> {
    const { topics } = this.#keys
    const reply = (await this.#commands.call(topics, ['HGETALL', topics])) as readonly unknown[]
    const found = new Map<string, number>()
    for (let at = 0; at + 1 < reply.length; at += 2) {
      const name = String(reply[at])
      const partitions = Number(reply[at + 1])
      found.set(name, partitions)
      this.#note(name, partitions)
    }
    return found
  }

  /** The current number of partitions in the list. Restores the known number if the list has lost the topic. */
  async partitions(topic: string, known: number): Promise<number> {
    const { topics } = this.#keys
    const count = await this.#commands.call(topics, ['HGET', topics, topic])
    return count === null ? this.#put(topic, known) : Number(count)
  }

  /** Number of topics: cheap to call often. */
  async count(): Promise<number> {
    const { topics } = this.#keys
    return Number(await this.#commands.call(topics, ['HLEN', topics]))
  }

  /** Puts all known topics back on the list: the server may have lost its data. */
  async restore(): Promise<void> {
    const { topics } = this.#keys
    await Promise.all(
      [...this.#known].map(([topic, partitions]) =>
        this.#commands.call(topics, ['HSETNX', topics, topic, String(partitions)]),
      ),
    )
  }

  /** Calls `listener` with each topic that becomes known here. */
  onNew(listener: Listener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}
