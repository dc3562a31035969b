import type { DatabaseSync } from 'node:sqlite'
import { OptionsReader } from '../../core/util/options-reader.ts'
import { createUnitOfWork } from '../unit-of-work.ts'
import type { TransactionAdapter, UnitOfWork } from '../unit-of-work.ts'
import { primaryCode, SqliteConnection } from './connection.ts'
import { DEFAULT_BUSY_TIMEOUT_MS } from './open-file.ts'

/** Options of `sqliteUnitOfWork`. */
export interface SqliteUnitOfWorkOptions {
  /** Your open database. It is not closed. Required. */
  readonly database: DatabaseSync
  /** How long a BEGIN or COMMIT waits while another connection holds the database, in ms. Default 5,000. */
  readonly busyTimeoutMs?: number | undefined
}

/** The disk failed: whether the transaction is in the file is known when it is read again. */
const IO_ERROR = 10

/**
 * Transactions of an SQLite database (`node:sqlite`). `tx` is the database itself. Transactions begin with BEGIN IMMEDIATE.
 *
 * - A connection has one transaction at a time, so runs take turns, first come, first served: keep them short.
 * - Whatever else uses the same `DatabaseSync` while a run awaits something becomes part of its transaction: give the unit of work a
 *   separate connection, or await nothing but statements in `fn`.
 * - It waits for other processes without blocking the event loop, and rejects with a `TimeoutError` after `busyTimeoutMs`.
 *
 *     const unitOfWork = sqliteUnitOfWork({ database: new DatabaseSync('app.db') })
 *     await unitOfWork.run((tx) => tx.prepare('INSERT INTO invoice VALUES (?)').run(id))
 *
 * Throws `ConfigurationError` for invalid options.
 */
export function sqliteUnitOfWork(options: SqliteUnitOfWorkOptions): UnitOfWork<DatabaseSync> {
  const reader = new OptionsReader('sqliteUnitOfWork()', options)
  if (!reader.has('database')) reader.problem('database', 'is required: a DatabaseSync of node:sqlite')
  const database = reader.withMethods<DatabaseSync>('database', ['prepare', 'exec'])
  const busyTimeoutMs = reader.integer('busyTimeoutMs', DEFAULT_BUSY_TIMEOUT_MS)
  reader.done()
  return createUnitOfWork(adapterOf(database as DatabaseSync, busyTimeoutMs))
}

function adapterOf(database: DatabaseSync, busyTimeoutMs: number): TransactionAdapter<DatabaseSync> {
  const connection = SqliteConnection.of(database)
  return {
    transaction: (body, signal) => connection.transaction(() => body(database), busyTimeoutMs, signal),
    async savepoint(tx, body) {
      tx.exec('SAVEPOINT busbar')
      try {
        const result = await body(tx)
        tx.exec('RELEASE busbar')
        return result
      } catch (error) {
        // After some errors (a full disk), SQLite has ended the whole transaction.
        if (tx.isOpen && tx.isTransaction) tx.exec('ROLLBACK TO busbar; RELEASE busbar')
        throw error
      }
    },
    isRolledBack: (error) => primaryCode(error) !== IO_ERROR,
  }
}
