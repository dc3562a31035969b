import { readEnvelopeForm } from '../../core/compact-envelope.ts'
import { readBackoffLimits } from '../../core/util/backoff.ts'
import { topicProblem } from '../../core/topic.ts'
import { OptionsReader } from '../../core/util/options-reader.ts'
import { createClient, InvalidOptionsError } from '../../kafka/index.ts'
import type { ClientOptions, Codec, KafkaClient, Partitioner } from '../../kafka/index.ts'
import type { KafkaNativeOptions, KafkaOptions, PartitionRule, ResolvedKafkaOptions } from './options.ts'
import { applyUrl } from './url-options.ts'

const DEFAULTS = {
  reconnect: { minMs: 50, maxMs: 1_000 },
  maxMessageBytes: 1_000_000,
  partitions: 6,
  sessionTimeoutMs: 45_000,
  rebalanceTimeoutMs: 60_000,
  revokeTimeoutMs: 20_000,
  commitIntervalMs: 50,
  transactionTimeoutMs: 10_000,
} as const

/** A broker or topic that takes the largest message must take its headers, too. */
const HEADER_ROOM_BYTES = 65_536
const MiB = 1_048_576
const CODECS = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const satisfies readonly Codec[]
/** What belongs to the connection of a client that is given. */
const OF_CONNECTION = [
  'url',
  'brokers',
  'connectionName',
  'username',
  'password',
  'mechanism',
  'sasl',
  'tls',
  'rack',
  'connectTimeoutMs',
  'requestTimeoutMs',
  'reconnect',
  'metadataMaxAgeMs',
] as const

/** Names of the client's options here. */
const RENAMED: Readonly<Record<string, string>> = {
  heartbeatIntervalMs: 'heartbeatMs',
  clientId: 'connectionName',
  backoff: 'reconnect',
}

/** Of topics that are created: they must take what may be published. */
function sizeConfigs(maxMessageBytes: number): Readonly<Record<string, string>> {
  if (maxMessageBytes <= DEFAULTS.maxMessageBytes) return {}
  return { 'max.message.bytes': String(maxMessageBytes + HEADER_ROOM_BYTES) }
}

