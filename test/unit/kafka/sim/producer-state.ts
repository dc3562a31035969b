import type { RecordBatch } from '../../../../src/kafka/records/record-batch.ts'

const INVALID_PRODUCER_EPOCH = 47
const OUT_OF_ORDER_SEQUENCE = 45
const UNKNOWN_PRODUCER_ID = 59
/** Batches of a producer that a partition remembers. */
const WINDOW = 5

interface Known {
  epoch: number
  lastSequence: number
  readonly batches: { readonly first: number; readonly last: number; readonly baseOffset: number }[]
}

export type Verdict =
  | { readonly type: 'append' }
  | { readonly type: 'duplicate'; readonly baseOffset: number }
  | { readonly type: 'error'; readonly code: number }

/** What a partition knows about its idempotent producers. */
export class ProducerState {
  readonly #known = new Map<bigint, Known>()
  /** Brokers before 2.5 refuse a producer that they have forgotten; newer ones take any sequence from it. */
  refusesUnknown = false

  check(batch: RecordBatch): Verdict {
    const { producerId, producerEpoch, baseSequence } = batch
    const known = this.#known.get(producerId)
    if (known === undefined) {
      const isRefused = this.refusesUnknown && baseSequence !== 0
      return isRefused ? { type: 'error', code: UNKNOWN_PRODUCER_ID } : { type: 'append' }
    }
    if (producerEpoch < known.epoch) return { type: 'error', code: INVALID_PRODUCER_EPOCH }
    if (producerEpoch > known.epoch) {
      return baseSequence === 0 ? { type: 'append' } : { type: 'error', code: OUT_OF_ORDER_SEQUENCE }
    }
    const last = lastSequenceOf(batch)
    const repeated = known.batches.find((each) => each.first === baseSequence && each.last === last)
    if (repeated !== undefined) return { type: 'duplicate', baseOffset: repeated.baseOffset }
    const isNext = known.lastSequence === -1 ? true : baseSequence === following(known.lastSequence)
    return isNext ? { type: 'append' } : { type: 'error', code: OUT_OF_ORDER_SEQUENCE }
  }

  appended(batch: RecordBatch): void {
    const { producerId, producerEpoch, baseSequence, baseOffset } = batch
    let known = this.#known.get(producerId)
    if (known === undefined || known.epoch !== producerEpoch) {
      known = { epoch: producerEpoch, lastSequence: -1, batches: [] }
      this.#known.set(producerId, known)
    }
    known.lastSequence = lastSequenceOf(batch)
    known.batches.push({ first: baseSequence, last: known.lastSequence, baseOffset })
    if (known.batches.length > WINDOW) known.batches.shift()
  }

  /** A marker of a transaction brings its epoch along. */
  marked(producerId: bigint, epoch: number): void {
    const known = this.#known.get(producerId)
    if (known !== undefined && epoch > known.epoch) {
      this.#known.set(producerId, { epoch, lastSequence: -1, batches: [] })
    }
  }

  /** As after `producer.id.expiration.ms`, or when its last records are deleted. */
  forget(producerId?: bigint): void {
    if (producerId === undefined) this.#known.clear()
    else this.#known.delete(producerId)
  }

  /** Batches from `offset` on were never written. */
  truncate(offset: number): void {
    for (const [producerId, known] of this.#known) {
      const kept = known.batches.filter(({ baseOffset }) => baseOffset < offset)
      const last = kept.at(-1)
      if (last === undefined && known.batches.length > 0) this.#known.delete(producerId)
      else this.#known.set(producerId, { epoch: known.epoch, lastSequence: last?.last ?? -1, batches: kept })
    }
  }
}

/** Sequences are 31 bits. */
function following(sequence: number): number {
  return sequence === 0x7fff_ffff ? 0 : sequence + 1
}

function lastSequenceOf({ baseSequence, count }: RecordBatch): number {
  const last = baseSequence + count - 1
  return last > 0x7fff_ffff ? last - 0x8000_0000 : last
}
