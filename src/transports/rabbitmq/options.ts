// Longer than most files because of the doc comments of the options.
import type { Channel, ChannelModel, Options } from 'amqplib'
import type { ConnectionOptions as TlsOptions } from 'node:tls'
import { readEnvelopeForm } from '../../core/compact-envelope.ts'
import type { EnvelopeForm } from '../../core/compact-envelope.ts'
import { groupProblem } from '../../core/consume/consume-options.ts'
import type { OutgoingMessage } from '../../core/message.ts'
import { describe, OptionsReader } from '../../core/util/options-reader.ts'
import { topicProblem } from '../../core/topic.ts'
import type { BackoffOptions, BackoffType } from './connection/backoff.ts'
import { BUCKETS } from './topology/names.ts'
import { applyUrl, checkUrl } from './connection/url.ts'

/** Options of `rabbitmq`. */
export interface RabbitMqOptions {
  /**
   * `amqp://user:password@host:5672/vhost`, or `amqps://`; its parameters are options of this object: `?partitions=8`.
   * With a list, each attempt to connect uses the next URL. A function is called for each attempt (`attempt` counts
   * from 0). Default `amqp://localhost`.
   */
  readonly url?: string | readonly string[] | ((attempt: number) => string | Promise<string>) | undefined
  /** Used instead of the credentials in the URL. A function is called at each connect, for passwords that change. */
  readonly credentials?: Credentials | (() => Credentials | Promise<Credentials>) | undefined
  /** Options of `tls.connect` (`ca`, `cert`, `key`, `servername`, ...) for an `amqps:` URL. */
  readonly tls?: TlsOptions | undefined
  /**
   * An open connection of amqplib. Busbar uses it for everything, never closes it, and does not replace it when it is
   * lost.
   */
  readonly client?: ChannelModel | undefined
  /** Makes connections in Busbar's place; called again after each loss. Busbar closes what it returns. */
  readonly connect?: ((purpose: Purpose, attempt: number) => Promise<ChannelModel>) | undefined
  /** Name of the connection in the broker's lists; its purpose is appended. Default: the bus's service. */
  readonly connectionName?: string | undefined
  /**
   * Heartbeat interval, in ms, rounded to seconds. A silent peer is given up after about two intervals. 0: no
   * heartbeats. Default 10,000.
   */
  readonly heartbeatMs?: number | undefined
  /** Maximum duration of one attempt to connect, in ms. Default 10,000. */
  readonly connectTimeoutMs?: number | undefined
  /**
   * Pauses between attempts to reconnect. The first attempt follows within 100 ms; while the broker can't be reached,
   * pauses are at most 2 s (or `minMs`). `stop`: never reconnects. Default `random-exponential`, 1,000 to 30,000 ms.
   */
  readonly reconnect?:
    | {
        readonly type?: BackoffType | undefined
        readonly minMs?: number | undefined
        readonly maxMs?: number | undefined
      }
    | undefined
  /** Topic exchange of the bus, and prefix of all other names. Default `busbar`. */
  readonly exchange?: string | undefined
  /** `auto`: quorum queues where the broker has them, otherwise classic ones. Default `auto`. */
  readonly queueType?: 'auto' | 'quorum' | 'classic' | undefined
  /**
   * Number of queues that a group with `order: 'key'` is spread over, and so the maximum number of members that work at
   * once; 1 to 32. Default 4.
   */
  readonly partitions?: number | undefined
  /**
   * More arguments for the quorum queues that Busbar declares: of groups, dead letters, delays and its own records; `{
   * 'x-quorum-initial-group-size': 5 }`. Only what says where and how a queue is stored; for limits, use `native` of a
   * consumer, `groups`, or a policy of the broker.
   */
  readonly quorumArguments?: Readonly<Record<string, unknown>> | undefined
  /** Number of deliveries after which the broker itself dead-letters a message that is never settled. Default 1,000. */
  readonly deliveryLimit?: number | undefined
  /** Maximum size of a body, in bytes; at most the broker's `max_message_size`. Default 16 MiB. */
  readonly maxMessageBytes?: number | undefined
  /**
   * Maximum number of messages sent but not yet confirmed: for plain messages, delayed ones, and dead letters each.
   * Default 4,096.
   */
  readonly maxInFlight?: number | undefined
  /**
   * What happens to a message that no queue takes: its publish rejects, or it is dropped and reported as `loss`.
   * Default `reject`.
   */
  readonly unroutable?: 'reject' | 'drop' | undefined
  /** Delays messages with the plugin `rabbitmq_delayed_message_exchange`, or with a ladder of queues. Default `ladder`. */
  readonly delay?: 'ladder' | 'plugin' | 'auto' | undefined
  /**
   * False declares nothing on the broker, for users without that permission. Exchanges and queues must exist: another
   * process (with the default) or an operator creates them. The members of a group then do not share its partitions
   * evenly.
   *
   * @default true
   */
  readonly declare?: boolean | undefined
  /**
   * How long the broker leaves a message unacked before it takes it back (`consumer_timeout`), in ms. Set it when the
   * broker's value is not RabbitMQ's default of 30 minutes: AMQP has no way to read it. 0: no limit.
   *
   * @default 1_800_000
   */
  readonly consumerTimeoutMs?: number | undefined
  /** Exchanges, queues and bindings of your own to declare. */
  readonly topology?: TopologyOptions | undefined
  /** Groups to declare before their first consumer starts, so that their messages are stored. */
  readonly groups?: readonly GroupDeclaration[] | undefined
  /**
   * Runs on a channel of each new connection before anything else is declared; if it rejects, the connection counts as
   * failed.
   */
  readonly afterConnect?: ((channel: Channel, purpose: Purpose) => void | Promise<void>) | undefined
  /**
   * Sends a message to another exchange; return undefined for the usual route. Not called for copies for one group or
   * for dead letters.
   */
  readonly route?: ((message: OutgoingMessage) => Route | undefined) | undefined
  /**
   * `compact` leaves out attributes that Busbar derives when it reads a message; `cloudevents` writes every attribute, for
   * other programs. Both are read. See docs/reference/envelope.md.
   *
   * @default 'compact'
   */
  readonly envelope?: EnvelopeForm | undefined
  /** Sets AMQP properties of a message. */
  readonly properties?: ((message: OutgoingMessage) => MessageProperties | undefined) | undefined
  /** Passed to `amqplib.connect` unchanged: fields of its URL object, and its socket options. */
  readonly native?:
    | {
        readonly url?: Partial<Options.Connect> | undefined
        readonly socket?: Readonly<Record<string, unknown>> | undefined
      }
    | undefined
}

