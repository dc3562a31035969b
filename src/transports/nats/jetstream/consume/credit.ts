import type { Delivery, SubscriptionSpec } from '../../../../core/transport.ts'
import { CreditBalance } from '../../../../core/util/credit-balance.ts'
import { OncePerTurn } from '../../../../core/util/once-per-turn.ts'
import type { PullConsumer } from '../shared/pull-consumer.ts'
import type { Partition } from '../partitions/partition.ts'
import type { PartitionReader } from '../partitions/partition-reader.ts'
import type { PartitionSet } from '../partitions/partition-set.ts'
import type { PullRequests } from './pull-requests.ts'
import type { Session } from '../../connection/session.ts'

/** Bytes that a consumer without messages here may request beyond the credit. */
const RESERVE_BYTES = 65_536
/** Part of the bytes that requests for messages without a key may take where there are partitions. */
const SHARED_BYTES = 1 / 4

/** The credit of a subscription: hands out what has come, and requests what there is room for. */
export class Credit {
  /** Nothing is handed out, and nothing is requested that other members could take. */
  paused = false
  /** Nothing more comes in, permanently. */
  ended = false
  readonly #session: Session
  readonly #shared: readonly PullConsumer[]
  readonly #set: PartitionSet | undefined
  /** Maximum number of unsettled deliveries of a partition while others need room. */
  readonly #most: number
  /** Credit that a partition with more than that leaves for others. */
  readonly #left: number
  readonly #receive: (batch: readonly Delivery[]) => void
  readonly #prefetch: number
  readonly #credit = new CreditBalance()
  /** Settled, but not stored yet; and how many that may be. Usually half of the prefetch is being handled. */
  #unstored = 0
  readonly #mostUnstored: number
  /** After the current chunk of the socket was read, so that its messages are handed out in one batch. */
  readonly #soon = new OncePerTurn(() => {
    this.#distribute()
    this.#refill()
  })
  /** Index of the partition that begins. */
  #turn = 0

  constructor(
    session: Session,
    shared: readonly PullConsumer[],
    set: PartitionSet | undefined,
    { prefetch, maxPerKey }: Pick<SubscriptionSpec, 'prefetch' | 'maxPerKey'>,
    receive: (batch: readonly Delivery[]) => void,
  ) {
    this.#session = session
    this.#shared = shared
    this.#set = set
    this.#receive = receive
    this.#prefetch = prefetch
    this.#mostUnstored = Math.max(1, prefetch >> 1)
    const count = shared.length + (set?.partitions.length ?? 0)
    this.#most = Math.max(maxPerKey, Math.floor(prefetch / count))
    this.#left = count > 1 ? prefetch >> 1 : 0
    for (const { pulls } of shared) {
      pulls.most = Math.max(1, prefetch >> 1)
      // Where most messages come through partitions, few are requested in vain.
      pulls.least = count === 1 ? pulls.most : Math.max(1, Math.min(set === undefined ? 64 : 16, prefetch >> 2))
      pulls.target = pulls.least
    }
  }

  get hasCredit(): boolean {
    return this.#credit.messages > 0
  }

  /** There is room for messages besides those that wait here already. */
  get hasRoom(): boolean {
    let buffered = 0
    for (const { buffer } of this.#set?.partitions ?? []) buffered += buffer.length
    return buffered < Math.max(1, this.#prefetch)
  }

  request(credit: number, bytes: number): void {
    this.#credit.add(credit, bytes)
    this.wake()
  }

  /** Something may be handed over or requested. Runs once per turn, however often it is called. */
  wake(): void {
    this.#soon.schedule()
  }

  #distribute(): void {
    if (this.paused || this.ended) return
    const batch: Delivery[] = []
    for (const consumer of this.#shared)
      if (consumer.buffer.length > 0 && consumer.active && this.#credit.isLeft) this.#takeShared(consumer, batch)
    const partitions = this.#set?.partitions ?? []
    this.#unstored = this.#set?.unstored ?? 0
    let isWaiting = false
    for (let step = 0; step < partitions.length && this.#credit.isLeft; step++) {
      const partition = partitions[(this.#turn + step) % partitions.length] as Partition
      if (partition.buffer.length === 0) continue
      isWaiting = true
      this.#take(partition, batch)
    }
    // In time, before it has to wait.
    if (isWaiting && this.#unstored * 2 >= this.#mostUnstored) this.#set?.storeNow()
    if (batch.length === 0) return
    this.#turn++
    this.#receive(batch)
    this.#set?.delays.fetch()
  }

  #takeShared(consumer: PullConsumer, batch: Delivery[]): void {
    const taken = consumer.take(this.#credit.messages)
    let used = 0
    // The last one may be larger than the remaining bytes.
    while (used < taken.length && this.#credit.bytes > 0) this.#credit.spend(taken[used++]?.bytes ?? 0)
    if (used < taken.length) consumer.putBack(taken.splice(used))
    for (const delivery of taken) {
      consumer.outstanding.push(delivery)
      batch.push(delivery)
    }
  }

  #take(partition: Partition, batch: Delivery[]): void {
    const set = this.#set as PartitionSet
    if (partition.leaving || !set.holds(partition)) return
    const { changes } = partition
    const taken = partition.take(
      this.#roomNow(partition),
      this.#credit.bytes,
      this.#session.host.clock.now(),
      (delayed) => set.delays.add(partition, delayed),
    )
    for (const delivery of taken) {
      this.#credit.spend(delivery.bytes)
      batch.push(delivery)
    }
    if (taken.length > 0) set.handedOut(partition)
    if (partition.isHeldUp) set.reserve(partition)
    else if (partition.changes !== changes) set.changedIn(partition)
  }

  #roomOf({ outstanding }: Partition): number {
    return this.#credit.roomOf(outstanding.size, this.#most, this.#left)
  }

  /** What is settled but not stored would be handled again if this process died now, so it is bounded. */
  #roomNow(partition: Partition): number {
    return Math.max(0, Math.min(this.#roomOf(partition), this.#mostUnstored - this.#unstored))
  }

  // --- requests ----------------------------------------------------------------------------------------------------

  #refill(): void {
    if (!this.#session.ready || this.ended) return
    const set = this.#set
    if (set !== undefined) this.#relieve(set)
    let { messages: free, bytes } = this.#credit
    let shared = 0
    for (const { pulls, buffer, bufferBytes } of this.#shared) {
      free -= buffer.length
      shared += pulls.asked
      bytes -= bufferBytes + pulls.askedBytes
    }
    for (const { buffer, bufferBytes } of set?.partitions ?? []) {
      free -= buffer.length
      bytes -= bufferBytes
    }
    for (const { pulls } of set?.readers.all ?? []) bytes -= pulls.askedBytes
    // First what other members could take as well.
    for (const consumer of this.#shared) {
      if (this.paused || !consumer.active || consumer.unchecked) continue
      const isDry = consumer.pulls.asked === 0 && consumer.buffer.length === 0
      const part = set === undefined ? bytes : bytes * SHARED_BYTES
      const most = Math.max(part, isDry && this.#credit.bytes > 0 ? RESERVE_BYTES : 0)
      const [asked, askedBytes] = ask(consumer.pulls, free - shared, free - shared, most)
      shared += asked
      bytes -= askedBytes
    }
    // Requests for partitions may wait for long: they must not keep others from asking.
    for (const { pulls } of set?.readers.all ?? []) free -= Math.max(0, pulls.asked - 1)
    // What is requested there may never come; what comes of a partition can wait here, since no other member may have it.
    const hungry = [...(set?.readers.all ?? [])].filter(({ active, pulls }) => active && pulls.hungry)
    for (const [index, reader] of hungry.entries()) {
      const others = hungry.length - index
      const most = Math.min(Math.ceil(free / others), this.#roomFor(reader))
      const isDry = this.#isDry(reader)
      const room = most <= 0 && isDry ? 1 : most
      const [asked, askedBytes] = ask(reader.pulls, room, free, Math.max(bytes / others, isDry ? RESERVE_BYTES : 0))
      free -= asked
      bytes -= askedBytes
    }
  }

  /** How much a reader may request; one that reads a single partition must not take more than its share. */
  #roomFor({ partitions, pulls }: PartitionReader): number {
    const [partition] = partitions
    if (partition === undefined || partitions.length > 1 || this.#set?.partitions.length === 1) return Infinity
    return partition.isFull ? 0 : this.#roomOf(partition) - partition.buffer.length - pulls.asked
  }

  /** At least one message must be able to come, or it could starve beside busy ones. It waits here for its credit. */
  #isDry({ partitions, pulls }: PartitionReader): boolean {
    return pulls.asked === 0 && partitions.every(({ buffer, isFull }) => buffer.length === 0 && !isFull)
  }

  /** What can't be handed out must not keep out what could be: such partitions are read apart. */
  #relieve(set: PartitionSet): void {
    let buffered = 0
    for (const { buffer } of set.partitions) buffered += buffer.length
    const isCrammed = buffered > 0 && !this.paused && buffered >= this.#credit.messages && set.partitions.length > 1
    for (const partition of set.partitions) {
      if (partition.isApart) continue
      const stands =
        isCrammed &&
        partition.buffer.length > 0 &&
        !partition.isHeldUp &&
        this.#credit.messages > 0 &&
        this.#roomOf(partition) === 0
      if (stands || partition.isFull) set.readers.setApart(partition)
    }
    set.readers.tendApart((partition) => !partition.isFull && this.#roomOf(partition) > partition.buffer.length)
  }
}

/** Requests up to `room` messages; returns how many, and for how many bytes. */
function ask(pulls: PullRequests, room: number, free: number, bytes: number): readonly [count: number, bytes: number] {
  if (!pulls.hungry) return NOTHING
  const count = Math.min(pulls.target - pulls.asked, room)
  if (count <= 0 || bytes <= 0) return NOTHING
  // Its size is unknown: one at a time.
  if (pulls.alone) return pulls.asked === 0 && pulls.ask(1, 0) ? [1, 0] : NOTHING
  const maxBytes = Math.max(1, Math.floor(free > count && free !== Infinity ? (bytes * count) / free : bytes))
  return pulls.ask(count, maxBytes) ? [count, maxBytes] : NOTHING
}

const NOTHING = [0, 0] as const
