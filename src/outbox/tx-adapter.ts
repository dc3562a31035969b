/** The databases that an outbox can be in. */
export type Dialect = 'postgres' | 'mysql' | 'sqlite'

/** How SQL statements mark their parameters: `$1`, or `?`. */
export type Placeholders = 'numbered' | 'question'

/**
 * What the outbox needs of a database library: one statement in a transaction that the caller has opened. Busbar has one for each
 * common library; for another, write it in a few lines:
 *
 *     const tx: TxAdapter<MyTx> = {
 *       library: 'my-library', dialect: 'postgres', placeholders: 'numbered',
 *       execute: (tx, sql, params) => tx.run(sql, params),
 *       inTransaction: () => 'ask-server', remedy: "pass the transaction of begin()",
 *     }
 */
export interface TxAdapter<Tx> {
  /** Names the library in errors. */
  readonly library: string
  readonly dialect: Dialect
  readonly placeholders: Placeholders
  /** Runs one statement on the transaction. Its result is not read. Rejects with the library's error. */
  execute(tx: Tx, sql: string, params: readonly unknown[]): unknown
  /**
   * Whether the transaction is open. `ask-server` when the library can't tell: a statement before the INSERT then makes the server
   * check it (PostgreSQL only). Both are executed without a wait in between, so they must run in the order of the calls.
   */
  inTransaction(tx: Tx): boolean | 'ask-server'
  /** What to pass instead of what is not a transaction: the end of an error message. */
  readonly remedy: string
}
