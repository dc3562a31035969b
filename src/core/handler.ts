import type { Clock } from './clock.ts'
import type { EventDefinition } from './define.ts'
import type { Message, Position } from './message.ts'
import type {
  AllowFailures,
  PublishItem,
  PublishManyOptions,
  PublishOptions,
  PublishReceipt,
  PublishResult,
  RefuseFailures,
} from './publish/publish-options.ts'
import type { TransportIdentity } from './transport.ts'

/**
 * Handles one message. Returning (or resolving) acks it. Throwing (or rejecting) retries it, and dead-letters it when its
 * attempts are used up. The return value is ignored. Handlers must tolerate duplicates.
 */
export type Handler<Data = unknown> = (message: Message<Data>, ctx: HandlerContext) => unknown

/**
 * Wraps a handler. Called once per consumer, in `bus.consume`, so per-consumer state can be kept in the closure. The returned
 * function runs for each attempt. The first middleware of a list is the outermost.
 *
 *     const timed: Middleware = (next) => async (message, ctx) => {
 *       const start = performance.now()
 *       try { await next(message, ctx) } finally { record(message.topic, performance.now() - start) }
 *     }
 */
export type Middleware = (next: Handler) => Handler

/** @internal Marks a middleware that skips messages which it remembers as handled. */
export const REMEMBERS: unique symbol = Symbol('busbar.remembers')

/**
 * What a handler can do besides returning and throwing.
 *
 *     async (message, ctx) => {
 *       const response = await fetch(partner, { method: 'POST', body: JSON.stringify(message.data), signal: ctx.signal })
 *       if (response.status === 503) ctx.retry({ delayMs: 10_000, countAttempt: false })
 *       if (!response.ok) ctx.reject(`the partner answered ${response.status}`)
 *       await ctx.publish(OrderSent, { orderId: message.data.orderId })
 *     }
 */
export interface HandlerContext {
  /**
   * 1 for the first attempt. Counts retries, including those before a process restart if the transport has the capability
   * `attempts`.
   */
  readonly attempt: number
  readonly group: string
  /** Where the message came from: name of the transport in this bus, its `messaging.system`, and its server. */
  readonly transport: TransportIdentity
  readonly position: Position
  /** The broker's name for where the message came from, for traces: `messaging.destination.name`. Without one, the topic. */
  readonly destination: string
  /** Name of the message's partition, as in `rebalance` events; undefined in a transport without partitions. */
  readonly partition: string | undefined
  /** Aborts when the deadline (`timeoutMs`) passes, when the delivery is lost, or when `close()` times out. */
  readonly signal: AbortSignal
  readonly consumer: ConsumerControl
  readonly clock: Clock
  /** Publishes to a topic without a definition. Otherwise like the overload below. */
  publish(topic: string, data: unknown, options?: PublishOptions): Promise<PublishReceipt>
  /**
   * Publishes with the correlation id and trace context of this message, and with its id as the causation id. Uses the
   * transport that the message came from unless the option `transport` names another. Settles like `bus.publish`.
   */
  publish<Input, Output>(
    event: EventDefinition<Input, Output>,
    data: NoInfer<Input>,
    options?: PublishOptions,
  ): Promise<PublishReceipt>
  /** Publishes many messages to a topic without a definition, with `allowFailures`. Otherwise like the last overload. */
  publishMany(
    topic: string,
    items: readonly PublishItem[],
    options: PublishManyOptions & AllowFailures,
  ): Promise<readonly PublishResult[]>
  /** Publishes many messages to a topic without a definition. Otherwise like the last overload. */
  publishMany(
    topic: string,
    items: readonly PublishItem[],
    options?: PublishManyOptions & RefuseFailures,
  ): Promise<readonly PublishReceipt[]>
  /** Publishes many messages, and resolves with the result of each. Otherwise like the last overload. */
  publishMany<Input, Output>(
    event: EventDefinition<Input, Output>,
    items: readonly PublishItem<NoInfer<Input>>[],
    options: PublishManyOptions & AllowFailures,
  ): Promise<readonly PublishResult[]>
  /**
   * Publishes many messages in one call, as `publish` does. Settles like `bus.publishMany`: rejects with a `PublishError` when
   * some were not published, so that the handler does not ack its message.
   */
  publishMany<Input, Output>(
    event: EventDefinition<Input, Output>,
    items: readonly PublishItem<NoInfer<Input>>[],
    options?: PublishManyOptions & RefuseFailures,
  ): Promise<readonly PublishReceipt[]>
  /**
   * Dead-letters the message at once, by throwing a `RejectError`. If a `catch` swallows that error and the handler returns,
   * the message is rejected anyway, with a `warning` event. The same holds for `retry`.
   */
  reject(reason: string, options?: { readonly cause?: unknown }): never
  /**
   * Ends this attempt by throwing, and retries after `delayMs` (default: the consumer's backoff). With `countAttempt: false`,
   * no attempt is used: it means "not now" rather than "failed". A delay that is not a finite number throws a `ValidationError`
   * instead, which counts as a failed attempt.
   */
  retry(options?: { readonly delayMs?: number; readonly countAttempt?: boolean; readonly cause?: unknown }): never
  /**
   * Moves the deadline of this attempt to `ms` milliseconds from now. Not needed for leases at the broker: Busbar renews them.
   */
  extend(ms: number): void
}

/** What middleware may do to its consumer. */
export interface ConsumerControl {
  /** Identifies this member of the group: the `consumerId` of events. New for each consumer of each process. */
  readonly id: string
  readonly topic: string
  readonly group: string
  /**
   * Caps how many handlers may run at once: 0 pauses the consumer, undefined lifts the cap. Each reason has its own cap and the
   * lowest applies, so two middlewares can't undo each other. Uses no attempt. Safe to call twice.
   */
  limit(reason: string, maxConcurrency: number | undefined): void
}

/** Result of one message of a batch: nothing or `true` for success, an error for a failure. */
export type BatchItemResult = undefined | null | true | Error

/**
 * Handles several messages at once. Returning nothing acks all of them. Returning a list settles each message by the result at
 * its index; the list must have one result per message. Any other return value fails all messages, and so does throwing. When a
 * message fails, later messages of its key in the batch are handled again after it, whatever their result, to keep the order.
 */
export type BatchHandler<Data = unknown> = (
  messages: readonly Message<Data>[],
  ctx: BatchContext,
) => void | readonly BatchItemResult[] | Promise<void | readonly BatchItemResult[]>

/**
 * Wraps a batch handler: the option `middleware` of a consumer with `batch`, and `batchMiddleware` of the bus. Called once per
 * consumer, in `bus.consume`; the returned function runs for each batch. The first middleware of a list is the outermost. What
 * it returns is taken as the handler's results: one for each message, so pass on those of `next`.
 *
 *     const sized: BatchMiddleware = (next) => async (messages, ctx) => {
 *       sizes.record(messages.length)
 *       return next(messages, ctx)
 *     }
 */
export type BatchMiddleware = (next: BatchHandler) => BatchHandler

/** What a batch handler can do besides returning and throwing. */
export interface BatchContext {
  readonly group: string
  /** Where the messages came from: name of the transport in this bus, its `messaging.system`, and its server. */
  readonly transport: TransportIdentity
  readonly signal: AbortSignal
  readonly consumer: ConsumerControl
  readonly clock: Clock
  /** Attempt number of the message at this index; 1 for the first. */
  attempt(index: number): number
  /** Moves the deadline of this batch to `ms` milliseconds from now. */
  extend(ms: number): void
}
