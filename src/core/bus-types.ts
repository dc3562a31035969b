// Longer than most files: the public interface of a bus, most of it documentation.
import type { AsyncCodec, Codec } from './codec.ts'
import type { CausalityContext } from './causality.ts'
import type { Clock } from './clock.ts'
import type { BatchConsumeOptions, ConsumeOptions } from './consume/consume-options.ts'
import type { ConsumerStats } from './consume/consumer-stats.ts'
import type { AnyEventDefinition, EventDefinition } from './define.ts'
import type { AnyConsumerDefinition } from './define-consumer.ts'
import type { EventSet, EventSetBatchHandler, EventSetHandler } from './event-set.ts'
import type { BusEvents } from './events.ts'
import type { BatchHandler, BatchMiddleware, Handler, Middleware } from './handler.ts'
import type { BusState, ExtensionHealth, HealthReport } from './health.ts'
import type { Logger } from './logger.ts'
import type { EncodedMessage, OutgoingMessage, Position } from './message.ts'
import type { PublishMiddleware } from './publish/publish-middleware.ts'
import type {
  AllowFailures,
  PublishItem,
  PublishManyOptions,
  PublishOptions,
  PublishReceipt,
  PublishResult,
  RefuseFailures,
  SendOptions,
} from './publish/publish-options.ts'
import type { Transaction } from './publish/transaction.ts'
import type { BusObserver } from './observers.ts'
import type { BusSnapshot } from './snapshot.ts'
import type { Transport, TransportAdmin } from './transport.ts'
import type { WireCheckMode } from './publish/wire-check.ts'

/** Options of `createBus`. */
export interface BusOptions {
  /** Name of this service: the default consumer group, and the `source` of the messages it publishes. */
  readonly service: string
  /** The only transport, named `main`. Give either this or `transports`. */
  readonly transport?: Transport | undefined
  /** Several transports by name. The first is the default. */
  readonly transports?: Readonly<Record<string, Transport>> | undefined
  /** Consumers defined in other files: see `defineConsumer`. */
  readonly consumers?: readonly AnyConsumerDefinition[] | undefined
  /** Extensions, which start and close with the bus, in this order: see `bus.use`. */
  readonly extensions?: readonly BusExtension[] | undefined
  /** Wraps every handler of every consumer, but not batch handlers. The first is the outermost. */
  readonly middleware?: readonly Middleware[] | undefined
  /** Wraps every batch handler of every consumer. The first is the outermost. */
  readonly batchMiddleware?: readonly BatchMiddleware[] | undefined
  /**
   * Wraps every `publish`, `publishMany` and `encode`, of the bus and of handlers. Redrives and `sendEncoded` don't pass it. The
   * first is the outermost.
   */
  readonly publishMiddleware?: readonly PublishMiddleware[] | undefined
  /** Codecs that decode messages by content type, in preference to the built-in JSON, text and bytes codecs. */
  readonly codecs?: readonly (Codec | AsyncCodec)[] | undefined
  /**
   * pino, or any logger with the same methods. Connections, retries, dead letters, stalls and errors are logged; bodies and
   * headers are not. `false` logs nothing. Default: dead letters, losses, errors, stalls and lost connections go to stderr,
   * each kind at most once a minute.
   */
  readonly logger?: Logger | false | undefined
  /** Limits and deadline of publishing. */
  readonly publish?: PublisherOptions | undefined
  /**
   * How long `start()` keeps trying while a broker can't be reached, in ms; 0 for one attempt. Errors that won't pass
   * (credentials, configuration) fail at once. Default 60,000.
   */
  readonly startTimeoutMs?: number | undefined
  /**
   * Whether `bus.publish` in a handler continues the conversation of the handled message, as `ctx.publish` does. Costs one
   * `AsyncLocalStorage` entry per handler call. When false, Busbar can't detect a handler that awaits the close of its own bus
   * or consumer. Default true.
   */
  readonly causality?: boolean | undefined
  /**
   * Checks at publish what consumers will read: decodes the encoded data, and validates it again when the event has a schema.
   * Otherwise a Date in a `z.date()`, a Map or NaN would only fail in the consumer. `first`: the first publish of each event, and
   * not the later ones; `always`; `off`. Default `first`, or `off` when `NODE_ENV` is `production`.
   */
  readonly checkWire?: WireCheckMode | undefined
  /** How long `close()` waits for running handlers and publishes, in ms. Default 30,000. */
  readonly closeTimeoutMs?: number | undefined
  /** The bus's only source of time. Default: the system clock. Tests pass a manual clock. */
  readonly clock?: Clock | undefined
}

