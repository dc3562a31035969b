// A stream and what was read from it name each other: the streams of a partition hold their deliveries, and a delivery knows its
// stream.
import type { EncodedMessage, Position } from '../../../core/message.ts'
import { messageBytes } from '../../../core/message.ts'
import type { Delivery, DeliveryHistory } from '../../../core/transport.ts'
import { LinkedList } from '../../../core/util/linked-list.ts'
import { compareIds } from '../topology/compare-ids.ts'
import { partitionName } from '../topology/keys.ts'
import type { GroupKeys, PartitionKeys } from '../topology/keys.ts'
import type { ReadCount } from './read-count.ts'

/**
 * `idle`: not ours. `held`: ours to read. `revoking`: on its way to another member; what is in flight is finished
 * first. Where partitions have no owner, all are held.
 */
export type Phase = 'idle' | 'held' | 'revoking'

/** The partition of a source, as those see it that read, claim and settle. */
export interface SourcePartition {
  readonly keys: PartitionKeys
  readonly group: GroupKeys
  readonly phase: Phase
  readonly generation: string
  readonly reads: ReadCount
  /**
   * Where to continue if the group is deleted during use: id of the newest entry that was read, or the group's position
   * before.
   */
  lastRead: string | undefined
  /** The group was created again: entries up to here may have been handed out before. */
  againUntil: string | undefined
  /**
   * A member that owned it died: the name of its consumer, and its last floor. Or a reply to this one was lost: an empty name, and
   * the last id that it has seen.
   */
  former: { readonly consumer: string; readonly floor: string } | undefined
  /** Something was settled: if nothing is in flight any more, it can be handed over. */
  notifyQuiet(): void
  /** The server says that it, or everything in flight of it, is no longer ours. */
  lose(reason: string): void
  /** Its consumer group or its stream was deleted. */
  repair(): void
}

/** What is known of an entry's attempts when it is handed out. */
export interface KnownAttempts {
  readonly attempt: number
  readonly history: DeliveryHistory
  readonly notBefore: number | undefined
  /** There is a note, which must be deleted with the ack. */
  readonly noted: boolean
}

const FIRST: KnownAttempts = Object.freeze({ attempt: 1, history: 'new', notBefore: undefined, noted: false })

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
  readonly partition: SourcePartition
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

  constructor(partition: SourcePartition, isSide: boolean) {
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

/** One entry of a stream, in flight with this member. */
export class RedisDelivery implements Delivery {
  previous: RedisDelivery | undefined = undefined
  next: RedisDelivery | undefined = undefined
  readonly message: EncodedMessage
  attempt: number
  readonly history: DeliveryHistory
  readonly notBefore: number | undefined
  /** There may be a note of its attempts at the server, which is deleted with the ack. */
  noted: boolean
  readonly bytes: number
  readonly source: Source
  readonly id: string
  /** The group's generation when it was handed out: once that changes, it can't be settled any more. */
  readonly generation: string
  /** Until then (monotonic) no other member can have claimed it; only where partitions have no owners. */
  heldUntil: number
  lost = false
  settled = false
  /** It is in the list of deliveries in flight. */
  listed = false
  runtime: unknown = undefined

  constructor(source: Source, id: string, message: EncodedMessage, heldUntil: number, known: KnownAttempts = FIRST) {
    this.source = source
    this.id = id
    this.message = message
    this.attempt = known.attempt
    this.history = known.history
    this.notBefore = known.notBefore
    this.noted = known.noted
    this.heldUntil = heldUntil
    this.generation = source.partition.generation
    this.bytes = messageBytes(message)
  }

  get destination(): string {
    return this.source.stream
  }

  get partition(): string {
    return partitionName(this.source.partition.keys)
  }

  get position(): Position {
    const { partition } = this.source.partition.keys
    // A copy for this group alone has an id of a separate stream.
    return this.source.isSide
      ? { partition, id: this.id, side: this.source.partition.group.group }
      : { partition, id: this.id }
  }
}
