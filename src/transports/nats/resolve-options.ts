import type { ConnectionOptions, NatsConnection } from '@nats-io/transport-node'
import { readEnvelopeForm } from '../../core/compact-envelope.ts'
import { readBackoffLimits } from '../../core/util/backoff.ts'
import { isDeadLetterTopic, topicProblem } from '../../core/topic.ts'
import { OptionsReader } from '../../core/util/options-reader.ts'
import { applyUrl } from './url-options.ts'
import type {
  NatsTlsOptions,
  NatsNativeOptions,
  NatsOptions,
  ResolvedNatsStreamOptions,
  ResolvedNatsRetentionOptions,
  ResolvedNatsOptions,
} from './options.ts'

const NATS_DEFAULTS = {
  connectTimeoutMs: 5_000,
  heartbeatMs: 5_000,
  reconnect: { minMs: 100, maxMs: 5_000 },
  leaseMs: 10_000,
  handoverTimeoutMs: 10_000,
  maxInFlight: 4_096,
  maxMessageBytes: 1_015_808,
  maxCoreBacklog: 65_536,
  partitions: 8,
  maxAgeMs: 604_800_000,
  stream: { name: 'busbar', replicas: 1, duplicateWindowMs: 120_000 },
} as const

const TOKEN = /^[A-Za-z0-9_-]{1,64}$/
/** What a stream of other programs may be called. */
const STREAM = /^[^\s.*>\\/]{1,255}$/
const SUBJECT = /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/

export function resolveNatsOptions(options: NatsOptions | undefined): ResolvedNatsOptions {
  const { input, servers, tls: isTls, problems } = applyUrl(options)
  const reader = new OptionsReader('nats', input, 'nats({ url })')
  for (const problem of problems) reader.problem('url', problem)
  const jetstream = reader.boolean('jetstream', true)
  const client = reader.withMethods<NatsConnection>('client', ['publish', 'subscribe', 'request', 'status'])
  const tls = resolveTls(reader)
  const [stream, retention] = [reader.nested('stream'), reader.nested('retention')]
  const resolved: ResolvedNatsOptions = {
    servers,
    jetstream,
    username: reader.string('username', undefined),
    password: reader.string('password', undefined),
    token: reader.string('token', undefined),
    nkeySeed: reader.string('nkeySeed', undefined),
    jwt: reader.string('jwt', undefined),
    credentials: reader.string('credentials', undefined),
    credentialsFile: reader.string('credentialsFile', undefined),
    tls: tls ?? (isTls ? {} : undefined),
    client,
    connectionName: reader.string('connectionName', undefined),
    connectTimeoutMs: reader.integer('connectTimeoutMs', NATS_DEFAULTS.connectTimeoutMs, { min: 1 }),
    heartbeatMs: reader.integer('heartbeatMs', NATS_DEFAULTS.heartbeatMs, { min: 10 }),
    reconnect: readBackoffLimits(reader.nested('reconnect'), NATS_DEFAULTS.reconnect),
    leaseMs: reader.integer('leaseMs', NATS_DEFAULTS.leaseMs, { min: 500, max: 3_600_000 }),
    handoverTimeoutMs: reader.integer('handoverTimeoutMs', NATS_DEFAULTS.handoverTimeoutMs),
    confirmAcks: reader.boolean('confirmAcks', true),
    maxDeliver: reader.integer('maxDeliver', undefined, { min: 1 }),
    maxAckPending: reader.integer('maxAckPending', undefined, { min: 1 }),
    maxInFlight: reader.integer('maxInFlight', NATS_DEFAULTS.maxInFlight, { min: 1 }),
    domain: reader.string('domain', undefined),
    stream: resolveStream(stream),
    partitions: reader.integer('partitions', NATS_DEFAULTS.partitions, { min: 1, max: 256 }),
    retention: resolveRetention(retention),
    given: new Set([
      ...['storage', 'replicas', 'duplicateWindowMs'].filter((field) => stream.has(field)),
      ...['maxAgeMs', 'maxBytes', 'maxMessages'].filter((field) => retention.has(field)),
      ...(reader.has('partitions') ? ['partitions'] : []),
    ]),
    maxMessageBytes: reader.integer('maxMessageBytes', NATS_DEFAULTS.maxMessageBytes, { min: 1_024 }),
    maxCoreBacklog: reader.integer('maxCoreBacklog', NATS_DEFAULTS.maxCoreBacklog, { min: 1 }),
    envelope: readEnvelopeForm(reader),
    native: resolveNative(reader.nested('native')),
  }
  if (resolved.domain !== undefined && !SUBJECT.test(resolved.domain))
    reader.problem('domain', 'must be made of letters, digits, "_" and "-"')
  refuseMixtures(reader, resolved, options?.url !== undefined)
  refuseOwnLayout(reader, resolved, retention)
  refuseLongerTopics(retention, resolved.retention)
  reader.done()
  return Object.freeze(resolved)
}

