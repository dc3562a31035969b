import type { Codec } from './codec.ts'
import type { CausalityContext } from './causality.ts'
import type { Clock } from './clock.ts'
import type { BatchConsumeOptions, ConsumeOptions } from './consume-options.ts'
import type { AnyConsumerDefinition, AnyEventDefinition, EventDefinition } from './define.ts'
import type { BusEvents } from './events.ts'
import type { BatchHandler, Handler, Middleware } from './handler.ts'
import type { Logger } from './logger.ts'
import type { EncodedMessage } from './message.ts'
import type {
  PublishItem,
  PublishManyOptions,
  PublishOptions,
  PublishReceipt,
  PublishResult,
} from './publish-options.ts'
import type { Position, Transport, TransportAdmin, TransportHealth } from './transport.ts'
import type { WireCheckMode } from './wire-check.ts'

export interface BusOptions {
  /** Name of this service: default consumer group, and `source` of what it publishes. */
  readonly service: string
  /** Either one transport (it is called `main`) ... */
  readonly transport?: Transport | undefined
  /** ... or several by name; the first is the default one. */
  readonly transports?: Readonly<Record<string, Transport>> | undefined
  /** Consumers kept in files of their own: see `defineConsumer`. */
  readonly consumers?: readonly AnyConsumerDefinition[] | undefined
  /** Around every handler of every consumer (not around batch handlers); the first is the outermost. */
  readonly middleware?: readonly Middleware[] | undefined
  /** Asked before the built-in JSON, text and bytes. */
  readonly codecs?: readonly Codec[] | undefined
  /**
   * pino or anything of its shape: connections, retries, dead letters, stalls and errors are logged, bodies and headers are
   * not. `false` logs nothing. Default: dead letters, losses, errors, stalls and lost connections go to stderr, each kind
   * once a minute.
   */
  readonly logger?: Logger | false | undefined
  /** Bounds and deadline of publishing. */
  readonly publish?: PublisherOptions | undefined
  /**
   * How long `start()` keeps trying while a broker can't be reached, in ms; 0 for one attempt. What can't succeed later
   * (credentials, configuration) fails at once. Default 60,000.
   */
  readonly startTimeoutMs?: number | undefined
  /**
   * Whether `bus.publish` in a handler continues the conversation of its message, as `ctx.publish` does. Default true; costs
   * an `AsyncLocalStorage` entry for each call of a handler. Without it a handler that awaits the end of its own bus or
   * consumer is not detected either.
   */
  readonly causality?: boolean | undefined
  /**
   * Checks at publish what a consumer will read: the encoded data is decoded, and validated again when it has a schema. A Date
   * in a `z.date()`, a Map or NaN would otherwise be found by the consumer. `first`: once for each event; `always`; `off`.
   * Default `first`, and `off` when `NODE_ENV` is `production`.
   */
  readonly checkWire?: WireCheckMode | undefined
  /** How long `close()` waits for running handlers, in ms. Default 30,000. */
  readonly closeTimeoutMs?: number | undefined
  /** The only source of time. Default: the machine's. Tests give a manual one. */
  readonly clock?: Clock | undefined
}

export interface PublisherOptions {
  /** A publish that is not confirmed in that time rejects, in ms. Default 30,000. */
  readonly deliveryTimeoutMs?: number | undefined
  /** Maximum size of the messages that wait for confirmation, in bytes; beyond it `publish` waits. Default 64 MiB. */
  readonly maxBufferedBytes?: number | undefined
  /** Maximum number of messages in one batch to the transport. Default 1,000. */
  readonly maxBatchSize?: number | undefined
}

export type BusState = 'idle' | 'starting' | 'running' | 'draining' | 'closed'

/** Counters since the consumer was made; gauges as of now. */
export interface ConsumerStats {
  readonly received: number
  readonly handled: number
  readonly failed: number
  readonly acked: number
  readonly retried: number
  readonly deadLettered: number
  readonly dropped: number
  readonly released: number
  readonly lost: number
  readonly settleFailed: number
  readonly doubleSettled: number
  readonly abandoned: number
  /** Handlers running now. */
  readonly running: number
  /** Messages that are here and not with a handler, retries that wait included. */
  readonly buffered: number
  /** Messages that are here and not settled, those with a handler included. Never more than `prefetch`. */
  readonly unsettled: number
  readonly bufferedBytes: number
}

export interface ConsumerHandle {
  readonly topic: string
  readonly group: string
  /** Resolves when the consumer is subscribed; rejects when that failed. `bus.start()` waits for it. */
  readonly ready: Promise<void>
  /** No further handler starts until `resume()`. What waits here goes back to the broker. Running handlers finish. */
  pause(): void
  resume(): void
  /** Stops intake, finishes what is running, hands back the rest. */
  drain(): Promise<void>
  /**
   * As `drain`. With `timeoutMs`, handlers that run for longer are aborted, and their messages delivered again without
   * having used an attempt. May be called again with a shorter time.
   */
  close(options?: { readonly timeoutMs?: number | undefined }): Promise<void>
  stats(): ConsumerStats
}

