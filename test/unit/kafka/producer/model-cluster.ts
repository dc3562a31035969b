import { KafkaError } from '../../../../src/kafka/errors.ts'
import type { BatchAnswer, Identity } from '../../../../src/kafka/producer/partition-queue.ts'

/** What a broker keeps of a batch of ours. */
export interface SentBatch {
  readonly ids: readonly number[]
  readonly identity: Identity
  readonly baseSequence: number
}

interface Appended {
  readonly first: number
  readonly last: number
  readonly offset: number
}

interface ProducerState {
  epoch: number
  batches: Appended[]
}

/** A partition as Kafka's leader keeps it: the log, and what it remembers of each producer. */
export class ModelPartition {
  readonly log: number[] = []
  readonly #producers = new Map<bigint, ProducerState>()
  leader: number

  constructor(leader: number) {
    this.leader = leader
  }

  append({ ids, identity, baseSequence }: SentBatch): BatchAnswer {
    const { producerId, producerEpoch } = identity
    if (producerId === -1n) return answer(0, this.#write(ids))
    const state = this.#producers.get(producerId)
    const last = (baseSequence + ids.length - 1) % 2 ** 31
    if (state !== undefined && producerEpoch < state.epoch) return answer(47)
    if (state !== undefined && producerEpoch === state.epoch) {
      const known = state.batches.find((batch) => batch.first === baseSequence && batch.last === last)
      if (known !== undefined) return answer(0, known.offset)
      const expected = ((state.batches.at(-1)?.last ?? -1) + 1) % 2 ** 31
      if (state.batches.length > 0 && baseSequence !== expected) return answer(45)
    } else if (state !== undefined && baseSequence !== 0) return answer(45)
    const offset = this.#write(ids)
    const kept = state?.epoch === producerEpoch ? state.batches : []
    this.#producers.set(producerId, {
      epoch: producerEpoch,
      batches: [...kept, { first: baseSequence, last, offset }].slice(-5),
    })
    return answer(0, offset)
  }

  /** After a restart, a broker knows the last batch of each producer. */
  restart(): void {
    for (const state of this.#producers.values()) state.batches = state.batches.slice(-1)
  }

  /** Idle for longer than producer.id.expiration.ms. */
  forgetProducers(): void {
    this.#producers.clear()
  }

  #write(ids: readonly number[]): number {
    const offset = this.log.length
    this.log.push(...ids)
    return offset
  }
}

export function answer(errorCode: number, baseOffset = -1): BatchAnswer {
  return { errorCode, baseOffset, logAppendTimeMs: -1, errorMessage: null }
}

export function connectionLost(outcome: 'unknown' | 'not-sent'): KafkaError {
  return new KafkaError('the connection was lost', { code: 'CONNECTION_CLOSED', action: 'refresh', outcome })
}

/** Random numbers that a seed repeats. */
export function randomOf(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** Virtual time: what is to happen, in order. */
export class Schedule {
  now = 0
  #order = 0
  readonly #events: { readonly at: number; readonly order: number; readonly run: () => void }[] = []

  at(time: number, run: () => void): void {
    const event = { at: Math.max(time, this.now), order: this.#order++, run }
    let low = 0
    let high = this.#events.length
    while (low < high) {
      const middle = (low + high) >> 1
      const other = this.#events[middle]
      if (other !== undefined && (other.at < event.at || (other.at === event.at && other.order < event.order))) {
        low = middle + 1
      } else high = middle
    }
    this.#events.splice(low, 0, event)
  }

  after(delay: number, run: () => void): void {
    this.at(this.now + delay, run)
  }

  /** Runs what is due until `time`. `settle` is called after each event. */
  runUntil(time: number, settle: () => void): void {
    for (;;) {
      const next = this.#events[0]
      if (next === undefined || next.at > time) break
      this.#events.shift()
      this.now = next.at
      next.run()
      settle()
    }
    this.now = time
  }
}
