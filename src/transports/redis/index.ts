import { StateError } from '../../core/errors.ts'
import type { Capabilities, Transport } from '../../core/transport.ts'
import { resolveRedisOptions } from './options.ts'
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
  let session: RedisTransport | undefined
  let closed = false

  const requireOpen = (): RedisTransport => {
    if (session === undefined || closed)
      throw new StateError(closed ? 'The Redis transport is closed' : 'The Redis transport is not open')
    return session
  }

  return {
    system: 'redis',
    capabilities: capabilities(resolved.maxMessageBytes),
    admin: RedisTransport.admin(requireOpen),
    async open(host) {
      if (session !== undefined) throw new StateError('A Redis transport belongs to one bus: make another one')
      const opening = new RedisTransport(resolved, host)
      session = opening
      try {
        await opening.open()
      } catch (error) {
        // Clean up completely, so that the transport may be opened again.
        await opening.close(0)
        session = undefined
        throw error
      }
    },
    publish: async (batch, { signal } = {}) => requireOpen().publisher.publish(batch, signal),
    subscribe: async (spec, sink) => requireOpen().subscribe(spec, sink),
    health: () => (session === undefined || closed ? { connected: false } : session.health()),
    serverAddress: () => session?.server,
    async close({ deadlineMs = 5_000 } = {}) {
      if (closed) return
      closed = true
      await session?.close(deadlineMs)
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
    transactions: true,
    tombstones: false,
    requestReply: false,
    maxMessageBytes,
  })
}
