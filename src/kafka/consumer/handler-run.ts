import { kindOf, MAX_MS, OptionsReader } from '../options-reader.ts'
import type { KnownNames } from '../options-reader.ts'
import type { KafkaRecord } from '../records/record.ts'
import type { ConsumerBatch } from './consumer-batch.ts'
import type { Turns } from './turns.ts'

/** What a handler gets besides the record. */
export interface RecordContext {
  readonly topic: string
  readonly partition: number
  /** Whether the partition was taken away, so that another member may handle the record too. */
  readonly isLost: boolean
}

/** What {@link Consumer.run} takes. */
export interface RunOptions {
  /** How many handlers may run at once, over all partitions. @default 1 */
  readonly concurrency?: number | undefined
  /**
   * Which records are handled one after the other, in order: those of a partition with the same key (`key`; records
   * without a key have no order), all records of a partition (`partition`), or none (`none`). @default 'key'
   */
  readonly orderBy?: 'key' | 'partition' | 'none' | undefined
  /**
   * Called for each record, which is finished when the handler returns or its promise resolves. A handler that
   * returns no promise costs no microtask. If it throws or rejects, `run` ends with that error.
   */
  readonly handler: (record: KafkaRecord, context: RecordContext) => void | Promise<void>
}

export interface HandlerSource {
  /** Ends when `isOver`, which is looked at again after `wake`, or when there is nothing more. */
  next(isOver: () => boolean): Promise<IteratorResult<ConsumerBatch, undefined>>
  wake(): void
  /** The batch is this run's: what it has not begun may be taken out of it again. */
  givenToRun(batch: ConsumerBatch): void
  finishOne(batch: ConsumerBatch, index: number): void
  /** No handler is at work on the batch. */
  rested(batch: ConsumerBatch): void
  check(): void
  readonly turns: Turns
}

/** Records that wait for one of their key: others are looked at meanwhile, but not without end. */
const MAX_QUEUED = 1_000
/** The clock is looked at once for so many records. */
const TURN_MASK = 15

interface Waiting {
  readonly batch: ConsumerBatch
  readonly index: number
}

const KNOWN: KnownNames = {
  names: ['concurrency', 'orderBy', 'handler'],
  renamed: {
    eachMessage: 'write handler, a function of (record, { topic, partition })',
    eachBatch: 'read batches with for await (const batch of consumer)',
    partitionsConsumedConcurrently: "write concurrency; with orderBy: 'partition' it means the same",
    autoCommit: 'it is an option of consumer',
    autoCommitInterval: 'it is commitIntervalMs of consumer',
  },
}

/** Runs handlers. One that returns no promise costs no turn of the event loop and no microtask. */
export class HandlerRun {
  readonly #source: HandlerSource
  readonly #handler: RunOptions['handler']
  readonly #concurrency: number
  readonly #orderBy: 'key' | 'partition' | 'none'
  /** Records that wait for one of the same order, by it; an empty list: one runs, none waits. */
  readonly #queues = new Map<string, Waiting[]>()
  #running = 0
  #queued = 0
  #slot: PromiseWithResolvers<void> | undefined
  #error: unknown
  #hasFailed = false

  /** Throws an {@link InvalidOptionsError} if options can't be used. */
  constructor(source: HandlerSource, options: RunOptions) {
    const reader = new OptionsReader('run', options, KNOWN)
    this.#source = source
    this.#handler = options?.handler
    this.#concurrency = reader.number('concurrency', [1, MAX_MS, 1])
    this.#orderBy = reader.oneOf('orderBy', ['key', 'partition', 'none'], 'key')
    readHandler(reader)
    reader.done()
  }

  async run(): Promise<void> {
    try {
      while (!this.#hasFailed) {
        const { value: batch } = await this.#source.next(() => this.#hasFailed)
        if (batch === undefined) break
        await this.#handle(batch)
      }
    } finally {
      while (this.#running > 0) await this.#change()
    }
    if (this.#hasFailed) throw this.#error
  }

  async #handle(batch: ConsumerBatch): Promise<void> {
    this.#source.givenToRun(batch)
    for (let index = 0; index < batch.count; index++) {
      if ((index & TURN_MASK) === TURN_MASK && this.#source.turns.isDue()) {
        await this.#source.turns.next()
        this.#source.check()
      }
      if (!this.#mayBegin(batch, index)) return
      while (this.#running >= this.#concurrency || this.#queued >= MAX_QUEUED) {
        await this.#change()
        this.#source.check()
        if (!this.#mayBegin(batch, index)) return
      }
      const order = this.#running === 0 ? undefined : this.#orderOf(batch, index)
      const queue = order === undefined ? undefined : this.#queues.get(order)
      if (queue === undefined) this.#start(batch, index)
      else {
        this.#queued++
        queue.push({ batch, index })
      }
    }
  }

  #mayBegin(batch: ConsumerBatch, index: number): boolean {
    // What was given before a reset or a truncation may be nowhere else any more: it is handled, though it commits nothing.
    return !this.#hasFailed && !batch.owned.isOver && index < batch.count
  }

  #start(batch: ConsumerBatch, index: number): void {
    const record = batch.records[index] as KafkaRecord
    const { owned } = batch
    if (record.offset > owned.begunOffset && !batch.isLost) owned.begunOffset = record.offset
    let result: unknown
    try {
      result = this.#handler(record, batch)
    } catch (error) {
      return this.#failed(error)
    }
    // What returns something else, `values.push(…)` for example, is finished too.
    if (!isPromise(result)) return this.#source.finishOne(batch, index)
    this.#running++
    batch.running = (batch.running ?? 0) + 1
    const order = this.#orderOf(batch, index)
    if (order !== undefined && !this.#queues.has(order)) this.#queues.set(order, [])
    result.then(
      () => {
        this.#source.finishOne(batch, index)
        this.#ended(batch, order)
      },
      (error: unknown) => {
        this.#failed(error)
        this.#ended(batch, order)
      },
    )
  }

  #ended(batch: ConsumerBatch, order: string | undefined): void {
    this.#running--
    batch.running = (batch.running ?? 1) - 1
    if (order !== undefined) this.#startNext(order)
    if (batch.running === 0) this.#source.rested(batch)
    this.#slot?.resolve()
    this.#slot = undefined
  }

  /** Those that return no promise run one after the other, until one does or none waits. */
  #startNext(order: string): void {
    const queue = this.#queues.get(order)
    for (;;) {
      const next = queue?.shift()
      if (next === undefined) {
        this.#queues.delete(order)
        return
      }
      this.#queued--
      if (!this.#mayBegin(next.batch, next.index)) continue
      const before = this.#running
      this.#start(next.batch, next.index)
      if (this.#running > before) return
    }
  }

  #orderOf(batch: ConsumerBatch, index: number): string | undefined {
    if (this.#orderBy === 'none') return undefined
    const place = `${batch.partition} ${batch.topic}`
    if (this.#orderBy === 'partition') return place
    const key = batch.records[index]?.key
    return key === undefined || key === null ? undefined : `${place} ${key.toString('latin1')}`
  }

  #failed(error: unknown): void {
    if (!this.#hasFailed) this.#error = error
    this.#hasFailed = true
    this.#source.wake()
  }

  #change(): Promise<void> {
    this.#slot ??= Promise.withResolvers()
    return this.#slot.promise
  }
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}

/** Handlers of consumers and of share consumers. */
export function readHandler(reader: OptionsReader): void {
  const handler = reader.raw('handler')
  if (typeof handler !== 'function') reader.problem('handler', `is ${kindOf(handler)}: give a function of a record`)
}
