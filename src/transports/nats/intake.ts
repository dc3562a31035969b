import type { Delivery, SubscriptionSpec } from '../../core/transport.ts'
import type { NatsDelivery } from './delivery.ts'
import type { Lane } from './lane.ts'
import type { Session } from './session.ts'

/** Bytes that each partition may request beyond the credit: what it can't hand over waits in the stash. */
const RESERVE_BYTES = 65_536

/** The credit of a subscription: hands out what its lanes have, and lets them request what there is room for. */
export class Intake {
  /** Nothing is handed out, and nothing is requested that other members could take. */
  paused = false
  /** Nothing more comes in, permanently. */
  ended = false
  readonly #session: Session
  readonly #lanes: readonly Lane[]
  /** Maximum number of unsettled deliveries of a partition while others need room. */
  readonly #most: number
  /** Credit that a partition with more than that leaves for others. */
  readonly #left: number
  readonly #receive: (batch: readonly Delivery[]) => void
  #credit = 0
  #bytes = 0
  #awake = false
  /** Index of the lane that begins. */
  #turn = 0

  constructor(
    session: Session,
    lanes: readonly Lane[],
    { prefetch, maxPerKey }: Pick<SubscriptionSpec, 'prefetch' | 'maxPerKey'>,
    receive: (batch: readonly Delivery[]) => void,
  ) {
    this.#session = session
    this.#lanes = lanes
    this.#receive = receive
    this.#most = Math.max(maxPerKey, Math.floor(prefetch / lanes.length))
    this.#left = lanes.length > 1 ? prefetch >> 1 : 0
    this.#shareOut(prefetch)
  }

  /** How much each lane may request, from the total credit. */
  #shareOut(prefetch: number): void {
    const count = this.#lanes.length
    for (const { pulls, shared } of this.#lanes) {
      pulls.most = Math.max(1, prefetch >> 1)
      pulls.least = shared
        ? Math.max(1, Math.min(64, prefetch >> 1))
        : Math.max(1, Math.min(16, Math.floor(prefetch / (4 * count))))
      if (count === 1) pulls.least = pulls.most
      pulls.target = pulls.least
    }
  }

  get hasCredit(): boolean {
    return this.#credit > 0
  }

  request(credit: number, bytes: number): void {
    this.#credit += credit
    this.#bytes += bytes
    this.wake()
  }

  /** Something may be handed over or requested. Runs once per turn, however often it is called. */
  wake(): void {
    if (this.#awake) return
    this.#awake = true
    // After the current chunk of the socket was read, so that its messages are handed out in one batch.
    queueMicrotask(() => {
      this.#awake = false
      this.#distribute()
      this.#refill()
    })
  }

  #distribute(): void {
    if (this.paused || this.ended) return
    let batch: NatsDelivery[] | undefined
    const lanes = this.#lanes
    for (let step = 0; step < lanes.length && this.#credit > 0 && this.#bytes > 0; step++) {
      const lane = lanes[(this.#turn + step) % lanes.length] as Lane
      if (lane.stash.length === 0 || !lane.active) continue
      const taken = this.#takeFrom(lane)
      if (taken.length === 0) continue
      if (batch === undefined) batch = taken
      else for (const delivery of taken) batch.push(delivery)
    }
    if (batch === undefined) return
    this.#turn++
    this.#receive(batch)
  }

  /**
   * How many more one lane may have of the credit: a busy key, or a partition that stands still, must not take all of
   * it.
   */
  #roomOf({ shared, outstanding, stash, pulls }: Lane, credit: number, isAsking: boolean): number {
    if (shared) return credit
    const has = outstanding.size + (isAsking ? stash.length + pulls.asked : 0)
    return Math.min(credit, Math.max(this.#most - has, credit - this.#left))
  }

  #takeFrom(lane: Lane): NatsDelivery[] {
    const taken = lane.take(Math.max(0, this.#roomOf(lane, this.#credit, false)))
    let used = 0
    // The last one may be larger than the remaining bytes.
    while (used < taken.length && this.#bytes > 0) this.#bytes -= (taken[used++] as NatsDelivery).bytes
    if (used < taken.length) lane.putBack(taken.splice(used))
    this.#credit -= taken.length
    for (const delivery of taken) lane.outstanding.push(delivery)
    return taken
  }

  #refill(): void {
    if (!this.#session.ready || this.ended) return
    let free = this.#credit
    let bytes = this.#bytes
    for (const lane of this.#lanes) {
      const { pulls, stash, shared } = lane
      // Each partition may always request one message, which waits in the stash when there is no credit for it.
      free -= stash.length + (shared ? pulls.asked : Math.max(0, pulls.asked - 1))
      bytes -= countedBytes(lane)
    }
    // Shared lanes first: their messages may go to other members, those of a partition can't.
    for (const lane of this.#lanes) {
      if (!lane.shared) continue
      const before = countedBytes(lane)
      free -= this.#askFor(lane, free, bytes)
      bytes -= countedBytes(lane) - before
    }
    const hungry = this.#lanes.filter((lane) => !lane.shared && lane.active && lane.pulls.hungry)
    for (let step = 0; step < hungry.length; step++) {
      const lane = hungry[(this.#turn + step) % hungry.length] as Lane
      const others = hungry.length - step
      const before = countedBytes(lane)
      free -= this.#askFor(lane, Math.ceil(free / others), bytes / others)
      bytes -= countedBytes(lane) - before
    }
  }

  /** Returns how many were requested. */
  #askFor(lane: Lane, free: number, bytes: number): number {
    const { pulls, shared } = lane
    if (!lane.active || lane.suspended > 0 || !pulls.hungry || (this.paused && shared)) return 0
    let count = Math.min(pulls.target - pulls.asked, this.#roomOf(lane, free, true))
    let room = bytes
    if (!shared) {
      const has = lane.stashBytes + pulls.askedBytes
      if (has < RESERVE_BYTES / 2) room = Math.max(room, RESERVE_BYTES - has)
    }
    if (count <= 0 || room <= 0) {
      // At least one must be able to come, or a partition could starve beside busy ones. It waits here for its credit.
      if (shared || pulls.asked > 0 || lane.stash.length > 0) return 0
      count = 1
    }
    // Its size is unknown: one at a time.
    if (pulls.alone) return pulls.asked === 0 && pulls.ask(1, 0) ? 1 : 0
    const maxBytes = Math.max(1, Math.floor(shared ? (room * count) / Math.max(free, count) : room))
    return pulls.ask(count, maxBytes) ? count : 0
  }
}

/** The bytes that a lane has or has requested from the common credit; a partition has an additional reserve. */
function countedBytes({ shared, stashBytes, pulls: { askedBytes } }: Lane): number {
  return shared ? stashBytes + askedBytes : Math.max(0, stashBytes + askedBytes - RESERVE_BYTES)
}