/** Refuses options that exclude each other or have no effect in the chosen mode. */
function refuseMixtures(reader: OptionsReader, options: ResolvedNatsOptions, hasUrl: boolean): void {
  const ways = [
    ['username', options.username !== undefined],
    ['token', options.token !== undefined],
    ['nkeySeed', options.nkeySeed !== undefined],
    ['credentials', options.credentials !== undefined],
    ['credentialsFile', options.credentialsFile !== undefined],
  ] as const
  const used = ways.filter(([, given]) => given).map(([name]) => name)
  if (used.length > 1) reader.problem(used[1] ?? '', `and ${used[0]} exclude each other: give one way to log in`)
  if (options.password !== undefined && options.username === undefined)
    reader.problem('password', 'needs a username (for a token alone, use token)')
  if (options.jwt !== undefined && options.nkeySeed === undefined)
    reader.problem('jwt', 'needs the nkeySeed that signs for it (or give both as credentials)')
  if (options.client !== undefined) {
    const belongs = [
      'tls',
      'username',
      'token',
      'nkeySeed',
      'credentials',
      'credentialsFile',
      'connectionName',
      'heartbeatMs',
      'reconnect',
    ]
    if (hasUrl) reader.problem('url', 'belongs to the connection: you gave one that is made already')
    for (const field of belongs)
      if (reader.has(field)) reader.problem(field, 'belongs to the connection: you gave one that is made already')
  }
  if (options.jetstream) {
    if (reader.has('maxCoreBacklog')) reader.problem('maxCoreBacklog', 'is for core NATS: jetstream: false')
    return
  }
  for (const field of ['leaseMs', 'handoverTimeoutMs', 'confirmAcks', 'maxDeliver', 'maxAckPending', 'domain'] as const)
    if (reader.has(field)) reader.problem(field, 'is for JetStream: core NATS stores and acks nothing')
  if (options.stream.bind !== undefined) reader.problem('stream.bind', 'is for JetStream: core NATS stores nothing')
}

/** Options that describe the stream of the messages, which is there already. */
function refuseOwnLayout(
  reader: OptionsReader,
  { stream, native }: ResolvedNatsOptions,
  retention: OptionsReader,
): void {
  if (stream.bind === undefined) return
  for (const field of ['maxAgeMs', 'maxBytes', 'maxMessages', 'topics'])
    if (retention.has(field)) retention.problem(field, `is up to the stream "${stream.bind}": change it there`)
  if (reader.has('partitions'))
    reader.problem('partitions', `has no effect with stream.bind: its messages are not spread over partitions`)
  if (native.stream !== undefined)
    reader.problem('native.stream', `has no effect with stream.bind: Busbar does not create that stream`)
}

