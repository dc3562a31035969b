import type { ConnectionOptions } from 'node:tls'
import { readEnvelopeForm } from '../../core/compact-envelope.ts'
import { readBackoffLimits } from '../../core/util/backoff.ts'
import { describe, OptionsReader } from '../../core/util/options-reader.ts'
import { isGivenClient } from './connection/given-client.ts'
import type { GivenClient } from './connection/given-client.ts'
import { applyUrl } from './url-options.ts'
import type { RedisOptions, RedisNode, ResolvedRedisOptions, ResolvedRetention, ResolvedSentinel } from './options.ts'

export const REDIS_DEFAULTS = {
  host: '127.0.0.1',
  port: 6379,
  partitions: 8,
  prefix: 'busbar:',
  leaseMs: 10_000,
  pollIntervalMs: 500,
  handoverTimeoutMs: 10_000,
  connectTimeoutMs: 5_000,
  responseTimeoutMs: 15_000,
  reconnect: { minMs: 50, maxMs: 2_000 },
  maxMessageBytes: 16_777_216,
  waitTimeoutMs: 1_000,
  maxMessages: 100_000,
} as const

const MAX_PARTITIONS = 1_024
const SENTINEL_PORT = 26_379
const PREFIX = /^[^{}\s\p{Cc}]*$/u

export function resolveRedisOptions(given: RedisOptions): ResolvedRedisOptions {
  const { input, path, problems } = applyUrl(given)
  const reader = new OptionsReader('redis', input, 'redis({ url })')
  for (const problem of problems) reader.problem('url', problem)
  const tls = tlsOption(reader, 'tls', false)
  const resolved: ResolvedRedisOptions = {
    host: reader.string('host', REDIS_DEFAULTS.host),
    port: reader.integer('port', REDIS_DEFAULTS.port, { min: 1, max: 65_535 }),
    path,
    username: reader.string('username', undefined),
    password: reader.string('password', undefined),
    database: reader.integer('database', 0),
    connectionName: nameOption(reader),
    tls,
    client: clientOption(reader),
    clusterNodes: reader.has('cluster') ? nodes(reader.nested('cluster'), REDIS_DEFAULTS.port) : undefined,
    sentinel: reader.has('sentinel') ? sentinelOption(reader.nested('sentinel'), tls) : undefined,
    nodeAddressMap: reader.raw('nodeAddressMap') as Readonly<Record<string, RedisNode>> | undefined,
    retention: retentionOption(reader.nested('retention')),
    partitions: partitionsOption(reader),
    prefix: prefixOption(reader),
    leaseMs: reader.integer('leaseMs', REDIS_DEFAULTS.leaseMs, { min: 200 }),
    pollIntervalMs: reader.integer('pollIntervalMs', REDIS_DEFAULTS.pollIntervalMs, { min: 10 }),
    handoverTimeoutMs: reader.integer('handoverTimeoutMs', REDIS_DEFAULTS.handoverTimeoutMs),
    connectTimeoutMs: reader.integer('connectTimeoutMs', REDIS_DEFAULTS.connectTimeoutMs, { min: 1 }),
    responseTimeoutMs: reader.integer('responseTimeoutMs', REDIS_DEFAULTS.responseTimeoutMs, { min: 100 }),
    reconnect: readBackoffLimits(reader.nested('reconnect'), REDIS_DEFAULTS.reconnect),
    maxMessageBytes: reader.integer('maxMessageBytes', REDIS_DEFAULTS.maxMessageBytes, { min: 1, max: 536_870_912 }),
    envelope: readEnvelopeForm(reader),
    wait: reader.has('wait') ? waitOption(reader.nested('wait')) : undefined,
    checkServer: reader.boolean('checkServer', true),
    native: (reader.has('native') ? (reader.raw('native') as Readonly<Record<string, unknown>>) : {}) ?? {},
  }
  if (resolved.pollIntervalMs * 2 > resolved.leaseMs)
    reader.problem('pollIntervalMs', 'must be at most half of leaseMs')
  const longestWaitMs = Math.min(resolved.leaseMs / 3, resolved.responseTimeoutMs / 2)
  if (resolved.wait !== undefined && resolved.wait.timeoutMs > longestWaitMs)
    reader.problem('wait.timeoutMs', 'must be at most a third of leaseMs and half of responseTimeoutMs')
  refuseTwoPlaces(reader)
  reader.done()
  return Object.freeze(resolved)
}

