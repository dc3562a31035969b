import { types } from 'node:util'
import { Span } from './attempt.ts'
import type { AttemptHost } from './attempt.ts'
import type { Timer } from './clock.ts'
import type { AnyEventDefinition } from './define.ts'
import { ValidationError } from './errors.ts'
import type { BatchContext, BatchHandler, BatchItemResult } from './handler.ts'
import type { Message } from './message.ts'
import { describe } from './options.ts'
import type { Runner, RunnerHost } from './runner.ts'
import { validate } from './validate.ts'
import type { Lane, Work } from './work.ts'

/** One run of a batch handler, and the context that it gets. */
class Batch extends Span implements BatchContext {
  readonly works: readonly Work[]
  readonly #onAbandon: (batch: Batch, reason: unknown) => void

  constructor(host: AttemptHost, works: readonly Work[], onAbandon: (batch: Batch, reason: unknown) => void) {
    super(host)
    this.works = works
    this.#onAbandon = onAbandon
  }

  attempt(index: number): number {
    const work = this.works[index]
    if (work === undefined)
      throw new RangeError(`The batch has ${this.works.length} messages, there is no index ${index}`)
    return work.attempt
  }

  protected override abandon(reason: unknown): void {
    this.#onAbandon(this, reason)
  }
}

/**
 * Gathers deliveries and hands them to a batch handler: when the batch is full, or when its first message has waited long
 * enough. A key is never in two running batches at once; within a batch its messages stand in order.
 */
export class BatchRunner implements Runner {
  readonly #host: RunnerHost
  readonly #attemptHost: AttemptHost
  readonly #handler: BatchHandler
  readonly #definition: AnyEventDefinition | undefined
  readonly #options: { readonly size: number; readonly timeoutMs: number }
  readonly #running = new Set<Batch>()
  #gathered: Work[] = []
  #due = false
  #timer: Timer | undefined
  #pumping = false

  constructor(
    host: RunnerHost,
    attemptHost: AttemptHost,
    handler: BatchHandler,
    definition: AnyEventDefinition | undefined,
    options: { readonly size: number; readonly timeoutMs: number },
  ) {
    this.#host = host
    this.#attemptHost = attemptHost
    this.#handler = handler
    this.#definition = definition
    this.#options = options
  }

  get running(): number {
    return this.#running.size
  }

