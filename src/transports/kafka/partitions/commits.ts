import type { Clock, Timer } from '../../../core/clock.ts'
import { OncePerTurn } from '../../../core/util/once-per-turn.ts'
import type { KafkaError, OffsetToCommit } from '../../../kafka/index.ts'
import { MAX_RECORD_CHARACTERS } from './commit-record.ts'
import { fitRecord } from './fit-record.ts'
import type { Delayed, Partition, PartitionDelivery } from './partition.ts'

/** Pause after a commit was refused. */
const AGAIN_MS = 500

export interface CommitsHost {
  readonly clock: Clock
  /** Minimum interval between two commits of the group. */
  readonly intervalMs: number
  /** Name of this owner in records. */
  readonly owner: string
  /** Resolves with why each is not committed, by index. */
  readonly commit: (offsets: readonly OffsetToCommit[]) => Promise<readonly (KafkaError | undefined)[]>
  /** Something may go on now. */
  stored(partition: Partition): void
  /** It is tried again; what else is committed does not wait for it. */
  refused(partition: Partition, error: KafkaError): void
  /** Records are larger than the broker takes. */
  tooLarge(partition: Partition, maxCharacters: number): void
  /** The record of a partition had no room for everything: some of it is forgotten. */
  cut(partition: Partition): void
}

/**
 * Decides when what changed in partitions is committed: at once when nothing was for a while, else gathered; one request at a time,
 * with all partitions that have changed meanwhile.
 */
export class Commits {
  readonly #host: CommitsHost
  readonly #waiting = new Set<Partition>()
  /** A transaction commits for these. */
  readonly #held = new Map<Partition, PromiseWithResolvers<void>>()
  /** What the broker takes, as far as it is known. */
  #maxCharacters = MAX_RECORD_CHARACTERS
  #inFlight: Promise<void> | undefined
  #lastAt = -Infinity
  /** Partitions whose last commit was refused, and why. */
  readonly #refusals = new Map<Partition, KafkaError>()
  /** They are tried again then. */
  #againAt = -Infinity
  #timer: Timer | undefined
  #timerAt = Infinity
  /** What else happens in this turn goes into the same request. */
  readonly #soon = new OncePerTurn(() => this.#start())
  #isClosed = false

  constructor(host: CommitsHost) {
    this.#host = host
  }

