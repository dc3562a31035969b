import { KafkaError } from '../errors.ts'
import type { Delivery } from './producer-batch.ts'

/** Where a record was written. */
export interface SentRecord {
  readonly topic: string
  readonly partition: number
  /** -1 if it is unknown: with acks 0, and for a batch whose first answer was lost. */
  readonly offset: number
  /** -1 unless the topic's timestamps are set by the broker. In milliseconds. */
  readonly logAppendTimeMs: number
}

/** Consecutive records of an array in one partition, in the order of the array. */
export interface SentRange {
  readonly partition: number
  /** Offset of the first one; -1 if it is unknown. */
  readonly baseOffset: number
  readonly count: number
  /** Where its records are in the array. */
  indexes(): readonly number[]
}

/** Why one record of an array was not confirmed. */
export interface RecordFailure {
  /** In the array. */
  readonly index: number
  readonly error: KafkaError
}

/**
 * Some records of an array were not confirmed. `code`, `action` and `outcome` are those of the first failure, but `outcome` is `unknown`
 * if any of them is.
 */
export class SendManyError extends KafkaError {
  override readonly name = 'SendManyError'
  /** By index. */
  readonly failures: readonly RecordFailure[]
  /** The others. */
  readonly sent: readonly SentRange[]

  constructor(topic: string, count: number, failures: readonly RecordFailure[], sent: readonly SentRange[]) {
    const first = failures[0]?.error
    const message = `${failures.length} of ${count} records for ${topic} were not confirmed: ${first?.message ?? ''}`
    const outcomes = new Set(failures.map(({ error }) => error.outcome))
    super(message, {
      code: first?.code ?? 'DELIVERY_TIMEOUT',
      action: first?.action ?? 'fatal',
      outcome: outcomes.has('unknown') ? 'unknown' : outcomes.size > 1 ? 'rejected' : (first?.outcome ?? 'rejected'),
      missingRight: first?.missingRight,
      cause: first,
      ...(first?.brokerCode === undefined ? {} : { brokerCode: first.brokerCode }),
    })
    this.failures = failures
    this.sent = sent
  }
}

/** A promise that need not be awaited: if it rejects, the process does not crash. */
export class Settlement<T> {
  readonly promise: Promise<T>
  readonly #resolve: (value: T) => void
  readonly #reject: (error: KafkaError) => void

  constructor() {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    this.promise = promise
    this.#resolve = resolve
    this.#reject = reject
  }

  resolve(value: T): void {
    this.#resolve(value)
  }

  reject(reason: KafkaError): void {
    this.promise.catch(() => {})
    this.#reject(reason)
  }
}

/** One record that was sent alone. */
export class SingleDelivery implements Delivery {
  readonly count = 1
  readonly #topic: string
  readonly #settlement = new Settlement<SentRecord>()

  constructor(topic: string) {
    this.#topic = topic
  }

  get promise(): Promise<SentRecord> {
    return this.#settlement.promise
  }

  confirmed(partition: number, offset: number, logAppendTimeMs: number): void {
    this.#settlement.resolve({ topic: this.#topic, partition, offset, logAppendTimeMs })
  }

  failed(error: KafkaError): void {
    this.#settlement.reject(error)
  }

  divide(): Delivery {
    throw new Error('one record has no halves')
  }
}

class ConfirmedRange implements SentRange {
  readonly partition: number
  readonly baseOffset: number
  readonly count: number
  /** Of each record of the array. */
  readonly #partitions: Int32Array
  readonly #index: number

  constructor(partitions: Int32Array, index: number, baseOffset: number, count: number) {
    this.partition = partitions[index] as number
    this.baseOffset = baseOffset
    this.count = count
    this.#partitions = partitions
    this.#index = index
  }

  indexes(): readonly number[] {
    const indexes: number[] = []
    for (let at = this.#index; indexes.length < this.count; at++) {
      if (this.#partitions[at] === this.partition) indexes.push(at)
    }
    return indexes
  }
}

/** An array of records: one promise for all. */
export class ManyDelivery {
  readonly #topic: string
  /** Of each record; filled as they are appended. */
  readonly #partitions: Int32Array
  readonly #settlement = new Settlement<readonly SentRange[]>()
  readonly #sent: SentRange[] = []
  #failures: RecordFailure[] | undefined
  #left: number

  constructor(topic: string, count: number) {
    this.#topic = topic
    this.#partitions = new Int32Array(count)
    this.#left = count
    if (count === 0) this.#settlement.resolve([])
  }

  get promise(): Promise<readonly SentRange[]> {
    return this.#settlement.promise
  }

  appended(index: number, partition: number): void {
    this.#partitions[index] = partition
  }

  /** `count` records, the first of them at `index`. */
  confirmed(index: number, baseOffset: number, count: number): void {
    this.#sent.push(new ConfirmedRange(this.#partitions, index, baseOffset, count))
    this.#settled(count)
  }

  /** `count` records of a partition, from `index` on. */
  failed(index: number, count: number, error: KafkaError): void {
    const partition = this.#partitions[index]
    this.#failures ??= []
    for (let at = index, left = count; left > 0; at++) {
      if (this.#partitions[at] !== partition) continue
      this.#failures.push({ index: at, error })
      left--
    }
    this.#settled(count)
  }

  /** One that can't be appended. */
  refused(index: number, error: KafkaError): void {
    this.#partitions[index] = -1
    this.failed(index, 1, error)
  }

  /** The index of the record that comes `count` records of the same partition after the one at `index`. */
  indexAfter(index: number, count: number): number {
    const partition = this.#partitions[index]
    let at = index
    for (let left = count; left > 0; left--) while (this.#partitions[++at] !== partition);
    return at
  }

  #settled(count: number): void {
    this.#left -= count
    if (this.#left > 0) return
    if (this.#failures === undefined) return this.#settlement.resolve(this.#sent)
    const failures = this.#failures.sort((a, b) => a.index - b.index)
    this.#settlement.reject(new SendManyError(this.#topic, this.#partitions.length, failures, this.#sent))
  }
}

/** What one batch has of an array. */
export class ManyPart implements Delivery {
  readonly many: ManyDelivery
  count: number
  readonly #index: number

  constructor(many: ManyDelivery, index: number, count: number) {
    this.many = many
    this.count = count
    this.#index = index
  }

  confirmed(_partition: number, baseOffset: number): void {
    this.many.confirmed(this.#index, baseOffset, this.count)
  }

  failed(error: KafkaError): void {
    this.many.failed(this.#index, this.count, error)
  }

  divide(count: number): Delivery {
    const rest = new ManyPart(this.many, this.many.indexAfter(this.#index, count), this.count - count)
    this.count = count
    return rest
  }
}
