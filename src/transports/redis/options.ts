import type { ConnectionOptions } from 'node:tls'
import type { EnvelopeForm } from '../../core/compact-envelope.ts'
import type { BackoffLimits } from '../../core/util/backoff.ts'
import type { GivenClient } from './connection/given-client.ts'

/** Options of `redis`. */
export interface RedisOptions {
  /**
   * `redis://user:password@host:6379/0`, `rediss://` for TLS, `unix:///run/redis.sock`. Its parameters are options of this
   * object: `?retention.maxMessages=100000`. Default `redis://127.0.0.1:6379`.
   */
  readonly url?: string | undefined
  /** Name or address of the server, instead of the one in the URL. Default 127.0.0.1. */
  readonly host?: string | undefined
  /** Port of the server. Default 6379. */
  readonly port?: number | undefined
  /** ACL user to log in as. Default: the user `default`. */
  readonly username?: string | undefined
  /** Password to log in with. Default: none. */
  readonly password?: string | undefined
  /** Number of the database. Default 0. */
  readonly database?: number | undefined
  /** Name of all connections in `CLIENT LIST`, without blanks. Default: none. */
  readonly connectionName?: string | undefined
  /** True, or options of `node:tls`. Default false; true with `rediss:`. */
  readonly tls?: boolean | ConnectionOptions | undefined
  /**
   * A client of the package `redis` (single or cluster), connected or not, in place of `url` and its related options.
   * You close it; Busbar uses duplicates of it for blocking reads, and closes those.
   */
  readonly client?: GivenClient | undefined
  /** Some nodes of a Redis Cluster; Busbar discovers the others. In place of host and port. */
  readonly cluster?: { readonly nodes: readonly RedisNodeOption[] } | undefined
  /** Sentinels to ask for the primary at every connect. In place of host and port. */
  readonly sentinel?: RedisSentinelOptions | undefined
  /**
   * Maps addresses that servers announce to addresses that this process can reach: `{ '10.0.0.1:6379': { host, port }
   * }`.
   */
  readonly nodeAddressMap?: Readonly<Record<string, RedisNode>> | undefined
  /**
   * How much each topic keeps. Redis does not limit a stream by itself, so there is always a limit.
   *
   * @default 100_000 messages
   */
  readonly retention?: RedisRetentionOptions | undefined
  /**
   * Number of partitions of a new topic: the maximum number of members that work at once in a group with order by key.
   * By topic, where `*` stands for all others: `{ 'audit.log': 1, '*': 16 }`. The first process that uses a topic decides.
   *
   * @default 8
   */
  readonly partitions?: number | Readonly<Record<string, number>> | undefined
  /** Prefix of all keys. Default `busbar:`. */
  readonly prefix?: string | undefined
  /**
   * How long a member may show no sign of life before it counts as dead and its messages go to other members, in ms.
   * Default 10,000.
   */
  readonly leaseMs?: number | undefined
  /**
   * How often members look for due messages and for members that joined or left, in ms; at most half of `leaseMs`. Default
   * 500.
   */
  readonly pollIntervalMs?: number | undefined
  /** How long a member that hands over a partition waits for its running handlers, in ms. Default 10,000. */
  readonly handoverTimeoutMs?: number | undefined
  /** Maximum duration of connecting, in ms; the server then has `responseTimeoutMs` for its first reply. Default 5,000. */
  readonly connectTimeoutMs?: number | undefined
  /** A connection that leaves a command unanswered for this long is closed and replaced, in ms. Default 15,000. */
  readonly responseTimeoutMs?: number | undefined
  /** Pauses between attempts to reconnect, in ms: the first one, doubled with each attempt, with jitter; and the longest. Default 50 and 2,000. */
  readonly reconnect?: { readonly minMs?: number | undefined; readonly maxMs?: number | undefined } | undefined
  /** Maximum size of a message, body plus headers, in bytes. Default 16 MiB. */
  readonly maxMessageBytes?: number | undefined
  /**
   * `compact`: the envelope is one field `ce`, a JSON object without what readers can derive. `cloudevents`: each CloudEvents
   * attribute has its own field (`ce-id`, ...), for readers that are not Busbar; it takes about three times the CPU. Both are
   * always understood.
   *
   * @default 'compact'
   */
  readonly envelope?: EnvelopeForm | undefined
  /** Confirms a message only when this many replicas have it (`WAIT`). Default: the primary's confirmation is enough. */
  readonly wait?: { readonly replicas: number; readonly timeoutMs?: number | undefined } | undefined
  /** Checks eviction and persistence settings when connecting, and warns. Default true. */
  readonly checkServer?: boolean | undefined
  /** Options for `createClient` (or `createCluster`) of the package `redis`; they override Busbar's. */
  readonly native?: Readonly<Record<string, unknown>> | undefined
}

