import { OptionsReader } from '../../../core/util/options-reader.ts'
import type { SubscriptionSpec } from '../../../core/transport.ts'
import { BUCKETS } from '../topology/names.ts'
import type { ResolvedRabbitMqOptions } from '../options.ts'
import type { StreamOffset } from './stream-cursor.ts'

/** The `native` options of a consumer on RabbitMQ. */
export interface RabbitMqConsumerOptions {
  /**
   * Consumes this queue instead of the group's own, whatever fills it. The queue must exist or be declared by
   * `topology`, and determines order and redelivery itself.
   */
  readonly queue?: string | undefined
  /**
   * Reads a stream (`x-queue-type: stream`) from here: `first`, `last` (chunk), `next`, an offset, or `{ timeMs }`. It
   * is the stream named by `queue`, or the topic's own one, which is declared if it does not exist and stores what is
   * published from then on. Needs `broadcast: true`: every consumer of a stream gets all messages, and no position is
   * stored.
   */
  readonly offset?: StreamOffset | undefined
  /** More bindings for the group's queues besides the topic: other exchanges, other keys. */
  readonly bindings?:
    | readonly {
        readonly exchange: string
        readonly routingKey?: string | undefined
        readonly arguments?: Readonly<Record<string, unknown>> | undefined
      }[]
    | undefined
  /** Number of queues of this group when it is declared. Default: the transport's. */
  readonly partitions?: number | undefined
  /** Type of the group's queues when they are declared. Default: the transport's. */
  readonly queueType?: 'quorum' | 'classic' | undefined
  /** Makes classic queues of the group priority queues (`x-max-priority`), 1 to 255. Use few levels. */
  readonly maxPriority?: number | undefined
  /** More arguments for the declared queues: `{ 'x-max-length': 100000 }`, `{ 'x-max-age': '7D' }`. */
  readonly arguments?: Readonly<Record<string, unknown>> | undefined
  /**
   * Maximum number of unacked messages of one queue in this process, 1 to 65,535. Default: the consumer's `prefetch`,
   * shared by its queues.
   */
  readonly prefetch?: number | undefined
  /**
   * The broker removes a message as soon as it is sent: at most once, no redelivery. Prefetch has no effect then, so
   * `maxBuffered` limits what waits in this process. Default false.
   */
  readonly noAck?: boolean | undefined
  /** With `noAck`: delivery pauses while more messages than this wait in this process. Required with `noAck`. */
  readonly maxBuffered?: number | undefined
  /** The broker refuses other consumers of the queue (classic queues only). */
  readonly exclusive?: boolean | undefined
  /** The broker serves consumers with a higher priority first. */
  readonly priority?: number | undefined
  /** Consumer tag shown in the broker's lists. Default: one made by the broker. */
  readonly consumerTag?: string | undefined
  /** More arguments for `basic.consume`. */
  readonly consumeArguments?: Readonly<Record<string, unknown>> | undefined
  /**
   * AMQP properties that the handler gets as headers `amqp-<name>`: `priority`, `replyTo`, `redelivered`, `exchange`,
   * `routingKey`, `deliveryTag`, `consumerTag`, `contentEncoding`, `messageId`, `timestamp`, `type`, `userId`, `appId`,
   * `clusterId`, `correlationId`, `expiration`, `persistent`. Default none.
   */
  readonly metadata?: readonly string[] | undefined
}

export interface ResolvedConsumerOptions {
  readonly queue: string | undefined
  readonly offset: StreamOffset | undefined
  readonly bindings: NonNullable<RabbitMqConsumerOptions['bindings']>
  readonly partitions: number
  readonly queueType: 'quorum' | 'classic' | undefined
  readonly maxPriority: number | undefined
  readonly arguments: Readonly<Record<string, unknown>>
  readonly prefetch: number | undefined
  readonly noAck: boolean
  readonly maxBuffered: number
  readonly exclusive: boolean
  readonly priority: number | undefined
  readonly consumerTag: string | undefined
  readonly consumeArguments: Readonly<Record<string, unknown>> | undefined
  readonly metadata: readonly string[]
}

const METADATA: readonly string[] = [
  'priority',
  'replyTo',
  'redelivered',
  'exchange',
  'routingKey',
  'deliveryTag',
  'consumerTag',
  'contentEncoding',
  'messageId',
  'timestamp',
  'type',
  'userId',
  'appId',
  'clusterId',
  'correlationId',
  'expiration',
  'persistent',
]