function resolveStream(reader: OptionsReader): ResolvedNatsStreamOptions {
  const bind = reader.string('bind', undefined)
  if (bind !== undefined && !STREAM.test(bind)) reader.problem('bind', 'must be the name of a stream')
  const name = reader.string(
    'name',
    bind === undefined ? NATS_DEFAULTS.stream.name : `${NATS_DEFAULTS.stream.name}-${bind}`,
  )
  if (!TOKEN.test(name)) reader.problem('name', 'must be 1 to 64 letters, digits, "_" or "-"')
  const subjectPrefix = reader.string('subjectPrefix', name)
  if (!SUBJECT.test(subjectPrefix)) reader.problem('subjectPrefix', 'must be tokens of letters, digits, "_" and "-"')
  return Object.freeze({
    name,
    bind,
    subjectPrefix,
    storage: reader.oneOf('storage', ['file', 'memory'], 'file'),
    replicas: reader.integer('replicas', NATS_DEFAULTS.stream.replicas, { min: 1, max: 5 }),
    duplicateWindowMs: reader.integer('duplicateWindowMs', NATS_DEFAULTS.stream.duplicateWindowMs, { min: 100 }),
  })
}

function resolveRetention(reader: OptionsReader): ResolvedNatsRetentionOptions {
  return Object.freeze({
    maxAgeMs:
      reader.raw('maxAgeMs') === false ? undefined : reader.integer('maxAgeMs', NATS_DEFAULTS.maxAgeMs, { min: 1_000 }),
    maxBytes: reader.integer('maxBytes', undefined, { min: 1_024 }),
    maxMessages: reader.integer('maxMessages', undefined, { min: 1 }),
    deadLetterMaxAgeMs: reader.integer('deadLetterMaxAgeMs', undefined, { min: 1_000 }),
    topics: resolveTopics(reader),
  })
}

function resolveTopics(reader: OptionsReader): ResolvedNatsRetentionOptions['topics'] {
  const topics = reader.nested('topics')
  return Object.keys(Object(reader.raw('topics')) as object).map((pattern) => {
    const problem = topicProblem(pattern, true)
    if (problem !== undefined) topics.problem(pattern, problem)
    if (isDeadLetterTopic(pattern))
      topics.problem(pattern, 'matches dead letters, which have an age of their own: retention.deadLetterMaxAgeMs')
    const topic = topics.nested(pattern)
    const isEndless = topic.raw('maxAgeMs') === false
    if (!isEndless && !topic.has('maxAgeMs')) topic.problem('maxAgeMs', 'is required: a number of ms, or false')
    return { pattern, maxAgeMs: isEndless ? undefined : topic.integer('maxAgeMs', undefined, { min: 1_000 }) }
  })
}

/** The server deletes a message with the stream's age at the latest. */
function refuseLongerTopics(reader: OptionsReader, { maxAgeMs: most, topics }: ResolvedNatsRetentionOptions): void {
  for (const { pattern, maxAgeMs } of topics)
    if (most !== undefined && maxAgeMs !== undefined && maxAgeMs > most)
      reader.problem(
        `topics.${pattern}.maxAgeMs`,
        `is more than the ${most} ms of the stream (retention.maxAgeMs): raise that one, or use a stream of its own`,
      )
}

function resolveTls(reader: OptionsReader): NatsTlsOptions | undefined {
  const value = reader.raw('tls')
  if (value === undefined || value === false) return undefined
  if (value === true) return {}
  const tls = reader.nested('tls')
  return Object.freeze({
    ca: tls.string('ca', undefined),
    cert: tls.string('cert', undefined),
    key: tls.string('key', undefined),
    caFile: tls.string('caFile', undefined),
    certFile: tls.string('certFile', undefined),
    keyFile: tls.string('keyFile', undefined),
    rejectUnauthorized: tls.boolean('rejectUnauthorized', true),
    handshakeFirst: tls.boolean('handshakeFirst', false),
  })
}

function resolveNative(reader: OptionsReader): NatsNativeOptions {
  const object = <Type>(field: string): Type | undefined => {
    const value = reader.raw(field)
    if (value === undefined || (typeof value === 'object' && value !== null && !Array.isArray(value)))
      return value as Type | undefined
    reader.problem(field, 'must be an object')
    return undefined
  }
  return Object.freeze({
    connect: object<ConnectionOptions>('connect'),
    stream: object<Readonly<Record<string, unknown>>>('stream'),
    consumer: object<Readonly<Record<string, unknown>>>('consumer'),
  })
}