export interface ConsumerHealth {
  readonly topic: string
  readonly group: string
  readonly transport: string
  /**
   * - `ok`: takes messages. `paused`: by `pause()` or a middleware. `standby`: the group has more members
   *   than partitions, and this one has none: healthy.
   * - `starting`: not subscribed yet. `failed`: subscribing failed; it may be tried again, see `detail`.
   * - `stalled`: nothing moves, or nothing can arrive. `stuck`: one message does not move, others may.
   * - `draining`: finishes what runs. `stopped`: closed.
   */
  readonly status: 'ok' | 'paused' | 'standby' | 'starting' | 'stalled' | 'stuck' | 'failed' | 'draining' | 'stopped'
  readonly detail?: string | undefined
}

/** One thing that is not as it should be. */
export interface HealthReason {
  readonly transport?: string | undefined
  readonly topic?: string | undefined
  readonly group?: string | undefined
  /** A state of the bus, `disconnected`, or the status of a consumer. */
  readonly status: string
  readonly detail: string
}

export interface HealthReport {
  /** `down` unless the bus runs, all transports are connected, and no consumer is starting, failed, stalled or stuck. */
  readonly status: 'ok' | 'down'
  /**
   * For a liveness probe: false when a restart of the process is the remedy, because the bus is closed or a consumer
   * has stalled. A broker that is away is not such a case, and neither is a bus that starts or drains.
   */
  readonly live: boolean
  /** For a readiness probe: the bus runs, all transports are connected, all consumers are subscribed. */
  readonly ready: boolean
  readonly state: BusState
  /** Why `status` is `down`; empty when it is `ok`. */
  readonly reasons: readonly HealthReason[]
  readonly transports: Readonly<Record<string, TransportHealth & { readonly system: string }>>
  readonly consumers: readonly ConsumerHealth[]
}

/** One error behind the error of a dead letter. */
export interface DeadLetterCause {
  readonly name: string
  readonly message: string
  readonly code: string | undefined
}

export interface DeadLetter {
  /** The original message: its own topic, headers and bytes. */
  readonly message: EncodedMessage
  /** The body, decoded by the codec for its content type. Throws `CodecError` when it can't be decoded. No schema is applied. */
  data(): unknown
  /** Where it is in the dead-letter topic. */
  readonly position: Position
  /** Why it is dead: a `DeadLetterReason`. */
  readonly reason: string
  /** The error of the last attempt. When the handler asked for a retry (`ctx.retry({ cause })`), that of the cause. */
  readonly errorName: string
  readonly errorMessage: string
  /** `code` of that error, where it has one: `ECONNREFUSED`, or `23505` from PostgreSQL. */
  readonly errorCode: string | undefined
  readonly errorStack: string | undefined
  /** What is behind that error, nearest first: its chain of `cause`, and the first `errors` of an `AggregateError`. At most 8. */
  readonly errorCause: readonly DeadLetterCause[]
  readonly attempts: number
  readonly firstAttemptAt: Date
  readonly lastAttemptAt: Date
  /** How often it has been redriven before. */
  readonly redrives: number
  /** Where the original was. */
  readonly originalPosition: Position | undefined
}

export interface DeadLetterSelection {
  /** Only those of these message ids. An empty array selects none. */
  readonly ids?: readonly string[] | undefined
  /** Only those for which it returns true. Called once for each dead letter. */
  readonly filter?: ((letter: DeadLetter) => boolean) | undefined
  /** Maximum number of dead letters. Default: no limit. */
  readonly limit?: number | undefined
}

export interface PurgeOptions extends DeadLetterSelection {
  /** Ends the purge: it rejects with an `InterruptedError` whose `report` says how many are deleted. */
  readonly signal?: AbortSignal | undefined
}

export interface RedriveOptions extends DeadLetterSelection {
  /** Maximum number of messages per second, at least 0.001. Default: as fast as the broker confirms. */
  readonly ratePerSecond?: number | undefined
  /** Only count. */
  readonly dryRun?: boolean | undefined
  /** Leaves alone what has been redriven that often before. Default: no limit. */
  readonly maxRedrives?: number | undefined
  /** Ends the redrive: it rejects with an `InterruptedError` whose `report` says how many were sent. */
  readonly signal?: AbortSignal | undefined
}

export interface RedriveReport {
  /** How many dead letters were chosen. */
  readonly matched: number
  /** How many were sent back, confirmed by the broker. */
  readonly redriven: number
  /**
   * Not confirmed by the broker: they are still in the dead-letter topic. Later ones of the same key are held back with
   * them, so that none overtakes.
   */
  readonly failed: readonly { readonly id: string; readonly error: Error }[]
}

/**
 * Dead letters of one topic and group. Each call rejects with a `ConfigurationError` when its options are wrong, before
 * anything is read, sent or deleted.
 */
