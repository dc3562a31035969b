import type { TxAdapter } from '../tx-adapter.ts'

/** The part of the `sql` of a transaction of `postgres` (postgres.js) that the outbox needs. */
export interface PostgresJsTx {
  /** Runs one statement. */
  unsafe(sql: string, params?: never[]): PromiseLike<unknown>
  /** Only the `sql` of a transaction has it. */
  readonly savepoint?: unknown
}

/**
 * The adapter for `postgres` (postgres.js). The transaction is the `sql` that `sql.begin` passes to its callback.
 *
 *     await sql.begin((tx) => outbox.publish(tx, OrderPlaced, order))
 */
export function postgresJsTx(): TxAdapter<PostgresJsTx> {
  return {
    library: 'postgres.js',
    dialect: 'postgres',
    placeholders: 'numbered',
    execute: (tx, sql, params) => tx.unsafe(sql, [...params] as never[]),
    inTransaction: (tx) => typeof tx.savepoint === 'function' && 'ask-server',
    remedy: 'pass the sql of the callback of sql.begin(…)',
  }
}