  pump(): void {
    // A handler or a listener that steers the consumer must not start a second batch inside of the first one's start.
    if (this.#pumping) return
    this.#pumping = true
    try {
      this.#startAll()
    } finally {
      this.#pumping = false
    }
  }

  #startAll(): void {
    for (;;) {
      this.#gather()
      if (this.#gathered.length === 0) return
      if (this.#gathered.length < this.#options.size && !this.#due) break
      if (this.#running.size >= this.#host.maxConcurrency) return
      this.#start()
    }
    if (this.#timer !== undefined || this.#due) return
    this.#timer = this.#host.clock.setTimer(this.#options.timeoutMs, () => {
      this.#timer = undefined
      this.#due = true
      this.pump()
    })
  }

  abort(reason: unknown, only?: (work: Work) => boolean): void {
    for (const batch of this.#running) if (only === undefined || batch.works.some(only)) batch.abort(reason)
  }

  flush(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#due = false
    this.#gathered = []
  }

  #gather(): void {
    // Released or lost while it waited here.
    this.#gathered = this.#gathered.filter((work) => work.state === 'queued')
    for (const lane of new Set(this.#gathered.map((work) => work.lane))) if (lane !== undefined) this.#takeLane(lane)
    while (this.#gathered.length < this.#options.size) {
      const work = this.#host.scheduler.next()
      if (work === undefined) return
      this.#gathered.push(work)
      if (work.lane !== undefined) this.#takeLane(work.lane)
    }
  }

  #takeLane(lane: Lane): void {
    while (this.#gathered.length < this.#options.size) {
      const work = this.#host.scheduler.following(lane)
      if (work === undefined) return
      this.#gathered.push(work)
    }
  }

  #start(): void {
    const gathered = this.#gathered
    this.flush()
    // A listener that is told of one may have the others released.
    const works = gathered.filter((work) => work.state === 'queued' && this.#host.begin(work))
    if (works.length === 0) return
    const batch = new Batch(this.#attemptHost, works, (late, reason) => this.#abandon(late, reason))
    this.#running.add(batch)
    this.#run(batch).then(
      (results) => this.#end(batch, results),
      // Whatever went wrong outside of the handler went wrong for all of them.
      (error: unknown) =>
        this.#end(
          batch,
          batch.works.map(() => toError(error)),
        ),
    )
  }

  async #run(batch: Batch): Promise<readonly BatchItemResult[]> {
    const results: BatchItemResult[] = []
    const usable: number[] = []
    const messages: Message[] = []
    for (const [index, work] of batch.works.entries()) {
      const prepared = this.#prepare(work)
      const error = prepared instanceof Promise ? await prepared : prepared
      if (error !== undefined) results[index] = error
      else {
        usable.push(index)
        messages.push(work.message)
      }
    }
    if (messages.length === 0) return results
    let reported: void | readonly BatchItemResult[]
    try {
      reported = await this.#handler(messages, batch)
    } catch (error) {
      for (const index of usable) results[index] = toError(error)
      return results
    }
    for (const [at, index] of usable.entries())
      results[index] = Array.isArray(reported) ? checkResult(reported[at]) : undefined
    return results
  }

  /** Decodes and validates. A message that fails here does not spoil the batch for the others. */
  #prepare(work: Work): Error | undefined | Promise<Error | undefined> {
    const { message } = work
    const refuse = (error: unknown): Error => {
      if (ValidationError.is(error)) message.invalidError = error
      return toError(error)
    }
    const accept = (output: unknown): undefined => {
      message.replaceData(output)
      work.validated = true
    }
    try {
      // Read even without a schema: a body that can't be decoded must not throw in the middle of somebody's loop.
      const { data } = message
      const schema = this.#definition?.schema
      if (schema === undefined || work.validated) return undefined
      const output = validate(schema, data, `The data of message ${message.id} on "${message.topic}"`)
      return output instanceof Promise ? output.then(accept, refuse) : accept(output)
    } catch (error) {
      return refuse(error)
    }
  }

  #end(batch: Batch, results: readonly BatchItemResult[]): void {
    if (batch.over) {
      for (const work of batch.works) this.#host.late(work)
      return
    }
    batch.end()
    this.#running.delete(batch)
    /** Lanes in which something is to be tried again: what comes later of them must be handled after it. */
    const broken = new Map<Lane, Work[]>()
    for (const [index, work] of batch.works.entries()) {
      const { lane } = work
      const behind = lane === undefined ? undefined : broken.get(lane)
      const result = results[index]
      if (behind !== undefined) behind.push(work)
      else if (isSuccess(result)) this.#host.succeeded(work)
      else if (this.#host.failed(work, result) && lane !== undefined) broken.set(lane, [])
    }
    for (const [lane, works] of broken) this.#host.putBack(lane, works)
    this.pump()
  }

  #abandon(batch: Batch, reason: unknown): void {
    if (batch.over) return
    this.#host.abandoned(batch.works[0] as Work, reason)
    this.#end(
      batch,
      batch.works.map(() => toError(reason)),
    )
  }
}

function toError(value: unknown): Error {
  return value instanceof Error ? value : new Error(String(value), { cause: value })
}

function isSuccess(result: unknown): result is undefined | null | true {
  return result === undefined || result === null || result === true
}

/** What is neither a success nor an error is a mistake, and acking the message would lose it. */
function checkResult(result: unknown): BatchItemResult {
  if (isSuccess(result)) return result
  if (result instanceof Error || types.isNativeError(result)) return result
  return new TypeError(`A result of a batch handler must be undefined, null, true or an error, got ${describe(result)}`)
}
