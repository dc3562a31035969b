import { LinkedList } from '../../../core/util/linked-list.ts'
import type { KnownAttempts, RedisDelivery } from './delivery.ts'
import type { PartitionState } from '../partitions/partition-state.ts'
import { compareIds } from '../topology/compare-ids.ts'

const HANDED_OUT_BEFORE: KnownAttempts = Object.freeze({
  attempt: 1,
  history: 'unknown',
  notBefore: undefined,
  noted: true,
})

/**
 * Which pending entries to look through. `all`: everything that is not here, after a partition changed owners; `mine`:
 * what the server delivered to this member in a reply that was lost; `orphans`: what no member has renewed for a lease.
 */
export interface Recovery {
  readonly kind: 'all' | 'mine' | 'orphans'
  /** Where to continue: `-`, or `(` and an id. */
  from: string
}

/** A stream that a group reads: that of a partition, or the one beside it with copies for the group alone. */
export class Source {
  readonly partition: PartitionState
  readonly isSide: boolean
  readonly stream: string
  readonly later: string
  readonly notes: string
  readonly outstanding: LinkedList<RedisDelivery> = new LinkedList()
  /** Read but not handed over for lack of credit; in order. */
  ready: RedisDelivery[] = []
  recovery: Recovery | undefined = undefined
  /** It was deleted. Only for a stream of copies, which is created again with the next copy. */
  missing = false
  /** It holds its share of what the member may have in flight. */
  full = false
  /** Number of deliveries on their way back to `ready`; until then nothing may be handed over. */
  keeping = 0
  /** When the next entry that was handed back is due (monotonic). */
  dueAt: number = Infinity

  constructor(partition: PartitionState, isSide: boolean) {
    this.partition = partition
    this.isSide = isSide
    this.stream = isSide ? partition.group.side : partition.keys.stream
    this.later = isSide ? partition.group.sideLater : partition.group.later
    this.notes = isSide ? partition.group.sideNotes : partition.group.notes
  }

  /** New entries may be read: no older one is still to be found. Orphans don't affect the order. */
  get readable(): boolean {
    return !this.missing && (this.recovery === undefined || this.recovery.kind === 'orphans')
  }

  /** What is known of an entry that is read as new: it may have been handed out before the group was created again. */
  knownOf(id: string): KnownAttempts | undefined {
    const { againUntil } = this.partition
    if (againUntil === undefined || this.isSide) return undefined
    if (compareIds(id, againUntil) <= 0) return HANDED_OUT_BEFORE
    this.partition.againUntil = undefined
    return undefined
  }

  /** Ids of all entries that are here, settled or not. */
  held(): Set<string> {
    const ids = new Set<string>()
    for (let delivery = this.outstanding.first; delivery !== undefined; delivery = delivery.next) ids.add(delivery.id)
    for (const { id } of this.ready) ids.add(id)
    return ids
  }

  /** Puts a delivery that had been handed over back at its place in the order. */
  putBack(delivery: RedisDelivery): void {
    let at = this.ready.length
    while (at > 0 && compareIds((this.ready[at - 1] as RedisDelivery).id, delivery.id) > 0) at--
    this.ready.splice(at, 0, delivery)
  }

  takeReady(): RedisDelivery[] {
    const { ready } = this
    this.ready = []
    return ready
  }
}
