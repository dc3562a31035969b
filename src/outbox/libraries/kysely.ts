import type { Dialect, TxAdapter } from '../tx-adapter.ts'

/** The part of a `Transaction` of Kysely that the outbox needs. */
export interface KyselyTx {
  readonly isTransaction: boolean
  /** Runs a query that is compiled already. */
  executeQuery(query: never): Promise<unknown>
}

/**
 * The adapter for Kysely. The transaction is the `trx` of `db.transaction().execute(…)`, or a controlled one.
 *
 *     const outbox = createOutbox({ tx: kyselyTx('postgres') })
 *     await db.transaction().execute((trx) => outbox.publish(trx, OrderPlaced, order))
 */
export function kyselyTx(dialect: Dialect): TxAdapter<KyselyTx> {
  return {
    library: 'Kysely',
    dialect,
    placeholders: dialect === 'postgres' ? 'numbered' : 'question',
    execute(tx, sql, parameters) {
      // What CompiledQuery.raw() of Kysely returns.
      const query = { kind: 'RawNode', sqlFragments: [sql], parameters: [] }
      return tx.executeQuery({ sql, parameters, query, queryId: { queryId: 'busbar' } } as never)
    },
    // One that has ended refuses statements by itself.
    inTransaction: (tx) => tx.isTransaction,
    remedy: 'pass the trx of db.transaction().execute(async (trx) => …), and not db',
  }
}
