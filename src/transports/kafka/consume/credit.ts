import type { Delivery, SubscriptionSpec } from '../../../core/transport.ts'
import type { UnstoredCount } from '../../../core/partitions/held-partition.ts'
import { CreditBalance } from '../../../core/util/credit-balance.ts'
import { OncePerTurn } from '../../../core/util/once-per-turn.ts'
import type { Partition, PartitionDelivery, TakeHost } from '../partitions/partition.ts'

export interface CreditHost extends TakeHost {
  now(): number
  receive(batch: readonly Delivery[]): void
  /** Settlements that are not stored, of all partitions but those that can't be committed. */
  readonly unstored: UnstoredCount
  /** What is settled holds up what waits here: it is stored now. */
  storeNow(): void
  /** The partition can hand out nothing more before its next record is stored; it is stored now. */
  reserve(partition: Partition): void
  /** Something of the partition has changed that has to be stored. */
  changed(partition: Partition): void
  /** The partition's record has no room for another unfinished message. */
  full(partition: Partition): void
  /** A partition has more or less to hand out than before: its fetches may have to rest or to go on. */
  consumed(partition: Partition): void
  /** How many partitions this member has. */
  partitionCount(): number
}

/** The credit of a subscription: hands out what has come, partition by partition in turn. */
export class Credit {
  /** Nothing is handed out. */
  paused = false
  /** Nothing more comes in, permanently. */
  ended = false
  readonly #host: CreditHost
  readonly #prefetch: number
  readonly #maxPerKey: number
  readonly #credit = new CreditBalance()
  /** Settled, but not stored yet: how many that may be. Usually half of the prefetch is being handled. */
  readonly #mostUnstored: number
  /** Partitions with something to hand out; the first is the next. */
  readonly #ready = new Set<Partition>()
  /** After what else comes in this turn, so that it is handed out in one batch. */
  readonly #soon = new OncePerTurn(() => this.#distribute())

  constructor(spec: Pick<SubscriptionSpec, 'prefetch' | 'maxPerKey' | 'order'>, host: CreditHost) {
    const { prefetch, maxPerKey, order } = spec
    this.#host = host
    this.#prefetch = prefetch
    // Without order, no message waits for another one of its partition.
    this.#maxPerKey = order === 'none' ? prefetch : maxPerKey
    this.#mostUnstored = Math.max(1, prefetch >> 1)
  }

  request(credit: number, bytes: number): void {
    this.#credit.add(credit, bytes)
    this.wake()
  }

  /** A partition may have something to hand out. */
  ready(partition: Partition): void {
    this.#ready.add(partition)
    this.wake()
  }

  drop(partition: Partition): void {
    this.#ready.delete(partition)
  }

  /** Something may be handed over. Runs once per turn, however often it is called. */
  wake(): void {
    if (this.#ready.size > 0) this.#soon.schedule()
  }

  #distribute(): void {
    if (this.paused || this.ended) return
    const batch: Delivery[] = []
    const { unstored } = this.#host
    // Those that have more come again at the end, in the next round.
    let left = this.#ready.size
    for (const partition of this.#ready) {
      if (left-- === 0 || !this.#credit.isLeft) break
      const most = this.#mostUnstored - partition.unstoredOfAll.count
      if (most <= 0) {
        // What can't be committed keeps out no others.
        if (partition.unstoredOfAll === unstored) break
        continue
      }
      // Its next turn comes after that of the others.
      this.#ready.delete(partition)
      this.#take(partition, batch, most)
      if (partition.mine && partition.hasWork) this.#ready.add(partition)
    }
    // In time, before it has to wait.
    if (this.#ready.size > 0 && unstored.count * 2 >= this.#mostUnstored) this.#host.storeNow()
    if (batch.length > 0) this.#host.receive(batch)
  }

  #take(partition: Partition, batch: Delivery[], most: number): void {
    if (!partition.mine || partition.leaving || !partition.isChecked) return
    const { changes } = partition
    const room = Math.min(this.#roomOf(partition), most)
    const taken: readonly PartitionDelivery[] =
      room > 0 ? partition.take(room, this.#credit.bytes, this.#host.now(), this.#host) : []
    for (const delivery of taken) {
      this.#credit.spend(delivery.bytes)
      batch.push(delivery)
    }
    if (partition.isHeldUp) this.#host.reserve(partition)
    else if (partition.changes !== changes) this.#host.changed(partition)
    if (!partition.hasRoom) this.#host.full(partition)
    this.#host.consumed(partition)
  }

  #roomOf({ outstanding }: Partition): number {
    const count = Math.max(1, this.#host.partitionCount())
    const most = Math.max(this.#maxPerKey, Math.floor(this.#prefetch / count))
    return this.#credit.roomOf(outstanding.size, most, count > 1 ? this.#prefetch >> 1 : 0)
  }
}
