import { lookup } from 'node:dns/promises'
import type { ConnectionOptions as TlsOptions } from 'node:tls'
import { kindOf, MAX_MS, OptionsReader, shown } from '../options-reader.ts'
import type { KnownNames, NumberRanges } from '../options-reader.ts'
import { systemClock } from '../network/clock.ts'
import type { Clock } from '../network/clock.ts'
import type { SaslOptions } from '../network/sasl/sasl.ts'
import { nodeSockets } from '../network/sockets.ts'
import type { Address, OpenSocket } from '../network/sockets.ts'
import { readSasl } from '../network/sasl/sasl-options.ts'
import type { ClusterHooks } from './hooks.ts'
import { parseAddress } from './parse-address.ts'

/** How a client finds a cluster, and speaks to it. Times are in milliseconds, sizes in bytes. */
export interface ClusterOptions {
  /**
   * Addresses of brokers to start from: `host:port`, `[::1]:9092`, or a host alone for port 9092. One reachable
   * broker is enough; give several in case one is down. If a host has several IP addresses, all of them are tried.
   */
  readonly brokers: readonly string[]
  /** Shown in the brokers' logs, metrics and quotas. @default none */
  readonly clientId?: string | null | undefined
  /**
   * `true` trusts the certificate authorities that Node knows. Or pass options of `tls.connect`: `ca`, `cert`, `key`
   * and so on. A function is called for each connection, so certificates can change while the client runs. `false` also
   * says that passwords may be sent unencrypted: without it, SASL PLAIN and OAUTHBEARER emit a warning. @default false
   */
  readonly tls?: boolean | TlsOptions | (() => TlsOptions) | undefined
  /**
   * How the client authenticates. Functions are called for each authentication, and again before the session ends
   * (KIP-368). @default no authentication
   */
  readonly sasl?: SaslOptions | undefined
  /**
   * The rack or zone of this process. Consumers read from replicas in it (KIP-392) and are assigned partitions in it
   * (KIP-881). @default none
   */
  readonly rack?: string | undefined
  /**
   * If a broker doesn't answer a request within this time, its connection is closed. In milliseconds. @default 30_000
   */
  readonly requestTimeoutMs?: number | undefined
  /** Time limit for connecting to one address, including TLS. In milliseconds. @default 10_000 */
  readonly connectTimeoutMs?: number | undefined
  /**
   * Pause between attempts to connect, to read metadata and to retry requests. It doubles from `minMs` to `maxMs`, ±
   * 20 %. @default { minMs: 50, maxMs: 1_000 }
   */
  readonly backoff?: { readonly minMs?: number | undefined; readonly maxMs?: number | undefined } | undefined
  /**
   * Metadata is refreshed after this time, even if nothing suggests a change. In milliseconds. @default 300_000 (5
   * min)
   */
  readonly metadataMaxAgeMs?: number | undefined
  /**
   * If no broker has answered for this time, the client starts again from `brokers` (KIP-899). In milliseconds.
   * @default 30_000
   */
  readonly bootstrapAfterMs?: number | undefined
  /**
   * If a request could go to any broker, another one is asked as well after this time. In milliseconds. @default
   * 1_000
   */
  readonly askAnotherAfterMs?: number | undefined
  /**
   * When a broker has been silent for this time, the client refreshes its metadata, and repeats that at this
   * interval. If the other brokers consider it dead, its connections are closed and its requests can go to another
   * broker. In milliseconds. @default 3_000
   */
  readonly suspectAfterMs?: number | undefined
  /**
   * An unused connection is closed after this time. Brokers close them after 10 minutes. In milliseconds. @default
   * 540_000 (9 min)
   */
  readonly maxIdleMs?: number | undefined
  /** A response that is larger closes its connection. @default 104_857_600 (100 MiB) */
  readonly maxResponseBytes?: number | undefined
  /** Whether a topic that doesn't exist is created when it is first used, if the brokers allow that. @default false */
  readonly autoCreateTopics?: boolean | undefined
  /** Functions that report what happens, for logs and metrics. @default none */
  readonly hooks?: ClusterHooks | undefined
  /** For tests: the source of time and timers. @default Node's */
  readonly clock?: Clock | undefined
  /** For tests: random numbers from 0 to 1 for backoff and partitioning. @default Math.random */
  readonly random?: (() => number) | undefined
  /** Opens the connections, for example through a proxy; `tls` then has no effect. @default TCP, or TLS with `tls` */
  readonly openSocket?: OpenSocket | undefined
  /** Resolves a host to all of its IP addresses. @default the operating system's resolver */
  readonly resolve?: ((host: string) => Promise<readonly string[]>) | undefined
}

