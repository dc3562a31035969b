import type { TxAdapter } from '../tx-adapter.ts'

/** The part of a `DatabaseSync` of `node:sqlite`, or of a `Database` of `better-sqlite3`, that the outbox needs. */
export interface SqliteTx {
  /** Prepares one statement. */
  prepare(sql: string): { run(...params: never[]): unknown }
  /** `node:sqlite`. */
  readonly isTransaction?: boolean
  /** `better-sqlite3`. */
  readonly inTransaction?: boolean
}

/**
 * The adapter for `node:sqlite` and for `better-sqlite3`. The transaction is the database itself, after BEGIN.
 *
 *     const outbox = createOutbox({ tx: sqliteTx() })
 */
export function sqliteTx(): TxAdapter<SqliteTx> {
  return {
    library: 'SQLite',
    dialect: 'sqlite',
    placeholders: 'question',
    execute: (tx, sql, params) => tx.prepare(sql).run(...(params as never[])),
    inTransaction: (tx) => tx.isTransaction === true || tx.inTransaction === true,
    remedy: 'run BEGIN IMMEDIATE first, or use sqliteUnitOfWork',
  }
}