/** Limits and deadline of publishing: the option `publish` of `createBus`. */
export interface PublisherOptions {
  /** How long a publish may take to be confirmed before it rejects, in ms. Default 30,000. */
  readonly deliveryTimeoutMs?: number | undefined
  /** Maximum total size of unconfirmed messages, in bytes. Above it, `publish` waits for room. Default 64 MiB. */
  readonly maxBufferedBytes?: number | undefined
  /** Maximum number of messages in one batch to the transport. Default 1,000. */
  readonly maxBatchSize?: number | undefined
}

/** Options of `bus.start`. */
export interface StartOptions {
  /** How long to keep trying while a broker can't be reached, in ms; 0 for one attempt. Default: `startTimeoutMs` of the bus. */
  readonly timeoutMs?: number | undefined
}

/** Options of `bus.close` and of `close` of a consumer. */
export interface CloseOptions {
  /**
   * How long to wait for running handlers and publishes, in ms. Default: `closeTimeoutMs` of the bus; a single consumer waits as
   * long as its handlers run.
   */
  readonly timeoutMs?: number | undefined
}

/** One consumer of a bus, as `bus.consume` returns it. */
export interface ConsumerHandle {
  readonly topic: string
  readonly group: string
  /** Resolves when the consumer is subscribed; rejects when subscribing failed. `bus.start()` waits for it. */
  readonly ready: Promise<void>
  /**
   * Starts no more handlers until `resume()`. Messages that wait in this process go back to the broker. Running handlers
   * finish. Safe to call twice.
   */
  pause(): void
  /** Starts handlers again after `pause()`. Safe to call twice. */
  resume(): void
  /**
   * Stops intake, waits for running handlers, and returns the other messages to the broker. Resolves when all is settled. Safe
   * to call twice.
   */
  drain(): Promise<void>
  /**
   * Same as `drain`. With `timeoutMs`, handlers that run longer are aborted, and their messages are delivered again without
   * using an attempt. May be called again with a shorter timeout.
   */
  close(options?: CloseOptions): Promise<void>
  /** Returns counters since the consumer was created, and current gauges. */
  stats(): ConsumerStats
}

/** One cause of a dead letter's error. */
export interface DeadLetterCause {
  readonly name: string
  readonly message: string
  readonly code: string | undefined
}

/** A message that could not be handled, and why. */
export interface DeadLetter {
  /** The original message, with its original topic, headers and bytes. */
  readonly message: EncodedMessage
  /** Decodes the body with the codec for its content type; applies no schema. Throws `CodecError` when that fails. */
  data(): unknown
  /** Position in the dead-letter topic. */
  readonly position: Position
  /** Why the message was dead-lettered: a `DeadLetterReason`, or `unknown` for a message that another program put there. */
  readonly reason: string
  /** Error of the last attempt. When the handler called `ctx.retry({ cause })`, this is the cause. */
  readonly errorName: string
  readonly errorMessage: string
  /** `code` of that error, if it has one: `ECONNREFUSED`, or `23505` from PostgreSQL. */
  readonly errorCode: string | undefined
  readonly errorStack: string | undefined
  /** Causes of that error, nearest first: its `cause` chain, and the first `errors` of an `AggregateError`. At most 8. */
  readonly errorCause: readonly DeadLetterCause[]
  readonly attempts: number
  readonly firstAttemptAt: Date
  readonly lastAttemptAt: Date
  /** How often the message has been redriven before. */
  readonly redrives: number
  /** Position of the original message. */
  readonly originalPosition: Position | undefined
}

/** Which dead letters `list`, `redrive` and `purge` work on. Default: all. */
export interface DeadLetterSelection {
  /** Selects only dead letters with these message ids. An empty array selects none. */
  readonly ids?: readonly string[] | undefined
  /** Selects only dead letters for which it returns true. Called once for each dead letter. */
  readonly filter?: ((letter: DeadLetter) => boolean) | undefined
  /** Maximum number of dead letters. Default: no limit. */
  readonly limit?: number | undefined
}

/** Options of `deadLetters().purge`. */
export interface PurgeOptions extends DeadLetterSelection {
  /** Aborts the purge: it rejects with an `InterruptedError` whose `report` says how many were deleted. */
  readonly signal?: AbortSignal | undefined
}