/**
 * What a connection is for: publishing has a separate one, so that a broker that blocks publishers does not stop
 * consumers.
 */
export type Purpose = 'publish' | 'consume'

/** User and password. */
export interface Credentials {
  /** Name of the RabbitMQ user. */
  readonly username: string
  /** Password of that user. */
  readonly password: string
}

/** Your own topology, declared besides Busbar's exchanges and queues. All of it is declared again after each reconnect. */
export interface TopologyOptions {
  /** Declared first. */
  readonly exchanges?: readonly ExchangeDeclaration[] | undefined
  /** Declared after the exchanges. */
  readonly queues?: readonly QueueDeclaration[] | undefined
  /** Declared last, when the exchanges and queues exist. */
  readonly bindings?: readonly BindingDeclaration[] | undefined
}

/** An exchange that the transport declares. */
export interface ExchangeDeclaration {
  /** Name of the exchange. */
  readonly name: string
  /** `direct`, `fanout`, `topic`, `headers`, or one of a plugin. */
  readonly type: string
  /** Default true. */
  readonly durable?: boolean | undefined
  /** Deletes the exchange when its last binding is removed. Default false. */
  readonly autoDelete?: boolean | undefined
  /** Only other exchanges can publish to it. Default false. */
  readonly internal?: boolean | undefined
  /** Exchange that receives what no queue of this one takes. Default: none. */
  readonly alternateExchange?: string | undefined
  /** Further arguments of the declaration. */
  readonly arguments?: Readonly<Record<string, unknown>> | undefined
}

