import type { Dialect, TxAdapter } from '../tx-adapter.ts'

/** The part of a `Transaction` of Knex that the outbox needs. */
export interface KnexTx {
  /** Runs one statement. */
  raw(sql: string, bindings: never): PromiseLike<unknown>
  readonly isTransaction?: boolean
  /** True when it was committed or rolled back. */
  isCompleted?(): boolean
}

/**
 * The adapter for Knex. The transaction is the `trx` of `knex.transaction(…)`.
 *
 *     const outbox = createOutbox({ tx: knexTx('postgres') })
 *     await knex.transaction((trx) => outbox.publish(trx, OrderPlaced, order))
 */
export function knexTx(dialect: Dialect): TxAdapter<KnexTx> {
  return {
    library: 'Knex',
    dialect,
    placeholders: 'question',
    execute: (tx, sql, params) => tx.raw(sql, params as never),
    inTransaction: (tx) => tx.isTransaction === true && tx.isCompleted?.() !== true,
    remedy: 'pass the trx of knex.transaction(async (trx) => …) while it is open',
  }
}
