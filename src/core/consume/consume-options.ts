import type { BatchMiddleware, Middleware } from '../handler.ts'
import type { Message } from '../message.ts'
import type { OptionsReader } from '../util/options-reader.ts'
import type { StartFrom } from '../transport.ts'
import { compileWhere } from '../where/compile-where.ts'
import type { MessageFilter } from '../where/compile-where.ts'
import type { Where } from '../where/where.ts'

/** How a consumer retries messages whose handler failed. */
export interface RetryOptions {
  /** Maximum number of attempts, including the first; 1 means no retry. Default 5. */
  readonly attempts?: number | undefined
  /**
   * How the delay grows. `full-jitter`: a random time up to the exponential delay, so that retries don't come all at once.
   * `fixed`: always `baseMs`. Default `full-jitter`.
   */
  readonly backoff?: 'full-jitter' | 'exponential' | 'fixed' | undefined
  /** First delay, in ms; the exponential delay doubles from here. Default 200. */
  readonly baseMs?: number | undefined
  /** Maximum delay, in ms. Default 30,000. */
  readonly maxMs?: number | undefined
  /**
   * Where a message waits for its retry. `inline`: in this process, and later messages of its key wait behind it. `delayed`: at
   * the broker, which costs no memory here. `auto`: `delayed` if the broker keeps the key's order meanwhile or the message has
   * no order to keep, else `inline`. Default `auto`.
   */
  readonly mode?: 'auto' | 'inline' | 'delayed' | undefined
  /** Return false to dead-letter the message at once. Also called for errors with `retryable: false`. Default: always true. */
  readonly retryIf?: ((error: unknown, message: Message, attempt: number) => boolean) | undefined
  /** Maximum number of retries of this consumer per minute. Retries above it wait; none is lost. Default: no limit. */
  readonly budgetPerMinute?: number | undefined
}

/** Options of `bus.consume` and `defineConsumer`. */
export interface ConsumeOptions<Data = unknown> {
  /** Consumer group: its members share the messages. Can't be combined with `broadcast`. Default: the bus's `service`. */
  readonly group?: string | undefined
  /**
   * Every instance gets its own copy of each message published while it is connected; nothing is kept while it is away. Default
   * false.
   */
  readonly broadcast?: boolean | undefined
  /**
   * Which messages the handler wants; the others are acked without it, and counted in `stats().skipped`. The same for all members
   * of a group: each acks what it does not want. Conditions on `data` see the output of the event's schema, so a message that does
   * not fit the schema fails whether it is wanted or not; conditions on attributes are applied first, before the body is decoded.
   * Default: all.
   */
  readonly where?: Where<Data> | undefined
  /** Maximum number of handlers (or batches) that run at once. Default 10. */
  readonly concurrency?: number | undefined
  /**
   * Which messages are handled one at a time and in order. `key`: those of one key. `strict`: those of the topic. `none`: no
   * order. The same for all members of a group. Default `key`.
   */
  readonly order?: 'key' | 'strict' | 'none' | undefined
  /**
   * Maximum number of unsettled messages in this process. Default: twice the concurrency (times the batch size), at least 256.
   */
  readonly prefetch?: number | undefined
  /** Maximum size of those messages, in bytes. Default 16 MiB. */
  readonly prefetchBytes?: number | undefined
  /** How failed messages are retried; false for no retries. Default: 5 attempts, full jitter from 200 ms. */
  readonly retry?: RetryOptions | false | undefined
  /**
   * What to do with a message that can't be handled: store it in the dead-letter topic (`topic`), or discard and count it
   * (`drop`). Default `topic`.
   */
  readonly deadLetter?: 'topic' | 'drop' | undefined
  /**
   * What happens to later messages of a key after one of them was dead-lettered. `continue`: they are handled. `park-key`: they
   * are dead-lettered too, unhandled, with the reason `prior-failed`, until all dead letters of the key are redriven (in order)
   * or purged. Messages in the same batch of a batch handler are not parked: they keep the handler's results. Parking reads new
   * dead letters once per batch that arrives, and all of them for a message of a parked key. Needs `order: 'key'` and a
   * dead-letter topic. Default `continue`.
   */
  readonly onDeadLetter?: 'continue' | 'park-key' | undefined
  /**
   * Deadline of one attempt, in ms. When it expires, `ctx.signal` aborts. If the handler still succeeds within
   * `abandonAfterMs`, the message is acked; otherwise the attempt has failed. Default: none.
   */
  readonly timeoutMs?: number | undefined
  /** How long a handler may keep running after its signal aborted before its slot is freed, in ms. Default 5,000. */
  readonly abandonAfterMs?: number | undefined
  /**
   * Where a group starts when it is new on the broker. Default: `latest` with `broadcast` or on a transport without replay,
   * else `earliest`.
   */
  readonly from?: StartFrom | undefined
  /**
   * Holds what handlers publish with `ctx.publish` until they succeed: a failed attempt publishes nothing. On transports with the
   * capability `publishOnAck` (SQLite, memory), the messages are stored and the handled message is acked in one atomic step;
   * elsewhere they are confirmed before the ack, and a crash in between publishes them again. `ctx.publish` then resolves when
   * its message is encoded and held, and the receipt has no position. Not for batch handlers. Default false.
   */
  readonly publishOnAck?: boolean | undefined
  /**
   * How often what a handler publishes with `ctx.publish` takes effect. `exactly-once`: once for each handled message, whatever is
   * killed, because it is stored, and the message acked, in one atomic step, as with `publishOnAck`, which is then implied. Refused
   * on transports that can't (capability `publishOnAck`), for batch handlers, and in `ctx.publish` for another transport. Handlers
   * may still run more than once: it covers what they publish, not what else they do. Default `at-least-once`.
   */
  readonly guarantee?: 'at-least-once' | 'exactly-once' | undefined
  /** Middleware of this consumer; runs inside the bus's `middleware`. */
  readonly middleware?: readonly Middleware[] | undefined
  /** Name of the transport to consume from. Default: the first. */
  readonly transport?: string | undefined
  /** How long a consumer may make no progress while there is work before it counts as `stalled`, in ms. Default 60,000. */
  readonly stalledAfterMs?: number | undefined
  /** Options of the transport for this consumer; see its page. */
  readonly native?: unknown
  /** Only for batch handlers: see below. */
  readonly batch?: undefined
}

