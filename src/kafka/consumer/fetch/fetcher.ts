import type { Cluster } from '../../cluster/cluster.ts'
import type { Connections } from '../../cluster/connections.ts'
import type { KafkaError } from '../../errors.ts'
import type { Clock } from '../../network/clock.ts'
import type { FetchResponse } from '../../protocol/generated/api-types.ts'
import type { ConsumerContext } from '../consumer-context.ts'
import { BrokerFetcher } from './broker-fetcher.ts'
import type { FetchOutcome, PartitionAnswer } from './fetch-answer.ts'
import { FetchBudget } from './fetch-budget.ts'
import { FetchPartition } from './fetch-partition.ts'
import type { FetchSettings } from './fetch-settings.ts'

export interface FetcherEffects {
  /** A partition has records to be delivered. */
  ready(partition: FetchPartition): void
  /** The position of a partition must be found out. */
  unresolved(partition: FetchPartition): void
  /** The leader's log parts from what was read. */
  diverged(partition: FetchPartition, epoch: number, endOffset: number): void
  /** A partition can't be read any further. */
  failed(partition: FetchPartition, error: KafkaError): void
}

/** A replica that a leader has named is used for so long, then the leader is asked again. */
const REPLICA_MS = 300_000
/** However many partitions there are. */
const LEAST_SHARE = 16 * 1024

/** Reads all partitions of a consumer: decides which broker is asked for which, and keeps what has come until it is delivered. */
export class Fetcher {
  readonly #cluster: Cluster
  readonly #clock: Clock
  readonly #random: () => number
  readonly #connections: Connections
  readonly #settings: FetchSettings
  readonly #effects: FetcherEffects
  readonly #budget: FetchBudget
  readonly #partitions = new Set<FetchPartition>()
  readonly #brokers = new Map<number, BrokerFetcher>()
  readonly #stopListening: () => void
  #isPokeDue = false
  #isPoking = false
  #mustPokeAgain = false
  /** A broker was not asked for want of memory. */
  #isStarved = false
  #cancelTimer: (() => void) | undefined
  #isClosed = false

  constructor({ cluster, clock, random }: ConsumerContext, settings: FetchSettings, effects: FetcherEffects) {
    this.#cluster = cluster
    this.#clock = clock
    this.#random = random
    this.#settings = settings
    this.#effects = effects
    this.#budget = new FetchBudget(settings.maxBufferedBytes)
    this.#connections = cluster.connections({ purpose: 'fetch', maxInFlight: 2 })
    this.#stopListening = cluster.onChange(() => this.poke())
  }

  /** Bytes that are on their way or wait to be delivered. */
  get bufferedBytes(): number {
    return this.#budget.used
  }

