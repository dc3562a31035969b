import type { Clock } from './clock.ts'
import type { EventDefinition } from './define.ts'
import type { Message } from './message.ts'
import type {
  ContextPublishManyOptions,
  PublishItem,
  PublishOptions,
  PublishReceipt,
  PublishResult,
} from './publish-options.ts'
import type { Position } from './transport.ts'

/**
 * Handles one message. Returning (or resolving) acks it; throwing (or rejecting) retries it, and dead-letters it when its
 * attempts are used up. The returned value is ignored.
 */
export type Handler<Data = unknown> = (message: Message<Data>, ctx: HandlerContext) => unknown

/**
 * Wraps a handler. Called once for each consumer, when it is added (`bus.consume`), so state of one consumer lives in the closure; the
 * returned function runs for each attempt. The first of a list is the outermost.
 *
 *     const timed: Middleware = (next) => async (message, ctx) => {
 *       const start = performance.now()
 *       try { await next(message, ctx) } finally { record(message.topic, performance.now() - start) }
 *     }
 */
export type Middleware = (next: Handler) => Handler

/** What a handler can do besides returning and throwing. */
export interface HandlerContext {
  /** 1 for the first attempt; counts retries, also those before a restart of the process where the transport can. */
  readonly attempt: number
  readonly group: string
  readonly position: Position
  /** Aborts when the deadline (`timeoutMs`) passes, when the delivery is lost, and when `close()` runs out of patience. */
  readonly signal: AbortSignal
  readonly consumer: ConsumerControl
  readonly clock: Clock
  publish(topic: string, data: unknown, options?: PublishOptions): Promise<PublishReceipt>
  /**
   * Publishes with the same correlation id and trace context; the causation id is this message's id. Goes to the transport that
   * the message came from, unless the option `transport` names another one.
   */
  publish<Input, Output>(
    event: EventDefinition<Input, Output>,
    data: NoInfer<Input>,
    options?: PublishOptions,
  ): Promise<PublishReceipt>
  publishMany(
    topic: string,
    items: readonly PublishItem[],
    options?: ContextPublishManyOptions,
  ): Promise<readonly PublishResult[]>
  /**
   * As `publish` for many. Rejects with a `PublishError` when some were not published: returning normally after that would
   * ack the message. With `allowFailures` it resolves with all results instead.
   */
  publishMany<Input, Output>(
    event: EventDefinition<Input, Output>,
    items: readonly PublishItem<NoInfer<Input>>[],
    options?: ContextPublishManyOptions,
  ): Promise<readonly PublishResult[]>
  /**
   * Ends this attempt by throwing: the message goes to the dead letters at once. A handler that catches what it throws and
   * returns is taken at its word: the message is rejected anyway, with a `warning`. So is a swallowed `retry`.
   */
  reject(reason: string, options?: { readonly cause?: unknown }): never
  /**
   * Ends this attempt by throwing: try again after `delayMs` (default: the consumer's backoff). With
   * `countAttempt: false` it does not use up an attempt: "not now", rather than "failed". A delay that is no finite number
   * throws a `ValidationError` instead, which counts as a failure of the handler.
   */
  retry(options?: { readonly delayMs?: number; readonly countAttempt?: boolean; readonly cause?: unknown }): never
  /** Moves the deadline of this attempt to `ms` from now. Leases at the broker are renewed by themselves. */
  extend(ms: number): void
}

/** A consumer as its middleware may steer it. */
export interface ConsumerControl {
  readonly topic: string
  readonly group: string
  /**
   * Caps how many handlers may run at once, 0 for none at all, undefined to lift the cap. Caps of different reasons
   * stand side by side and the lowest counts, so that two middlewares can't undo each other. Costs no attempt.
   */
  limit(reason: string, maxConcurrency: number | undefined): void
}

/** What a batch handler says of one of its messages: nothing or `true` is success, an error is a failure like a throw. */
export type BatchItemResult = undefined | null | true | Error

/**
 * Handles several messages at once. Resolving with nothing acks all; with a list, each by the result at its index. The list
 * must have a result for every message: a list of another length, or anything else, fails all, and so does rejecting. When one fails, later messages of the same key in the
 * batch are handled again after it, whatever their result, so that order holds.
 */
export type BatchHandler<Data = unknown> = (
  messages: readonly Message<Data>[],
  ctx: BatchContext,
) => void | readonly BatchItemResult[] | Promise<void | readonly BatchItemResult[]>

export interface BatchContext {
  readonly group: string
  readonly signal: AbortSignal
  readonly consumer: ConsumerControl
  readonly clock: Clock
  /** The attempt of the message at that index. */
  attempt(index: number): number
  extend(ms: number): void
}