export function resolveConsumerOptions(
  { native, topic, ephemeral }: Pick<SubscriptionSpec, 'native' | 'topic' | 'ephemeral'>,
  transport: ResolvedRabbitMqOptions,
): ResolvedConsumerOptions {
  const reader = new OptionsReader(`native of the consumer of "${topic}"`, native)
  const noAck = reader.boolean('noAck', false)
  if (noAck && !reader.has('maxBuffered'))
    reader.problem('maxBuffered', 'is required with noAck: the broker sends without limit then')
  if (reader.raw('prefetch') === 0)
    reader.problem('prefetch', 'must not be 0 (no limit): use noAck with maxBuffered, or a number')
  const metadata = reader.list('metadata')
  for (const [index, name] of metadata.entries())
    if (!METADATA.includes(name as string)) reader.problem(`metadata.${index}`, `must be one of ${METADATA.join(', ')}`)
  const resolved: ResolvedConsumerOptions = {
    queue: reader.string('queue', undefined),
    offset: readOffset(reader),
    bindings: reader.list('bindings').map((given, index) => readBinding(reader, given, index)),
    partitions: reader.integer('partitions', transport.partitions, { min: 1, max: BUCKETS }),
    queueType: reader.has('queueType') ? reader.oneOf('queueType', ['quorum', 'classic'], 'quorum') : undefined,
    maxPriority: reader.integer('maxPriority', undefined, { min: 1, max: 255 }),
    arguments: record(reader, 'arguments') ?? {},
    prefetch: reader.raw('prefetch') === 0 ? undefined : reader.integer('prefetch', undefined, { min: 1, max: 65_535 }),
    noAck,
    maxBuffered: reader.integer('maxBuffered', 1_000, { min: 1 }),
    exclusive: reader.boolean('exclusive', false),
    priority: reader.integer('priority', undefined, { min: -1_000_000, max: 1_000_000 }),
    consumerTag: reader.string('consumerTag', undefined),
    consumeArguments: record(reader, 'consumeArguments'),
    metadata: metadata as readonly string[],
  }
  if (resolved.maxPriority !== undefined && resolved.queueType !== 'classic')
    reader.problem(
      'maxPriority',
      "needs queueType: 'classic': quorum queues have priorities of their own, from RabbitMQ 4.0 on",
    )
  if (resolved.offset !== undefined) checkStream(reader, ephemeral)
  else if (resolved.queue !== undefined && ephemeral)
    reader.problem(
      'queue',
      'has no meaning with broadcast: true, which has a separate queue; give an offset to read a stream',
    )
  if (resolved.queue !== undefined) {
    for (const field of ['partitions', 'queueType', 'maxPriority', 'arguments'] as const)
      if (reader.has(field))
        reader.problem(field, 'belongs to the declaration of the queue, which is not ours with `queue`')
  }
  reader.done()
  return Object.freeze(resolved)
}

/** Throws `ConfigurationError` for options of one topic's own queues, where topics share those of their group. */
export function checkSharedOptions({ native, topic }: Pick<SubscriptionSpec, 'native' | 'topic'>): void {
  const reader = new OptionsReader(`native of the consumer of "${topic}"`, native)
  for (const field of Object.keys(native ?? {}))
    reader.problem(
      field,
      "is for queues of its own, and with queues: 'per-group' the topics of a group share its queues. Leave it out, or give this consumer order: 'none' or 'strict', a pattern, or native.queue",
    )
  reader.done()
}

function readOffset(reader: OptionsReader): StreamOffset | undefined {
  const value = reader.raw('offset')
  if (value === undefined || value === 'first' || value === 'last' || value === 'next') return value
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  if (typeof value === 'object' && value !== null && Number.isFinite((value as { timeMs?: unknown }).timeMs))
    return { timeMs: (value as { timeMs: number }).timeMs }
  reader.problem('offset', "must be 'first', 'last', 'next', an offset from 0 on, or { timeMs }")
  return undefined
}

function checkStream(reader: OptionsReader, ephemeral: boolean): void {
  if (!ephemeral)
    reader.problem(
      'offset',
      'needs broadcast: true: a stream keeps no place for a group, so each instance reads all of it',
    )
  for (const field of ['noAck', 'exclusive', 'queueType', 'maxPriority', 'partitions'] as const)
    if (reader.has(field)) reader.problem(field, 'has no meaning for a stream')
}

function readBinding(
  reader: OptionsReader,
  given: unknown,
  index: number,
): NonNullable<RabbitMqConsumerOptions['bindings']>[number] {
  const { exchange, routingKey = '', arguments: args } = (given ?? {}) as Record<string, unknown>
  if (typeof exchange !== 'string' || exchange === '')
    reader.problem(`bindings.${index}.exchange`, 'is required: a string that is not empty')
  if (typeof routingKey !== 'string') reader.problem(`bindings.${index}.routingKey`, 'must be a string')
  return { exchange: String(exchange), routingKey: String(routingKey), arguments: args as Record<string, unknown> }
}

function record(reader: OptionsReader, field: string): Readonly<Record<string, unknown>> | undefined {
  const value = reader.raw(field)
  if (value === undefined || (typeof value === 'object' && value !== null && !Array.isArray(value)))
    return value as Readonly<Record<string, unknown>> | undefined
  reader.problem(field, 'must be an object')
  return undefined
}
