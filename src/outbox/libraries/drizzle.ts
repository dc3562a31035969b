import type { Dialect, TxAdapter } from '../tx-adapter.ts'

/** The part of the `tx` of Drizzle that the outbox needs. */
export interface DrizzleTx {
  /** PostgreSQL and MySQL: runs one statement. */
  execute?(query: never): PromiseLike<unknown>
  /** SQLite: runs one statement. */
  run?(query: never): unknown
  /** Only a transaction has it. */
  rollback?: unknown
}

/** The `sql` of `drizzle-orm`, which makes the statement. */
export interface DrizzleSql {
  /** A piece of SQL. */
  raw(text: string): unknown
  /** A parameter. */
  param(value: unknown): unknown
  /** Puts pieces together. */
  join(chunks: never[]): unknown
}

/**
 * The adapter for Drizzle. The transaction is the `tx` of `db.transaction(…)`.
 *
 *     import { sql } from 'drizzle-orm'
 *     const outbox = createOutbox({ tx: drizzleTx('postgres', sql) })
 *     await db.transaction((tx) => outbox.publish(tx, OrderPlaced, order))
 */
export function drizzleTx(dialect: Dialect, sql: DrizzleSql): TxAdapter<DrizzleTx> {
  return {
    library: 'Drizzle',
    dialect,
    placeholders: 'question',
    execute(tx, text, params) {
      const pieces = text.split('?').flatMap((piece, index) => {
        const raw = sql.raw(piece)
        return index < params.length ? [raw, sql.param(params[index])] : [raw]
      })
      const query = sql.join(pieces as never[]) as never
      return tx.execute === undefined ? tx.run?.(query) : tx.execute(query)
    },
    inTransaction: (tx) => typeof tx.rollback === 'function' && (dialect === 'postgres' ? 'ask-server' : true),
    remedy: 'pass the tx of db.transaction(async (tx) => …), and not db',
  }
}