/** A queue that the transport declares. */
export interface QueueDeclaration {
  /** Name of the queue. */
  readonly name: string
  /** Default true. */
  readonly durable?: boolean | undefined
  /** Deletes the queue when its last consumer leaves. Default false. */
  readonly autoDelete?: boolean | undefined
  /** Queue type and other arguments: `{ 'x-queue-type': 'quorum' }`. */
  readonly arguments?: Readonly<Record<string, unknown>> | undefined
}

/** Binds an exchange to a queue or to another exchange. */
export interface BindingDeclaration {
  /** Exchange that the messages come from. */
  readonly from: string
  /** Queue that they go to; set either this or `toExchange`. */
  readonly toQueue?: string | undefined
  /** Exchange that they go to; set either this or `toQueue`. */
  readonly toExchange?: string | undefined
  /** Default empty. */
  readonly routingKey?: string | undefined
  /** Arguments of the binding, for a `headers` exchange. */
  readonly arguments?: Readonly<Record<string, unknown>> | undefined
}

/** A group to declare when the transport opens, so that messages wait for it before its first member starts. */
export interface GroupDeclaration {
  /** Topic or pattern, as its consumers subscribe to it. */
  readonly topic: string
  /** Name of the group. */
  readonly group: string
  /** Order that its consumers will use. Default `key`. */
  readonly order?: 'key' | 'strict' | 'none' | undefined
  /** More arguments for its queues, the same as in `native` of its consumers: `{ 'x-max-length': 100000 }`. */
  readonly arguments?: Readonly<Record<string, unknown>> | undefined
}

/** Where a message goes instead of the exchange of the bus. */
export interface Route {
  /** Exchange to publish to; empty for the default exchange, which routes to the queue that the routing key names. */
  readonly exchange: string
  /** Routing key to publish with. */
  readonly routingKey: string
}

/** AMQP properties that have no place in the envelope. */
export interface MessageProperties {
  /** Priority, for queues declared with `x-max-priority`. */
  readonly priority?: number | undefined
  /** Queue to reply to. */
  readonly replyTo?: string | undefined
  /** AMQP's `correlation_id`; the bus's own correlation id is a header. */
  readonly correlationId?: string | undefined
  /** Name of the application that publishes. */
  readonly appId?: string | undefined
  /** User that publishes; RabbitMQ refuses any other than the connection's. */
  readonly userId?: string | undefined
  /** AMQP's own `type`; the CloudEvents type is a header. */
  readonly type?: string | undefined
  /** Encoding of the body, such as `gzip`: for consumers other than Busbar, which does not decode it. */
  readonly contentEncoding?: string | undefined
  /** How long the message may wait in a queue before the broker drops or dead-letters it, in ms. Not for delayed messages. */
  readonly expiration?: number | undefined
  /** False: the broker may forget the message when it restarts. Default true. */
  readonly persistent?: boolean | undefined
  /**
   * More headers, with AMQP's types: numbers, booleans, lists, tables, bytes. Handlers see them as text. A header of the
   * message with the same name is kept; a name that means something to RabbitMQ (`CC`, `x-delay`) is sent under another
   * one.
   */
  readonly headers?: Readonly<Record<string, unknown>> | undefined
}

