import { StateError } from '../../core/errors.ts'
import type { Engine, Intake, Stage } from '../engine/engine.ts'
import { isThenable } from '../engine/is-thenable.ts'
import { Item } from '../engine/item.ts'
import { Root } from '../engine/root.ts'
import type { RootContext, RootOwner } from '../engine/root.ts'
import type { FailedElement } from '../report.ts'

const MAX_FAILURES_KEPT = 100

/**
 * Feeds a pipeline from an iterable, which is read only as fast as its elements are handled. Elements that fail are counted, and
 * the first 100 kept with their errors.
 */
export class IterableSource implements Intake, RootOwner {
  /** Settles when everything that was read has been handled; rejects if the iterable has thrown. */
  readonly done: Promise<void>
  /** Called at once when reading has thrown. */
  onThrown: (error: unknown) => void = () => {}
  readonly failures: FailedElement[] = []
  read = 0
  handled = 0
  failed = 0
  readonly #engine: Engine
  readonly #first: Stage
  readonly #maxInFlight: number
  readonly #elements: Iterable<unknown> | AsyncIterable<unknown>
  readonly #publish: RootContext['publish']
  readonly #abort = new AbortController()
  readonly #open = new Set<Root>()
  #iterator: Iterator<unknown> | AsyncIterator<unknown> | undefined
  #isReading = false
  #isOver = false
  /** `return` of the iterator is being waited for. */
  #isEnding = false
  /** What the iterable has thrown first. */
  #thrown: { readonly error: unknown } | undefined
  #resolve: () => void = () => {}
  #reject: (error: unknown) => void = () => {}

  constructor(
    engine: Engine,
    first: Stage,
    elements: Iterable<unknown> | AsyncIterable<unknown>,
    maxInFlight: number,
    publish: RootContext['publish'],
  ) {
    this.#engine = engine
    this.#first = first
    this.#elements = elements
    this.#maxInFlight = maxInFlight
    this.#publish = publish
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // Whoever started the pipeline may not look at it: the error is reported too.
    this.done.catch(() => {})
    engine.intakes.push(this)
  }

  get isFull(): boolean {
    return this.#open.size >= this.#maxInFlight
  }

  get isOver(): boolean {
    return this.#isOver
  }

  start(): void {
    this.#engine.run(() => {
      try {
        this.#iterator =
          Symbol.asyncIterator in this.#elements
            ? this.#elements[Symbol.asyncIterator]()
            : this.#elements[Symbol.iterator]()
      } catch (error) {
        this.#stop(error)
      }
    })
  }

  take(): void {
    while (this.#iterator !== undefined && !this.#isReading && !this.#isOver && !this.isFull) {
      this.#isReading = true
      try {
        const next = this.#iterator.next()
        if (isThenable(next)) {
          this.#whenRead(Promise.resolve(next as PromiseLike<IteratorResult<unknown>>))
          return
        }
        this.#isReading = false
        this.#took(next)
      } catch (error) {
        this.#stop(error)
      }
    }
  }

  /** Reads no more. What has been read is handled. `waitsForRead`: whether the read that goes on has to end, too. */
  stop(waitsForRead = true): void {
    if (this.#isOver) return
    this.#isOver = true
    // The cleanup of a generator begins after its read, which may never end.
    this.#isEnding = !this.#isReading
    // The cleanup of a generator may fail like its reading.
    const ending = async (): Promise<unknown> => this.#iterator?.return?.()
    ending().then(
      () => this.#ended(),
      (error: unknown) => this.#ended({ error }),
    )
    if (!waitsForRead) this.#endIfDone()
  }

  /** Aborts the signals of what is being handled. */
  abort(reason: unknown): void {
    this.#abort.abort(reason)
  }

  complete(root: Root): void {
    this.#open.delete(root)
    if (root.failure === undefined) this.handled++
    else {
      this.failed++
      const { index } = root.context as ElementContext
      if (this.failures.length < MAX_FAILURES_KEPT) this.failures.push({ index, ...root.failure })
    }
    this.#endIfDone()
  }

  idle(): void {}

  #whenRead(next: Promise<IteratorResult<unknown>>): void {
    this.#engine.pending++
    const read = (work: () => void): void =>
      this.#engine.run(() => {
        this.#engine.pending--
        this.#isReading = false
        work()
      })
    next.then(
      (result) => read(() => this.#took(result)),
      (error: unknown) => read(() => this.#stop(error)),
    )
  }

  #took({ done, value }: IteratorResult<unknown>): void {
    if (this.#isOver) return
    if (done === true) {
      this.#isOver = true
      this.#endIfDone()
      return
    }
    const context = new ElementContext(this.read++, this.#abort.signal, this.#publish)
    const root = new Root(this, context, 0)
    this.#open.add(root)
    this.#first.push(new Item(root, value, undefined, [], undefined))
  }

  /** The iterable has thrown: what has been read is still handled. */
  #stop(error: unknown): void {
    this.#isReading = false
    this.#isOver = true
    this.#thrown ??= { error }
    this.onThrown(error)
    this.#endIfDone()
  }

  /** The cleanup of the iterator has ended. */
  #ended(thrown?: { readonly error: unknown }): void {
    this.#isEnding = false
    this.#thrown ??= thrown
    this.#endIfDone()
  }

  #endIfDone(): void {
    if (!this.#isOver || this.#isEnding || this.#open.size > 0) return
    if (this.#thrown === undefined) this.#resolve()
    else this.#reject(this.#thrown.error)
  }
}

class ElementContext implements RootContext {
  readonly message = undefined
  readonly attempt = 1
  readonly index: number
  readonly signal: AbortSignal
  readonly publish: RootContext['publish']

  constructor(index: number, signal: AbortSignal, publish: RootContext['publish']) {
    this.index = index
    this.signal = signal
    this.publish = publish
  }

  get id(): string {
    return String(this.index)
  }

  get aborted(): boolean {
    return this.signal.aborted
  }
}

/** What `publish` does where there is no bus. */
export function noBus(): Promise<never> {
  return Promise.reject(new StateError('This pipeline runs without a bus: pass it to bus.use() to publish'))
}
