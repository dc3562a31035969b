// Over 250 lines: all that producers, consumers and admin clients ask a cluster for; what it is made of is in the files beside it.
import { errorFromBroker, KafkaError } from '../errors.ts'
import type { SendOptions, Sent } from '../network/connection.ts'
import type { OptionsReader } from '../options-reader.ts'
import type { ApiName, Requests, Responses } from '../protocol/generated/api-types.ts'
import { AnyBroker } from './any-broker.ts'
import { backoffMs } from './backoff.ts'
import { closedError, clusterError } from './cluster-errors.ts'
import type { ClusterErrorCode } from './cluster-errors.ts'
import { clusterSettingsOf } from './cluster-options.ts'
import type { ClusterOptions, ClusterSettings } from './cluster-options.ts'
import { Connections } from './connections.ts'
import type { ConnectionsOptions } from './connections.ts'
import { Coordinators } from './coordinators.ts'
import { brokerName } from './hooks.ts'
import { Metadata, UNKNOWN_TOPIC } from './metadata.ts'
import type { LeaderHint, MetadataChange, PartitionLeader, TopicState } from './metadata.ts'
import { MetadataRefresher } from './metadata-refresher.ts'
import type { TrackedTopics } from './metadata-refresher.ts'
import { topicErrors } from './topic-errors.ts'
import { Troubles } from './troubles.ts'
import type { Subject } from './troubles.ts'
import { Waits } from './waits.ts'
import type { WaitOptions } from './waits.ts'

/** Without a topic of this name for so long, a call that needs it fails, though its own timeout may be longer. */
const MISSING_TOPIC_MS = 10_000
/** Brokers may know of a new topic, or of a new leader, a moment later. */
const TOPIC_GRACE_MS = 1_000
/** The first group of a cluster has its internal topic made. */
const COORDINATOR_GRACE_MS = 5_000

/** What producers, consumers and admin clients read of {@link Metadata}. */
export type MetadataView = Pick<
  Metadata,
  'nodes' | 'controllerId' | 'clusterId' | 'topics' | 'topic' | 'topicOfId' | 'leaderOf' | 'racksOf'
>

/**
 * A cluster as one client sees it: brokers, leaders and coordinators, and connections to them. Makes no connection before it is used.
 * Nothing here repeats a request by itself except {@link Cluster.retry}, and what has no effect: reading metadata, finding coordinators.
 */
export class Cluster {
  /** What is known. It changes with answers of brokers only: {@link Cluster.onChange}. */
  readonly metadata: MetadataView
  readonly coordinators: Coordinators
  readonly #settings: ClusterSettings
  readonly #metadata = new Metadata()
  readonly #refresher: MetadataRefresher
  readonly #anyBroker: AnyBroker
  readonly #sets = new Set<Connections>()
  readonly #general: Connections
  readonly #waits: Waits
  readonly #troubles: Troubles
  readonly #listeners = new Set<(changes: readonly MetadataChange[]) => void>()
  #isClosed = false

