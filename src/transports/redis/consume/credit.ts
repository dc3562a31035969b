import type { Delivery, DeliverySink } from '../../../core/transport.ts'
import { CreditBalance } from '../../../core/util/credit-balance.ts'
import { RedisDelivery } from './source.ts'
import type { KnownAttempts, Source } from './source.ts'

/** Entries of unknown size are read in small numbers until the size is known. */
const FIRST_READ = 16
/** Weight of a new entry in the average size. */
const NEWEST = 0.05
const FADING = 0.995

export interface CreditParts {
  readonly sink: DeliverySink
  /** False while paused and once draining. */
  readonly open: () => boolean
  /**
   * What can't be handed over is given back at once. Undefined where no other member may have it: then it waits here,
   * in order.
   */
  readonly shed: ((source: Source, deliveries: readonly RedisDelivery[]) => void) | undefined
}

/** Hands over what has been read, as far as credit allows, and keeps the rest in order. */
export class Credit {
  readonly #parts: CreditParts
  /** Sources with entries that wait for credit. */
  readonly #stocked = new Set<Source>()
  readonly #left = new CreditBalance()
  #averageBytes = 0
  /** Size of the largest recent entry; it decays. */
  #peakBytes = 0
  /** Maximum number of deliveries of one stream in flight, so that a slow key leaves room for those of others. */
  share: number = Infinity
  #batch: Delivery[] = []

  constructor(parts: CreditParts) {
    this.#parts = parts
  }

  request(credit: number, bytes: number): void {
    this.#left.add(credit, bytes)
    this.handOut()
  }

  /** How many deliveries may be handed over now, according to credit, bytes and their recent size; 0 while closed. */
  room(): number {
    if (!this.#parts.open() || !this.#left.isLeft) return 0
    const size = Math.max(this.#averageBytes, this.#peakBytes)
    const byBytes = size === 0 ? FIRST_READ : Math.ceil(this.#left.bytes / size)
    return Math.min(this.#left.messages, byBytes)
  }

  /** Takes what was read of one source. Everything of one turn is handed over together: call `deliver` at the end. */
  offer(source: Source, deliveries: readonly RedisDelivery[]): void {
    for (const delivery of deliveries) {
      this.#peakBytes = Math.max(delivery.bytes, this.#peakBytes * FADING)
      this.#averageBytes += (delivery.bytes - this.#averageBytes) * (this.#averageBytes === 0 ? 1 : NEWEST)
      if (source.ready.length === 0 && this.#canHand(source)) this.#hand(source, delivery)
      else {
        source.ready.push(delivery)
        this.#stocked.add(source)
      }
    }
  }

  deliver(): void {
    if (this.#batch.length > 0) {
      const batch = this.#batch
      this.#batch = []
      this.#parts.sink.receive(batch)
    }
    const { shed } = this.#parts
    if (shed === undefined || this.#stocked.size === 0) return
    for (const source of this.#stocked) {
      this.#stocked.delete(source)
      shed(source, source.takeReady())
    }
  }

  /** Keeps a delivery that was handed over and came back, to hand it over again. */
  putBack(source: Source, { id, message }: RedisDelivery, known: KnownAttempts): void {
    source.putBack(new RedisDelivery(source, id, message, 0, known))
    this.#stocked.add(source)
  }

  /** Hands over what waits here, as far as credit allows. */
  handOut(): void {
    if (this.#stocked.size === 0) return
    for (const source of this.#stocked) {
      let count = 0
      while (count < source.ready.length && this.#canHand(source))
        this.#hand(source, source.ready[count++] as RedisDelivery)
      source.ready.splice(0, count)
      if (source.ready.length === 0) this.#stocked.delete(source)
    }
    this.deliver()
  }

  /** The source is no longer ours. */
  forget(source: Source): void {
    this.#stocked.delete(source)
  }

  #canHand(source: Source): boolean {
    return (
      this.#parts.open() &&
      this.#left.isLeft &&
      source.partition.phase === 'held' &&
      source.keeping === 0 &&
      source.outstanding.size < this.share
    )
  }

  #hand(source: Source, delivery: RedisDelivery): void {
    this.#left.spend(delivery.bytes)
    delivery.listed = true
    source.outstanding.push(delivery)
    this.#batch.push(delivery)
  }
}