export interface DeadLetters {
  /** The topic they are stored in. */
  readonly topic: string
  /** All of them at once, bodies included, in the order of the dead-letter topic: use `limit` when there may be many. */
  list(selection?: DeadLetterSelection): Promise<readonly DeadLetter[]>
  /** The dead letter of that message id, or undefined. */
  get(id: string): Promise<DeadLetter | undefined>
  /**
   * Sends them back to the group that failed, and to no other. Those that have been redriven more often go first, since
   * they were ahead in their key; otherwise in the order in which they died. `limit` counts in that order.
   *
   * Each copy is confirmed before its dead letter is deleted: a crash in between leaves both, never none. What fails again
   * meanwhile waits for the next call. Holds one page of letters in memory at a time, besides the ids of all.
   *
   * Rejects with `InterruptedError` when it is aborted or the broker fails half-way, and with `UnsupportedError` for dead
   * letters of broadcast consumers, whose groups end with their instances. Two calls at once may send a letter twice.
   *
   *     await letters.redrive({ ratePerSecond: 50, filter: ({ errorCode }) => errorCode === 'ECONNREFUSED' })
   */
  redrive(options?: RedriveOptions): Promise<RedriveReport>
  /**
   * Deletes them; resolves with how many. What dies meanwhile stays. Rejects with `InterruptedError` when it is aborted or
   * the broker fails half-way.
   */
  purge(options?: PurgeOptions): Promise<number>
}

// TypeScript reports why the last overload does not fit, so the commonest one comes last.
export interface Bus extends AsyncDisposable {
  readonly service: string
  readonly state: BusState
  readonly events: BusEvents
  /** For a topic without a definition: its data is not checked. The rest as below. */
  publish(topic: string, data: unknown, options?: PublishOptions): Promise<PublishReceipt>
  /**
   * Resolves when the broker has taken responsibility for the message. Rejects with `ValidationError` or `CodecError`
   * (nothing was sent), or `PublishError`, whose `outcome` says whether the broker may have it. Concurrent calls are sent as
   * one batch. Messages published one after another keep their order within a key, asynchronous schemas included. In a
   * handler, the message continues the conversation of the one that is handled, as with `ctx.publish`.
   */
  publish<Input, Output>(
    event: EventDefinition<Input, Output>,
    data: NoInfer<Input>,
    options?: PublishOptions,
  ): Promise<PublishReceipt>
  publishMany(
    topic: string,
    items: readonly PublishItem[],
    options?: Pick<PublishOptions, 'transport' | 'signal'>,
  ): Promise<readonly PublishResult[]>
  /** As `publish` for many at once, with one result for each item; rejects only when the call itself makes no sense. */
  publishMany<Input, Output>(
    event: EventDefinition<Input, Output>,
    items: readonly PublishItem<NoInfer<Input>>[],
    options?: PublishManyOptions,
  ): Promise<readonly PublishResult[]>
  /** Adds a consumer; before `start()` or after. */
  consume(definition: AnyConsumerDefinition): ConsumerHandle
  consume(topic: string, handler: BatchHandler, options: BatchConsumeOptions): ConsumerHandle
  consume(topic: string, handler: Handler, options?: ConsumeOptions): ConsumerHandle
  consume<Input, Output>(
    event: EventDefinition<Input, Output>,
    handler: BatchHandler<Output>,
    options: BatchConsumeOptions,
  ): ConsumerHandle
  /** Adds a consumer; before `start()` or after. */
  consume<Input, Output>(
    event: EventDefinition<Input, Output>,
    handler: Handler<Output>,
    options?: ConsumeOptions,
  ): ConsumerHandle
  /**
   * Runs `call` so that what it publishes, also later, continues that conversation: for HTTP requests, jobs and other places
   * where no message comes from. Returns what `call` returns. Has no effect with `causality: false`.
   *
   *     app.post('/orders', (request) => bus.within({ correlationId: request.id, traceparent: request.headers.traceparent },
   *       () => bus.publish(OrderPlaced, request.body)))
   */
  within<Result>(context: CausalityContext, call: () => Result): Result
  /**
   * Opens the transports and subscribes all consumers. While a broker can't be reached, it tries again until `timeoutMs`
   * (default `startTimeoutMs`) has passed, and reports each attempt as `connecting`. Rejects with the first error that can't
   * pass by itself, or the last one that can. When a transport could not be opened, `start()` may be called again; one that
   * opened beside it stays open until then, or until `close()`. When a consumer could not be subscribed, the bus is closed.
   *
   * A second call while it starts, or after it has started, returns the same promise.
   */
  start(options?: { readonly timeoutMs?: number | undefined }): Promise<void>
  /**
   * Stops intake, waits for running handlers and publishes within `closeTimeoutMs`, aborts what is left (it is delivered
   * again later), closes the transports. Nothing of the bus keeps the process alive afterwards. Safe to call twice: a second
   * call with a `timeoutMs` that ends sooner makes the first one end sooner too. In a handler of this bus, don't await it:
   * it would wait for that handler, and rejects with a `StateError` instead.
   */
  close(options?: { readonly timeoutMs?: number | undefined }): Promise<void>
  /** Never rejects; cheap enough for a probe each second. */
  health(): Promise<HealthReport>
  deadLetters(
    topic: string | AnyEventDefinition,
    group?: string,
    options?: { readonly transport?: string | undefined },
  ): DeadLetters
  /** The admin side of a transport. Throws `UnsupportedError` when it has none. */
  admin(transport?: string): TransportAdmin
}
