import type { PartitionState } from '../partitions/partition-state.ts'
import { Reader } from './reader.ts'
import type { MemberContext } from './member-context.ts'

/** The readers of one subscription: a single one; or in a cluster, where a read can't span servers, one for each stream. */
export class Readers {
  readonly #seat: MemberContext
  readonly #onConnected: (reader: Reader) => void
  readonly #byKey = new Map<string, { readonly reader: Reader; readonly started: Promise<void> }>()

  /** `onConnected`: there is a new connection, and what an old one received without our knowledge must be found. */
  constructor(seat: MemberContext, onConnected: (reader: Reader) => void) {
    this.#seat = seat
    this.#onConnected = onConnected
  }

  /** Connects the readers of these partitions. Rejects when that fails. */
  async connect(partitions: readonly PartitionState[]): Promise<void> {
    const keys = new Set(partitions.map((partition) => this.#keyOf(partition)))
    const results = await Promise.allSettled([...keys].map((key) => this.#started(key)))
    const failed = results.find((result) => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }

  async #started(key: string): Promise<void> {
    let entry = this.#byKey.get(key)
    if (entry === undefined) {
      const reader = new Reader(this.#seat, key, this.#onConnected)
      entry = { reader, started: reader.start() }
      this.#byKey.set(key, entry)
    }
    try {
      await entry.started
    } catch (error) {
      entry.reader.abandon()
      if (this.#byKey.get(key) === entry) this.#byKey.delete(key)
      throw error
    }
  }

  of(partition: PartitionState): Reader {
    return (this.#byKey.get(this.#keyOf(partition)) as { reader: Reader }).reader
  }

  /** A source became readable. */
  refresh(): void {
    for (const { reader } of this.#byKey.values()) reader.refresh()
  }

  /** Something was settled: a source that was full may be readable again. */
  settled(): void {
    for (const { reader } of this.#byKey.values()) reader.settled()
  }

  /** Ends reads that block. */
  interrupt(): void {
    for (const { reader } of this.#byKey.values()) void reader.interrupt()
  }

  /** Stops reading permanently; what was read until then has been offered. */
  async stop(): Promise<void> {
    await Promise.all([...this.#byKey.values()].map(({ reader }) => reader.stop()))
  }

  /** Closes the connections, whatever is in progress. */
  abandon(): void {
    for (const { reader } of this.#byKey.values()) reader.abandon()
  }

  #keyOf(partition: PartitionState): string {
    const { commands, keys } = this.#seat.context
    return commands.cluster ? partition.keys.stream : keys.topics
  }
}