/** Address of one node. */
export interface RedisNode {
  /** Name or address. */
  readonly host: string
  /** Port. */
  readonly port: number
}

/** Limits beyond which messages are removed. */
export interface RedisRetentionOptions {
  /**
   * About how many messages a topic keeps; older ones that every group has acked are removed. Default 100,000, or none when
   * `maxAgeMs` is set.
   */
  readonly maxMessages?: number | undefined
  /** About how long a topic keeps its messages, in ms. Default: no time limit. */
  readonly maxAgeMs?: number | undefined
  /**
   * Keeps messages that some group has not acked beyond both limits; a `warning` names the group. False removes them too, and
   * reports them as a `loss` event. Default true.
   */
  readonly keepUnacked?: boolean | undefined
}

/** One of several nodes: `host:port`, or an object. */
export type RedisNodeOption = string | RedisNode

/** How to reach Redis through Sentinel. */
export interface RedisSentinelOptions {
  /** Name of the primary, such as `mymaster`. */
  readonly name: string
  /** The sentinels; one that answers is enough. */
  readonly nodes: readonly RedisNodeOption[]
  /** ACL user for the sentinels themselves; the user for Redis is set outside this object. */
  readonly username?: string | undefined
  /** Password of the sentinels. */
  readonly password?: string | undefined
  /** TLS to the sentinels. Default: same as to Redis. */
  readonly tls?: boolean | ConnectionOptions | undefined
}

export interface ResolvedRedisOptions {
  readonly host: string
  readonly port: number
  /** Unix socket. */
  readonly path: string | undefined
  readonly username: string | undefined
  readonly password: string | undefined
  readonly database: number
  readonly tls: boolean | ConnectionOptions
  readonly client: GivenClient | undefined
  readonly clusterNodes: readonly RedisNode[] | undefined
  readonly sentinel: ResolvedSentinel | undefined
  readonly nodeAddressMap: Readonly<Record<string, RedisNode>> | undefined
  readonly connectionName: string | undefined
  readonly retention: ResolvedRetention
  /** What the user set, by topic; `*` for all others. */
  readonly partitions: Readonly<Record<string, number>>
  readonly prefix: string
  readonly leaseMs: number
  readonly pollIntervalMs: number
  readonly handoverTimeoutMs: number
  readonly connectTimeoutMs: number
  readonly responseTimeoutMs: number
  readonly reconnect: BackoffLimits
  readonly maxMessageBytes: number
  readonly envelope: EnvelopeForm
  readonly wait: { readonly replicas: number; readonly timeoutMs: number } | undefined
  readonly checkServer: boolean
  readonly native: Readonly<Record<string, unknown>>
}

export interface ResolvedRetention {
  readonly maxMessages: number | undefined
  readonly maxAgeMs: number | undefined
  readonly keepUnacked: boolean
}

export interface ResolvedSentinel {
  readonly name: string
  readonly nodes: readonly RedisNode[]
  readonly username: string | undefined
  readonly password: string | undefined
  readonly tls: boolean | ConnectionOptions
}