export function resolveKafkaOptions(options: KafkaOptions | undefined): ResolvedKafkaOptions {
  const { input, brokers, tls, problems } = applyUrl(options)
  const reader = new OptionsReader('kafka', input, 'kafka({ url })')
  for (const problem of problems) reader.problem('url', problem)
  reader.misnamed('groupId', 'group')
  reader.misnamed('clientId', 'connectionName')
  reader.misnamed('ssl', 'tls')
  reader.misnamed('heartbeatIntervalMs', 'heartbeatMs')
  const client = reader.withMethods<KafkaClient>('client', ['producer', 'consumer', 'admin', 'close'])
  const given = reader.list('brokers') as readonly string[]
  if (reader.has('brokers') && given.length === 0)
    reader.problem('brokers', 'is empty: name one broker or more, as host:port')
  if (reader.has('brokers') && options?.url !== undefined)
    reader.problem('brokers', 'and url exclude each other: give the brokers in one of them')
  const native = readNative(reader.nested('native'))
  const reconnect = readBackoffLimits(reader.nested('reconnect'), DEFAULTS.reconnect)
  const sessionTimeoutMs = reader.integer('sessionTimeoutMs', DEFAULTS.sessionTimeoutMs, { min: 1 })
  const rebalanceTimeoutMs = reader.integer('rebalanceTimeoutMs', DEFAULTS.rebalanceTimeoutMs, { min: 1 })
  const byDefault = Math.min(DEFAULTS.revokeTimeoutMs, Math.floor(rebalanceTimeoutMs / 3))
  const revokeTimeoutMs = reader.integer('revokeTimeoutMs', byDefault)
  const maxMessageBytes = reader.integer('maxMessageBytes', DEFAULTS.maxMessageBytes, { min: 1_024, max: 512 * MiB })
  const connection = readConnection(reader, given.length > 0 ? given : brokers, tls, reconnect)
  const fetch = readFetch(reader.nested('fetch'))
  const resolved: ResolvedKafkaOptions = {
    connection: client === undefined ? { ...connection, ...native.client } : undefined,
    client,
    connectionName: reader.string('connectionName', undefined),
    producer: {
      acks: readAcks(reader),
      ackTimeoutMs: reader.integer('ackTimeoutMs', undefined, { min: 1 }),
      compression: reader.oneOf('compression', CODECS, 'none'),
      lingerMs: reader.integer('lingerMs', 0),
      partitioner: reader.callable<Partitioner>('partitioner'),
      batchBytes: Math.max(MiB, maxMessageBytes + HEADER_ROOM_BYTES),
      ...native.producer,
    },
    transactions: reader.has('transactions') ? reader.boolean('transactions', true) : undefined,
    transactionTimeoutMs: reader.integer('transactionTimeoutMs', DEFAULTS.transactionTimeoutMs, { min: 100 }),
    consumer: {
      ...fetch,
      protocol: reader.oneOf('protocol', ['classic', 'consumer'], 'classic'),
      assignors: reader.has('assignors') ? (reader.list('assignors') as never) : undefined,
      instanceId: reader.string('instanceId', undefined),
      sessionTimeoutMs,
      heartbeatIntervalMs: reader.integer('heartbeatMs', undefined, { min: 1 }),
      rebalanceTimeoutMs,
      revokeTimeoutMs,
      autoCommit: false,
      onReset: 'earliest',
      ...native.consumer,
    },
    reader: { ...fetch, autoCommit: false, onReset: 'earliest' },
    reconnect,
    maxMessageBytes,
    envelope: readEnvelopeForm(reader),
    createTopics: reader.boolean('createTopics', true),
    partitions: readPartitions(reader),
    replicationFactor: reader.integer('replicationFactor', undefined, { min: 1, max: 32_767 }),
    topicConfigs: { ...sizeConfigs(maxMessageBytes), ...readConfigs(reader) },
    retryTopics: readRetryTopics(reader),
    group: reader.string('group', undefined),
    revokeTimeoutMs,
    commitIntervalMs: reader.integer('commitIntervalMs', DEFAULTS.commitIntervalMs),
  }
  if (client !== undefined) {
    for (const field of OF_CONNECTION) {
      const isGiven = field === 'url' ? options?.url !== undefined : reader.has(field)
      if (isGiven) reader.problem(field, 'belongs to the connection: you gave a client that is made already')
    }
  }
  reader.done()
  // The client knows what fits together.
  refuseWhatTheClientRefuses(reader, resolved)
  reader.done()
  return Object.freeze(resolved)
}

function readConnection(
  reader: OptionsReader,
  brokers: readonly string[],
  tls: boolean,
  backoff: ClientOptions['backoff'],
): NonNullable<ResolvedKafkaOptions['connection']> {
  const username = reader.string('username', undefined)
  const password = reader.string('password', undefined)
  const mechanism = reader.oneOf('mechanism', ['plain', 'scram-sha-256', 'scram-sha-512'], 'plain')
  const sasl = reader.raw('sasl') as ClientOptions['sasl']
  if (sasl !== undefined && username !== undefined)
    reader.problem('sasl', 'and username exclude each other: give one way to log in')
  if (username === undefined && password !== undefined) reader.problem('password', 'needs a username')
  if (username === undefined && reader.has('mechanism')) reader.problem('mechanism', 'needs a username and password')
  if (username !== undefined && password === undefined) reader.problem('username', 'needs a password')
  const credentials = { username: username ?? '', password: password ?? '' }
  return {
    brokers,
    // Not `false`, which tells the client that passwords may be sent unencrypted.
    tls: (reader.raw('tls') as ClientOptions['tls']) ?? (tls || undefined),
    sasl: sasl ?? (username === undefined ? undefined : { mechanism, credentials }),
    rack: reader.string('rack', undefined),
    connectTimeoutMs: reader.integer('connectTimeoutMs', undefined, { min: 1 }),
    requestTimeoutMs: reader.integer('requestTimeoutMs', undefined, { min: 1 }),
    backoff,
    metadataMaxAgeMs: reader.integer('metadataMaxAgeMs', undefined, { min: 1 }),
  }
}

