export type { CaptureOptions } from './capture.ts'
export { drizzleTx } from './libraries/drizzle.ts'
export type { DrizzleSql, DrizzleTx } from './libraries/drizzle.ts'
export { knexTx } from './libraries/knex.ts'
export type { KnexTx } from './libraries/knex.ts'
export { kyselyTx } from './libraries/kysely.ts'
export type { KyselyTx } from './libraries/kysely.ts'
export { pgTx } from './libraries/pg.ts'
export type { PgTx } from './libraries/pg.ts'
export { postgresJsTx } from './libraries/postgres-js.ts'
export type { PostgresJsTx } from './libraries/postgres-js.ts'
export { sqliteTx } from './libraries/sqlite.ts'
export type { SqliteTx } from './libraries/sqlite.ts'
export { createOutbox } from './outbox.ts'
export type { Outbox, OutboxOptions, OutboxPublishOptions, OutboxResult } from './outbox.ts'
export type { Dialect, Placeholders, TxAdapter } from './tx-adapter.ts'
export { outboxRelay } from './relay.ts'
export type { OutboxRelayOptions } from './relay-options.ts'
export type { OutboxRow } from './row.ts'
export type {
  BlockedKey,
  KeyQuery,
  ListedRow,
  OutboxStats,
  OutboxStore,
  OwnedShard,
  ReadQuery,
  ReadResult,
  RowFailure,
  RowFilter,
} from './store.ts'
