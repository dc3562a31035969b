import { ConfigurationError } from '../errors.ts'
import type { Problem } from '../errors.ts'
import { describe, unknownOption } from '../util/options-reader.ts'
import type { Position } from '../message.ts'

/** Options of one message. */
export interface PublishOptions {
  /** Messages with the same key stay in order. Default: the key from the event definition, else none. */
  readonly key?: string | undefined
  /**
   * Headers of the message. Names are tokens (letters, digits and `!#$%&'*+-.^_\`|~`); values are strings without line breaks
   * or NUL. Headers that begin with `ce-` are CloudEvents extension attributes of a forwarded message: set them with
   * `extensions`.
   */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** Delays delivery by this many milliseconds. */
  readonly delayMs?: number | undefined
  /** Delays delivery until this time. */
  readonly deliverAt?: Date | undefined
  /** Dead-letters the message if it is not handled within this many milliseconds. Must be longer than its delay. */
  readonly ttlMs?: number | undefined
  /** CloudEvents `id`. Set it to make publishing idempotent on brokers that deduplicate. Default: a new UUIDv7. */
  readonly id?: string | undefined
  /** CloudEvents `type`. Default: the topic. */
  readonly type?: string | undefined
  /** CloudEvents `source`: who published the message. Default: the service of the bus. */
  readonly source?: string | undefined
  /** CloudEvents `time`: when the event happened. Does not affect delivery, expiry or replay. Default: now. */
  readonly occurredAt?: Date | undefined
  /** CloudEvents `subject`. */
  readonly subject?: string | undefined
  /** CloudEvents `dataschema`: the URI of the schema of the data. Default: `dataSchema` of the event definition. */
  readonly dataSchema?: string | undefined
  /**
   * CloudEvents extension attributes: names of 1 to 20 lower-case letters and digits, string values. Handlers find them in
   * `message.headers` as `ce-<name>`.
   */
  readonly extensions?: Readonly<Record<string, string>> | undefined
  /** Id of the conversation. Default: in a handler, that of the handled message; otherwise this message's id. */
  readonly correlationId?: string | undefined
  /** Id of the message that caused this one. Default: in a handler, the id of the handled message. */
  readonly causationId?: string | undefined
  /**
   * W3C trace context, such as `00-<32 hex>-<16 hex>-01`; anything else is refused. Default: in a handler, that of the handled
   * message.
   */
  readonly traceparent?: string | undefined
  /** W3C trace state; belongs to `traceparent`. */
  readonly tracestate?: string | undefined
  /** Options of the transport for this message; see its page. Refused where it has none, and when they are wrong. */
  readonly native?: unknown
  /** Name of the transport to publish to. Default: the first; with `ctx.publish`, the one that the message came from. */
  readonly transport?: string | undefined
  /**
   * Stops waiting for confirmation. A message that the broker may already have rejects with the outcome `unknown`, any other
   * with `not-sent`.
   */
  readonly signal?: AbortSignal | undefined
}

/** One message of `publishMany`. */
export interface PublishItem<Data = unknown> extends Omit<PublishOptions, 'transport' | 'signal'> {
  readonly data: Data
}

/** Options of `bus.sendEncoded` and `bus.transaction`. */
export type SendOptions = Pick<PublishOptions, 'transport' | 'signal'>

/** Options for all messages of one `publishMany`. */
export interface PublishManyOptions extends SendOptions {
  /**
   * Resolves with one result per item, at the same index, even if some messages were not published: those have an `error`. When
   * false, the call rejects instead, so that no caller takes a message for published that is not. Default false.
   */
  readonly allowFailures?: boolean | undefined
}

/** `publishMany` resolves with the results of all items: those that were not published have an `error`. */
export interface AllowFailures {
  readonly allowFailures: true
}

/** `publishMany` resolves when all messages are published, and rejects otherwise. */
export interface RefuseFailures {
  readonly allowFailures?: false | undefined
}

/** Confirms that the broker has taken responsibility for the message. */
export interface PublishReceipt {
  readonly id: string
  readonly position: Position | undefined
}

/** Result of one message of `publishMany` with `allowFailures`, or of `sendEncoded`, at the index of its item. */
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
  'native',
]

/** What each message may have for itself. */
export const MESSAGE_OPTIONS: ReadonlySet<string> = new Set<string>(OF_MESSAGE)
export const PUBLISH_OPTIONS: ReadonlySet<string> = new Set<keyof PublishOptions>([
  ...OF_MESSAGE,
  'transport',
  'signal',
])
const PUBLISH_ITEM: ReadonlySet<string> = new Set<string>(['data', ...OF_MESSAGE])
/** What an item may have on its way through publish middleware. */
export const PUBLISH_CALL_ITEM: ReadonlySet<string> = new Set<string>([...PUBLISH_ITEM, 'transform'])
export const SEND_OPTIONS: ReadonlySet<string> = new Set<keyof SendOptions>(['transport', 'signal'])
export const PUBLISH_MANY_OPTIONS: ReadonlySet<string> = new Set<keyof PublishManyOptions>([
  'transport',
  'signal',
  'allowFailures',
])

export const CONVERSATION: ReadonlySet<string> = new Set(['correlationId', 'causationId', 'traceparent', 'tracestate'])

/**
 * Throws `ConfigurationError` for unknown options: a misspelt one would be silently ignored. Runs for every message that has
 * options, so it allocates nothing unless something is wrong.
 */
export function refuseUnknown(subject: string, options: object, known: ReadonlySet<string>, example?: string): void {
  if (typeof options !== 'object' || options === null)
    throw new ConfigurationError(subject, [
      {
        path: 'options',
        message: `must be an object, got ${describe(options)}${example === undefined ? '' : `; write ${example}`}`,
      },
    ])
  for (const name in options) if (!known.has(name)) throw unknownOptions(subject, options, known)
}

const ITEM_FORM = 'an item is { data, key, ... }, not the data itself'

/** Throws `ConfigurationError` for what is no item of `publishMany`, such as the data alone. */
export function refuseBadItem(item: object): void {
  const subject = 'An item of publishMany'
  if (typeof item !== 'object' || item === null)
    throw new ConfigurationError(subject, [
      { path: 'item', message: `must be an object, got ${describe(item)}: ${ITEM_FORM}` },
    ])
  if (!('data' in item)) throw new ConfigurationError(subject, [{ path: 'data', message: `is missing: ${ITEM_FORM}` }])
  for (const name in item) {
    // Most items have nothing else: comparing names takes less time than looking them up.
    if (name === 'data' || name === 'key' || PUBLISH_ITEM.has(name)) continue
    throw unknownOptions(subject, item, PUBLISH_ITEM)
  }
}

function unknownOptions(subject: string, options: object, known: ReadonlySet<string>): ConfigurationError {
  const problems: Problem[] = []
  for (const path in options) if (!known.has(path)) problems.push({ path, message: unknownOption(path, known) })
  return new ConfigurationError(subject, problems)
}