export interface ResolvedRabbitMqOptions {
  readonly url: string | readonly string[] | ((attempt: number) => string | Promise<string>)
  readonly credentials: Credentials | (() => Credentials | Promise<Credentials>) | undefined
  readonly tls: TlsOptions | undefined
  readonly client: ChannelModel | undefined
  readonly connect: ((purpose: Purpose, attempt: number) => Promise<ChannelModel>) | undefined
  readonly connectionName: string | undefined
  readonly heartbeatMs: number
  readonly connectTimeoutMs: number
  readonly reconnect: BackoffOptions
  readonly exchange: string
  readonly queueType: 'auto' | 'quorum' | 'classic'
  readonly partitions: number
  readonly quorumArguments: Readonly<Record<string, unknown>>
  readonly deliveryLimit: number
  readonly maxMessageBytes: number
  readonly maxInFlight: number
  readonly unroutable: 'reject' | 'drop'
  readonly delay: 'ladder' | 'plugin' | 'auto'
  readonly declare: boolean
  /** `Infinity`: no limit. */
  readonly consumerTimeoutMs: number
  readonly topology: Required<{ [Part in keyof TopologyOptions]: NonNullable<TopologyOptions[Part]> }>
  readonly groups: readonly Required<GroupDeclaration>[]
  readonly afterConnect: RabbitMqOptions['afterConnect']
  readonly route: RabbitMqOptions['route']
  readonly envelope: EnvelopeForm
  readonly properties: RabbitMqOptions['properties']
  readonly native: NonNullable<RabbitMqOptions['native']>
}

export const RABBITMQ_DEFAULTS = {
  url: 'amqp://localhost',
  heartbeatMs: 10_000,
  connectTimeoutMs: 10_000,
  reconnect: { type: 'random-exponential', minMs: 1_000, maxMs: 30_000 },
  exchange: 'busbar',
  partitions: 4,
  deliveryLimit: 1_000,
  maxMessageBytes: 16_777_216,
  maxInFlight: 4_096,
  consumerTimeoutMs: 1_800_000,
} as const

const EXCHANGE = /^[A-Za-z0-9_.-]{1,60}$/

export function resolveRabbitMqOptions(options: RabbitMqOptions | undefined): ResolvedRabbitMqOptions {
  const reader = new OptionsReader('rabbitmq', applyUrl(options), 'rabbitmq({ url })')
  const reconnect = reader.nested('reconnect')
  const minMs = reconnect.integer('minMs', RABBITMQ_DEFAULTS.reconnect.minMs, { min: 1 })
  const exchange = reader.string('exchange', RABBITMQ_DEFAULTS.exchange)
  if (!EXCHANGE.test(exchange)) reader.problem('exchange', 'must be 1 to 60 letters, digits, "_", "-" or "."')
  if (exchange.startsWith('amq.'))
    reader.problem('exchange', 'must not begin with "amq.": the broker keeps those names')
  const resolved: ResolvedRabbitMqOptions = {
    url: resolveUrl(reader),
    credentials: resolveCredentials(reader),
    tls: object<TlsOptions>(reader, 'tls'),
    client: reader.withMethods<ChannelModel>('client', ['createChannel', 'createConfirmChannel', 'on']),
    connect: reader.callable<NonNullable<RabbitMqOptions['connect']>>('connect'),
    connectionName: reader.string('connectionName', undefined),
    heartbeatMs: reader.integer('heartbeatMs', RABBITMQ_DEFAULTS.heartbeatMs, { max: 65_535_000 }),
    connectTimeoutMs: reader.integer('connectTimeoutMs', RABBITMQ_DEFAULTS.connectTimeoutMs, { min: 1 }),
    reconnect: Object.freeze({
      type: reconnect.oneOf<BackoffType>(
        'type',
        ['stop', 'exponential', 'random', 'random-exponential'],
        RABBITMQ_DEFAULTS.reconnect.type,
      ),
      minMs,
      maxMs: reconnect.integer('maxMs', Math.max(minMs, RABBITMQ_DEFAULTS.reconnect.maxMs), { min: minMs }),
    }),
    exchange,
    queueType: reader.oneOf('queueType', ['auto', 'quorum', 'classic'], 'auto'),
    partitions: reader.integer('partitions', RABBITMQ_DEFAULTS.partitions, { min: 1, max: BUCKETS }),
    quorumArguments: resolveQuorumArguments(reader),
    deliveryLimit: reader.integer('deliveryLimit', RABBITMQ_DEFAULTS.deliveryLimit, { min: 1, max: 1_000_000_000 }),
    maxMessageBytes: reader.integer('maxMessageBytes', RABBITMQ_DEFAULTS.maxMessageBytes, { min: 1024 }),
    maxInFlight: reader.integer('maxInFlight', RABBITMQ_DEFAULTS.maxInFlight, { min: 1 }),
    unroutable: reader.oneOf('unroutable', ['reject', 'drop'], 'reject'),
    delay: reader.oneOf('delay', ['ladder', 'plugin', 'auto'], 'ladder'),
    declare: reader.boolean('declare', true),
    consumerTimeoutMs: reader.integer('consumerTimeoutMs', RABBITMQ_DEFAULTS.consumerTimeoutMs) || Infinity,
    topology: resolveTopology(reader),
    groups: resolveGroups(reader),
    afterConnect: reader.callable('afterConnect'),
    route: reader.callable('route'),
    envelope: readEnvelopeForm(reader),
    properties: reader.callable('properties'),
    native: resolveNative(reader),
  }
  for (const field of ['url', 'credentials', 'tls', 'connect', 'connectionName', 'reconnect'] as const) {
    if (resolved.client !== undefined && reader.has(field))
      reader.problem(field, 'has no meaning with a connection that is ready: leave one of them out')
  }
  for (const field of ['url', 'credentials', 'tls', 'native'] as const) {
    if (resolved.connect !== undefined && reader.has(field))
      reader.problem(field, 'has no meaning with connect(), which makes the connections itself')
  }
  if (!resolved.declare) {
    for (const field of ['topology', 'groups'] as const)
      if (reader.has(field)) reader.problem(field, 'says what to declare, and declare: false forbids that')
  }
  reader.done()
  return Object.freeze(resolved)
}

