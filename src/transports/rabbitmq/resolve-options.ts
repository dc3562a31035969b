import type { ChannelModel, Options } from 'amqplib'
import { tmpdir } from 'node:os'
import type { ConnectionOptions as TlsOptions } from 'node:tls'
import { readEnvelopeForm } from '../../core/compact-envelope.ts'
import { groupProblem } from '../../core/consume/consume-options.ts'
import { topicProblem } from '../../core/topic.ts'
import { describe, OptionsReader } from '../../core/util/options-reader.ts'
import type { BackoffType } from './connection/backoff.ts'
import { applyUrl, checkUrl } from './connection/url.ts'
import type {
  BindingDeclaration,
  ExchangeDeclaration,
  GroupDeclaration,
  QueueDeclaration,
  RabbitMqOptions,
  ResolvedRabbitMqOptions,
} from './options.ts'
import { BUCKETS } from './topology/names.ts'

const RABBITMQ_DEFAULTS = {
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
    queues: reader.oneOf('queues', ['per-topic', 'per-group'], 'per-topic'),
    quorumArguments: resolveQuorumArguments(reader),
    deliveryLimit: reader.integer('deliveryLimit', RABBITMQ_DEFAULTS.deliveryLimit, { min: 1, max: 1_000_000_000 }),
    maxMessageBytes: reader.integer('maxMessageBytes', RABBITMQ_DEFAULTS.maxMessageBytes, { min: 1024 }),
    maxInFlight: reader.integer('maxInFlight', RABBITMQ_DEFAULTS.maxInFlight, { min: 1 }),
    unroutable: reader.oneOf('unroutable', ['reject', 'drop'], 'reject'),
    delay: reader.oneOf('delay', ['ladder', 'plugin', 'auto'], 'ladder'),
    declare: reader.boolean('declare', true),
    consumerTimeoutMs: reader.integer('consumerTimeoutMs', RABBITMQ_DEFAULTS.consumerTimeoutMs) || Infinity,
    overflowFolder: reader.raw('overflowFolder') === false ? undefined : reader.string('overflowFolder', tmpdir()),
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
