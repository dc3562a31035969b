import type { PartitionState } from '../partitions/partition-state.ts'
import type { MemberContext } from './member-context.ts'
import type { Source } from './source.ts'

const MAX_COUNT = 1_000
const MIN_HALF = 256
/** A lease that ends this soon is renewed before reading under it. */
const LEASE_MARGIN = 0.1

/** What is to be read for one member now. */
export interface ReadPlan {
  readonly sources: readonly Source[]
  /** Maximum number of entries of each stream. */
  readonly count: number
  /** Only some of its streams, in turn: the read must not wait for messages. */
  readonly isTurn: boolean
}

/** What one member wants from the reader that it may share with others: which streams, and how much of each. */
export class ReadDemand {
  readonly member: MemberContext
  readonly partitions: Set<PartitionState> = new Set()
  /** There is a new connection, and what the former one received without our knowledge must be found. */
  readonly onConnected: () => void
  /** Number of streams that it may read at once. */
  streams = 0
  /**
   * It is read for separately, and without waiting: more may be there than a read together with others brought, or one
   * of the streams of such a read made it fail.
   */
  alone = false
  #next = 0
  /** A source is not read because it holds its share. */
  #skipsFull = false
  /** Streams are read in turn, because one read of all of them brought more than there is credit for. */
  #byTurns = false
  /** Number of consecutive turns that found nothing. */
  #emptyTurns = 0

  constructor(member: MemberContext, onConnected: () => void) {
    this.member = member
    this.onConnected = onConnected
  }

  /** Streams that may be read now, with the credit that there is. */
  wanted(): readonly Source[] {
    return this.#room() > 0 ? this.#readable() : []
  }

  plan(): ReadPlan | undefined {
    const room = this.#room()
    if (room <= 0) return undefined
    const sources = this.#readable()
    if (sources.length === 0) return undefined
    if (sources.length <= room) return { sources, count: Math.floor(room / sources.length), isTurn: false }
    // COUNT applies to each stream: with less credit than streams, what is read beyond it waits here; or, where it must
    // not wait because others could have it, streams with a backlog are read in turn.
    if (this.member.owned || !this.#byTurns || this.#emptyTurns >= sources.length) {
      this.#byTurns = false
      return { sources, count: 1, isTurn: false }
    }
    const from = this.#next % sources.length
    const turn = [...sources.slice(from, from + room), ...sources.slice(0, Math.max(0, from + room - sources.length))]
    this.#next = from + room
    return { sources: turn, count: 1, isTurn: true }
  }

  /** A read of this plan has brought entries of so many streams, which have not been offered yet. */
  brought({ sources, isTurn }: ReadPlan, streams: number): void {
    if (streams > 0) {
      this.#emptyTurns = 0
      if (streams > this.member.credit.room()) this.#byTurns = true
    } else if (isTurn) this.#emptyTurns += sources.length
  }

  /** Something was settled. True when a source that was full may be readable again. */
  settled(): boolean {
    const skipped = this.#skipsFull
    this.#skipsFull = false
    return skipped
  }

  #room(): number {
    const { spec, credit } = this.member
    // In halves, when those are large enough: the server reads the next one while this one is handled.
    const half = Math.max(MIN_HALF, Math.ceil(spec.prefetch / 2))
    return Math.min(MAX_COUNT, half, credit.room())
  }

  #readable(): Source[] {
    const found: Source[] = []
    const { context, owned } = this.member
    const now = context.host.clock.monotonic()
    if (owned && context.lease.until <= now + context.options.leaseMs * LEASE_MARGIN) return found
    for (const partition of this.partitions) {
      if (partition.phase !== 'held') continue
      for (const source of partition.sources) if (source.readable && !this.#isFull(source)) found.push(source)
    }
    return found
  }

  /** It holds its share. It is read again when half of that has been settled, rather than for each message. */
  #isFull(source: Source): boolean {
    const { share } = this.member.credit
    const here = source.outstanding.size + source.ready.length
    source.full = source.full ? here > share / 2 : here >= share
    if (source.full) this.#skipsFull = true
    return source.full
  }
}
