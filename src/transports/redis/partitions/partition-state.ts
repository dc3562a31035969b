import type { GroupKeys, PartitionKeys } from '../topology/keys.ts'
import { ReadCount } from '../consume/read-count.ts'
import type { Gap } from '../consume/read-count.ts'
import { Source } from '../consume/source.ts'
import type { Phase, RedisDelivery, SourcePartition } from '../consume/source.ts'
import { compareIds } from '../topology/compare-ids.ts'
import { idBefore } from '../topology/start-id.ts'

/** What a partition needs from the member that it is a part of. */
export interface PartitionHost {
  /** Entries were removed before the group had read them. */
  removed(partition: PartitionState, gap: Gap): void
  lose(partition: PartitionState, reason: string): void
  repair(partition: PartitionState): void
}

/** One partition of a topic, as one member of a group sees it. */
export class PartitionState implements SourcePartition {
  readonly keys: PartitionKeys
  readonly group: GroupKeys
  readonly main: Source
  /** Once the stream of copies for this group exists. */
  side: Source | undefined = undefined
  phase: Phase = 'idle'
  generation = ''
  /** The server may know this member as its owner. */
  mayBeOwned = false
  /** This member has tried to take it: a server that forgets what came later may know it as its owner. */
  wasAskedFor = false
  /** When it is to be looked at again (monotonic), and when that was done last for what other programs do. */
  inspectAt = 0
  sweptAt = 0
  /** Nothing was in flight or waited for its time when it was looked at last; without owners, not at other members either. */
  isExpectedQuiet = false
  /**
   * What the server said of the group at the last such look, when nothing was pending, and how often `reads` had been reset: if
   * both are the same, nothing has happened. Undefined when nothing was compared.
   */
  lastSeen: { readonly state: string; readonly resets: number } | undefined = undefined
  /** Something has happened in it since it was last looked at for what other programs do. */
  wasBusy = false
  /** The floor that the server knows. */
  recordedFloor = ''
  lastRead: string | undefined = undefined
  againUntil: string | undefined = undefined
  former: { readonly consumer: string; readonly floor: string } | undefined = undefined
  readonly reads: ReadCount
  readonly #host: PartitionHost
  #quiet: (() => void)[] = []

  constructor(keys: PartitionKeys, group: GroupKeys, host: PartitionHost) {
    this.keys = keys
    this.group = group
    this.#host = host
    this.reads = new ReadCount((gap) => host.removed(this, gap))
    this.main = new Source(this, false)
  }

  get sources(): readonly Source[] {
    return this.side === undefined ? [this.main] : [this.main, this.side]
  }

  get outstanding(): number {
    return this.main.outstanding.size + (this.side?.outstanding.size ?? 0)
  }

  /** Nothing is in flight or waits for its time, and all that is known has been recorded. */
  get isQuiet(): boolean {
    return (
      this.outstanding === 0 &&
      this.sources.every((source) => source.ready.length === 0 && source.dueAt === Infinity) &&
      this.floor === this.recordedFloor
    )
  }

  /** Everything up to here has been acked, or handed back and recorded as such; empty while unknown. */
  get floor(): string {
    if (!this.main.readable || this.former !== undefined) return ''
    const oldest = this.#oldest()
    return oldest === undefined ? (this.lastRead ?? '') : idBefore(oldest)
  }

  /** Id of the oldest entry that is here. */
  #oldest(): string | undefined {
    let oldest = this.main.ready[0]?.id
    for (let delivery = this.main.outstanding.first; delivery !== undefined; delivery = delivery.next)
      if (oldest === undefined || compareIds(delivery.id, oldest) < 0) oldest = delivery.id
    return oldest
  }

  /** Ids of entries of one of its streams that are here and not being settled: certainly pending. */
  unsettled(source: Source): string[] {
    const ids: string[] = []
    for (let delivery = source.outstanding.first; delivery !== undefined; delivery = delivery.next)
      if (!delivery.settled) ids.push(delivery.id)
    for (const { id } of source.ready) ids.push(id)
    return ids
  }

  /** If the group is deleted before it is ours again, it continues with the oldest entry that is here now. */
  rewind(): void {
    const oldest = this.#oldest()
    if (oldest === undefined) return
    const handedOut = [this.againUntil, this.lastRead, ...this.main.held()].filter((id) => id !== undefined)
    this.againUntil = handedOut.reduce((newest, id) => (compareIds(id, newest) > 0 ? id : newest))
    this.lastRead = idBefore(oldest)
  }

  /** Takes back everything in flight, marks it lost, and drops what waits here. */
  takeBack(): RedisDelivery[] {
    const lost: RedisDelivery[] = []
    for (const source of this.sources) {
      for (const delivery of source.outstanding.toArray()) {
        delivery.lost = true
        delivery.listed = false
        source.outstanding.remove(delivery)
        lost.push(delivery)
      }
      source.takeReady()
      source.recovery = undefined
      source.dueAt = Infinity
    }
    this.reads.reset()
    this.notifyQuiet()
    return lost
  }

  lose(reason: string): void {
    this.#host.lose(this, reason)
  }

  repair(): void {
    this.#host.repair(this)
  }

  /** Resolves when nothing of it is in flight any more. */
  whenQuiet(): Promise<void> {
    if (this.outstanding === 0) return Promise.resolve()
    return new Promise((resolve) => this.#quiet.push(resolve))
  }

  notifyQuiet(): void {
    if (this.#quiet.length === 0 || this.outstanding > 0) return
    const quiet = this.#quiet
    this.#quiet = []
    for (const resolve of quiet) resolve()
  }
}
