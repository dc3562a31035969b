import { ConfigurationError } from './errors.ts'
import type { Problem } from './errors.ts'
import { describe, unknownOption } from './options.ts'
import type { Position } from './transport.ts'

/** What a publisher may say about one message. */
export interface PublishOptions {
  /** What must stay in order. Default: the definition's `key`, else none. */
  readonly key?: string | undefined
  /**
   * Names are tokens (letters, digits and `!#$%&'*+-.^_\`|~`), values strings without line breaks or NUL. Headers that begin
   * with `ce-` are the CloudEvents extension attributes of a message that is passed on: set them with `extensions`.
   */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** Delays delivery by this many milliseconds. */
  readonly delayMs?: number | undefined
  /** Delays delivery until that instant. */
  readonly deliverAt?: Date | undefined
  /** Dead-letters the message when it is not handled within this many milliseconds. Must be longer than its delay. */
  readonly ttlMs?: number | undefined
  /** Default: a new UUIDv7. Give your own to make a publish idempotent where the broker deduplicates. */
  readonly id?: string | undefined
  /** CloudEvents `type`. Default: the topic. */
  readonly type?: string | undefined
  /** CloudEvents `source`: who says so. Default: the service of the bus. */
  readonly source?: string | undefined
  /** CloudEvents `time`: when it happened. Default: now. It changes nothing about delivery, expiry or replay. */
  readonly occurredAt?: Date | undefined
  /** CloudEvents `subject`. */
  readonly subject?: string | undefined
  /** CloudEvents `dataschema`: the URI of the schema of the data. Default: that of the definition. */
  readonly dataSchema?: string | undefined
  /**
   * CloudEvents extension attributes: names of 1 to 20 lower-case letters and digits, values strings. A handler finds them in
   * `message.headers` as `ce-<name>`.
   */
  readonly extensions?: Readonly<Record<string, string>> | undefined
  /** Default: inside a handler the conversation of its message, else the message's own id. */
  readonly correlationId?: string | undefined
  /** Id of the message that caused this one. Default: inside a handler the id of its message. */
  readonly causationId?: string | undefined
  /** W3C trace context, such as `00-<32 hex>-<16 hex>-01`; another form is refused. Default: inside a handler that of its message. */
  readonly traceparent?: string | undefined
  /** Goes with `traceparent`. */
  readonly tracestate?: string | undefined
  /** Which of the bus's transports. Default: the first; with `ctx.publish` the one that the message came from. */
  readonly transport?: string | undefined
  /** Aborts the wait. What may already be with the broker then rejects with outcome `unknown`, the rest with `not-sent`. */
  readonly signal?: AbortSignal | undefined
}

/** One message of `publishMany`. */
export interface PublishItem<Data = unknown> extends Omit<PublishOptions, 'transport' | 'signal'> {
  readonly data: Data
}

/** What holds for all messages of one `publishMany`. */
export type PublishManyOptions = Pick<PublishOptions, 'transport' | 'signal'>

/** The same inside a handler. */
export interface ContextPublishManyOptions extends PublishManyOptions {
  /**
   * Resolve with the results although some messages were not published. Default false: the call rejects, so that a handler
   * that does not look at the results does not ack its own message.
   */
  readonly allowFailures?: boolean | undefined
}

/** The broker has taken responsibility for the message. */
export interface PublishReceipt {
  readonly id: string
  readonly position: Position | undefined
}

/** Fate of one message of `publishMany`, at the index of its item. */
export type PublishResult =
  | { readonly id: string; readonly position: Position | undefined; readonly error?: undefined }
  | { readonly id: string; readonly position?: undefined; readonly error: Error }

const OF_MESSAGE: readonly Exclude<keyof PublishItem, 'data'>[] = [
  'key',
  'headers',
  'delayMs',
  'deliverAt',
  'ttlMs',
  'id',
  'type',
  'source',
  'occurredAt',
  'subject',
  'dataSchema',
  'extensions',
  'correlationId',
  'causationId',
  'traceparent',
  'tracestate',
]

export const PUBLISH_OPTIONS: ReadonlySet<string> = new Set<keyof PublishOptions>([
  ...OF_MESSAGE,
  'transport',
  'signal',
])
export const PUBLISH_ITEM: ReadonlySet<string> = new Set<string>(['data', ...OF_MESSAGE])
export const PUBLISH_MANY_OPTIONS: ReadonlySet<string> = new Set<keyof PublishManyOptions>(['transport', 'signal'])

export const CONVERSATION: ReadonlySet<string> = new Set(['correlationId', 'causationId', 'traceparent', 'tracestate'])

/**
 * Throws `ConfigurationError` for options that do not exist: a misspelt one would have no effect, and nothing would show it.
 * Runs for every message that has options, so it allocates nothing unless something is wrong.
 */
export function refuseUnknown(subject: string, options: object, known: ReadonlySet<string>): void {
  if (typeof options !== 'object' || options === null)
    throw new ConfigurationError(subject, [{ path: 'options', message: `must be an object, got ${describe(options)}` }])
  for (const name in options) if (!known.has(name)) throw unknownOptions(subject, options, known)
}

function unknownOptions(subject: string, options: object, known: ReadonlySet<string>): ConfigurationError {
  const problems: Problem[] = []
  for (const path in options) if (!known.has(path)) problems.push({ path, message: unknownOption(path, known) })
  return new ConfigurationError(subject, problems)
}