  /** Throws an {@link InvalidOptionsError} if options can't be used, those that only `readMore` knows included. */
  constructor(options: ClusterOptions, readMore?: (reader: OptionsReader) => void) {
    this.#settings = clusterSettingsOf(options, readMore)
    this.metadata = this.#metadata
    const { clock, hooks, bootstrap } = this.#settings
    this.#waits = new Waits(clock)
    this.#troubles = new Troubles(() => clock.now(), hooks.onTrouble)
    const all: Subject = { about: 'cluster', name: bootstrap.map(({ host, port }) => `${host}:${port}`).join() }
    this.#general = this.connections({ purpose: 'general', maxInFlight: 100 })
    this.#anyBroker = new AnyBroker({
      settings: this.#settings,
      metadata: this.#metadata,
      connections: this.#general,
    })
    this.#refresher = new MetadataRefresher({
      settings: this.#settings,
      metadata: this.#metadata,
      ask: (body, fromBootstrap) => this.#anyBroker.metadata(body, fromBootstrap),
      onAnswer: (changes) => {
        this.#troubles.ended(all)
        this.#changed(changes)
      },
      onFailure: (error) => this.#troubles.failed(all, error),
    })
    this.coordinators = new Coordinators({
      ask: async (body) => {
        await this.#ready()
        return this.#anyBroker.ask('FindCoordinator', body)
      },
      addNode: (node) => this.#metadata.addNode(node),
      onAnswer: (name, error) => {
        const subject: Subject = { about: 'coordinator', name }
        if (error === undefined) this.#troubles.ended(subject)
        else this.#troubles.failed(subject, error, COORDINATOR_GRACE_MS)
      },
    })
  }

  /** Where this process is. */
  get rack(): string | undefined {
    return this.#settings.rack
  }

  get requestTimeoutMs(): number {
    return this.#settings.requestTimeoutMs
  }

  /** Why no broker has answered the last question for metadata; undefined if one has. */
  get failure(): KafkaError | undefined {
    return this.#refresher.failure
  }

  /** A new set of connections. The caller closes it; {@link Cluster.close} closes those that are left. */
  connections(options: ConnectionsOptions): Connections {
    const connections = new Connections(options, {
      settings: this.#settings,
      nodeOf: (id) => this.#metadata.nodes.get(id),
      troubles: this.#troubles,
      onDoubt: () => this.wantRefresh(),
      onClosed: (closed) => this.#sets.delete(closed),
    })
    if (this.#isClosed) connections.close()
    else this.#sets.add(connections)
    return connections
  }

  /** Sends a request over the connections that all parts share: for short ones. See {@link Connections.send}. */
  send<N extends ApiName>(
    nodeId: number,
    name: N,
    body: Requests[N] | ((version: number) => Requests[N]),
    options?: SendOptions,
  ): Promise<Sent<N>> {
    return this.#general.send(nodeId, name, body, options)
  }

  /**
   * Asks a question that every broker can answer, of several if need be. Only for what may be done twice. Rejects with
   * `CLUSTER_UNREACHABLE` if none answers.
   */
  async sendToAny<N extends ApiName>(
    name: N,
    body: Requests[N] | ((version: number) => Requests[N]),
  ): Promise<Responses[N]> {
    await this.#ready()
    return this.#anyBroker.ask(name, body)
  }

  /** Topics whose metadata is kept up to date, until they are removed. Those that nobody tracks are not known. */
  track(): TrackedTopics {
    return this.#refresher.track()
  }

  /** Keeps the metadata of a topic for so long, from the last call on. */
  keep(topic: string, ms: number): void {
    this.#refresher.keep(topic, ms)
  }

  /** Keeps the metadata of all topics, for patterns. The result ends it. */
  trackAll(): () => void {
    return this.#refresher.trackAll()
  }

  /** Metadata may be outdated: it is read again soon, at most every 100 ms. Call it on an error whose action is `refresh`. */
  wantRefresh(): void {
    if (!this.#isClosed) this.#refresher.want()
  }

  /** Resolves with an answer that was asked for after this call; rejects if no broker gives one. */
  refresh(): Promise<void> {
    return this.#refresher.refresh()
  }

  /** Called after every answer, with what it has changed; also with no changes. The result ends it. A listener must not throw. */
  onChange(listener: (changes: readonly MetadataChange[]) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Takes a new leader that a broker has named with an error (KIP-951); false if it is not newer than what is known. */
  applyHint(hint: LeaderHint): boolean {
    return this.#metadata.applyHint(hint)
  }

  /**
   * Waits until a tracked topic is known. Rejects with the broker's error if it can't be used (not authorized, not a valid name), or, when
   * the time is over, does not exist.
   */
  topic(name: string, options?: WaitOptions): Promise<TopicState> {
    return this.waitFor(`the topic ${name}`, () => this.#usable(name), options)
  }

  /** As {@link Cluster.topic}, but one that does not exist is waited for 10 seconds at most; brokers that are down, for the whole time. */
  async existingTopic(name: string, { timeoutMs = Infinity, signal }: WaitOptions = {}): Promise<TopicState> {
    const { clock } = this.#settings
    const end = clock.now() + timeoutMs
    for (let last: unknown; ;) {
      try {
        return await this.topic(name, { timeoutMs: Math.min(MISSING_TOPIC_MS, end - clock.now()), signal })
      } catch (error) {
        // Why brokers don't answer says more than that the time is over.
        last = isCode(error, 'WAIT_TIMEOUT') ? (last ?? error) : error
        if (!isRetriable(error) || isCode(error, 'NOT_FOUND') || clock.now() >= end) throw last
      }
    }
  }

  /** Waits until a partition of a tracked topic has a leader. */
  leader(
    topic: string,
    partition: number,
    options?: WaitOptions,
  ): Promise<PartitionLeader & { readonly leader: number }> {
    const look = () => {
      const found = this.#usable(topic)?.partitions[partition]
      return found?.leader === undefined ? undefined : { leader: found.leader, epoch: found.epoch }
    }
    return this.waitFor(`a leader of ${topic}[${partition}]`, look, options)
  }

  /**
   * Reads metadata until `look` finds something: at once if it already does. `what` is for messages. Rejects with what `look` throws, with
   * an error that waiting can't help (credentials refused), or with `WAIT_TIMEOUT`.
   */
  waitFor<T>(what: string, look: () => T | undefined, options: WaitOptions = {}): Promise<T> {
    const found = this.#isClosed ? undefined : look()
    if (found !== undefined) return Promise.resolve(found)
    return this.retry(
      what,
      async () => {
        await this.refresh()
        const value = look()
        if (value === undefined) throw clusterError('NOT_FOUND', `the cluster does not have ${what}, or not yet`)
        return value
      },
      options,
    )
  }

  /**
   * Runs `attempt` again, after a growing pause, while it rejects with an error that is `retriable`; an action of `refresh` has metadata
   * read again first. Rejects with the last error when the time is over. An attempt that is running then is waited for no longer.
   */
  async retry<T>(
    what: string,
    attempt: () => Promise<T>,
    { timeoutMs = Infinity, signal }: WaitOptions = {},
  ): Promise<T> {
    const { clock, random, backoff } = this.#settings
    const end = clock.now() + timeoutMs
    for (let failures = 1, last: unknown; ; failures++) {
      try {
        const left = end - clock.now()
        return await this.#waits.within(attempt(), what, { timeoutMs: left, signal })
      } catch (error) {
        const isTimeout = isCode(error, 'WAIT_TIMEOUT')
        last = isTimeout ? (last ?? error) : error
        const pause = backoffMs(failures, random(), backoff)
        if (isTimeout || !isRetriable(error) || clock.now() + pause >= end) throw last
        if (error.action === 'refresh') this.wantRefresh()
        await this.#waits.pause(pause, signal)
      }
    }
  }

  /** Resolves after `ms`; rejects when the signal is aborted or the cluster closed. */
  pause(ms: number, signal?: AbortSignal): Promise<void> {
    return this.#waits.pause(ms, signal)
  }

  /** Ends everything at once: connections, waits and timers. Nothing is flushed: producers and consumers do that before. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#refresher.close()
    this.#waits.close()
    this.#anyBroker.close()
    for (const connections of this.#sets) connections.close()
    this.#listeners.clear()
  }

  /** Until some broker is known. */
  async #ready(): Promise<void> {
    if (this.#isClosed) throw closedError()
    if (this.#metadata.nodes.size === 0) await this.refresh()
  }

  #usable(name: string): TopicState | undefined {
    const topic = this.#metadata.topic(name)
    if (topic === undefined) return undefined
    const { errorCode } = topic
    if (errorCode === 0) return topic
    const error = errorFromBroker(errorCode, `Metadata of ${name}`)
    if (error.retriable) return topic.partitions.length > 0 && errorCode !== UNKNOWN_TOPIC ? topic : undefined
    throw error
  }

  /** What the last answer says about topics, and about brokers that were not reached. */
  #checkTroubles(): void {
    const nodes = new Set(
      [...this.#metadata.nodes.values()].map(({ id, host, port }) => brokerName({ nodeId: id, host, port })),
    )
    const failing = topicErrors([...this.#metadata.topics()].filter(({ name }) => this.#refresher.isUsed(name)))
    for (const [name, error] of failing) this.#troubles.failed({ about: 'topic', name }, error, TOPIC_GRACE_MS)
    for (const subject of this.#troubles.lasting) {
      const { about, name } = subject
      const isOver = (about === 'broker' && !nodes.has(name)) || (about === 'topic' && !failing.has(name))
      if (isOver) this.#troubles.ended(subject)
    }
  }

  #changed(changes: readonly MetadataChange[]): void {
    for (const connections of this.#sets) connections.nodesChanged()
    this.#checkTroubles()
    for (const listener of this.#listeners) listener(changes)
  }
}

function isCode(error: unknown, code: ClusterErrorCode): boolean {
  return error instanceof KafkaError && error.code === code
}

function isRetriable(error: unknown): error is KafkaError {
  return error instanceof KafkaError && error.retriable
}
