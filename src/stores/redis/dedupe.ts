import { randomUUID } from 'node:crypto'
import { describe, OptionsReader } from '../../core/util/options-reader.ts'
import type { DedupeClaim, DedupeStore } from '../../middleware/store.ts'
import { storedKey } from '../stored-key.ts'
import type { RedisStoreClient } from './client.ts'
import { Script } from './script.ts'

/** Options of `redisDedupeStore`. */
export interface RedisDedupeStoreOptions {
  /** A connected client or cluster of `redis` (node-redis) or `ioredis`. The store does not close it. Required. */
  readonly client: RedisStoreClient
  /** Begins the name of every key in Redis. Default `busbar:dedupe:`. */
  readonly prefix?: string | undefined
}

const REDIS_DEDUPE_DEFAULTS = { prefix: 'busbar:dedupe:' } as const

// A key holds the token of its claim, or "done", and expires by itself at the end of the lease or of the time to live.
const DONE = 'done'
const [CLAIMED, IS_DONE] = [-1, -2]

const claim = new Script(`
local value = redis.call('GET', KEYS[1])
if not value then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return ${CLAIMED}
end
if value == '${DONE}' then return ${IS_DONE} end
return math.max(redis.call('PTTL', KEYS[1]), 0)`)

const change = new Script(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`)

const release = new Script(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`)

/**
 * Remembers handled messages in Redis or Valkey, for all processes that reach it. One round trip for each call, and each call is one
 * script at the server, by the server's clock. Redis removes expired keys itself.
 *
 * - Redis may lose the last writes in a failover, and all of them in a restart without persistence; the messages of that time are
 *   then handled again if they are delivered again.
 * - Set `maxmemory-policy noeviction`: with another policy, a server that is short of memory forgets messages early.
 * - While the client is disconnected, node-redis and ioredis queue commands, so that claims wait until it is back.
 *   `disableOfflineQueue` (ioredis: `enableOfflineQueue: false`) makes them fail at once.
 *
 *     const client = await createClient({ url: 'redis://localhost' }).connect()
 *     bus.consume(OrderShipped, sendMail, { middleware: [dedupe({ store: redisDedupeStore({ client }) })] })
 *
 * Throws `ConfigurationError` for invalid options.
 */
export function redisDedupeStore(options: RedisDedupeStoreOptions): DedupeStore {
  const reader = new OptionsReader('redisDedupeStore()', options)
  const client = reader.raw('client')
  if (!isClient(client))
    reader.problem('client', `must be a client or cluster of redis (node-redis) or ioredis, got ${describe(client)}`)
  const prefix = reader.string('prefix', REDIS_DEDUPE_DEFAULTS.prefix)
  reader.done()
  return new RedisStore(client as RedisStoreClient, prefix)
}

function isClient(value: unknown): value is RedisStoreClient {
  const methods = value as Partial<Record<string, unknown>> | null | undefined
  return typeof (methods?.['evalSha'] ?? methods?.['evalsha']) === 'function'
}

class RedisStore implements DedupeStore {
  readonly #client: RedisStoreClient
  readonly #prefix: string

  constructor(client: RedisStoreClient, prefix: string) {
    this.#client = client
    this.#prefix = prefix
  }

  async claim(key: string, leaseMs: number): Promise<DedupeClaim> {
    const token = randomUUID()
    const answer = await claim.run(this.#client, this.#keyOf(key), token, milliseconds(leaseMs))
    if (answer === CLAIMED) return { status: 'claimed', token }
    return answer === IS_DONE ? { status: 'done' } : { status: 'in-progress', retryAfterMs: answer }
  }

  async renew(key: string, token: string, leaseMs: number): Promise<boolean> {
    return (await change.run(this.#client, this.#keyOf(key), token, token, milliseconds(leaseMs))) === 1
  }

  async complete(key: string, token: string, ttlMs: number): Promise<boolean> {
    return (await change.run(this.#client, this.#keyOf(key), token, DONE, milliseconds(ttlMs))) === 1
  }

  async release(key: string, token: string): Promise<void> {
    await release.run(this.#client, this.#keyOf(key), token)
  }

  #keyOf(key: string): string {
    return this.#prefix + storedKey(key)
  }
}

/** Redis takes whole milliseconds, and at least one. */
function milliseconds(value: number): string {
  return String(Math.max(1, Math.ceil(value)))
}
