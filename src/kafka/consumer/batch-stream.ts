import type { KafkaError } from '../errors.ts'
import type { ConsumerBatch } from './consumer-batch.ts'
import type { Turns } from './turns.ts'

/** Where batches come from. */
export interface BatchSource {
  take(): ConsumerBatch | Promise<ConsumerBatch | undefined> | undefined
  /** Resolves when there may be something to take, and when it is woken. */
  untilReady(): Promise<void>
  wake(): void
}

/** What the calls of `next` get, in this order: the error that ended the consumer, errors one by one, the end when it is closed, batches. */
export class BatchStream {
  readonly #source: BatchSource
  readonly #turns: Turns
  readonly #isClosing: () => boolean
  readonly #errors: KafkaError[] = []
  #fatal: KafkaError | undefined

  constructor(source: BatchSource, turns: Turns, isClosing: () => boolean) {
    this.#source = source
    this.#turns = turns
    this.#isClosing = isClosing
  }

  /** One call of `next` rejects with it. */
  report(error: KafkaError): void {
    // One failed request may concern many partitions.
    if (this.#isClosing() || this.#errors.includes(error)) return
    this.#errors.push(error)
    this.#source.wake()
  }

  /** All calls of `next` reject with it. */
  fail(error: KafkaError): void {
    this.#fatal ??= error
    this.#source.wake()
  }

  /** Done, too, once `isOver`, which is looked at again after each wake-up. */
  next(isOver: () => boolean): Promise<IteratorResult<ConsumerBatch, undefined>> {
    if (this.#isDelivering && !this.#turns.isDue()) {
      const batch = this.#source.take()
      if (batch !== undefined && !(batch instanceof Promise)) return Promise.resolve({ done: false, value: batch })
      return this.#nextOf(batch, isOver)
    }
    return this.#nextOf(undefined, isOver)
  }

  get #isDelivering(): boolean {
    return this.#errors.length === 0 && this.#fatal === undefined && !this.#isClosing()
  }

  async #nextOf(
    taken: Promise<ConsumerBatch | undefined> | undefined,
    isOver: () => boolean,
  ): Promise<IteratorResult<ConsumerBatch, undefined>> {
    let batch = await taken
    if (batch === undefined && this.#turns.isDue()) await this.#turns.next()
    for (;;) {
      if (batch !== undefined) return { done: false, value: batch }
      if (isOver()) return { done: true, value: undefined }
      if (this.#fatal !== undefined) throw this.#fatal
      const error = this.#errors.shift()
      if (error !== undefined) throw error
      if (this.#isClosing()) return { done: true, value: undefined }
      const ready = this.#source.untilReady()
      batch = await this.#source.take()
      if (batch !== undefined) continue
      await ready
      this.#turns.began()
    }
  }
}
