import type { ClusterOptions } from '../../../../src/kafka/cluster/cluster-options.ts'
import type { ApiName } from '../../../../src/kafka/protocol/generated/api-types.ts'
import { SimBroker } from './broker.ts'
import type { Handlers, SeenRequest } from './broker.ts'
import { CountedClock, SimClock } from './clock.ts'
import { clusterApis } from './cluster-apis.ts'
import type { MetadataAnswer } from './cluster-apis.ts'
import { SimCoordinators } from './coordinators.ts'
import { dataApis } from './data-apis.ts'
import { fetchApi } from './fetch-api.ts'
import { FetchSessions } from './fetch-sessions.ts'
import { SimGroups } from './groups.ts'
import type { SimLog } from './log.ts'
import { SimNetwork } from './network.ts'
import { Random } from './random.ts'
import { Script } from './script.ts'
import { SimSecurity } from './security.ts'
import type { SecurityOptions } from './security.ts'
import { SimShares } from './share-apis.ts'
import { Topics } from './topics.ts'
import type { SimPartition, SimTopic } from './topics.ts'
import { SimTransactions } from './transactions.ts'

export interface SimOptions {
  /** @default 1 */
  readonly seed?: number
  /** @default 3 */
  readonly brokers?: number
  /** The newest versions that the brokers have; -1: not at all. What is not named is as new as the client. */
  readonly maxVersions?: Readonly<Partial<Record<ApiName, number>>>
  /** Feature levels, as `transaction.version`. @default all of Kafka 4 */
  readonly features?: Readonly<Record<string, number>>
  /** Clients must authenticate. */
  readonly security?: SecurityOptions
}

interface Endpoint {
  readonly nodeId: number
  readonly host: string
  readonly port: number
  readonly rack: string | null
}

const CLUSTER_ID = 'simulated'
const PORT = 9092

/**
 * A Kafka cluster in this process: it speaks the real protocol to the real drivers, over sockets in memory, in virtual time. All that is
 * random comes from one seed. Its methods are what a test does to the cluster; what happens to single requests is in `script`.
 */
export class SimCluster {
  readonly clock: SimClock = new SimClock()
  /** The same time for clients: its timers are theirs alone. */
  readonly clientClock: CountedClock = new CountedClock(this.clock)
  readonly random: Random
  readonly network: SimNetwork
  readonly script: Script = new Script()
  readonly topics: Topics
  readonly coordinators: SimCoordinators
  readonly transactions: SimTransactions
  readonly groups: SimGroups
  readonly shares: SimShares
  readonly maxVersions: Readonly<Partial<Record<ApiName, number>>>
  readonly features: ReadonlyMap<string, number>
  /** All requests that brokers have read. */
  readonly requests: SeenRequest[] = []
  /** Topics are made by asking for them, with so many partitions. */
  autoCreatePartitions = 0
  /** An append with acks takes up to so long. */
  replicationMs = 1
  /** After a broker has stopped or frozen, so long passes until others take over. */
  failoverMs = 500
  readonly #brokers = new Map<number, SimBroker>()
  /** Brokers that the controller has given up. */
  readonly #fenced = new Set<number>()
  readonly #staleViews = new Map<number, MetadataAnswer>()
  readonly #fetchSessions = new Map<number, FetchSessions>()
  readonly #security: SimSecurity
  readonly #handlers: Handlers
  readonly #appendWaiters = new Set<() => void>()

