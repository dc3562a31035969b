import { types } from 'node:util'
import { Span } from './attempt.ts'
import type { AttemptHost } from './attempt.ts'
import { isSuccess } from './batch-result.ts'
import { outsideHandlers } from '../causality.ts'
import type { Timer } from '../clock.ts'
import type { BatchContext, BatchHandler, BatchItemResult } from '../handler.ts'
import type { Message } from '../message.ts'
import { describe } from '../util/options-reader.ts'
import type { Observation } from '../observers.ts'
import type { KeyQueue, PendingDelivery } from './pending-delivery.ts'
import type { Preparation } from './preparation.ts'
import { RetryRequest } from './retry.ts'
import type { Runner, RunnerHost } from './runner.ts'

/** One run of a batch handler, and the context of the handler. */
class Batch extends Span implements BatchContext {
  readonly deliveries: readonly PendingDelivery[]
  /** Those that its handler gets, in the same order: not those that failed to be prepared, or that it does not want. */
  readonly handed: PendingDelivery[] = []
  /** It was aborted because the broker took some of its messages back. */
  hasLost = false
  readonly #observation: Observation<'batch'> | undefined
  readonly #observedAt: number
  readonly #onAbandon: (batch: Batch, reason: unknown) => void

  constructor(
    host: AttemptHost,
    deliveries: readonly PendingDelivery[],
    onAbandon: (batch: Batch, reason: unknown) => void,
  ) {
    super(host)
    this.deliveries = deliveries
    this.#onAbandon = onAbandon
    this.#observation = host.observers.watched.batch
      ? host.observers.start(
          'batch',
          deliveries.map(({ message }) => message),
          this,
        )
      : undefined
    this.#observedAt = this.#observation === undefined ? 0 : host.clock.monotonic()
  }