/** Arguments that limit or move messages, which every kind of queue needs its own way, or that Busbar sets itself. */
const NOT_FOR_ALL =
  /^x-(message-ttl|expires|max-.*|overflow|dead-letter-.*|delivery-limit|queue-type|single-active-consumer)$/

function resolveQuorumArguments(reader: OptionsReader): Readonly<Record<string, unknown>> {
  const given = object<Readonly<Record<string, unknown>>>(reader, 'quorumArguments') ?? {}
  for (const name of Object.keys(given))
    if (NOT_FOR_ALL.test(name))
      reader.problem(
        `quorumArguments.${name}`,
        'would apply to delays, dead letters and records too: use native.arguments of the consumer, groups, or a policy',
      )
  return given
}

function resolveUrl(reader: OptionsReader): ResolvedRabbitMqOptions['url'] {
  const value = reader.raw('url')
  if (value === undefined) return RABBITMQ_DEFAULTS.url
  if (typeof value === 'function') return value as (attempt: number) => string | Promise<string>
  const urls: readonly unknown[] = Array.isArray(value) ? value : [value]
  if (urls.length === 0) reader.problem('url', 'must not be an empty list')
  for (const [index, url] of urls.entries()) {
    const problem = checkUrl(url)
    if (problem !== undefined) reader.problem(Array.isArray(value) ? `url.${index}` : 'url', problem)
  }
  return Array.isArray(value) ? Object.freeze([...(value as string[])]) : (value as string)
}

function resolveCredentials(reader: OptionsReader): ResolvedRabbitMqOptions['credentials'] {
  const value = reader.raw('credentials')
  if (value === undefined || typeof value === 'function') return value as ResolvedRabbitMqOptions['credentials']
  const given = reader.nested('credentials')
  return Object.freeze({ username: given.requiredString('username'), password: given.requiredString('password') })
}

function object<Type>(reader: OptionsReader, field: string): Type | undefined {
  const value = reader.raw(field)
  if (value === undefined || (typeof value === 'object' && value !== null)) return value as Type | undefined
  reader.problem(field, `must be an object, got ${describe(value)}`)
  return undefined
}

