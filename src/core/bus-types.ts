import type { Codec } from './codec.ts'
import type { Clock } from './clock.ts'
import type { BatchConsumeOptions, ConsumeOptions } from './consume-options.ts'
import type { AnyConsumerDefinition, AnyEventDefinition, EventDefinition } from './define.ts'
import type { BusEvents } from './events.ts'
import type { BatchHandler, Handler, Middleware } from './handler.ts'
import type { Logger } from './logger.ts'
import type { EncodedMessage } from './message.ts'
import type { PublishItem, PublishOptions, PublishReceipt, PublishResult } from './publish-options.ts'
import type { Position, Transport, TransportAdmin, TransportHealth } from './transport.ts'

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
  /** pino or anything of its shape. Default: silent. */
  readonly logger?: Logger | undefined
  /** Bounds and deadline of publishing. */
  readonly publish?: PublisherOptions | undefined
  /** How long `close()` waits for running handlers, in ms. Default 30,000. */
  readonly closeTimeoutMs?: number | undefined
  /** The only source of time. Default: the machine's. Tests give a manual one. */
  readonly clock?: Clock | undefined
}

export interface PublisherOptions {
  /** A publish that is not confirmed in that time rejects, in ms. Default 30,000. */
  readonly deliveryTimeoutMs?: number | undefined
  /** Most bytes waiting for confirmation; `publish` waits for room beyond. Default 64 MiB. */
  readonly maxBufferedBytes?: number | undefined
  /** Most messages of one batch to the transport. Default 1,000. */
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
   * `standby`: the group has more members than partitions, and this one has none: healthy. `stalled`: nothing moves, or
   * nothing can arrive. `stuck`: one message does not move, others may. `failed`: it could not subscribe.
   */
  readonly status: 'ok' | 'standby' | 'paused' | 'draining' | 'stalled' | 'stuck' | 'failed' | 'stopped'
  readonly detail?: string | undefined
}

export interface HealthReport {
  /** `down` when a transport is not connected or a consumer failed or stalled. */
  readonly status: 'ok' | 'down'
  readonly state: BusState
  readonly transports: Readonly<Record<string, TransportHealth & { readonly system: string }>>
  readonly consumers: readonly ConsumerHealth[]
}

export interface DeadLetter {
  /** The original message: its own topic, headers and bytes. */
  readonly message: EncodedMessage
  /** Where it lies in the dead-letter topic. */
  readonly position: Position
  readonly reason: string
  readonly errorName: string
  readonly errorMessage: string
  readonly errorStack: string | undefined
  readonly attempts: number
  readonly firstAttemptAt: Date
  readonly lastAttemptAt: Date
  /** How often it has been redriven before. */
  readonly redrives: number
  /** Where the original lay. */
  readonly originalPosition: Position | undefined
}

export interface DeadLetterSelection {
  /** Only those of these message ids. */
  readonly ids?: readonly string[] | undefined
  /** Only those for which it returns true. */
  readonly filter?: ((letter: DeadLetter) => boolean) | undefined
  /** At most so many. */
  readonly limit?: number | undefined
}

export interface RedriveOptions extends DeadLetterSelection {
  /** Default: as fast as the broker confirms. */
  readonly ratePerSecond?: number | undefined
  /** Only count. */
  readonly dryRun?: boolean | undefined
  /** Leaves alone what was redriven so often before. Default: no limit. */
  readonly maxRedrives?: number | undefined
  readonly signal?: AbortSignal | undefined
}

export interface RedriveReport {
  readonly matched: number
  readonly redriven: number
  /** Not confirmed by the broker: they still lie in the dead-letter topic. */
  readonly failed: readonly { readonly id: string; readonly error: Error }[]
}

/** Dead letters of one topic and group. */
export interface DeadLetters {
  /** The topic they lie in. */
  readonly topic: string
  list(selection?: DeadLetterSelection): Promise<readonly DeadLetter[]>
  /** The dead letter of that message id, or undefined. */
  get(id: string): Promise<DeadLetter | undefined>
  /**
   * Sends them back to the group that failed, and to no other, oldest first. Each copy is confirmed before its dead letter
   * is deleted: a crash in between leaves both, never none. Rejects with `UnsupportedError` for those of broadcast
   * consumers, whose groups are gone with their instances.
   */
  redrive(options?: RedriveOptions): Promise<RedriveReport>
  /** Deletes them; resolves with how many. */
  purge(selection?: DeadLetterSelection): Promise<number>
}

export interface Bus extends AsyncDisposable {
  readonly service: string
  readonly state: BusState
  readonly events: BusEvents
  /**
   * Resolves when the broker has taken responsibility for the message. Rejects with `ValidationError` or `CodecError`
   * (nothing was sent), or `PublishError`, whose `outcome` says whether the broker may have it. Concurrent calls are sent as
   * one batch. Messages published one after another keep their order within a key.
   */
  publish<Input, Output>(
    event: EventDefinition<Input, Output>,
    data: NoInfer<Input>,
    options?: PublishOptions,
  ): Promise<PublishReceipt>
  publish(topic: string, data: unknown, options?: PublishOptions): Promise<PublishReceipt>
  /** As `publish` for many at once, with one result for each item; rejects only when the call itself makes no sense. */
  publishMany<Input, Output>(
    event: EventDefinition<Input, Output>,
    items: readonly PublishItem<NoInfer<Input>>[],
    options?: Pick<PublishOptions, 'transport' | 'signal'>,
  ): Promise<readonly PublishResult[]>
  publishMany(
    topic: string,
    items: readonly PublishItem[],
    options?: Pick<PublishOptions, 'transport' | 'signal'>,
  ): Promise<readonly PublishResult[]>
  /** Adds a consumer; before `start()` or after. */
  consume<Input, Output>(
    event: EventDefinition<Input, Output>,
    handler: Handler<Output>,
    options?: ConsumeOptions,
  ): ConsumerHandle
  consume(topic: string, handler: Handler, options?: ConsumeOptions): ConsumerHandle
  consume<Input, Output>(
    event: EventDefinition<Input, Output>,
    handler: BatchHandler<Output>,
    options: BatchConsumeOptions,
  ): ConsumerHandle
  consume(topic: string, handler: BatchHandler, options: BatchConsumeOptions): ConsumerHandle
  consume(definition: AnyConsumerDefinition): ConsumerHandle
  /** Opens the transports and subscribes all consumers. Rejects with the first error, everything closed again. */
  start(): Promise<void>
  /**
   * Stops intake, waits for running handlers and publishes within `closeTimeoutMs`, aborts what is left (it is delivered
   * again later), closes the transports. Nothing of the bus keeps the process alive afterwards. Safe to call twice.
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
