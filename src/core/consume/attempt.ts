import type { HandlerOwner, HandlerRun } from '../causality.ts'
import type { Clock } from '../clock.ts'
import { Deadline } from '../util/deadlines.ts'
import type { Deadlines } from '../util/deadlines.ts'
import type { AnyEventDefinition } from '../define.ts'
import { RejectError, TimeoutError, ValidationError } from '../errors.ts'
import type { ConsumerControl, HandlerContext } from '../handler.ts'
import type { ContextPublisher } from './context-publisher.ts'
import type { HeldPublisher } from './held-publisher.ts'
import type { EncodedMessage, OutgoingMessage, Position } from '../message.ts'
import type { Observation, Observers } from '../observers.ts'
import type { PendingDelivery } from './pending-delivery.ts'
import { allPublished } from '../publish/all-published.ts'
import { refuseUnknown } from '../publish/publish-options.ts'
import type { PublishItem, PublishManyOptions, PublishOptions, PublishReceipt } from '../publish/publish-options.ts'
import { RetryRequest } from './retry.ts'
import { topicOf } from '../target.ts'
import type { TransportIdentity } from '../transport.ts'

const RETRY_REQUEST: ReadonlySet<string> = new Set(['delayMs', 'countAttempt', 'cause'])

/** Shared by all attempts of one consumer. */
export interface AttemptHost {
  /** Identifies the handlers of the consumer. */
  readonly owner: HandlerOwner
  readonly group: string
  readonly control: ConsumerControl
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly publisher: ContextPublisher
  /** Makes what holds the messages of one attempt; undefined without `publishOnAck`. */
  readonly holdMessages: ((of: PendingDelivery) => HeldPublisher) | undefined
  readonly observers: Observers
  readonly transport: TransportIdentity
  readonly timeoutMs: number | undefined
  readonly abandonAfterMs: number
}

/**
 * One run of a handler, with an abort signal and a deadline. The signal is created on first access: most handlers never use it.
 */
export abstract class Span implements HandlerRun {
  protected readonly host: AttemptHost
  #controller: AbortController | undefined
  #abortReason: unknown
  #deadline: Deadline | undefined
  /** The runtime no longer waits for it, and ignores its outcome. */
  isDetached = false

  constructor(host: AttemptHost) {
    this.host = host
    if (host.timeoutMs !== undefined) this.#arm(host.timeoutMs)
  }

  get owner(): HandlerOwner {
    return this.host.owner
  }

  get run(): HandlerRun {
    return this
  }

  /** Of a scope: no middleware is running. A getter, so that no code can set it on the context. */
  get publishing(): undefined {
    return undefined
  }

  /** What the messages continue that its handler publishes; undefined for several messages. */
  abstract get cause(): EncodedMessage | undefined

  get group(): string {
    return this.host.group
  }

  get transport(): TransportIdentity {
    return this.host.transport
  }

  get consumer(): ConsumerControl {
    return this.host.control
  }

  get clock(): Clock {
    return this.host.clock
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#abortReason !== undefined) this.#controller.abort(this.#abortReason)
    }
    return this.#controller.signal
  }

  get aborted(): boolean {
    return this.#abortReason !== undefined
  }

  extend(ms: number): void {
    const checked = checkMs('ctx.extend(ms): ms', ms)
    if (this.isDetached || this.aborted) return
    this.armed()
    this.#arm(checked)
  }

  /** Asks the handler to stop. If it has not ended after the grace period, it is abandoned. */
  abort(reason: unknown): void {
    if (this.isDetached || this.aborted) return
    this.#abortReason = reason
    this.#controller?.abort(reason)
    if (this.#deadline !== undefined) this.host.deadlines.clear(this.#deadline)
    this.#deadline = new Deadline(() => this.abandon(reason))
    this.host.deadlines.set(this.#deadline, this.host.abandonAfterMs)
  }

  end(): void {
    this.isDetached = true
    if (this.#deadline !== undefined) this.host.deadlines.clear(this.#deadline)
  }

  /** Called when the grace period is over. */
  protected abstract abandon(reason: unknown): void

  /** Called when it gets a deadline. */
  protected abstract armed(): void

  #arm(ms: number): void {
    this.#deadline ??= new Deadline(() => {
      this.abort(
        new TimeoutError(
          `The handler did not end within its deadline (group "${this.host.group}", topic "${this.host.control.topic}")`,
        ),
      )
    })
    this.host.deadlines.set(this.#deadline, ms)
  }
}