function resolveNative(reader: OptionsReader): ResolvedRabbitMqOptions['native'] {
  if (!reader.has('native')) return {}
  const native = reader.nested('native')
  return Object.freeze({
    url: object<Partial<Options.Connect>>(native, 'url'),
    socket: object<Readonly<Record<string, unknown>>>(native, 'socket'),
  })
}

function resolveTopology(reader: OptionsReader): ResolvedRabbitMqOptions['topology'] {
  const topology = reader.nested('topology')
  const parts = {
    exchanges: topology.list('exchanges').map((given, index) => readExchange(reader, given, index)),
    queues: topology.list('queues').map((given, index) => readQueue(reader, given, index)),
    bindings: topology.list('bindings').map((given, index) => readBinding(reader, given, index)),
  }
  return Object.freeze(parts)
}

/** Reads one entry of a list and reports its problems under its index. */
function entry<Type>(
  reader: OptionsReader,
  given: unknown,
  path: string,
  read: (entry: OptionsReader) => Type,
): Type | undefined {
  const problems: { path: string; message: string }[] = []
  const inner = new OptionsReader('rabbitmq', given, undefined, { path, problems })
  const value = read(inner)
  try {
    inner.done()
  } catch {
    for (const problem of problems) reader.problem(problem.path, problem.message)
  }
  return value
}

function readExchange(reader: OptionsReader, given: unknown, index: number): ExchangeDeclaration {
  return entry(reader, given, `topology.exchanges.${index}`, (exchange) => ({
    name: exchange.requiredString('name'),
    type: exchange.requiredString('type'),
    durable: exchange.boolean('durable', true),
    autoDelete: exchange.boolean('autoDelete', false),
    internal: exchange.boolean('internal', false),
    alternateExchange: exchange.string('alternateExchange', undefined),
    arguments: object<Record<string, unknown>>(exchange, 'arguments'),
  })) as ExchangeDeclaration
}

function readQueue(reader: OptionsReader, given: unknown, index: number): QueueDeclaration {
  return entry(reader, given, `topology.queues.${index}`, (queue) => ({
    name: queue.requiredString('name'),
    durable: queue.boolean('durable', true),
    autoDelete: queue.boolean('autoDelete', false),
    arguments: object<Record<string, unknown>>(queue, 'arguments'),
  })) as QueueDeclaration
}

function readBinding(reader: OptionsReader, given: unknown, index: number): BindingDeclaration {
  return entry(reader, given, `topology.bindings.${index}`, (binding) => {
    const read = {
      from: binding.requiredString('from'),
      toQueue: binding.string('toQueue', undefined),
      toExchange: binding.string('toExchange', undefined),
      routingKey: (binding.raw('routingKey') as string | undefined) ?? '',
      arguments: object<Record<string, unknown>>(binding, 'arguments'),
    }
    if ((read.toQueue === undefined) === (read.toExchange === undefined))
      binding.problem('toQueue', 'or toExchange is required, not both')
    if (typeof read.routingKey !== 'string')
      binding.problem('routingKey', `must be a string, got ${describe(read.routingKey)}`)
    return read
  }) as BindingDeclaration
}

function resolveGroups(reader: OptionsReader): ResolvedRabbitMqOptions['groups'] {
  return reader.list('groups').map((given, index) => {
    return entry(reader, given, `groups.${index}`, (declaration) => {
      const topic = declaration.requiredString('topic')
      const group = declaration.requiredString('group')
      const wrong = topicProblem(topic, true)
      if (wrong !== undefined && topic !== '') declaration.problem('topic', wrong)
      if (group !== '' && groupProblem(group) !== undefined) declaration.problem('group', groupProblem(group) ?? '')
      const order = declaration.oneOf('order', ['key', 'strict', 'none'], 'key')
      return { topic, group, order, arguments: object<Record<string, unknown>>(declaration, 'arguments') }
    }) as Required<GroupDeclaration>
  })
}
