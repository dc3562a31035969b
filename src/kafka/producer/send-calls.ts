import { KafkaError, UnencodableError } from '../errors.ts'
import { recordSize } from './accumulator.ts'
import type { Accumulator, TopicWriter } from './accumulator.ts'
import { ManyDelivery, ManyPart, SingleDelivery } from './deliveries.ts'
import type { RecordContent } from './producer-record.ts'

/** A call of `send` or `sendMany`, until all of its records are in batches. */
export interface SendCall {
  /** Appends what there is room for; true if that is all. `deadline`: if it has waited. */
  advance(accumulator: Accumulator, topic: TopicWriter, deadline?: number): boolean
  /** Refuses now what could never be appended: false if nothing is left. */
  check(): boolean
  /** What has not been appended fails. */
  fail(error: KafkaError): void
}

export class SingleCall implements SendCall {
  readonly #record: RecordContent
  readonly #timestamp: number
  readonly delivery: SingleDelivery

  constructor(topic: string, record: RecordContent, timestamp: number) {
    this.#record = record
    this.#timestamp = timestamp
    this.delivery = new SingleDelivery(topic)
  }

  advance(accumulator: Accumulator, topic: TopicWriter, deadline?: number): boolean {
    try {
      const batch = accumulator.append(topic, this.#record, this.#timestamp, deadline)
      if (batch === undefined) return false
      batch.deliveries.push(this.delivery)
    } catch (error) {
      this.fail(unwritable(error))
    }
    return true
  }

  check(): boolean {
    const error = refusalOf(this.#record)
    if (error !== undefined) this.fail(error)
    return error === undefined
  }

  fail(error: KafkaError): void {
    this.delivery.failed(error)
  }
}

export class ManyCall implements SendCall {
  readonly #records: readonly RecordContent[]
  readonly #timestamp: number
  readonly delivery: ManyDelivery
  /** Indexes of those that were refused before their turn. */
  readonly #refused = new Set<number>()
  #next = 0

  constructor(topic: string, records: readonly RecordContent[], timestamp: number) {
    this.#records = records
    this.#timestamp = timestamp
    this.delivery = new ManyDelivery(topic, records.length)
  }

  advance(accumulator: Accumulator, topic: TopicWriter, deadline?: number): boolean {
    const { delivery } = this
    for (; this.#next < this.#records.length; this.#next++) {
      const index = this.#next
      if (this.#refused.has(index)) continue
      try {
        const batch = accumulator.append(topic, this.#records[index] as RecordContent, this.#timestamp, deadline)
        if (batch === undefined) return false
        delivery.appended(index, batch.partition)
        const last = batch.deliveries.at(-1)
        if (last instanceof ManyPart && last.many === delivery) last.count++
        else batch.deliveries.push(new ManyPart(delivery, index, 1))
      } catch (error) {
        delivery.refused(index, unwritable(error))
      }
    }
    return true
  }

  check(): boolean {
    for (const [index, record] of this.#records.entries()) {
      const error = refusalOf(record)
      if (error === undefined) continue
      this.#refused.add(index)
      this.delivery.refused(index, error)
    }
    return this.#refused.size < this.#records.length
  }

  fail(error: KafkaError): void {
    for (; this.#next < this.#records.length; this.#next++) {
      if (!this.#refused.has(this.#next)) this.delivery.refused(this.#next, error)
    }
  }
}

/** Calls in their order, with as many taken from the front as are put at the end. */
export class CallQueue<T> implements Iterable<T> {
  #calls: (T | undefined)[] = []
  #first = 0

  get length(): number {
    return this.#calls.length - this.#first
  }

  get first(): T | undefined {
    return this.#calls[this.#first]
  }

  push(call: T): void {
    this.#calls.push(call)
  }

  *[Symbol.iterator](): Iterator<T> {
    for (let index = this.#first; index < this.#calls.length; index++) yield this.#calls[index] as T
  }

  shift(): void {
    this.#calls[this.#first++] = undefined
    if (this.#first < 1_024 || 2 * this.#first < this.#calls.length) return
    this.#calls = this.#calls.slice(this.#first)
    this.#first = 0
  }
}

function refusalOf(record: RecordContent): KafkaError | undefined {
  try {
    recordSize(record)
    return undefined
  } catch (error) {
    return unwritable(error)
  }
}

function unwritable(error: unknown): KafkaError {
  if (error instanceof KafkaError) return error
  return new UnencodableError(`the record can't be written: ${error instanceof Error ? error.message : String(error)}`)
}
