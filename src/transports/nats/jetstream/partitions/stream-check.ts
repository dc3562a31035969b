import { sleep } from '../../../../core/clock.ts'
import type { Delivery } from '../../../../core/transport.ts'
import { growingDelay } from '../../../../core/util/backoff.ts'
import type { Session } from '../../connection/session.ts'
import { isSameStream, streamIdentityOf } from '../server/identity.ts'
import type { StreamInfo } from '../server/jetstream-types.ts'
import type { Topology } from '../server/topology.ts'
import type { Partition, PartitionDelivery } from './partition.ts'

import { STREAM_DELETED, STREAM_EMPTIED } from './partition-losses.ts'

/**
 * How often a stream is looked at whose last message is before what was read of it, and how long between. A new leader
 * before 2.11 answers before it has applied its whole log, and nothing in the answer says so: only another look shows
 * whether the rest was lost. If that was decided too early, the whole stream would be delivered again.
 */
const LOOKS = 6
const LOOK_AGAIN = { minMs: 100, maxMs: 1_600 }
/** The clocks of the nodes of a cluster differ by less. */
const CLOCK_SKEW_MS = 1_000

export interface StreamCheckHost {
  readonly session: Session
  readonly topology: Topology
  readonly stream: string
  readonly partitions: readonly Partition[]
  /** When a message was last read of any partition (monotonic ms). */
  arrivedAt(): number
  /** How many messages wait in the stream, as the readers know. */
  unread(): number
  lost(deliveries: readonly Delivery[], reason: string): void
  report(count: number, after: number | undefined, reason: string): void
  changedIn(partition: Partition): void
  /** Partitions begin again. */
  restarted(): void
}

/**
 * Whether the stream is still the one that the positions of the partitions belong to. If another one has replaced it, or it
 * has lost its messages, they begin again.
 */
export class StreamCheck {
  readonly #host: StreamCheckHost
  readonly #closing = new AbortController()

  constructor(host: StreamCheckHost) {
    this.#host = host
  }

  get identity(): string {
    const { topology, stream } = this.#host
    return topology.identityOf(stream) ?? ''
  }

  /** Ends a look that waits. */
  close(): void {
    this.#closing.abort()
  }

  /** The stream is missing: resolves when it is there again. */
  async missing(): Promise<void> {
    await this.#host.topology.ensure()
    this.check()
  }

  /** The identity of the stream changed, or may have. `emptied`: partitions whose messages it has lost. */
  check(emptied: readonly Partition[] = []): void {
    const host = this.#host
    const { identity } = this
    const stale: Partition[] = []
    for (const partition of host.partitions) {
      if (!partition.mine) continue
      // Of the last look: proof that the stream was there, should its time of creation change.
      if (isSameStream(partition.stream, identity) && !emptied.includes(partition)) partition.stream = identity
      else stale.push(partition)
    }
    if (stale.length === 0) return
    // The readers count all partitions together.
    let count = host.unread()
    const deliveries: PartitionDelivery[] = []
    for (const partition of stale) {
      count += partition.held
      deliveries.push(...partition.lose())
      partition.restart(identity)
      host.changedIn(partition)
    }
    const reason = emptied.length > 0 ? STREAM_EMPTIED : STREAM_DELETED
    if (deliveries.length > 0) host.lost(deliveries, reason)
    host.report(count, undefined, reason)
    host.restarted()
  }

  /**
   * A reader was made. A stream that another process, or an operator, has made again has other sequences: the reader may
   * have begun behind them. So has one that came back empty with its node: in memory, or after its disk was replaced.
   */
  async look(): Promise<void> {
    const { topology, stream, session } = this.#host
    const { clock } = session.host
    for (let looks = 1; ; looks++) {
      const positions = this.#host.partitions.map(({ to, readTo }) => Math.max(to, readTo))
      const askedAt = clock.monotonic()
      const info = await topology.look(stream)
      if (!isSameStream(this.identity, streamIdentityOf(info))) return this.missing()
      const refilled = this.#select((partition, at) =>
        isRefilled(info, positions[at] as number, this.#ageMs(partition, askedAt)),
      )
      if (refilled.length > 0) return this.check(refilled)
      const behind = this.#select((_, at) => (positions[at] as number) > info.state.last_seq)
      if (behind.length === 0 || isOnlyCopy(info) || looks === LOOKS) return this.check(behind)
      await sleep(clock, growingDelay(LOOK_AGAIN, looks - 1), this.#closing.signal).catch(() => undefined)
      if (this.#closing.signal.aborted) return
    }
  }

  #select(isWanted: (partition: Partition, at: number) => boolean): Partition[] {
    return this.#host.partitions.filter((partition, at) => partition.mine && isWanted(partition, at))
  }

  /** For how long, at least, the stream is known to have had what is before the position of the partition. */
  #ageMs({ loadedAt }: Partition, now: number): number {
    return now - Math.max(loadedAt, this.#host.arrivedAt())
  }
}

/** No other one has anything that this one has not. */
function isOnlyCopy({ cluster }: StreamInfo): boolean {
  return (cluster?.replicas ?? []).length === 0
}

/**
 * True when the stream came back empty and has been published to since: its first message is at or before the position, which it
 * had `ageMs` ago, but newer than that. Servers before 2.10 do not say what time it is.
 */
function isRefilled({ state, ts }: StreamInfo, position: number, ageMs: number): boolean {
  if (ts === undefined || state.messages === 0 || state.first_seq > position) return false
  return Date.parse(state.first_ts) > Date.parse(ts) - ageMs + CLOCK_SKEW_MS
}
