export type { IoRedisClient, NodeRedisClient, RedisStoreClient } from './client.ts'
export { redisDedupeStore } from './dedupe.ts'
export type { RedisDedupeStoreOptions } from './dedupe.ts'