/** With the defaults filled in. */
export interface ClusterSettings {
  readonly bootstrap: readonly Address[]
  readonly clientId: string | null
  readonly rack: string | undefined
  readonly sasl: SaslOptions | undefined
  readonly requestTimeoutMs: number
  readonly connectTimeoutMs: number
  readonly backoff: { readonly minMs: number; readonly maxMs: number }
  readonly metadataMaxAgeMs: number
  readonly bootstrapAfterMs: number
  readonly askAnotherAfterMs: number
  readonly suspectAfterMs: number
  readonly maxIdleMs: number
  readonly maxResponseBytes: number
  readonly autoCreateTopics: boolean
  readonly hooks: ClusterHooks
  readonly clock: Clock
  readonly random: () => number
  readonly openSocket: OpenSocket
  readonly resolve: (host: string) => Promise<readonly string[]>
}

const NUMBERS = {
  requestTimeoutMs: [1, MAX_MS, 30_000],
  connectTimeoutMs: [1, MAX_MS, 10_000],
  metadataMaxAgeMs: [1, MAX_MS, 300_000],
  bootstrapAfterMs: [1, MAX_MS, 30_000],
  askAnotherAfterMs: [1, MAX_MS, 1_000],
  suspectAfterMs: [1, MAX_MS, 3_000],
  maxIdleMs: [1, MAX_MS, 540_000],
  maxResponseBytes: [1_024, MAX_MS, 100 * 1024 * 1024],
} as const satisfies NumberRanges

const FUNCTIONS = ['random', 'openSocket', 'resolve']

const KNOWN: KnownNames = {
  names: ['brokers', 'clientId', 'tls', 'sasl', 'rack', 'backoff', 'autoCreateTopics', 'hooks', ...FUNCTIONS, 'clock'],
  numbers: NUMBERS,
  renamed: {
    ssl: 'write tls',
    bootstrapBrokers: 'write brokers',
    bootstrapServers: 'write brokers',
    'bootstrap.servers': 'write brokers',
    seedBrokers: 'write brokers',
    connectionTimeout: 'write connectTimeoutMs',
    requestTimeout: 'write requestTimeoutMs',
    authenticationTimeout: 'connectTimeoutMs is for the whole way to a usable connection',
    rackId: 'write rack',
    socketFactory: 'write openSocket',
    retry: 'what may pass is repeated by itself, with the pauses of backoff, until the timeout of the call',
    retries: 'what may pass is repeated by itself, with the pauses of backoff, until the timeout of the call',
    logLevel: 'the client writes no log; hooks report what happens',
    logger: 'the client writes no log; hooks report what happens',
    logCreator: 'the client writes no log; hooks report what happens',
    allowAutoTopicCreation: 'write autoCreateTopics',
  },
}

/**
 * The options with their defaults. Throws an {@link InvalidOptionsError} with everything that is wrong with them, and with what `readMore`
 * has to say about those that are for others.
 */
