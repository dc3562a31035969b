export { sqliteDedupeStore } from './dedupe.ts'
export type { SqliteDedupeStore, SqliteDedupeStoreOptions } from './dedupe.ts'
