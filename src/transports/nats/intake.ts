import type { Delivery, SubscriptionSpec } from '../../core/transport.ts'
import type { NatsDelivery } from './delivery.ts'
import type { Lane } from './lane.ts'
import type { Session } from './session.ts'

/** Bytes that each partition may ask for beyond the credit: what it can't hand over waits in the stash. */
const RESERVE_BYTES = 65_536

/** The credit of a subscription: hands out what its lanes have, and lets them ask for what there is room for. */
export class Intake {
  /** Nothing is handed out, and nothing asked for that others could take. */
  paused = false
  /** Nothing more comes in, for good. */
  ended = false
  readonly #session: Session
  readonly #lanes: readonly Lane[]
  /** Unsettled deliveries that a partition may have although others need room. */
  readonly #most: number
  /** Credit that is left for others by a partition that has more than that. */
  readonly #left: number
  readonly #receive: (batch: readonly Delivery[]) => void
  #credit = 0
  #bytes = 0
  #awake = false
  /** Whose turn it is to begin. */
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

  /** How much each lane may ask for, from the credit that there will ever be. */
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

  /** Something may be handed over, or asked for. Once per turn, however often it is called. */
  wake(): void {
    if (this.#awake) return
    this.#awake = true
    // After the chunk of the socket that is being read, so that what came in it goes out in one batch.
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

  /** How many more one lane may have, of so much credit: a busy key, or a partition that stands still, must not take it all. */
  #roomOf({ shared, outstanding, stash, pulls }: Lane, credit: number, isAsking: boolean): number {
    if (shared) return credit
    const has = outstanding.size + (isAsking ? stash.length + pulls.asked : 0)
    return Math.min(credit, Math.max(this.#most - has, credit - this.#left))
  }

  #takeFrom(lane: Lane): NatsDelivery[] {
    const taken = lane.take(Math.max(0, this.#roomOf(lane, this.#credit, false)))
    let used = 0
    // The last one may be larger than what is left of the bytes.
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
    for (const { pulls, stash, stashBytes, shared } of this.#lanes) {
      // The one that each partition may always ask for waits in the stash when there is no credit for it.
      free -= stash.length + (shared ? pulls.asked : Math.max(0, pulls.asked - 1))
      bytes -= stashBytes + pulls.askedBytes
    }
    // What everybody may take comes first: that of a partition runs away to nobody.
    for (const lane of this.#lanes) {
      if (!lane.shared) continue
      const { askedBytes } = lane.pulls
      free -= this.#askFor(lane, free, bytes)
      bytes -= lane.pulls.askedBytes - askedBytes
    }
    const hungry = this.#lanes.filter((lane) => !lane.shared && lane.active && lane.pulls.hungry)
    for (let step = 0; step < hungry.length; step++) {
      const lane = hungry[(this.#turn + step) % hungry.length] as Lane
      const others = hungry.length - step
      const { askedBytes } = lane.pulls
      free -= this.#askFor(lane, Math.ceil(free / others), bytes / others)
      bytes -= lane.pulls.askedBytes - askedBytes
    }
  }

  /** Returns how many were asked for. */
  #askFor(lane: Lane, free: number, bytes: number): number {
    const { pulls, shared } = lane
    if (!lane.active || lane.suspended > 0 || !pulls.hungry || (this.paused && shared)) return 0
    let count = Math.min(pulls.target - pulls.asked, this.#roomOf(lane, free, true))
    if (count <= 0 || bytes <= 0) {
      // One at least must be able to come, or a partition could starve beside busy ones. It waits here for its credit.
      if (shared || pulls.asked > 0 || lane.stash.length > 0) return 0
      count = 1
    }
    if (pulls.alone) return pulls.ask(1, 0) ? 1 : 0
    const share = shared ? (bytes * count) / Math.max(free, count) : Math.max(RESERVE_BYTES, bytes)
    const maxBytes = Math.max(1, Math.floor(share))
    return pulls.ask(count, maxBytes) ? count : 0
  }
}