export function clusterSettingsOf(
  options: ClusterOptions,
  readMore: (reader: OptionsReader) => void = () => {},
): ClusterSettings {
  const reader = new OptionsReader('createClient', options, KNOWN)
  const bootstrap = readBrokers(reader)
  const clientId = reader.raw('clientId') === null ? null : reader.text('clientId', "the program's name")
  const rack = reader.text('rack', 'the name of a rack or zone')
  const numbers = reader.numbers(NUMBERS)
  const backoff = readBackoff(reader)
  const autoCreateTopics = reader.boolean('autoCreateTopics', false)
  const tls = readTls(reader)
  readSasl(reader)
  readMore(reader)
  for (const name of FUNCTIONS) reader.callable(name, 'a function')
  reader.done()
  warnOfReadableSecret(options, bootstrap)
  return {
    ...numbers,
    bootstrap,
    clientId: clientId ?? null,
    rack,
    sasl: options.sasl,
    backoff,
    autoCreateTopics,
    hooks: options.hooks ?? {},
    clock: options.clock ?? systemClock,
    random: options.random ?? Math.random,
    openSocket: options.openSocket ?? nodeSockets(tls),
    resolve: options.resolve ?? resolveAll,
  }
}

function readBrokers(reader: OptionsReader): readonly Address[] {
  const brokers = reader.raw('brokers')
  if (!Array.isArray(brokers) || brokers.length === 0) {
    const example = "give an array of addresses, ['localhost:9092'] for example"
    const isList = typeof brokers === 'string' && brokers !== ''
    reader.problem('brokers', `is ${kindOf(brokers)}: ${isList ? "give an array; text.split(',') makes one" : example}`)
    return []
  }
  const addresses: Address[] = []
  for (const [index, broker] of brokers.entries()) {
    const address = typeof broker === 'string' ? parseAddress(broker) : undefined
    if (address === undefined) reader.problem(`brokers[${index}]`, `is ${shown(publicPart(broker))}: write host:port`)
    else addresses.push(address)
  }
  return addresses
}

/** Mechanisms that send the password or the token as it is. */
const READABLE: readonly string[] = ['plain', 'oauthbearer'] satisfies readonly SaslOptions['mechanism'][]
const LOOPBACK = /^(localhost|.*\.localhost|127\.[\d.]+|::1)$/

/** `tls: false` says that it is on purpose; what `openSocket` opens may be encrypted. */
function warnOfReadableSecret({ sasl, tls, openSocket }: ClusterOptions, bootstrap: readonly Address[]): void {
  if (sasl === undefined || !READABLE.includes(sasl.mechanism) || tls !== undefined || openSocket !== undefined) return
  const remote = bootstrap.find(({ host }) => !LOOPBACK.test(host))
  if (remote === undefined) return
  const what = sasl.mechanism === 'plain' ? 'the password' : 'the token'
  process.emitWarning(
    `createClient: SASL ${sasl.mechanism.toUpperCase()} sends ${what} to ${remote.host}:${remote.port} unencrypted: give tls, or tls: false if ` +
      'this network is safe',
    { type: 'SecurityWarning', code: 'BUSBAR_KAFKA_READABLE_SECRET' },
  )
}

/** Of a URL: without the user, the password and the query. */
function publicPart(broker: unknown): unknown {
  return typeof broker === 'string' ? broker.replace(/^.*@/s, '…@').replace(/\?.*$/s, '?…') : broker
}

function readBackoff(reader: OptionsReader): ClusterSettings['backoff'] {
  const backoff = reader.nested('backoff', { names: ['minMs', 'maxMs'] })
  const minMs = backoff?.number('minMs', [1, MAX_MS, 50]) ?? 50
  const maxMs = backoff?.number('maxMs', [1, MAX_MS, Math.max(1_000, minMs)]) ?? 1_000
  if (minMs > maxMs) backoff?.problem('minMs', `is ${minMs}, more than maxMs, ${maxMs}: give less`)
  return { minMs, maxMs }
}

function readTls(reader: OptionsReader): (() => TlsOptions) | undefined {
  const tls = reader.raw('tls')
  if (tls === undefined || tls === false) return undefined
  if (tls === true) return () => ({})
  if (typeof tls === 'function') return tls as () => TlsOptions
  if (typeof tls === 'object' && tls !== null) return () => tls
  reader.problem('tls', `is ${kindOf(tls)}: give true, options of tls.connect, or a function that returns them`)
  return undefined
}

async function resolveAll(host: string): Promise<readonly string[]> {
  const found = await lookup(host, { all: true })
  return found.map(({ address }) => address)
}
