import type { TxAdapter } from '../tx-adapter.ts'

/** The part of a client of `pg` that the outbox needs. */
export interface PgTx {
  /** Runs one statement. */
  query(sql: string, params: unknown[]): Promise<unknown>
  /** What the server last reported: `T` in a transaction, `E` in a failed one, `I` outside. Since pg 8.20. */
  getTransactionStatus?(): string | null
  /** A Pool has it: each of its statements may run on another connection. */
  readonly totalCount?: number
}

/**
 * The adapter for `pg` (node-postgres). The transaction is a client after BEGIN: of a pool, or one of its own.
 *
 *     const outbox = createOutbox({ tx: pgTx() })
 */
export function pgTx(): TxAdapter<PgTx> {
  return {
    library: 'pg',
    dialect: 'postgres',
    placeholders: 'numbered',
    execute: (tx, sql, params) => tx.query(sql, [...params]),
    inTransaction(tx) {
      if (tx.totalCount !== undefined) return false
      // It does not know of statements that wait in its queue, such as a BEGIN without await: then the server has the last word.
      return tx.getTransactionStatus?.() === 'T' || 'ask-server'
    },
    remedy: 'pass a client on which BEGIN has run, as from await pool.connect(), and not the Pool',
  }
}