/** Only one way to say where Redis is may be used. */
function refuseTwoPlaces(reader: OptionsReader): void {
  const places = ['client', 'cluster', 'sentinel'].filter((field) => reader.has(field))
  if (places.length > 1) reader.problem(places[1] as string, `has no meaning together with "${places[0]}"`)
  if (places.length === 0) return
  for (const field of ['host', 'port'])
    if (reader.has(field)) reader.problem(field, `has no meaning together with "${places[0]}"`)
  if (places[0] !== 'client') return
  for (const field of [
    'username',
    'password',
    'database',
    'tls',
    'connectionName',
    'native',
    'nodeAddressMap',
    'connectTimeoutMs',
  ])
    if (reader.has(field)) reader.problem(field, 'belongs to the client that is given')
}

function clientOption(reader: OptionsReader): GivenClient | undefined {
  const value = reader.raw('client')
  if (value === undefined) return undefined
  if (isGivenClient(value)) return value
  reader.problem(
    'client',
    `must be a client of the package "redis" (createClient or createCluster), got ${describe(value)}`,
  )
  return undefined
}

function prefixOption(reader: OptionsReader): string {
  const value = reader.raw('prefix') === '' ? '' : reader.string('prefix', REDIS_DEFAULTS.prefix)
  if (!PREFIX.test(value)) reader.problem('prefix', 'must hold no braces, blanks or control characters')
  return value
}

function tlsOption(
  reader: OptionsReader,
  field: string,
  fallback: boolean | ConnectionOptions,
): boolean | ConnectionOptions {
  const value = reader.raw(field)
  if (value === undefined) return fallback
  if (typeof value === 'boolean') return value
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value
  reader.problem(field, `must be true, false or options of node:tls, got ${describe(value)}`)
  return fallback
}

function sentinelOption(reader: OptionsReader, tls: boolean | ConnectionOptions): ResolvedSentinel {
  return {
    name: reader.requiredString('name'),
    nodes: nodes(reader, SENTINEL_PORT),
    username: reader.string('username', undefined),
    password: reader.string('password', undefined),
    tls: tlsOption(reader, 'tls', tls),
  }
}

function waitOption(reader: OptionsReader): { replicas: number; timeoutMs: number } {
  const replicas = reader.integer('replicas', 1, { min: 1 })
  return { replicas, timeoutMs: reader.integer('timeoutMs', REDIS_DEFAULTS.waitTimeoutMs, { min: 1 }) }
}

function nodes(reader: OptionsReader, defaultPort: number): readonly RedisNode[] {
  const list = reader.list('nodes')
  if (list.length === 0) reader.problem('nodes', 'needs at least one: ["10.0.0.1:6379"]')
  return list.map((entry, index) => {
    const node = toNode(entry, defaultPort)
    if (node === undefined) reader.problem(`nodes.${index}`, 'must be "host:port" or { host, port }')
    return node ?? { host: '', port: defaultPort }
  })
}

function toNode(entry: unknown, defaultPort: number): RedisNode | undefined {
  if (typeof entry === 'string') {
    const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(entry)
    if (match === null) return undefined
    return { host: (match[1] ?? match[2]) as string, port: match[3] === undefined ? defaultPort : Number(match[3]) }
  }
  if (typeof entry !== 'object' || entry === null) return undefined
  const { host, port = defaultPort } = entry as Partial<RedisNode>
  return typeof host === 'string' && host !== '' && Number.isInteger(port) ? { host, port } : undefined
}

function retentionOption(reader: OptionsReader): ResolvedRetention {
  const maxAgeMs = reader.integer('maxAgeMs', undefined, { min: 1 })
  const byDefault = maxAgeMs === undefined ? REDIS_DEFAULTS.maxMessages : undefined
  return {
    maxMessages: reader.integer('maxMessages', byDefault, { min: 1 }),
    maxAgeMs,
    keepUnacked: reader.boolean('keepUnacked', true),
  }
}

function partitionsOption(reader: OptionsReader): Readonly<Record<string, number>> {
  const value = reader.raw('partitions')
  const checked = Object.create(null) as Record<string, number>
  if (value === undefined) return checked
  const byTopic = typeof value === 'object' && value !== null && !Array.isArray(value) ? value : { '*': value }
  for (const [topic, count] of Object.entries(byTopic) as [string, unknown][]) {
    if (Number.isInteger(count) && (count as number) >= 1 && (count as number) <= MAX_PARTITIONS)
      checked[topic] = count as number
    else
      reader.problem(
        byTopic === value ? `partitions.${topic}` : 'partitions',
        `must be a whole number from 1 to ${MAX_PARTITIONS}${byTopic === value ? '' : ', or an object of topics and numbers'}, got ${describe(count)}`,
      )
  }
  return checked
}

function nameOption(reader: OptionsReader): string | undefined {
  const value = reader.string('connectionName', undefined)
  if (value !== undefined && !/^[!-~]+$/.test(value))
    reader.problem('connectionName', 'must consist of ASCII characters, without blanks')
  return value
}