  constructor(options: SimOptions = {}) {
    const { seed = 1, brokers = 3, maxVersions = {}, security } = options
    this.random = new Random(seed)
    this.network = new SimNetwork(this.clock, this.random)
    this.maxVersions = maxVersions
    this.features = new Map(Object.entries(options.features ?? { 'transaction.version': 2, 'group.version': 1 }))
    this.topics = new Topics(this.random, () => [...this.#brokers.keys()])
    this.coordinators = new SimCoordinators(this.clock, () => this.#alive())
    this.groups = new SimGroups(this)
    this.shares = new SimShares(this)
    this.transactions = new SimTransactions(this)
    this.#security = new SimSecurity(this.clock, security)
    this.#handlers = {
      ...clusterApis(this),
      ...dataApis(this),
      ...fetchApi(this),
      ...this.groups.handlers(),
      ...this.shares.handlers(),
      ...this.transactions.handlers(),
      ...this.#security.handlers(),
    }
    for (let id = 1; id <= brokers; id++) this.#addBroker(id)
    this.network.setName('kafka', () => [...this.#brokers.values()].map(({ host }) => host))
  }

  /** For a client of this cluster: `new Cluster(sim.clientOptions())`. The name `kafka` has the addresses of all brokers. */
  clientOptions(changes: Partial<ClusterOptions> = {}): ClusterOptions {
    return {
      brokers: [...this.#brokers.values()].map(({ host, port }) => `${host}:${port}`),
      clientId: 'test',
      clock: this.clientClock,
      random: () => this.random.next(),
      openSocket: this.network.openSocket,
      resolve: this.network.resolve,
      ...changes,
    }
  }

  /** Lets virtual time pass until the promise is settled. */
  run<T>(promise: Promise<T>, limitMs?: number): Promise<T> {
    return this.clock.run(promise, limitMs)
  }

  advance(ms: number): Promise<void> {
    return this.clock.advance(ms)
  }

  // Brokers.

  broker(id: number): SimBroker {
    const broker = this.#brokers.get(id)
    if (broker === undefined) throw new Error(`no broker ${id}`)
    return broker
  }

  /** SIGKILL: connections end, and others take over after `failoverMs`. */
  kill(id: number): void {
    this.broker(id).stop()
    this.#fetchSessions.delete(id)
    this.#giveUpLater(id, () => !this.broker(id).isUp)
  }

  /** Starts a broker again, perhaps at another address; the others know it at once. */
  start(id: number, { host, port }: { readonly host?: string; readonly port?: number } = {}): void {
    const broker = this.broker(id)
    broker.start(host ?? broker.host, port ?? broker.port)
    this.#fenced.delete(id)
    this.#electMissing()
  }

  /** SIGSTOP: connections stay; others take over if it lasts longer than `failoverMs`. Resolves when it goes on. */
  async freeze(id: number, ms: number): Promise<void> {
    const broker = this.broker(id)
    broker.freeze()
    this.#giveUpLater(id, () => broker.isFrozen)
    await this.clock.wait(ms)
    broker.thaw()
    this.#fenced.delete(id)
    this.#electMissing()
  }

  /** Until `end` is called, a broker answers about the cluster as it is now. */
  lag(id: number): () => void {
    this.#staleViews.set(id, this.#view())
    return () => this.#staleViews.delete(id)
  }

  // Topics.

  createTopic(name: string, partitions = 1): SimTopic {
    return this.topics.create(name, partitions)
  }

  deleteTopic(name: string): void {
    this.topics.delete(name)
    this.groups.topicDeleted(name)
    this.appended()
  }

  /** Deletes it and makes it again under its name. */
  recreateTopic(name: string): SimTopic {
    const partitions = this.topic(name).partitions.length
    this.deleteTopic(name)
    return this.createTopic(name, partitions)
  }

  addPartitions(name: string, count: number): void {
    this.topics.grow(this.topic(name), count)
  }

  topic(name: string): SimTopic {
    const topic = this.topics.named(name)
    if (topic === undefined) throw new Error(`no topic ${name}`)
    return topic
  }

  partition(name: string, index: number): SimPartition {
    const partition = this.topic(name).partitions[index]
    if (partition === undefined) throw new Error(`no partition ${name}[${index}]`)
    return partition
  }

  log(name: string, index = 0): SimLog {
    return this.partition(name, index).log
  }

  /** Undefined: the partition has no leader until it's given one. */
  moveLeader(name: string, index: number, to: number | undefined): void {
    const partition = this.partition(name, index)
    partition.leader = to
    partition.epoch++
    this.appended()
  }

  /** An unclean election: what was written from `offset` on is lost. */
  truncate(name: string, index: number, offset: number, to?: number): void {
    const partition = this.partition(name, index)
    partition.log.truncate(offset)
    partition.producers.truncate(offset)
    this.moveLeader(name, index, to ?? partition.leader)
  }

  /** A follower has the log only up to `offset`, or, with undefined, as far as the leader. */
  lagReplica(name: string, index: number, broker: number, offset: number | undefined): void {
    const { replicaEnds } = this.partition(name, index)
    if (offset === undefined) replicaEnds.delete(broker)
    else replicaEnds.set(broker, offset)
    this.appended()
  }

  // For the handlers.

  /** A topic as a broker knows it: one that lags has not heard of new ones. */
  topicFor(broker: SimBroker, { name, id }: { readonly name?: string; readonly id?: string }): SimTopic | undefined {
    const topic = id === undefined ? this.topics.named(name ?? '') : this.topics.ofId(id)
    const stale = this.#staleViews.get(broker.id)
    return stale === undefined || stale.topics.some(({ topicId }) => topicId === topic?.id) ? topic : undefined
  }

  viewOf(broker: SimBroker): MetadataAnswer {
    return this.#staleViews.get(broker.id) ?? this.#view()
  }

  /** For hints (KIP-951). */
  endpoints(): readonly Endpoint[] {
    return this.#alive().map((id) => {
      const { host, port, rack } = this.broker(id)
      return { nodeId: id, host, port, rack }
    })
  }

  fetchSessions(broker: number): FetchSessions {
    let sessions = this.#fetchSessions.get(broker)
    if (sessions === undefined) this.#fetchSessions.set(broker, (sessions = new FetchSessions()))
    return sessions
  }

  /** Not given up by the controller. */
  isAlive(broker: number): boolean {
    return this.#brokers.has(broker) && !this.#fenced.has(broker)
  }

  /** Something that fetches wait for has changed. */
  appended(): void {
    for (const wake of this.#appendWaiters) wake()
    this.#appendWaiters.clear()
  }

  untilAppended(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.clock.setTimer(() => {
        this.#appendWaiters.delete(wake)
        resolve()
      }, limitMs)
      const wake = (): void => {
        cancel()
        resolve()
      }
      this.#appendWaiters.add(wake)
    })
  }

  #addBroker(id: number): void {
    const broker = new SimBroker({
      id,
      rack: `rack-${id}`,
      clock: this.clock,
      network: this.network,
      script: this.script,
      handlers: () => this.#handlers,
      mayAsk: (client, api) => this.#security.mayAsk(client, api),
      onRequest: (request) => this.requests.push(request),
    })
    this.#brokers.set(id, broker)
    broker.start(`broker-${id}`, PORT)
  }

  #alive(): number[] {
    return [...this.#brokers.keys()].filter((id) => !this.#fenced.has(id))
  }

  #giveUpLater(id: number, isStill: () => boolean): void {
    this.clock.setTimer(() => {
      if (!isStill()) return
      this.#fenced.add(id)
      this.coordinators.moveFrom(id)
      this.#electMissing()
    }, this.failoverMs)
  }

  /** Partitions whose leader was given up get another one, if there is one. */
  #electMissing(): void {
    const alive = new Set(this.#alive())
    for (const topic of this.topics.all()) {
      for (const partition of topic.partitions) {
        if (partition.leader !== undefined && alive.has(partition.leader)) continue
        partition.leader = partition.replicas.find((id) => alive.has(id))
        partition.epoch++
      }
    }
    this.appended()
  }

  #view(): MetadataAnswer {
    const brokers = this.endpoints()
    const topics = [...this.topics.all()].map(({ name, id, partitions }) => ({
      errorCode: 0,
      name,
      topicId: id,
      partitions: partitions.map(({ index, leader, epoch, replicas }) => ({
        errorCode: leader === undefined ? 5 : 0,
        partitionIndex: index,
        leaderId: leader ?? -1,
        leaderEpoch: epoch,
        replicaNodes: replicas,
        isrNodes: replicas,
      })),
    }))
    return { brokers, clusterId: CLUSTER_ID, controllerId: brokers[0]?.nodeId ?? -1, topics }
  }
}
