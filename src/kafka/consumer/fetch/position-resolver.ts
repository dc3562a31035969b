import { backoffMs } from '../../cluster/backoff.ts'
import type { Cluster } from '../../cluster/cluster.ts'
import type { Connections } from '../../cluster/connections.ts'
import { asKafkaError, KafkaError } from '../../errors.ts'
import type { ConsumerContext } from '../consumer-context.ts'
import type { FetchPartition } from './fetch-partition.ts'
import { lookUpEpochEnds, lookUpOffsets } from './position-lookup.ts'
import type { FoundOffset } from './position-lookup.ts'
import type { CommittedPosition, ResetPolicy, StartPosition } from './position.ts'

export interface ResolverOptions {
  readonly policyOf: (partition: FetchPartition) => ResetPolicy
  readonly isCommitted: boolean
  /**
   * What the group has committed; undefined for a partition without. It rejects only with what can't get better: everything else is asked
   * again until it is answered, for an error must never look like "nothing committed".
   */
  readonly committed: (partitions: readonly FetchPartition[]) => Promise<ReadonlyMap<FetchPartition, CommittedPosition>>
  /** Where to begin instead of there; undefined for there. What it throws keeps the partition from being read. */
  readonly startAt: (partition: FetchPartition, committed: CommittedPosition | undefined) => StartPosition | undefined
}

export interface ResolverEffects {
  /** The partition can be read. */
  resolved(partition: FetchPartition, isReset: boolean): void
  diverged(partition: FetchPartition, epoch: number, endOffset: number): void
  failed(partition: FetchPartition, error: KafkaError): void
}

/** Finds out where partitions are to be read: asks the group, then the leaders, until all are known. */
export class PositionResolver {
  readonly #cluster: Cluster
  readonly #context: ConsumerContext
  readonly #connections: Connections
  readonly #options: ResolverOptions
  readonly #effects: ResolverEffects
  /** Asked of the group already, or not to be. */
  readonly #toReset = new Map<FetchPartition, ResetPolicy | undefined>()
  readonly #waiting = new Set<FetchPartition>()
  #isRunning = false
  #failures = 0
  #isClosed = false

  constructor(context: ConsumerContext, options: ResolverOptions, effects: ResolverEffects) {
    this.#context = context
    this.#cluster = context.cluster
    this.#options = options
    this.#effects = effects
    this.#connections = this.#cluster.connections({ purpose: 'offsets' })
  }

