import { lookup } from 'node:dns/promises'
import type { ConnectionOptions as TlsOptions } from 'node:tls'
import { systemClock } from '../network/clock.ts'
import type { Clock } from '../network/clock.ts'
import type { SaslOptions } from '../network/sasl/sasl.ts'
import { nodeSockets } from '../network/sockets.ts'
import type { OpenSocket } from '../network/sockets.ts'
import type { ClusterHooks } from './hooks.ts'

export interface ClusterOptions {
  /** Bootstrap addresses: `host:port`, `[::1]:9092`, or a host alone for port 9092. Any one that works is enough. */
  readonly brokers: readonly string[]
  /** Shown in the brokers' logs, metrics and quotas. @default null */
  readonly clientId?: string | null
  /** Read for each connection, so certificates can change. @default no TLS */
  readonly tls?: TlsOptions | (() => TlsOptions)
  /** @default no authentication */
  readonly sasl?: SaslOptions
  /** A broker that does not answer a request for so long has its connection closed. In milliseconds. @default 30_000 */
  readonly requestTimeoutMs?: number
  /** To one address, TLS included. @default 10_000 */
  readonly connectTimeoutMs?: number
  /** Pauses between attempts to connect, to read metadata, and to repeat requests: doubled from `min` to `max`, ± 20 %. */
  readonly backoff?: { readonly minMs?: number; readonly maxMs?: number }
  /** Metadata is read again after this time without a reason. @default 300_000 (5 min) */
  readonly metadataMaxAgeMs?: number
  /** Without an answer of any broker for so long, the client starts again from `brokers` (KIP-899). @default 30_000 */
  readonly bootstrapAfterMs?: number
  /** Another broker is asked too when one has not answered a question that any can answer. @default 1_000 */
  readonly askAnotherAfterMs?: number
  /**
   * When a broker has been silent for so long, and again each time, metadata is read: if the others have given it up, its connections
   * end, and requests to it are free to go elsewhere. In milliseconds. @default 3_000
   */
  readonly suspectAfterMs?: number
  /** A connection that is not used for so long is closed; brokers do so after 10 minutes. @default 540_000 (9 min) */
  readonly maxIdleMs?: number
  /** An answer that is larger ends its connection. @default 104_857_600 (100 MiB) */
  readonly maxResponseBytes?: number
  /** Whether reading the metadata of a topic creates it, where the brokers allow that. @default false */
  readonly autoCreateTopics?: boolean
  readonly hooks?: ClusterHooks
  /** What Node gives; tests have their own. */
  readonly clock?: Clock
  /** From 0 to 1. @default Math.random */
  readonly random?: () => number
  readonly openSocket?: OpenSocket
  /** All addresses of a host. @default what the operating system says */
  readonly resolve?: (host: string) => Promise<readonly string[]>
}

/** With the defaults filled in. */
export interface ClusterSettings {
  readonly clientId: string | null
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

export function clusterSettingsOf(options: ClusterOptions): ClusterSettings {
  const { tls, backoff } = options
  return {
    clientId: options.clientId ?? null,
    sasl: options.sasl,
    requestTimeoutMs: options.requestTimeoutMs ?? 30_000,
    connectTimeoutMs: options.connectTimeoutMs ?? 10_000,
    backoff: { minMs: backoff?.minMs ?? 50, maxMs: backoff?.maxMs ?? 1_000 },
    metadataMaxAgeMs: options.metadataMaxAgeMs ?? 300_000,
    bootstrapAfterMs: options.bootstrapAfterMs ?? 30_000,
    askAnotherAfterMs: options.askAnotherAfterMs ?? 1_000,
    suspectAfterMs: options.suspectAfterMs ?? 3_000,
    maxIdleMs: options.maxIdleMs ?? 540_000,
    maxResponseBytes: options.maxResponseBytes ?? 100 * 1024 * 1024,
    autoCreateTopics: options.autoCreateTopics ?? false,
    hooks: options.hooks ?? {},
    clock: options.clock ?? systemClock,
    random: options.random ?? Math.random,
    openSocket: options.openSocket ?? nodeSockets(typeof tls === 'object' ? () => tls : tls),
    resolve: options.resolve ?? resolveAll,
  }
}

async function resolveAll(host: string): Promise<readonly string[]> {
  const found = await lookup(host, { all: true })
  return found.map(({ address }) => address)
}