  /** Something of the partition has changed. */
  changed(partition: Partition): void {
    if (this.#isClosed) return
    this.#waiting.add(partition)
    this.#schedule(this.#lastAt + this.#host.intervalMs)
  }

  /** The next commit must not wait. */
  now(partition: Partition): void {
    if (this.#isClosed) return
    this.#waiting.add(partition)
    this.#schedule(-Infinity)
  }

  /** Why what is finished of it can't be committed, if that will not pass by itself. */
  refusalOf(partition: Partition): KafkaError | undefined {
    const error = partition.mine ? this.#refusals.get(partition) : undefined
    return error?.retriable === true ? undefined : error
  }

  /** Commits partitions for their next owners. Resolves when it has been tried. */
  async free(partitions: readonly Partition[]): Promise<void> {
    // What is on its way says less.
    for (;;) {
      const before = this.#inFlight ?? partitions.map((partition) => this.#held.get(partition)?.promise).find(Boolean)
      if (before === undefined) break
      await before
    }
    const left = partitions.filter(({ mine }) => mine)
    for (const partition of left) this.#waiting.delete(partition)
    if (left.length > 0) await this.#write(left, true)
  }

  /** Resolves when nothing else commits for these, until `release`. */
  async hold(partitions: readonly Partition[]): Promise<void> {
    for (const partition of partitions)
      if (!this.#held.has(partition)) this.#held.set(partition, Promise.withResolvers())
    while (this.#inFlight !== undefined) await this.#inFlight
  }

  /** What a transaction commits for a partition that is held, if it is committed now: with it, these are finished. */
  offsetOf(partition: Partition, ending: ReadonlySet<object>): OffsetToCommit {
    return this.#offset(partition, false, ending)
  }

  /** What was made for it last by `offsetOf` is committed, and these are finished with it; `moved` are stored elsewhere. */
  confirmed(partition: Partition, ended: readonly PartitionDelivery[], moved: readonly Delayed[]): void {
    partition.endedWith(ended, moved)
    this.#host.stored(partition)
  }

  release(partitions: readonly Partition[]): void {
    for (const partition of partitions) {
      this.#held.get(partition)?.resolve()
      this.#held.delete(partition)
      if (partition.mine && partition.stored < partition.changes) this.changed(partition)
    }
  }

  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
    this.#waiting.clear()
  }

  #schedule(at: number): void {
    if (this.#inFlight !== undefined || this.#isClosed) return
    const now = this.#host.clock.monotonic()
    if (at <= now) this.#soon.schedule()
    else if (at < this.#timerAt) {
      this.#timer?.cancel()
      this.#timerAt = at
      this.#timer = this.#host.clock.setTimer(at - now, () => {
        this.#timerAt = Infinity
        this.#start()
      })
    }
  }

  #start(): void {
    if (this.#inFlight !== undefined || this.#isClosed) return
    const partitions: Partition[] = []
    const now = this.#host.clock.monotonic()
    for (const partition of this.#waiting) {
      if (this.#held.has(partition)) continue
      if (this.#refusals.has(partition) && partition.mine && now < this.#againAt) {
        this.#schedule(this.#againAt)
        continue
      }
      this.#waiting.delete(partition)
      if (partition.mine && partition.stored < partition.changes) partitions.push(partition)
    }
    if (partitions.length === 0) return
    this.#lastAt = now
    this.#inFlight = this.#write(partitions, false).then(() => {
      this.#inFlight = undefined
      if (this.#hasWork) this.#schedule(this.#lastAt + this.#host.intervalMs)
    })
  }

  get #hasWork(): boolean {
    for (const partition of this.#waiting) if (!this.#held.has(partition)) return true
    return false
  }

  #offset(partition: Partition, free: boolean, ending?: ReadonlySet<object>): OffsetToCommit {
    const record = { ...partition.record(free, ending), owner: this.#host.owner }
    const { text: metadata, isCut } = fitRecord(record, this.#maxCharacters)
    if (isCut) this.#host.cut(partition)
    partition.measured(metadata.length, this.#maxCharacters)
    const { topic, index, leaderEpoch } = partition
    return { topic, partition: index, offset: record.floor, leaderEpoch, metadata }
  }

  /** Never rejects. */
  async #write(partitions: readonly Partition[], free: boolean): Promise<void> {
    const maxCharacters = this.#maxCharacters
    const spans = partitions.map(({ span }) => span)
    const results = await this.#host.commit(partitions.map((partition) => this.#offset(partition, free)))
    for (const [index, partition] of partitions.entries()) {
      // It has gone meanwhile, and perhaps come back.
      if (!partition.mine || partition.span !== spans[index]) continue
      const error = results[index]
      this.#refusals.delete(partition)
      if (error === undefined) {
        partition.committed()
        this.#host.stored(partition)
        if (partition.stored < partition.changes && !free) this.#waiting.add(partition)
      } else this.#refused(partition, error, maxCharacters)
    }
  }

  /** `maxCharacters`: what the request was made with. */
  #refused(partition: Partition, error: KafkaError, maxCharacters: number): void {
    // It is reported as lost, or will be.
    if (error.action === 'rejoin' || error.code === 'CLOSED') return
    this.#waiting.add(partition)
    if (error.code === 'OFFSET_METADATA_TOO_LARGE') {
      // Once, however many partitions were in the request.
      this.#maxCharacters = Math.min(this.#maxCharacters, maxCharacters >> 1)
      this.#host.tooLarge(partition, this.#maxCharacters)
      return
    }
    this.#refusals.set(partition, error)
    this.#againAt = this.#host.clock.monotonic() + AGAIN_MS
    this.#host.refused(partition, error)
  }
}
