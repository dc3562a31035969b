export { sqliteDedupeStore } from './dedupe.ts'
export type { SqliteDedupeStore, SqliteDedupeStoreOptions } from './dedupe.ts'
export { sqliteUnitOfWork } from './unit-of-work.ts'
export type { SqliteUnitOfWorkOptions } from './unit-of-work.ts'
