import type { Clock } from './clock.ts'
import { Deadline } from './deadlines.ts'
import type { Deadlines } from './deadlines.ts'
import type { AnyEventDefinition } from './define.ts'
import { RejectError, TimeoutError, ValidationError } from './errors.ts'
import type { ConsumerControl, HandlerContext } from './handler.ts'
import type { EncodedMessage } from './message.ts'
import type {
  PublishItem,
  PublishManyOptions,
  PublishOptions,
  PublishReceipt,
  PublishResult,
} from './publish-options.ts'
import { RetryRequest } from './retry.ts'
import type { Position } from './transport.ts'
import type { Work } from './work.ts'

/** How a handler publishes: the bus, with the message that is being handled. */
export interface ContextPublisher {
  publish(
    target: string | AnyEventDefinition,
    data: unknown,
    options: PublishOptions | undefined,
    parent: EncodedMessage,
  ): Promise<PublishReceipt>
  publishMany(
    target: string | AnyEventDefinition,
    items: readonly PublishItem[],
    options: PublishManyOptions | undefined,
    parent: EncodedMessage,
  ): Promise<readonly PublishResult[]>
}

/** What all attempts of one consumer share. */
export interface AttemptHost {
  readonly group: string
  readonly control: ConsumerControl
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly publisher: ContextPublisher
  readonly timeoutMs: number | undefined
  readonly abandonAfterMs: number
}

/**
 * A span of handler time with an abort signal and a deadline. The signal is made when somebody asks for it: most handlers
 * never do.
 */
export abstract class Span {
  protected readonly host: AttemptHost
  #controller: AbortController | undefined
  #abortReason: unknown
  #deadline: Deadline | undefined
  /** No longer waited for: whatever it still does has no effect. */
  over = false

  constructor(host: AttemptHost) {
    this.host = host
    if (host.timeoutMs !== undefined) this.#arm(host.timeoutMs)
  }

  get group(): string {
    return this.host.group
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
    if (!this.over && !this.aborted) this.#arm(checked)
  }

  /** Tells the handler to stop. If it has not ended after the grace, it is abandoned. */
  abort(reason: unknown): void {
    if (this.over || this.aborted) return
    this.#abortReason = reason
    this.#controller?.abort(reason)
    if (this.#deadline !== undefined) this.host.deadlines.clear(this.#deadline)
    this.#deadline = new Deadline(() => this.abandon(reason))
    this.host.deadlines.set(this.#deadline, this.host.abandonAfterMs)
  }

  end(): void {
    this.over = true
    if (this.#deadline !== undefined) this.host.deadlines.clear(this.#deadline)
  }

  /** The grace is over. */
  protected abstract abandon(reason: unknown): void

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

/** One attempt at one message, and the context that its handler gets. */
export class Attempt extends Span implements HandlerContext {
  previous: Attempt | undefined = undefined
  next: Attempt | undefined = undefined
  readonly work: Work
  readonly attempt: number
  readonly #onAbandon: (attempt: Attempt, reason: unknown) => void

  constructor(host: AttemptHost, work: Work, onAbandon: (attempt: Attempt, reason: unknown) => void) {
    super(host)
    this.work = work
    this.attempt = work.attempt
    this.#onAbandon = onAbandon
  }

  get position(): Position {
    return this.work.delivery.position
  }

  publish(target: string | AnyEventDefinition, data: unknown, options?: PublishOptions): Promise<PublishReceipt> {
    return this.host.publisher.publish(target, data, options, this.work.delivery.message)
  }

  publishMany(
    target: string | AnyEventDefinition,
    items: readonly PublishItem[],
    options?: PublishManyOptions,
  ): Promise<readonly PublishResult[]> {
    return this.host.publisher.publishMany(target, items, options, this.work.delivery.message)
  }

  reject(reason: string, options?: { readonly cause?: unknown }): never {
    throw new RejectError(reason, options)
  }

  retry(options: { readonly delayMs?: number; readonly countAttempt?: boolean; readonly cause?: unknown } = {}): never {
    const { delayMs } = options
    throw new RetryRequest(
      delayMs === undefined ? options : { ...options, delayMs: checkMs('ctx.retry({ delayMs }): delayMs', delayMs) },
    )
  }

  protected override abandon(reason: unknown): void {
    this.#onAbandon(this, reason)
  }
}

/** A time that has passed means now; what is no time at all (a missing Retry-After) must not become a delay. */
function checkMs(name: string, ms: unknown): number {
  if (typeof ms === 'number' && Number.isFinite(ms)) return Math.max(0, ms)
  throw new ValidationError(`${name} must be a number of milliseconds, got ${String(ms)}`)
}
