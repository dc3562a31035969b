import type { Capabilities, Transport } from '../../core/transport.ts'
import { OpenedOnce } from '../../core/util/opened-once.ts'
import { resolveRedisOptions } from './resolve-options.ts'
import type { RedisOptions } from './options.ts'
import { RedisTransport } from './transport.ts'

export type { GivenClient } from './connection/given-client.ts'
export type {
  RedisNode,
  RedisNodeOption,
  RedisOptions,
  RedisRetentionOptions,
  RedisSentinelOptions,
} from './options.ts'

/**
 * Creates a transport for Redis Streams: durable topics with groups on Redis 6.2 or newer, or Valkey, through the package
 * `redis`; single server, Sentinel or Cluster. A topic keeps about 100,000 messages, plus what its groups have not
 * acked, unless `retention` changes that:
 *
 *     const transport = redis({ url: 'redis://127.0.0.1:6379', retention: { maxMessages: 1_000_000 } })
 *
 * Connects when the bus starts. Throws a `ConfigurationError` that lists all problems of the options.
 */
export function redis(options: RedisOptions = {}): Transport {
  const resolved = resolveRedisOptions(options)
  const once = new OpenedOnce<RedisTransport>('Redis')
  return {
    system: 'redis',
    capabilities: capabilities(resolved.maxMessageBytes),
    admin: RedisTransport.admin(() => once.get()),
    async open(host) {
      await once.open(
        () => new RedisTransport(resolved, host),
        async (session) => {
          try {
            await session.open()
          } catch (error) {
            await session.close(0)
            throw error
          }
        },
      )
    },
    publish: async (batch, { signal } = {}) => once.get().publisher.publish(batch, signal),
    subscribe: async (spec, sink) => once.get().subscribe(spec, sink),
    health: () => once.given?.health() ?? { connected: false },
    serverAddress: () => once.given?.server,
    async close({ deadlineMs = 5_000 } = {}) {
      await once.close()?.close(deadlineMs)
    },
  }
}

function capabilities(maxMessageBytes: number): Capabilities {
  return Object.freeze({
    durable: true,
    groups: true,
    ordering: 'key',
    // A delayed retry lets the rest of its key pass; with order by key the runtime therefore keeps it in the process.
    orderedRedelivery: false,
    delay: 'emulated',
    redelivery: true,
    attempts: true,
    patterns: true,
    replay: Object.freeze(['position', 'time'] as const),
    lag: true,
    publishDedup: false,
    failedPublishStopsKey: false,
    publishOnAck: false,
    atomicDeadLetters: true,
    transactions: false,
    tombstones: false,
    requestReply: false,
    maxMessageBytes,
  })
}