/** What moves there does so in a transaction. Undefined: the default. */
function readRetryTopics(reader: OptionsReader): boolean | undefined {
  const isGiven = reader.has('retryTopics')
  const retryTopics = reader.boolean('retryTopics', true)
  if (reader.boolean('transactions', true)) return isGiven ? retryTopics : undefined
  if (isGiven && retryTopics)
    reader.problem('retryTopics', 'needs transactions: leave out one of retryTopics: true and transactions: false')
  return false
}

function readFetch(reader: OptionsReader): ResolvedKafkaOptions['reader'] {
  return {
    maxBytes: reader.integer('maxBytes', undefined, { min: 1 }),
    maxPartitionBytes: reader.integer('maxPartitionBytes', undefined, { min: 1 }),
    maxBufferedBytes: reader.integer('maxBufferedBytes', undefined, { min: 1 }),
    maxWaitMs: reader.integer('maxWaitMs', undefined),
    minBytes: reader.integer('minBytes', undefined),
  }
}

function readAcks(reader: OptionsReader): 'all' | 0 | 1 {
  const acks = reader.raw('acks') ?? 'all'
  if (acks === 'all' || acks === 0 || acks === 1) return acks
  reader.problem('acks', 'must be "all", 1 or 0')
  return 'all'
}

function readPartitions(reader: OptionsReader): readonly PartitionRule[] {
  const value = reader.raw('partitions')
  const everything = (count: number): PartitionRule => ({ pattern: '>', count })
  if (typeof value !== 'object' || value === null)
    return [everything(reader.integer('partitions', DEFAULTS.partitions, { min: 1, max: 10_000 }))]
  const rules = reader.nested('partitions')
  const given = Object.keys(value).map((pattern) => {
    const problem = topicProblem(pattern, true)
    if (problem !== undefined) rules.problem(pattern, problem)
    return { pattern, count: rules.integer(pattern, DEFAULTS.partitions, { min: 1, max: 10_000 }) }
  })
  return [...given, everything(DEFAULTS.partitions)]
}

function readConfigs(reader: OptionsReader): Readonly<Record<string, string>> {
  const value = reader.raw('topicConfigs') ?? {}
  const isText = (each: unknown): boolean => typeof each === 'string'
  if (typeof value === 'object' && !Array.isArray(value) && Object.values(value).every(isText))
    return value as Readonly<Record<string, string>>
  reader.problem('topicConfigs', `must be an object of text, such as { 'retention.ms': '604800000' }`)
  return {}
}

function readNative(reader: OptionsReader): KafkaNativeOptions {
  const object = (field: string): Record<string, unknown> | undefined => {
    const value = reader.raw(field)
    if (value === undefined || (typeof value === 'object' && value !== null && !Array.isArray(value)))
      return value as Record<string, unknown> | undefined
    reader.problem(field, 'must be an object')
    return undefined
  }
  return { client: object('client'), producer: object('producer'), consumer: object('consumer') }
}

/** Makes everything once, which connects to nothing. */
function refuseWhatTheClientRefuses(reader: OptionsReader, options: ResolvedKafkaOptions): void {
  const { connection = { brokers: ['localhost'] }, producer, consumer } = options
  const attempt = (make: () => unknown): void => {
    try {
      make()
    } catch (error) {
      if (!(error instanceof InvalidOptionsError)) throw error
      for (const { option, problem } of error.problems) {
        const [first = '', ...rest] = option.split('.')
        reader.problem([RENAMED[first] ?? first, ...rest].join('.'), problem)
      }
    }
  }
  attempt(() => {
    const client = createClient(connection)
    attempt(() => client.producer(producer))
    attempt(() => client.consumer({ ...consumer, topics: ['t'], group: 'g' }))
    void client.close({ deadlineMs: 0 })
  })
}