/** What has no meaning for a batch handler, or another one. */
type NotForBatches = 'batch' | 'middleware' | 'publishOnAck' | 'guarantee'

/** Options of a consumer with a batch handler. */
export interface BatchConsumeOptions<Data = unknown> extends Omit<ConsumeOptions<Data>, NotForBatches> {
  /** Calls the handler with up to `size` messages, at most `timeoutMs` after the first of them arrived (default 100). */
  readonly batch: { readonly size: number; readonly timeoutMs?: number | undefined }
  /** Batch middleware of this consumer; runs inside the bus's `batchMiddleware`. */
  readonly middleware?: readonly BatchMiddleware[] | undefined
}

/** `RetryOptions` with defaults applied. */
export interface ResolvedRetry {
  readonly attempts: number
  readonly backoff: 'full-jitter' | 'exponential' | 'fixed'
  readonly baseMs: number
  readonly maxMs: number
  readonly mode: 'auto' | 'inline' | 'delayed'
  /** Whether an error is worth another attempt; undefined when every one is. */
  readonly retryIf: ((error: unknown, message: Message, attempt: number) => boolean) | undefined
  readonly budgetPerMinute: number | undefined
}

/** `ConsumeOptions` with defaults applied. */
export interface ResolvedConsumeOptions {
  readonly group: string | undefined
  readonly broadcast: boolean
  readonly where: MessageFilter | undefined
  readonly concurrency: number
  readonly order: 'key' | 'strict' | 'none'
  readonly prefetch: number
  readonly prefetchBytes: number
  readonly retry: ResolvedRetry
  readonly deadLetter: 'topic' | 'drop'
  readonly onDeadLetter: 'continue' | 'park-key'
  readonly timeoutMs: number | undefined
  readonly abandonAfterMs: number
  readonly batch: { readonly size: number; readonly timeoutMs: number } | undefined
  readonly from: StartFrom | undefined
  /** Of batch handlers with `batch`, else of handlers. */
  readonly middleware: readonly (Middleware | BatchMiddleware)[]
  readonly transport: string | undefined
  readonly stalledAfterMs: number
  /** Always with `guarantee: 'exactly-once'`. */
  readonly publishOnAck: boolean
  readonly guarantee: 'at-least-once' | 'exactly-once'
  readonly native: unknown
}

const CONSUME_DEFAULTS = {
  concurrency: 10,
  minPrefetch: 256,
  prefetchBytes: 16_777_216,
  attempts: 5,
  baseMs: 200,
  maxMs: 30_000,
  abandonAfterMs: 5_000,
  batchTimeoutMs: 100,
  stalledAfterMs: 60_000,
} as const

const GROUP = /^[A-Za-z0-9_-]{1,64}$/

/** Says what is wrong with the name of a group or service, or returns undefined. */
export function groupProblem(name: string): string | undefined {
  return GROUP.test(name)
    ? undefined
    : 'must be 1 to 64 letters, digits, "_" or "-": it becomes part of queue and topic names'
}

/** How many messages of one key a transport may hand over: one key must not take the whole prefetch. */
export function maxPerKeyOf(prefetch: number): number {
  return Math.max(1, Math.ceil(prefetch / 8))
}

