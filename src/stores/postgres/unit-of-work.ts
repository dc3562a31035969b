import { BusbarError, ConnectionError, StateError } from '../../core/errors.ts'
import { OptionsReader } from '../../core/util/options-reader.ts'
import { createUnitOfWork } from '../unit-of-work.ts'
import type { TransactionAdapter, UnitOfWork } from '../unit-of-work.ts'
import { sqlState } from './client.ts'

/** The part of a client of a `Pool` of `pg` that a unit of work needs. */
export interface PgTransactionClient {
  /** Runs one statement. */
  query(sql: string): Promise<{ readonly command: string }>
  /** Gives the client back to its pool, which closes it if there is an error. */
  release(error?: Error | boolean): void
  /** Listens for the loss of the connection. */
  on(event: 'error', listener: (error: Error) => void): unknown
  /** Ends that. */
  removeListener(event: 'error', listener: (error: Error) => void): unknown
}

/** The part of a `Pool` of `pg` that a unit of work needs. */
export interface PgPool<Client extends PgTransactionClient> {
  /** Takes a client out of the pool. */
  connect(): Promise<Client>
  /** Not used; TypeScript infers the type of the client from the last overload that pg declares. */
  connect(callback: (error: Error | undefined, client: Client | undefined, done: () => void) => void): void
}

/** Options of `postgresUnitOfWork`. */
export interface PostgresUnitOfWorkOptions<Client extends PgTransactionClient> {
  /** A `Pool` of `pg`: each transaction takes one of its clients. It is not closed. Required. */
  readonly client: PgPool<Client>
}

/** Errors with which the server may answer a COMMIT that it has carried out, or that it has not answered at all. */
const UNCERTAIN = /^(08|57P|58|XX|F0|40003)/

/**
 * Transactions of PostgreSQL, through a `Pool` of `pg`. `tx` is a client of the pool; it goes back when the run has ended.
 *
 * - A statement that fails makes PostgreSQL refuse those that follow. If your code catches its error and returns, the run rejects
 *   with a `StateError`: PostgreSQL turns such a COMMIT into a ROLLBACK. Put a statement that may fail into a nested run.
 * - Transactions run at the database's default isolation level. An aborted run ends when its statement ends: set `statement_timeout`
 *   and `lock_timeout` if statements may wait for long.
 *
 *     const unitOfWork = postgresUnitOfWork({ client: new Pool({ connectionString }) })
 *     await unitOfWork.run((tx) => tx.query('INSERT INTO invoice VALUES ($1)', [id]))
 *
 * Throws `ConfigurationError` for invalid options.
 */
export function postgresUnitOfWork<Client extends PgTransactionClient>(
  options: PostgresUnitOfWorkOptions<Client>,
): UnitOfWork<Client> {
  const reader = new OptionsReader('postgresUnitOfWork()', options)
  if (!reader.has('client')) reader.problem('client', 'is required: a Pool of pg')
  const pool = reader.withMethods<PgPool<Client>>('client', ['connect'])
  reader.done()
  return createUnitOfWork(adapterOf(pool as PgPool<Client>))
}

function adapterOf<Client extends PgTransactionClient>(pool: PgPool<Client>): TransactionAdapter<Client> {
  return {
    async transaction(body) {
      const client = await pool.connect()
      /** Set when the client must not be used again. */
      let broken: Error | undefined
      // Without a listener, a connection that is lost between two statements would end the process.
      const onError = (error: Error): void => {
        broken ??= error
      }
      client.on('error', onError)
      const call = async (sql: string): Promise<string> => {
        try {
          return (await client.query(sql)).command
        } catch (error) {
          if (isUncertain(error)) broken ??= error as Error
          throw error
        }
      }
      try {
        await call('BEGIN')
        let result
        try {
          result = await body(client)
        } catch (error) {
          if (broken === undefined) await call('ROLLBACK').catch(onError)
          throw error
        }
        if (broken !== undefined)
          throw new ConnectionError('The connection was lost before COMMIT, so nothing was committed', {
            cause: broken,
          })
        if ((await call('COMMIT')) === 'ROLLBACK')
          throw new StateError(
            'PostgreSQL rolled the transaction back: one of its statements had failed, and its error was caught. Let the error pass, or run the statement in a nested run',
          )
        return result
      } finally {
        client.removeListener('error', onError)
        client.release(broken)
      }
    },
    async savepoint(tx, body) {
      await tx.query('SAVEPOINT busbar')
      try {
        const result = await body(tx)
        await tx.query('RELEASE SAVEPOINT busbar')
        return result
      } catch (error) {
        // If this fails, the connection is lost, and the transaction with it.
        await tx.query('ROLLBACK TO SAVEPOINT busbar; RELEASE SAVEPOINT busbar').catch(() => undefined)
        throw error
      }
    },
    isRolledBack: (error) => BusbarError.is(error) || !isUncertain(error),
  }
}

function isUncertain(error: unknown): boolean {
  const state = sqlState(error)
  return state === undefined || UNCERTAIN.test(state)
}
