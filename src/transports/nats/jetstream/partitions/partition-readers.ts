import type { Incoming } from '../../connection/incoming.ts'
import type { AckReply } from '../consume/ack-reply.ts'
import type { Partition } from './partition.ts'
import { PartitionReader } from './partition-reader.ts'
import type { ReaderHost, ReaderSettings } from './partition-reader.ts'

export interface PartitionReadersHost {
  readonly settings: ReaderSettings
  /** All partitions, also those of other members. */
  readonly partitions: readonly Partition[]
  readonly prefetch: number
  /** `isForOthers`: another reader reads this partition. */
  arrived(native: Incoming, reply: AckReply, isForOthers: (partition: Partition) => boolean): void
  changedIn(partition: Partition): void
  missing(): Promise<void>
  checkStream(): Promise<void>
  trouble(reader: PartitionReader, detail: string | undefined): void
  wake(): void
}

/**
 * The readers of one subscription: one for all of its partitions, and one for each that can't take what comes while the
 * others can. Before 2.10, one for each partition.
 */
export class PartitionReaders implements ReaderHost {
  readonly settings: ReaderSettings
  readonly all: Set<PartitionReader> = new Set()
  readonly #host: PartitionReadersHost
  /** Reads all partitions that are not read apart; undefined before 2.10, where each is. */
  #main: PartitionReader | undefined
  readonly #apart = new Map<Partition, PartitionReader>()
  readonly #isOfOthers = (partition: Partition): boolean => partition.isApart
  readonly #isOfNone = (): boolean => false
  readonly #caughtUp = new Set<PartitionReader>()
  /** Of readers that are closed. */
  #arrivedAt = -Infinity
  #rebuilding = false
  #ended = false

  constructor(host: PartitionReadersHost) {
    this.#host = host
    this.settings = host.settings
  }

  // --- life --------------------------------------------------------------------------------------------------------

  down(): void {
    for (const reader of this.all) reader.down()
  }

  up(): void {
    for (const reader of this.all) void reader.open()
  }

  /** Nothing more is read. */
  end(): void {
    this.#ended = true
    for (const reader of this.all) this.#close(reader)
    this.#main = undefined
    this.#apart.clear()
  }

  /** When a message was last read (monotonic ms). */
  get arrivedAt(): number {
    let last = this.#arrivedAt
    for (const { arrivedAt } of this.all) if (arrivedAt > last) last = arrivedAt
    return last
  }

  /** How many messages the server has for all of them. */
  get pending(): number {
    let count = 0
    for (const { pending } of this.all) count += pending
    return count
  }

  /** Messages of the partition may be waiting in the stream. */
  isBehind(partition: Partition): boolean {
    for (const { pending, pulls, partitions } of this.all)
      if ((pending > 0 || pulls.asked === 0) && partitions.includes(partition)) return true
    return partition.isApart
  }

  // --- which there are ---------------------------------------------------------------------------------------------

  rebuildSoon(): void {
    if (this.#rebuilding) return
    this.#rebuilding = true
    // Several partitions come and go in one turn.
    setImmediate(() => {
      this.#rebuilding = false
      void Promise.all(this.rebuild())
    })
  }

  /** Makes the readers fit what is ours; returns how the first attempts of new ones end. */
  rebuild(): Promise<unknown>[] {
    if (this.#ended) return []
    const ours = this.#host.partitions.filter(({ mine, leaving }) => mine && !leaving)
    // A reader from before a partition came to us is somewhere else in the stream.
    for (const partition of this.#apart.keys())
      if (!ours.includes(partition) || partition.isFresh) this.#closeApart(partition)
    const had = this.#main?.partitions ?? []
    const isSame =
      had.length === ours.length && had.every((partition) => ours.includes(partition) && !partition.isFresh)
    for (const partition of ours) partition.isFresh = false
    // A consumer has one filter.
    if (this.settings.session.isOlderThan(2, 10))
      return ours.filter((partition) => !this.#apart.has(partition)).map((partition) => this.#openApart(partition))
    if (isSame) return []
    if (this.#main !== undefined) this.#close(this.#main)
    this.#main = undefined
    if (ours.length === 0) return []
    const main = this.#make(ours)
    this.#main = main
    return [main.open()]
  }

  #make(partitions: readonly Partition[]): PartitionReader {
    const filters = partitions.flatMap((partition) => partition.filters)
    const reader = new PartitionReader(this, partitions, filters)
    this.all.add(reader)
    this.#sizeRequests(reader)
    return reader
  }

  /** How much a reader may request at once. */
  #sizeRequests({ pulls, partitions }: PartitionReader): void {
    const { prefetch, partitions: all } = this.#host
    const count = all.length
    pulls.most = Math.max(1, prefetch >> 1)
    pulls.least =
      partitions.length === count ? pulls.most : Math.max(1, Math.min(16, Math.floor(prefetch / (4 * count))))
    pulls.target = pulls.least
  }

  #close(reader: PartitionReader): void {
    this.all.delete(reader)
    this.#arrivedAt = Math.max(this.#arrivedAt, reader.arrivedAt)
    reader.close()
  }

  #openApart(partition: Partition): Promise<unknown> {
    const reader = this.#make([partition])
    this.#apart.set(partition, reader)
    return reader.open()
  }

  #closeApart(partition: Partition): void {
    const reader = this.#apart.get(partition)
    if (reader === undefined) return
    this.#apart.delete(partition)
    this.#close(reader)
  }

  /** A partition takes no more, while others could: what comes for it is dropped, and read again later. */
  setApart(partition: Partition): void {
    if (this.#main === undefined || partition.isApart) return
    partition.dropAhead()
    partition.isApart = true
  }

  /** Partitions that are read apart begin as soon as they have room, and end when they have what the others have. */
  tendApart(hasRoom: (partition: Partition) => boolean): void {
    if (this.#main === undefined || this.#ended) return
    for (const partition of this.#host.partitions) {
      if (!partition.isApart) continue
      const reader = this.#apart.get(partition)
      if (partition.readTo >= partition.droppedTo) {
        partition.isApart = false
        if (reader !== undefined) this.#closeApart(partition)
      } else if (reader === undefined && hasRoom(partition)) void this.#openApart(partition)
    }
  }

  // --- what they report --------------------------------------------------------------------------------------------

  read(native: Incoming, reply: AckReply, reader: PartitionReader): void {
    this.#host.arrived(native, reply, reader === this.#main ? this.#isOfOthers : this.#isOfNone)
  }

  caughtUp(reader: PartitionReader): void {
    this.#caughtUp.add(reader)
    if (this.#caughtUp.size > 1) return
    queueMicrotask(() => {
      const readers = [...this.#caughtUp]
      this.#caughtUp.clear()
      for (const each of readers) this.#pass(each)
    })
  }

  #pass(reader: PartitionReader): void {
    for (const partition of reader.partitions) {
      if (!partition.mine || partition.isFresh || (partition.isApart && reader === this.#main)) continue
      const before = partition.changes
      partition.passed()
      if (partition.changes !== before) this.#host.changedIn(partition)
    }
  }

  missing(): Promise<void> {
    return this.#host.missing()
  }

  checkStream(): Promise<void> {
    return this.#host.checkStream()
  }

  trouble(reader: PartitionReader, detail: string | undefined): void {
    this.#host.trouble(reader, detail)
  }

  wake(): void {
    this.#host.wake()
  }
}