/** Options of `deadLetters().redrive`. */
export interface RedriveOptions extends DeadLetterSelection {
  /** Maximum number of messages per second, at least 0.001. Default: as fast as the broker confirms. */
  readonly ratePerSecond?: number | undefined
  /** Only counts the dead letters that match; sends nothing. Default false. */
  readonly dryRun?: boolean | undefined
  /** Skips dead letters that have already been redriven this many times. Default: no limit. */
  readonly maxRedrives?: number | undefined
  /** Aborts the redrive: it rejects with an `InterruptedError` whose `report` says how many were sent. */
  readonly signal?: AbortSignal | undefined
}

/** What a redrive did. */
export interface RedriveReport {
  /** Number of dead letters selected. */
  readonly matched: number
  /** Number sent back and confirmed by the broker. */
  readonly redriven: number
  /**
   * Dead letters whose copy the broker did not confirm; they are still in the dead-letter topic. Later dead letters of the same
   * key are held back with them to keep the order.
   */
  readonly failed: readonly { readonly id: string; readonly error: Error }[]
}

/**
 * Dead letters of one topic and group. Each call rejects with a `ConfigurationError` when its options are invalid, before it
 * reads, sends or deletes anything.
 */
export interface DeadLetters {
  /** The topic that holds the dead letters. */
  readonly topic: string
  /**
   * Resolves with all dead letters at once, bodies included, in the order of the dead-letter topic. Use `limit` when there may
   * be many.
   */
  list(selection?: DeadLetterSelection): Promise<readonly DeadLetter[]>
  /** Resolves with the first dead letter that has this message id, or undefined. */
  get(id: string): Promise<DeadLetter | undefined>
  /**
   * Sends dead letters back to the group that failed, and to no other group. Those that were redriven more often go first,
   * because they were ahead in their key; the rest follow in the order of the dead-letter topic. `limit` counts in that order.
   *
   * Each copy is confirmed before its dead letter is deleted: a crash in between leaves both, never none. Messages that fail
   * again during the call wait for the next one. Memory holds one page of dead letters, and the ids of all selected ones.
   *
   * When it finds none and the topic has no such group, a `warning` (`unknown-group`) says which groups there are, as with
   * `purge`.
   *
   * Rejects with `InterruptedError` when it is aborted or the broker fails halfway, and with `UnsupportedError` for dead
   * letters of broadcast consumers, whose groups end with their instances. Don't run two calls at once: both may send the same
   * dead letter.
   *
   *     await letters.redrive({ ratePerSecond: 50, filter: ({ errorCode }) => errorCode === 'ECONNREFUSED' })
   */
  redrive(options?: RedriveOptions): Promise<RedriveReport>
  /**
   * Deletes dead letters; resolves with the number deleted. Messages that are dead-lettered during the call stay. Rejects with
   * `InterruptedError` when it is aborted or the broker fails halfway.
   */
  purge(options?: PurgeOptions): Promise<number>
}

/**
 * Something that starts and closes with a bus: an outbox relay, an HTTP server, a timer that publishes. Add it with `bus.use` or
 * the option `extensions` of `createBus`. Every method is optional, and is called as a method of the object, which may be of any
 * class and have other members.
 *
 *     const heartbeat = (): BusExtension => {
 *       let timer: NodeJS.Timeout | undefined
 *       return {
 *         name: 'heartbeat',
 *         start(bus) {
 *           timer = setInterval(() => bus.publish('heartbeats', { service: bus.service }).catch(console.error), 10_000)
 *         },
 *         drain: () => clearInterval(timer),
 *       }
 *     }
 */
