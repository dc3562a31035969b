export type { PgClient, PostgresJsClient, PostgresStoreClient } from './client.ts'
export { postgresDedupeStore } from './dedupe.ts'
export type { PostgresDedupeStore, PostgresDedupeStoreOptions } from './dedupe.ts'