export function resolveConsumeOptions(reader: OptionsReader): ResolvedConsumeOptions {
  const batch = resolveBatch(reader)
  const guarantee = resolveGuarantee(reader, batch)
  const order = reader.oneOf('order', ['key', 'strict', 'none'], 'key')
  const concurrency = reader.integer('concurrency', CONSUME_DEFAULTS.concurrency, { min: 1, max: 100_000 })
  const group = reader.string('group', undefined)
  if (group !== undefined && groupProblem(group) !== undefined) reader.problem('group', groupProblem(group) ?? '')
  const perSlot = batch?.size ?? 1
  const deadLetter = reader.oneOf('deadLetter', ['topic', 'drop'], 'topic')
  const onDeadLetter = reader.oneOf('onDeadLetter', ['continue', 'park-key'], 'continue')
  if (onDeadLetter === 'park-key' && (order !== 'key' || deadLetter === 'drop'))
    reader.problem('onDeadLetter', `'park-key' needs order: 'key' and deadLetter: 'topic'`)
  return Object.freeze({
    group,
    broadcast: reader.boolean('broadcast', false),
    where: reader.has('where') ? compileWhere(reader, 'where', reader.raw('where')) : undefined,
    concurrency: order === 'strict' ? 1 : concurrency,
    order,
    prefetch: reader.integer('prefetch', Math.max(CONSUME_DEFAULTS.minPrefetch, 2 * concurrency * perSlot), {
      min: 1,
      max: 1_000_000,
    }),
    prefetchBytes: reader.integer('prefetchBytes', CONSUME_DEFAULTS.prefetchBytes, { min: 1024 }),
    retry: resolveRetry(reader),
    deadLetter,
    onDeadLetter,
    timeoutMs: reader.integer('timeoutMs', undefined, { min: 1 }),
    abandonAfterMs: reader.integer('abandonAfterMs', CONSUME_DEFAULTS.abandonAfterMs),
    batch,
    from: resolveFrom(reader),
    middleware: reader.functions<Middleware | BatchMiddleware>('middleware'),
    transport: reader.string('transport', undefined),
    stalledAfterMs: reader.integer('stalledAfterMs', CONSUME_DEFAULTS.stalledAfterMs, { min: 100 }),
    publishOnAck: resolvePublishOnAck(reader, batch, guarantee),
    guarantee,
    native: reader.raw('native'),
  })
}

type Guarantee = ResolvedConsumeOptions['guarantee']

function resolveGuarantee(reader: OptionsReader, batch: ResolvedConsumeOptions['batch']): Guarantee {
  const guarantee = reader.oneOf('guarantee', ['at-least-once', 'exactly-once'], 'at-least-once')
  if (guarantee === 'exactly-once' && batch !== undefined)
    reader.problem('guarantee', `'exactly-once' has no meaning for a batch handler: its context has no publish()`)
  return guarantee
}

function resolvePublishOnAck(
  reader: OptionsReader,
  batch: ResolvedConsumeOptions['batch'],
  guarantee: Guarantee,
): boolean {
  const isExactlyOnce = guarantee === 'exactly-once'
  const publishOnAck = reader.boolean('publishOnAck', isExactlyOnce)
  if (isExactlyOnce && !publishOnAck)
    reader.problem('publishOnAck', `can't be false with guarantee: 'exactly-once', which publishes with the ack`)
  if (publishOnAck && !isExactlyOnce && batch !== undefined)
    reader.problem('publishOnAck', 'has no meaning for a batch handler: its context has no publish()')
  return publishOnAck
}

function resolveRetry(reader: OptionsReader): ResolvedRetry {
  if (reader.raw('retry') === false)
    return {
      attempts: 1,
      backoff: 'fixed',
      baseMs: 0,
      maxMs: 0,
      mode: 'auto',
      retryIf: undefined,
      budgetPerMinute: undefined,
    }
  const retry = reader.nested('retry')
  const resolved: ResolvedRetry = {
    attempts: retry.integer('attempts', CONSUME_DEFAULTS.attempts, { min: 1, max: 10_000 }),
    backoff: retry.oneOf('backoff', ['full-jitter', 'exponential', 'fixed'], 'full-jitter'),
    baseMs: retry.integer('baseMs', CONSUME_DEFAULTS.baseMs),
    maxMs: retry.integer('maxMs', CONSUME_DEFAULTS.maxMs),
    mode: retry.oneOf('mode', ['auto', 'inline', 'delayed'], 'auto'),
    retryIf: retry.callable<NonNullable<RetryOptions['retryIf']>>('retryIf'),
    budgetPerMinute: retry.integer('budgetPerMinute', undefined, { min: 1 }),
  }
  return Object.freeze(resolved)
}

function resolveBatch(reader: OptionsReader): ResolvedConsumeOptions['batch'] {
  if (!reader.has('batch')) return undefined
  const batch = reader.nested('batch')
  if (!batch.has('size')) batch.problem('size', 'is required: maximum number of messages in a batch')
  const size = batch.integer('size', 1, { min: 1, max: 100_000 })
  return Object.freeze({ size, timeoutMs: batch.integer('timeoutMs', CONSUME_DEFAULTS.batchTimeoutMs) })
}

function resolveFrom(reader: OptionsReader): StartFrom | undefined {
  const from = reader.raw('from')
  if (from === undefined || from === 'earliest' || from === 'latest') return from
  if (typeof from === 'object' && from !== null) {
    const { timeMs, position } = from as { timeMs?: unknown; position?: unknown }
    if (typeof timeMs === 'number' && Number.isFinite(timeMs)) return { timeMs }
    if (typeof position === 'object' && position !== null) return { position: position as never }
  }
  reader.problem('from', 'must be "earliest", "latest", { timeMs: number } or { position: object }')
  return undefined
}