  /** Tells observers that the handler has ended, or was abandoned. */
  observeEnd(results: readonly BatchItemResult[]): void {
    if (this.#observation === undefined) return
    const durationMs = this.host.clock.monotonic() - this.#observedAt
    // As a list without holes: a handler may report nothing for those that succeeded.
    this.host.observers.end(this.#observation, { durationMs, results: this.deliveries.map((_, at) => results[at]) })
  }

  /** Any of the messages may be the cause. */
  override get cause(): undefined {
    return undefined
  }

  attempt(index: number): number {
    const pending = this.handed[index]
    if (pending === undefined)
      throw new RangeError(`The batch has ${this.handed.length} messages; there is no index ${index}`)
    return pending.attempt
  }

  protected override armed(): void {
    for (const pending of this.deliveries) pending.hasDeadline = true
  }

  protected override abandon(reason: unknown): void {
    this.#onAbandon(this, reason)
  }
}

/**
 * Gathers deliveries and hands them to a batch handler when the batch is full, or when its first message has waited long
 * enough. A key is never in two running batches at once; within a batch its messages are in order.
 */
export class BatchRunner implements Runner {
  readonly #host: RunnerHost
  readonly #attemptHost: AttemptHost
  readonly #preparation: Preparation
  readonly #handler: BatchHandler
  readonly #options: { readonly size: number; readonly timeoutMs: number }
  readonly #running = new Set<Batch>()
  #gathered: PendingDelivery[] = []
  /** Taken, but must run in a separate batch after the gathered one. */
  #alone: PendingDelivery | undefined
  #due = false
  #timer: Timer | undefined
  #pumping = false

  constructor(
    host: RunnerHost,
    attemptHost: AttemptHost,
    preparation: Preparation,
    handler: BatchHandler,
    options: { readonly size: number; readonly timeoutMs: number },
  ) {
    this.#host = host
    this.#attemptHost = attemptHost
    this.#preparation = preparation
    this.#handler = handler
    this.#options = options
  }

  get running(): number {
    return this.#running.size
  }

  pump(): void {
    // A handler or listener that controls the consumer must not start a second batch while the first one starts.
    if (this.#pumping) return
    this.#pumping = true
    try {
      outsideHandlers(this.#startAll)
    } finally {
      this.#pumping = false
    }
  }

  readonly #startAll = (): void => {
    for (;;) {
      // Messages that wait for their note must start together in one batch, before anything else.
      if (this.#host.noting > 0) return
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

  abort(reason: unknown, only?: (pending: PendingDelivery) => boolean): void {
    for (const batch of this.#running) {
      if (only !== undefined && !batch.deliveries.some(only)) continue
      if (only !== undefined && !batch.aborted) batch.hasLost = true
      batch.abort(reason)
    }
  }

  flush(): void {
    this.#alone = undefined
    this.#clear()
  }

  #clear(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#due = false
    this.#gathered = []
  }

  #gather(): void {
    // Drop deliveries that were returned or lost while they waited.
    this.#gathered = this.#gathered.filter(({ state }) => state === 'queued')
    if (this.#gathered.length === 1 && this.#gathered[0]?.mustRunAlone === true) return
    for (const queue of new Set(this.#gathered.map((pending) => pending.queue)))
      if (queue !== undefined) this.#takeKey(queue)
    while (this.#gathered.length < this.#options.size) {
      const pending = this.#take()
      if (pending === undefined) return
      if (pending.mustRunAlone) {
        this.#due = true
        if (this.#gathered.length === 0) this.#gathered.push(pending)
        else this.#alone = pending
        return
      }
      this.#add(pending)
      if (pending.queue !== undefined) this.#takeKey(pending.queue)
    }
  }

  #take(): PendingDelivery | undefined {
    const alone = this.#alone
    if (alone === undefined) return this.#host.scheduler.next()
    // It runs next; until the gathered batch has started, everything else waits behind it.
    if (this.#gathered.length > 0 && alone.state === 'queued') return undefined
    this.#alone = undefined
    return alone.state === 'queued' ? alone : this.#host.scheduler.next()
  }

  #takeKey(queue: KeyQueue): void {
    while (this.#gathered.length < this.#options.size) {
      const pending = this.#host.scheduler.following(queue)
      if (pending === undefined) return
      this.#add(pending)
    }
  }

  #add(pending: PendingDelivery): void {
    this.#gathered.push(pending)
    if (pending.hasWaitedForBatch) this.#due = true
  }

  #start(): void {
    const gathered = this.#gathered
    this.#clear()
    const begun: PendingDelivery[] = []
    const begunKeys = new Set<KeyQueue>()
    /** Keys with a message that can't begin now, and the messages gathered behind it. */
    const held = new Map<KeyQueue, PendingDelivery[]>()
    for (const pending of gathered) {
      // A listener notified of one message may have returned the others.
      if (pending.state !== 'queued') continue
      pending.hasWaitedForBatch = true
      const { queue } = pending
      const behind = queue === undefined ? undefined : held.get(queue)
      if (behind !== undefined) behind.push(pending)
      else if (queue !== undefined && begunKeys.has(queue) && this.#host.needsPreparing(pending))
        // If it were prepared while an earlier message of its key runs, it would start beside that message.
        held.set(queue, [pending])
      else if (this.#host.begin(pending)) {
        pending.hasWaitedForBatch = false
        begun.push(pending)
        if (queue !== undefined) begunKeys.add(queue)
      } else if (queue !== undefined && pending.queue === queue) held.set(queue, [])
    }
    for (const [queue, behind] of held) if (behind.length > 0) this.#host.notStarted(queue, behind)
    if (begun.length === 0) return
    const batch = new Batch(this.#attemptHost, begun, (late, reason) => this.#abandon(late, reason))
    this.#running.add(batch)
    for (const pending of begun) this.#host.started(pending)
    this.#run(batch).then(
      (results) => this.#end(batch, results),
      // An error outside of the handler fails all messages.
      (error: unknown) =>
        this.#end(
          batch,
          batch.deliveries.map(() => toError(error)),
        ),
    )
  }

  async #run(batch: Batch): Promise<readonly BatchItemResult[]> {
    const results: BatchItemResult[] = []
    const usable: number[] = []
    const messages: Message[] = []
    const prepared = this.#preparation.runAll(batch.deliveries)
    const errors = prepared instanceof Promise ? await prepared : prepared
    for (const [index, pending] of batch.deliveries.entries()) {
      const error = errors[index]
      if (error !== undefined) results[index] = error
      else if (!pending.isUnwanted) {
        usable.push(index)
        messages.push(pending.message)
        batch.handed.push(pending)
      }
    }
    if (messages.length === 0) return results
    let reported: unknown
    try {
      // It was aborted while it was prepared: its messages may be with another batch by now.
      if (batch.aborted) throw batch.signal.reason
      reported = checkList(await this.#handler(messages, batch), messages.length)
    } catch (error) {
      for (const index of usable) results[index] = failureOf(batch, error)
      return results
    }
    for (const [at, index] of usable.entries())
      results[index] = Array.isArray(reported) ? checkResult(reported[at]) : undefined
    return results
  }

  #end(batch: Batch, results: readonly BatchItemResult[]): void {
    if (batch.isDetached) {
      for (const pending of batch.deliveries) this.#host.late(pending)
      return
    }
    batch.end()
    this.#running.delete(batch)
    batch.observeEnd(results)
    /** Keys with a message to retry: later messages of the key must be handled after it. */
    const broken = new Map<KeyQueue, PendingDelivery[]>()
    for (const [index, pending] of batch.deliveries.entries()) {
      const { queue } = pending
      const behind = queue === undefined ? undefined : broken.get(queue)
      const result = results[index]
      if (behind !== undefined) behind.push(pending)
      else if (isSuccess(result)) this.#host.succeeded(pending)
      else if (this.#host.failed(pending, result) && queue !== undefined) broken.set(queue, [])
    }
    for (const [queue, behind] of broken) this.#host.requeueBehind(queue, behind)
    this.pump()
  }

  #abandon(batch: Batch, reason: unknown): void {
    if (batch.isDetached) return
    this.#host.abandoned(batch.deliveries[0] as PendingDelivery, reason)
    this.#end(
      batch,
      batch.deliveries.map(() => failureOf(batch, reason)),
    )
  }
}

/** A message that ended because others of its batch were lost has not failed: it is handled again and uses no attempt. */
function failureOf(batch: Batch, error: unknown): Error {
  return batch.hasLost ? new RetryRequest({ countAttempt: false, delayMs: 0, cause: error }) : toError(error)
}

function toError(value: unknown): Error {
  return value instanceof Error ? value : new Error(String(value), { cause: value })
}

/** Accepts nothing, or one result per message. Anything else is a mistake, and acking would lose messages. */
function checkList(reported: unknown, expected: number): unknown {
  if (reported === undefined || reported === null) return undefined
  if (Array.isArray(reported) && reported.length === expected) return reported
  const got = Array.isArray(reported) ? `a list of ${reported.length}` : describe(reported)
  throw new TypeError(
    `A batch handler must return nothing (all succeeded) or a list with one result for each of its ${expected} messages, got ${got}`,
  )
}

/** Anything but success or an error is a mistake, and acking would lose the message. */
function checkResult(result: unknown): BatchItemResult {
  if (isSuccess(result)) return result
  if (result instanceof Error || types.isNativeError(result)) return result
  return new TypeError(`A result of a batch handler must be undefined, null, true or an error, got ${describe(result)}`)
}
