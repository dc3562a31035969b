import type { Delivery, DeliverySink } from '../../core/transport.ts'
import type { KnownAttempts } from './attempt-notes.ts'
import { RedisDelivery } from './delivery.ts'
import type { Source } from './source.ts'

/** Entries of unknown size are read in small numbers until it is known. */
const FIRST_READ = 16
/** Weight of one more entry in the average of sizes. */
const NEWEST = 0.05
const FADING = 0.995

export interface IntakeParts {
  readonly sink: DeliverySink
  /** False while paused and from the drain on. */
  readonly open: () => boolean
  /** What can't be handed over goes back at once. Undefined where nobody else may have it: then it waits here, in order. */
  readonly shed: ((source: Source, deliveries: readonly RedisDelivery[]) => void) | undefined
}

/** Hands over what has been read, as far as credit goes, and keeps the rest in order. */
export class Intake {
  readonly #parts: IntakeParts
  /** Sources that hold entries for want of credit. */
  readonly #stocked = new Set<Source>()
  #credit = 0
  #bytes = 0
  #averageBytes = 0
  /** Size of the largest entry of late; it fades. */
  #peakBytes = 0
  /** Most that one stream may have out, so that a key that is slow leaves room for those of others. */
  share: number = Infinity
  #batch: Delivery[] = []

  constructor(parts: IntakeParts) {
    this.#parts = parts
  }

  request(credit: number, bytes: number): void {
    this.#credit += credit
    this.#bytes += bytes
    this.handOut()
  }

  /** How many deliveries may be handed over now, going by credit, by bytes and by their size of late; 0 while closed. */
  room(): number {
    if (!this.#parts.open() || this.#credit <= 0 || this.#bytes <= 0) return 0
    const size = Math.max(this.#averageBytes, this.#peakBytes)
    const byBytes = size === 0 ? FIRST_READ : Math.ceil(this.#bytes / size)
    return Math.min(this.#credit, byBytes)
  }

  /** Takes what was read of one source. Everything of one turn is handed over at once: call `deliver` at the end. */
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

  /** Keeps one that was handed over and comes back, to hand it over again. */
  putBack(source: Source, { id, message }: RedisDelivery, known: KnownAttempts): void {
    source.putBack(new RedisDelivery(source, id, message, 0, known))
    this.#stocked.add(source)
  }

  /** Hands over what waits here, as far as credit goes. */
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

  /** The source is not ours any more. */
  forget(source: Source): void {
    this.#stocked.delete(source)
  }

  #canHand(source: Source): boolean {
    return (
      this.#parts.open() &&
      this.#credit > 0 &&
      this.#bytes > 0 &&
      source.partition.phase === 'held' &&
      source.keeping === 0 &&
      source.outstanding.size < this.share
    )
  }

  #hand(source: Source, delivery: RedisDelivery): void {
    this.#credit--
    this.#bytes -= delivery.bytes
    delivery.listed = true
    source.outstanding.push(delivery)
    this.#batch.push(delivery)
  }
}