  resolve(partition: FetchPartition): void {
    if (this.#isClosed) return
    this.#waiting.add(partition)
    if (!this.#isRunning) void this.#run()
  }

  close(): void {
    this.#isClosed = true
    this.#waiting.clear()
    this.#connections.close()
  }

  async #run(): Promise<void> {
    this.#isRunning = true
    try {
      while (this.#waiting.size > 0 && !this.#isClosed) await this.#round()
    } catch (error) {
      // The cluster was closed.
      if (!this.#isClosed && !(error instanceof KafkaError && error.code === 'CLOSED')) throw error
    } finally {
      this.#isRunning = false
    }
  }

  async #round(): Promise<void> {
    for (const partition of this.#waiting) {
      if (partition.isStopped || partition.position.state === 'fetching') this.#forget(partition)
    }
    const before = this.#waiting.size
    const waiting = [...this.#waiting]
    const unset = waiting.filter((each) => each.position.state === 'unset' && !this.#toReset.has(each))
    const validating = waiting.filter((each) => each.position.state === 'validating')
    const resetting = waiting.filter((each) => each.position.state === 'outOfRange' || this.#toReset.has(each))
    for (const each of unset) if (each.isOfNewTopic) this.#start(each, undefined, { offset: 0 })
    const ofOld = unset.filter((each) => !each.isOfNewTopic)
    await Promise.all([this.#askGroup(ofOld), this.#validate(validating), this.#reset(resetting)])
    if (unset.some((each) => this.#toReset.has(each)) || this.#waiting.size < before) {
      this.#failures = 0
      return
    }
    if (this.#waiting.size === 0 || this.#isClosed) return
    await this.#cluster.pause(backoffMs(++this.#failures, this.#context.random()))
  }

  #forget(partition: FetchPartition): void {
    this.#waiting.delete(partition)
    this.#toReset.delete(partition)
  }

  async #askGroup(partitions: readonly FetchPartition[]): Promise<void> {
    if (partitions.length === 0) return
    let committed: ReadonlyMap<FetchPartition, CommittedPosition>
    try {
      committed = await this.#options.committed(partitions)
    } catch (error) {
      for (const partition of partitions) this.#fail(partition, error as KafkaError)
      return
    }
    for (const partition of partitions) {
      // A seek may have come first.
      if (partition.isStopped || partition.position.state !== 'unset') continue
      const found = committed.get(partition)
      this.#start(partition, found, found)
    }
  }

  #start(
    partition: FetchPartition,
    committed: CommittedPosition | undefined,
    otherwise: StartPosition | undefined,
  ): void {
    let start: StartPosition | undefined
    try {
      start = this.#options.startAt(partition, committed) ?? otherwise
    } catch (error) {
      this.#fail(partition, asKafkaError(error))
      return
    }
    if (typeof start !== 'object' || 'timestampMs' in start) this.#toReset.set(partition, start)
    else this.#found(partition, start.offset, start.leaderEpoch ?? -1, false)
  }

  async #reset(partitions: readonly FetchPartition[]): Promise<void> {
    const groups = Map.groupBy(
      partitions,
      (partition) => this.#toReset.get(partition) ?? this.#options.policyOf(partition),
    )
    const asked = [...groups].map(async ([policy, group]) => {
      if (policy === 'fail') {
        for (const partition of group) this.#fail(partition, noOffset(partition))
        return
      }
      await this.#ofLeaders(
        group,
        (nodeId, some) => this.#lookUp(nodeId, some, policy),
        ({ partition, offset, epoch }) => this.#found(partition, offset, epoch, true),
      )
    })
    await Promise.all(asked)
  }

  async #validate(partitions: readonly FetchPartition[]): Promise<void> {
    await this.#ofLeaders(
      partitions,
      (nodeId, group) => lookUpEpochEnds(this.#cluster, this.#connections, nodeId, group),
      ({ partition, offset, epoch }) => {
        const leaderEpoch = this.#cluster.metadata.leaderOf(partition.topic, partition.partition)?.epoch ?? -1
        this.#forget(partition)
        if (partition.position.validated(leaderEpoch, offset)) this.#effects.diverged(partition, epoch, offset)
        else this.#effects.resolved(partition, false)
      },
    )
  }

  async #ofLeaders(
    partitions: readonly FetchPartition[],
    ask: (nodeId: number, group: readonly FetchPartition[]) => Promise<readonly FoundOffset[]>,
    found: (found: FoundOffset) => void,
  ): Promise<void> {
    const versions = new Map(partitions.map((partition) => [partition, partition.position.version]))
    const asked = [...this.#byLeader(partitions)].map(async ([nodeId, group]) => {
      try {
        for (const each of await ask(nodeId, group)) {
          const { partition, error } = each
          if (partition.isStopped || partition.position.version !== versions.get(partition)) continue
          if (error === undefined) found(each)
          else if (error.retriable) this.#cluster.wantRefresh()
          else this.#fail(partition, error)
        }
      } catch (error) {
        if (!(error instanceof KafkaError)) throw error
        if (error.retriable) this.#cluster.wantRefresh()
        else for (const partition of group) this.#fail(partition, error)
      }
    })
    await Promise.all(asked)
  }

  #lookUp(
    nodeId: number,
    group: readonly FetchPartition[],
    policy: Exclude<ResetPolicy, 'fail'>,
  ): Promise<readonly FoundOffset[]> {
    return lookUpOffsets(this.#cluster, this.#connections, nodeId, group, policy, this.#options.isCommitted)
  }

  #byLeader(partitions: readonly FetchPartition[]): ReadonlyMap<number, FetchPartition[]> {
    const groups = new Map<number, FetchPartition[]>()
    for (const partition of partitions) {
      const leader = this.#cluster.metadata.leaderOf(partition.topic, partition.partition)?.leader
      if (leader === undefined) this.#cluster.wantRefresh()
      else groups.set(leader, [...(groups.get(leader) ?? []), partition])
    }
    return groups
  }

  #found(partition: FetchPartition, offset: number, epoch: number, isReset: boolean): void {
    this.#forget(partition)
    partition.seek(offset, isReset ? -1 : epoch)
    this.#effects.resolved(partition, isReset)
  }

  #fail(partition: FetchPartition, error: KafkaError): void {
    this.#forget(partition)
    if (!partition.isStopped) this.#effects.failed(partition, error)
  }
}

function noOffset({ topic, partition, position }: FetchPartition): KafkaError {
  const why =
    position.state === 'outOfRange'
      ? 'the log no longer has the offset that is next'
      : 'the group has committed no offset for it'
  return new KafkaError(
    `${topic}[${partition}] can't be read: ${why}, and onReset is "fail". Seek, or choose another policy`,
    { code: 'NO_OFFSET', action: 'fatal', outcome: 'rejected' },
  )
}
