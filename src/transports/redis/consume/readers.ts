import type { PartitionState } from '../partitions/partition-state.ts'
import type { MemberContext } from './member-context.ts'
import { ReadDemand } from './read-demand.ts'
import type { ReaderPool } from './reader-pool.ts'
import { Reader } from './reader.ts'

interface Entry {
  readonly reader: Reader
  readonly demand: ReadDemand
}

/**
 * What reads for one subscription: one reader, shared with other members of the group; or in a cluster, where a read can't span
 * servers, one for each stream.
 */
export class Readers {
  readonly #member: MemberContext
  readonly #pool: ReaderPool
  readonly #onConnected: (partitions: ReadonlySet<PartitionState>) => void
  readonly #byKey = new Map<string, Entry>()

  /** `onConnected`: there is a new connection, and what an old one received without our knowledge must be found. */
  constructor(member: MemberContext, pool: ReaderPool, onConnected: (partitions: ReadonlySet<PartitionState>) => void) {
    this.#member = member
    this.#pool = pool
    this.#onConnected = onConnected
  }

  /** The name of the consumer in Redis; the member's own until it has a reader. */
  get consumer(): string {
    for (const { reader } of this.#byKey.values()) return reader.consumer
    return this.#member.spec.consumerId
  }

  /** To be called before anything else. */
  prepare(): Promise<void> {
    return this.#pool.prepare(this.#member.context)
  }

  /** Connects the readers of these partitions. Rejects when that fails. */
  async connect(partitions: readonly PartitionState[]): Promise<void> {
    const keys = new Set(partitions.map((partition) => this.#keyOf(partition)))
    const results = await Promise.allSettled(
      [...keys].map((key) => this.#connected(key, partitions.length / keys.size)),
    )
    const failed = results.find((result) => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }

  /** Also reads from this one, as soon as it is readable. */
  add(partition: PartitionState): void {
    const { reader, demand } = this.#of(partition)
    demand.partitions.add(partition)
    reader.refresh(demand)
  }

  /** Stops reading from it. Resolves when no read that names it is in progress. */
  async remove(partition: PartitionState): Promise<void> {
    const entry = this.#byKey.get(this.#keyOf(partition))
    // It could not connect.
    if (entry === undefined) return
    entry.demand.partitions.delete(partition)
    await entry.reader.interrupt([partition])
  }

  /** How the server is to know its reader. */
  nameOf(partition: PartitionState): string {
    return this.#of(partition).reader.name
  }

  /** A source became readable. */
  refresh(): void {
    for (const { reader, demand } of this.#byKey.values()) reader.refresh(demand)
  }

  wake(partition: PartitionState): void {
    this.#of(partition).reader.wake()
  }

  /** Something was settled: a source that was full may be readable again. */
  settled(): void {
    for (const { reader, demand } of this.#byKey.values()) if (demand.settled()) reader.refresh(demand)
  }

  /** Ends a read of this partition that blocks; without one, of all. */
  async interrupt(partition?: PartitionState): Promise<void> {
    if (partition !== undefined) await this.#of(partition).reader.interrupt([partition])
    else await Promise.all([...this.#byKey.values()].map(({ reader, demand }) => reader.interrupt(demand.partitions)))
  }

  /** Stops reading permanently; what was read until then has been offered. */
  async stop(): Promise<void> {
    await Promise.all([...this.#byKey.values()].map(({ reader, demand }) => reader.leave(demand)))
  }

  /** The same, whatever is in progress. */
  abandon(): void {
    for (const { reader, demand } of this.#byKey.values()) reader.abandon(demand)
  }

  #of(partition: PartitionState): Entry {
    return this.#byKey.get(this.#keyOf(partition)) as Entry
  }

  async #connected(key: string, streams: number): Promise<void> {
    let entry = this.#byKey.get(key)
    if (entry === undefined) {
      const { context, spec } = this.#member
      const reader = context.commands.cluster
        ? new Reader({ context, group: spec.group, consumer: spec.consumerId, key, onEnd: () => {} })
        : this.#pool.readerFor(this.#member, streams)
      const demand: ReadDemand = new ReadDemand(this.#member, () => this.#onConnected(demand.partitions))
      reader.join(demand)
      entry = { reader, demand }
      this.#byKey.set(key, entry)
    }
    entry.demand.streams += streams
    try {
      await entry.reader.connected()
    } catch (error) {
      entry.reader.abandon(entry.demand)
      if (this.#byKey.get(key) === entry) this.#byKey.delete(key)
      throw error
    }
  }

  #keyOf(partition: PartitionState): string {
    const { commands, keys } = this.#member.context
    return commands.cluster ? partition.keys.stream : keys.topics
  }
}