/** One attempt at one message, and the context of its handler. */
export class Attempt extends Span implements HandlerContext {
  previous: Attempt | undefined = undefined
  next: Attempt | undefined = undefined
  readonly pending: PendingDelivery
  readonly attempt: number
  /** What `reject` or `retry` threw, in case the handler or a middleware swallows it. */
  request: Error | undefined = undefined
  /** Messages to be stored with the ack. */
  withAck: readonly OutgoingMessage[] | undefined = undefined
  #held: HeldPublisher | undefined
  readonly #observed: { readonly as: Observation<'handle'>; readonly at: number } | undefined
  readonly #onAbandon: (attempt: Attempt, reason: unknown) => void

  constructor(host: AttemptHost, pending: PendingDelivery, onAbandon: (attempt: Attempt, reason: unknown) => void) {
    super(host)
    this.pending = pending
    this.attempt = pending.attempt
    this.#onAbandon = onAbandon
    this.#observed = host.observers.watched.handle ? this.#observe() : undefined
  }

  #observe(): { readonly as: Observation<'handle'>; readonly at: number } | undefined {
    const { observers, clock } = this.host
    const as = observers.start('handle', this.pending.message, this)
    return as && { as, at: clock.monotonic() }
  }

  /** The attempt whose context this is; undefined for a copy of it, or a proxy. */
  static of(ctx: HandlerContext): Attempt | undefined {
    return #held in ctx ? ctx : undefined
  }

  /** Tells observers that the handler has ended, or was abandoned. */
  observeEnd(ok: boolean, error: unknown): void {
    if (this.#observed === undefined) return
    const durationMs = this.host.clock.monotonic() - this.#observed.at
    this.host.observers.end(this.#observed.as, { durationMs, ok, error })
  }

  override get cause(): EncodedMessage {
    return this.pending.delivery.message
  }

  get position(): Position {
    return this.pending.delivery.position
  }

  get destination(): string {
    const { destination, message } = this.pending.delivery
    return destination ?? message.topic
  }

  get partition(): string | undefined {
    return this.pending.delivery.partition
  }

  publish(target: string | AnyEventDefinition, data: unknown, options?: PublishOptions): Promise<PublishReceipt> {
    return this.#publisher().publish(target, data, options, this.pending.delivery.message)
  }

  async publishMany(
    target: string | AnyEventDefinition,
    items: readonly PublishItem[],
    options?: PublishManyOptions,
  ): Promise<readonly PublishReceipt[]> {
    const results = await this.#publisher().publishMany(target, items, options, this.pending.delivery.message)
    // Otherwise a handler that ignores the results would ack a message whose events were never published.
    return options?.allowFailures === true
      ? (results as readonly PublishReceipt[])
      : allPublished(topicOf(target), results)
  }

  #publisher(): ContextPublisher {
    const { holdMessages, publisher } = this.host
    return holdMessages === undefined ? publisher : (this.#held ??= holdMessages(this.pending))
  }

  get heldCount(): number {
    return this.#held?.count ?? 0
  }

  /** The handler has failed: drops what it published, and keeps the first `count` messages, which were held before. */
  keepHeld(count: number): void {
    this.#held?.keepFirst(count)
  }

  /** The handler has returned: publishes what it holds, or keeps it for the ack. */
  async publishHeld(): Promise<void> {
    // A request to reject or retry that something swallowed is carried out: the handler has not succeeded.
    if (this.#held === undefined || this.request !== undefined) return
    // A deadline that has passed does not matter: a handler that succeeds within the grace is acked, too.
    const isCurrent = (): boolean => !this.isDetached && !this.pending.delivery.lost && this.pending.state === 'running'
    this.withAck = await this.#held.finish(isCurrent)
  }

  override end(): void {
    super.end()
    this.#held?.end()
  }

  reject(reason: string, options?: { readonly cause?: unknown }): never {
    this.request = new RejectError(reason, options)
    throw this.request
  }

  retry(options: { readonly delayMs?: number; readonly countAttempt?: boolean; readonly cause?: unknown } = {}): never {
    refuseUnknown('ctx.retry', options, RETRY_REQUEST, '{ delayMs: 5_000 }')
    const { delayMs } = options
    this.request = new RetryRequest(
      delayMs === undefined ? options : { ...options, delayMs: checkMs('ctx.retry({ delayMs }): delayMs', delayMs) },
    )
    throw this.request
  }

  protected override armed(): void {
    this.pending.hasDeadline = true
  }

  protected override abandon(reason: unknown): void {
    this.#onAbandon(this, reason)
  }
}

/** A negative delay means now. A value that is not a number (a missing Retry-After) must not become a delay. */
function checkMs(name: string, ms: unknown): number {
  if (typeof ms === 'number' && Number.isFinite(ms)) return Math.max(0, ms)
  throw new ValidationError(`${name} must be a number of milliseconds, got ${String(ms)}`)
}
