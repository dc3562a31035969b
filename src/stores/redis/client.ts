/** The part of a client, cluster or pool of `redis` (node-redis) that the stores need. */
export interface NodeRedisClient {
  eval(script: string, options: ScriptOptions): Promise<unknown>
  evalSha(sha: string, options: ScriptOptions): Promise<unknown>
}

interface ScriptOptions {
  keys: string[]
  arguments: string[]
}

/** The part of a client or cluster of `ioredis` that the stores need. */
export interface IoRedisClient {
  eval(script: string, keyCount: number, ...keysAndArguments: string[]): Promise<unknown>
  evalsha(sha: string, keyCount: number, ...keysAndArguments: string[]): Promise<unknown>
}

export type RedisStoreClient = NodeRedisClient | IoRedisClient