export interface BusExtension {
  /** Names it in errors, `bus.health()` and `bus.snapshot()`. Unique within its bus. */
  readonly name: string
  /**
   * Called once, when the bus takes the extension: in `bus.use`, or in `createBus`. Nothing is open yet, so only keep what you need
   * of the bus. For extensions that are of use before `start()`, or without it. When it throws, so does `use`, or `createBus`.
   */
  attach?(bus: Bus): void
  /**
   * Called when the transports are open and before consumers subscribe: it may publish, and add consumers and other extensions.
   * The next extension starts, and consumers subscribe, when the promise has resolved. It has the rest of the time of
   * `bus.start()`, and at least 10 s.
   *
   * May be called again after `close()`, because a start that failed may be tried again.
   */
  start?(bus: Bus): void | Promise<void>
  /**
   * Called in the moment in which the consumers stop taking messages: take no new work, and resolve when what was begun has
   * ended. Publishing works. All extensions drain at once, together with the consumers. When the time of `bus.close()` is up,
   * `close` is called anyway.
   *
   * Don't await `bus.close()` here or in `close`: it rejects with a `StateError`.
   */
  drain?(): void | Promise<void>
  /**
   * Called once after `drain`, when no handler runs any more, in the reverse order of `use`. Publishing still works. Undo what
   * `start` did, such as consumers that it added. Called also when `start` threw or has not ended, so be prepared for half of it.
   *
   * After `deadlineMs`, or sooner when `bus.close()` is called again with less time, the bus no longer waits. It is what is left of
   * the time of `bus.close()`, or when that is up, a share of one more second: the extensions that have yet to close share it.
   */
  close?(options: { readonly deadlineMs: number }): void | Promise<void>
  /**
   * For `bus.health()`, from the end of `start` until the extension is closed. Called at every probe, so answer from memory.
   * When it throws, the extension counts as `failed`. Default: `ok`.
   */
  health?(): ExtensionHealth
  /**
   * Figures for `bus.snapshot()`, over the same time. Keep to what JSON can carry, at most 16 KiB of it, and leave out bodies
   * and secrets. When it throws, the snapshot has the error instead.
   */
  snapshot?(): unknown
}