  /** It is read as soon as its position is known. */
  add(topic: string, partition: number): FetchPartition {
    const added = new FetchPartition(topic, partition, this.#budget)
    this.#partitions.add(added)
    return added
  }

  remove(partition: FetchPartition): void {
    this.#partitions.delete(partition)
    partition.stop()
    this.pokeSoon()
  }

  /** For what happens to many partitions at once: one look at all of them is enough. */
  pokeSoon(): void {
    if (this.#isPokeDue) return
    this.#isPokeDue = true
    queueMicrotask(() => this.poke())
  }

  /** Asks brokers for what there is room for. Called whenever that may have changed. */
  poke(): void {
    this.#isPokeDue = false
    if (this.#isClosed) return
    this.#mustPokeAgain = this.#isPoking
    if (this.#isPoking) return
    this.#isPoking = true
    do {
      this.#mustPokeAgain = false
      this.#pokeAll()
    } while (this.#mustPokeAgain)
    this.#isPoking = false
  }

  /**
   * All that one answer brought of a partition has been delivered. Called for each of them, so it looks at all partitions only if that may
   * lead to a request.
   */
  taken({ broker, buffer }: FetchPartition): void {
    const isBusy = broker?.isInFlight === true || (broker?.isFull === true && buffer.chunks > 0)
    if (!isBusy || this.#isStarved) this.poke()
  }

  close(): void {
    if (this.#isClosed) return
    for (const broker of this.#brokers.values()) broker.end()
    this.#isClosed = true
    this.#cancelTimer?.()
    this.#stopListening()
    for (const partition of this.#partitions) partition.stop()
    this.#partitions.clear()
    this.#connections.close()
  }

  #pokeAll(): void {
    const now = this.#clock.now()
    let wakeAt = Infinity
    const byBroker = new Map<BrokerFetcher, FetchPartition[]>()
    for (const partition of this.#partitions) {
      if (partition.notBefore > now) wakeAt = Math.min(wakeAt, partition.notBefore)
      const nodeId = this.#nodeOf(partition, now)
      const broker = nodeId === undefined ? undefined : this.#broker(nodeId)
      partition.broker = broker
      if (broker === undefined) continue
      const others = byBroker.get(broker)
      if (others === undefined) byBroker.set(broker, [partition])
      else others.push(partition)
    }
    const share = this.#share()
    this.#isStarved = false
    for (const [broker, partitions] of byBroker) {
      broker.poke(partitions, share)
      this.#isStarved ||= broker.isStarved
      if (broker.notBefore > now) wakeAt = Math.min(wakeAt, broker.notBefore)
    }
    this.#cancelTimer?.()
    this.#cancelTimer = wakeAt === Infinity ? undefined : this.#clock.setTimer(() => this.poke(), wakeAt - now)
  }

  /** Of a partition in one answer: two answers of all partitions fit into the memory. */
  #share(): number {
    const fair = Math.floor(this.#settings.maxBufferedBytes / (2 * Math.max(1, this.#partitions.size)))
    return Math.max(LEAST_SHARE, Math.min(this.#settings.maxPartitionBytes, fair))
  }

  #nodeOf(partition: FetchPartition, now: number): number | undefined {
    const { replica } = partition
    if (replica !== undefined && now < replica.until) return replica.nodeId
    partition.replica = undefined
    const leader = this.#cluster.metadata.leaderOf(partition.topic, partition.partition)?.leader
    if (leader === undefined && partition.isReadable(now)) this.#cluster.wantRefresh()
    return leader
  }

  #broker(nodeId: number): BrokerFetcher {
    let broker = this.#brokers.get(nodeId)
    if (broker !== undefined) return broker
    broker = new BrokerFetcher(nodeId, {
      settings: this.#settings,
      budget: this.#budget,
      connections: this.#connections,
      now: () => this.#clock.now(),
      random: this.#random,
      leaderEpochOf: ({ topic, partition }) => this.#cluster.metadata.leaderOf(topic, partition)?.epoch ?? -1,
      isFetching: () => [...this.#brokers.values()].some(({ isInFlight }) => isInFlight),
      unchecked: (partition) => this.#effects.unresolved(partition),
      outcome: (partition, outcome, answer, all) => this.#outcome(partition, outcome, answer, all),
      failed: (error, asked) => this.#requestFailed(nodeId, error, asked),
      poke: () => this.poke(),
    })
    this.#brokers.set(nodeId, broker)
    return broker
  }

  #requestFailed(nodeId: number, error: KafkaError, asked: readonly FetchPartition[]): void {
    if (this.#isClosed) return
    this.#cluster.wantRefresh()
    if (error.action === 'fatal') {
      const now = this.#clock.now()
      for (const partition of asked) {
        // One that is read elsewhere meanwhile, or from a replica, has an alternative: the leader.
        const isAlternative = partition.replica !== undefined || this.#nodeOf(partition, now) !== nodeId
        if (!partition.isStopped && !isAlternative) this.#effects.failed(partition, error)
      }
    }
    for (const partition of this.#partitions) {
      if (partition.replica?.nodeId === nodeId) partition.replica = undefined
    }
  }

  #outcome(partition: FetchPartition, outcome: FetchOutcome, answer: PartitionAnswer, all: FetchResponse): void {
    const now = this.#clock.now()
    switch (outcome.type) {
      case 'records':
      case 'nothing':
        partition.succeeded()
        partition.endOffset = this.#settings.isCommitted ? answer.lastStableOffset : answer.highWatermark
        if (outcome.type === 'nothing') return
        partition.buffer.add(outcome.chunk)
        partition.position.advance(outcome.chunk.nextOffset, outcome.chunk.lastEpoch)
        return this.#effects.ready(partition)
      case 'replica':
        partition.replica = { nodeId: outcome.nodeId, until: now + REPLICA_MS }
        return
      case 'outOfRange':
        // A follower may lag behind; only the leader knows.
        if (partition.replica !== undefined) {
          partition.replica = undefined
          // The leader may name the same one again.
          partition.failed(now, this.#random())
          return
        }
        partition.position.outOfRange()
        return this.#effects.unresolved(partition)
      case 'diverging':
        return this.#effects.diverged(partition, outcome.epoch, outcome.endOffset)
      case 'retry':
        partition.replica = undefined
        if (!this.#hint(partition, answer, all)) {
          partition.failed(now, this.#random())
          this.#cluster.wantRefresh()
        }
        return
      case 'failed':
        partition.failed(now, this.#random())
        return this.#effects.failed(partition, outcome.error)
    }
  }

  /** The broker may have named the new leader with its refusal (KIP-951). */
  #hint({ topic, partition }: FetchPartition, { currentLeader }: PartitionAnswer, all: FetchResponse): boolean {
    const { leaderId, leaderEpoch } = currentLeader
    if (leaderId < 0) return false
    const endpoints = all.nodeEndpoints
    return this.#cluster.applyHint({ topic, partition, leader: leaderId, epoch: leaderEpoch, endpoints })
  }
}
