/** The part of a client, cluster or pool of `redis` (node-redis) that the stores need. */
export interface NodeRedisClient {
  /** Runs a Lua script. */
  eval(script: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>
  /** Runs a Lua script that the server knows, by its SHA-1. */
  evalSha(sha: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>
}

/** The part of a client or cluster of `ioredis` that the stores need. */
export interface IoRedisClient {
  /** Runs a Lua script. */
  eval(script: string, keyCount: number, ...keysAndArguments: string[]): Promise<unknown>
  /** Runs a Lua script that the server knows, by its SHA-1. */
  evalsha(sha: string, keyCount: number, ...keysAndArguments: string[]): Promise<unknown>
}

/** A client of Redis that stores take. */
export type RedisStoreClient = NodeRedisClient | IoRedisClient