/** Publishes messages and runs consumers. Create one with `createBus`; it does nothing until `start()`. */
// TypeScript's errors explain the last overload, so the most common one comes last.
export interface Bus extends AsyncDisposable {
  readonly service: string
  readonly state: BusState
  readonly events: BusEvents
  /** Publishes to a topic without a definition, so the data is not validated. Otherwise like the overload below. */
  publish(topic: string, data: unknown, options?: PublishOptions): Promise<PublishReceipt>
  /**
   * Publishes one message. Resolves when the broker has taken responsibility for it. Rejects with `ValidationError` or
   * `CodecError` (nothing was sent), or with `PublishError`, whose `outcome` says whether the broker may have the message.
   *
   * Safe to call concurrently: calls in one turn of the event loop are sent as one batch, and messages of one key keep the
   * order of the calls, even with asynchronous schemas. In a handler, the message continues the conversation of the handled
   * message, as with `ctx.publish`.
   *
   *     const { id } = await bus.publish(
   *       OrderPlaced,
   *       { orderId: 'ord-1', total: 42 },
   *       { delayMs: 60_000, headers: { tenant: 'acme' } },
   *     )
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
   * Publishes many messages in one call. Resolves with one receipt per item, at the same index, when the broker has taken
   * responsibility for all of them. Sends what it can: when some were not published, it rejects with a `PublishError` whose
   * `cause` is why, and the others are published. With `allowFailures: true`, it resolves with one result per item instead, and
   * those that were not published have an `error`.
   *
   *     await bus.publishMany(OrderPlaced, [{ data: first }, { data: second, headers: { tenant: 'acme' } }])
   *     const results = await bus.publishMany(OrderPlaced, items, { allowFailures: true })
   *     const again = items.filter((_, index) => results[index]?.error !== undefined)
   */
  publishMany<Input, Output>(
    event: EventDefinition<Input, Output>,
    items: readonly PublishItem<NoInfer<Input>>[],
    options?: PublishManyOptions & RefuseFailures,
  ): Promise<readonly PublishReceipt[]>
  /** Encodes for a topic without a definition, so the data is not validated. Otherwise like the overload below. */
  encode(topic: string, data: unknown, options?: PublishOptions): Promise<OutgoingMessage>
  /**
   * Makes the message that `publish` would send, and does not send it: passes the publish middleware (with the mode `encode`),
   * validates, encodes, and checks that the transport could take it. For messages that are stored first and sent later with
   * `sendEncoded`. Needs no started bus. Rejects with what `publish` would reject with before it sends. `delayMs` and `ttlMs`
   * count from now.
   *
   *     const message = await bus.encode(OrderPlaced, { orderId: 'ord-1', total: 42 })
   *     const [result] = await bus.sendEncoded([message])
   */
  encode<Input, Output>(
    event: EventDefinition<Input, Output>,
    data: NoInfer<Input>,
    options?: PublishOptions,
  ): Promise<OutgoingMessage>
  /**
   * Sends messages as they are, of any topics, in this order. Resolves with one result per message, at the same index. They are
   * not validated and pass no publish middleware; a message that the transport can't take (name of the topic, size, delay) has
   * an `error`. Rejects only when the call itself is invalid, such as a bus that is not started.
   *
   * Does not wait for publishes to the same topic that are with a schema or a middleware. The bytes stay yours and are not
   * copied: don't change them before the result is there.
   */
  sendEncoded(messages: readonly OutgoingMessage[], options?: SendOptions): Promise<readonly PublishResult[]>
  /**
   * Publishes messages of any topics, all or none. Calls `work`, holds what it publishes with `tx`, and when it has succeeded,
   * stores all of it in one atomic step. Resolves with what `work` returned, once that is done. When `work` throws, nothing is
   * published, and the call rejects with its error.
   *
   * Rejects with `UnsupportedError` before it calls `work` on a transport without the capability `transactions`, with
   * `ValidationError` or `CodecError` when a message can't be made, and with a `PublishError` when the transaction was not
   * committed. Its `outcome` says what became of all messages: `not-sent`, none of them is stored; `unknown`, either all are, or
   * none. With ids of your own, consumers recognize those of a second try.
   *
   * Nothing is sent before `work` has ended, so it may take its time, and the time limit of publishing (`deliveryTimeoutMs`) begins
   * after it. The messages may take `publish.maxBufferedBytes`. They are sent in the order of the calls; towards other publishes,
   * order holds only when one has been awaited before the other begins. `bus.publish` in `work` is not part of the transaction.
   *
   *     await bus.transaction(async (tx) => {
   *       await tx.publish(OrderPaid, { orderId })
   *       await tx.publish(ParcelOrdered, { orderId, address })
   *     })
   */
  transaction<Result>(work: (tx: Transaction) => Result | Promise<Result>, options?: SendOptions): Promise<Result>
  /** Adds a consumer made with `defineConsumer`. */
  consume(definition: AnyConsumerDefinition): ConsumerHandle
  /** A batch handler for a topic or pattern without a definition. Otherwise like the last overload. */
  consume(topic: string, handler: BatchHandler, options: BatchConsumeOptions): ConsumerHandle
  /** A handler for a topic or pattern without a definition: data is `unknown`. Otherwise like the last overload. */
  consume(topic: string, handler: Handler, options?: ConsumeOptions): ConsumerHandle
  /** A batch handler for several events: see `defineEvents`. */
  consume<Data>(
    events: EventSet<Data>,
    handler: EventSetBatchHandler<Data>,
    options: BatchConsumeOptions<Data>,
  ): ConsumerHandle
  /** Several events: see `defineEvents`. */
  consume<Data>(events: EventSet<Data>, handler: EventSetHandler<Data>, options?: ConsumeOptions<Data>): ConsumerHandle
  /** A batch handler for one event. Otherwise like the overload below. */
  consume<Input, Output>(
    event: EventDefinition<Input, Output>,
    handler: BatchHandler<Output>,
    options: BatchConsumeOptions<Output>,
  ): ConsumerHandle
  /**
   * Adds a consumer, before `start()` or after. Before, `start()` subscribes it. After, it subscribes at once: `ready` of the
   * returned handle settles when that is done, and failures are reported as `error` events.
   *
   * Throws `ConfigurationError` for invalid options or a consumer that overlaps with another one of its group on this bus,
   * `UnsupportedError` when the transport can't do what the options ask, and `StateError` once the bus is closing.
   *
   *     const consumer = bus.consume(
   *       OrderPlaced,
   *       async (message, ctx) => {
   *         await charge(message.data, { signal: ctx.signal }) // return = ack, throw = retry, then dead letter
   *         await ctx.publish(PaymentTaken, { orderId: message.data.orderId })
   *       },
   *       { group: 'billing', concurrency: 20, retry: { attempts: 3 } },
   *     )
   */
  consume<Input, Output>(
    event: EventDefinition<Input, Output>,
    handler: Handler<Output>,
    options?: ConsumeOptions<Output>,
  ): ConsumerHandle
  /**
   * Runs `call` so that everything it publishes, even later, continues the given conversation. For HTTP requests, jobs and
   * other work that does not start with a message. Returns what `call` returns. Has no effect with `causality: false`.
   *
   *     app.post('/orders', (request) => bus.within({ correlationId: request.id, traceparent: request.headers.traceparent },
   *       () => bus.publish(OrderPlaced, request.body)))
   */
  within<Result>(context: CausalityContext, call: () => Result): Result
  /**
   * Adds an extension, before `start()` or after. Before, and while the bus starts, it resolves at once: `start()` starts the
   * extension, waits for it and rejects if it fails. After, the extension starts at once: `use` resolves when it has started;
   * when it fails, `use` closes it, removes it from the bus, and rejects with an `ExtensionError`.
   *
   * Rejects with `ConfigurationError` when the extension is invalid or its name is taken, and with `StateError` once the bus is
   * closing. Safe to call concurrently. There is no way to remove an extension.
   *
   *     await bus.use(heartbeat())
   *     await bus.start()
   */
  use(extension: BusExtension): Promise<void>
  /**
   * Opens the transports, starts the extensions one after the other, and subscribes all consumers; resolves when all are
   * subscribed. While a broker can't be reached, it
   * tries again until `timeoutMs` (default `startTimeoutMs`) has passed, and reports each failed attempt as `connecting`.
   * Rejects at once with an error that won't pass, otherwise with the last error.
   *
   * When a transport could not be opened or an extension failed, `start()` may be called again. Transports that did open stay
   * open until then, or until `close()`; extensions are closed at once, and start again from the first. When a consumer could
   * not be subscribed, the bus is closed.
   *
   * Safe to call twice: a call while the bus starts, or after it has started, returns the same promise.
   */
  start(options?: StartOptions): Promise<void>
  /**
   * Stops intake, waits up to `timeoutMs` (default `closeTimeoutMs`) for running handlers, extensions that drain, and
   * publishes, aborts the rest (unsettled messages are delivered again, and a `warning` with the code `close-timeout` says how
   * many handlers were given up), and closes the extensions and transports. Beyond `timeoutMs`, the extensions and
   * the transports get up to a second each, together, to close. Afterwards the bus no longer keeps the process alive. Rejects when something failed
   * to close; the rest is closed anyway.
   *
   * Safe to call twice: a second call with a `timeoutMs` that ends sooner shortens the first. Don't await it in a handler of
   * this bus, or in `drain` or `close` of an extension: instead of waiting for itself, it rejects with a `StateError`.
   */
  close(options?: CloseOptions): Promise<void>
  /** Reports the health of the bus, its transports, consumers and extensions. Never rejects. Cheap enough to call every second. */
  health(): Promise<HealthReport>
  /**
   * Adds an observer, which is called when transports are opened, and messages published, handled and settled, until you call the returned function.
   * Throws `ConfigurationError` for an object without any method of an observer. See `BusObserver` for an example.
   */
  observe<PublishState, HandleState, BatchState, SettleState, ConnectState>(
    observer: BusObserver<PublishState, HandleState, BatchState, SettleState, ConnectState>,
  ): () => void
  /**
   * The state of the bus as plain data, for a dashboard or a log: who publishes to and consumes from which topics, with
   * counters, options and health. Queries no broker. Holds no bodies, headers or credentials: user and password of URLs are
   * masked, also in what extensions report. Allowed in every state of the bus.
   *
   *     const { consumers, published } = bus.snapshot()
   *     for (const { topic, group, stats } of consumers) console.log(`${topic} -> ${group}: ${stats.acked} acked`)
   *     for (const { topic, confirmed } of published.topics) console.log(`${topic}: ${confirmed} published`)
   */
  snapshot(): BusSnapshot
  /**
   * Lists, redrives and purges the dead letters of a topic and group (default: the service of the bus). Broadcast consumers
   * share the group `<service>-broadcast`. Throws `ConfigurationError` for an invalid topic, group or transport, `StateError`
   * when the bus is not started or closed, and `UnsupportedError` when the transport has no admin interface.
   *
   *     const letters = bus.deadLetters(OrderPlaced, 'billing')
   *     for (const { message, reason, errorMessage } of await letters.list({ limit: 20 }))
   *       console.log(message.id, reason, errorMessage)
   *     const { redriven, failed } = await letters.redrive({ maxRedrives: 3 })
   */
  deadLetters(
    topic: string | AnyEventDefinition,
    group?: string,
    options?: { readonly transport?: string | undefined },
  ): DeadLetters
  /** The admin interface of a transport (default: the first). Throws `UnsupportedError` when it has none. */
  admin(transport?: string): TransportAdmin
}
