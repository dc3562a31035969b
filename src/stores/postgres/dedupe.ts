import { randomUUID } from 'node:crypto'
import { StateError } from '../../core/errors.ts'
import { describe, OptionsReader } from '../../core/util/options-reader.ts'
import type { DedupeClaim, DedupeStore } from '../../middleware/store.ts'
import { storedKey } from '../stored-key.ts'
import { query, sqlState } from './client.ts'
import type { PostgresStoreClient } from './client.ts'
import { tableName } from '../../core/util/table-name.ts'
import { createDedupeTable } from './schema.ts'

/** Options of `postgresDedupeStore`. */
export interface PostgresDedupeStoreOptions {
  /**
   * A `Pool` of `pg`, or the `sql` of `postgres` (postgres.js). The store does not close it. Don't give a connection with an open
   * transaction: what the store writes would be part of it. Required.
   */
  readonly client: PostgresStoreClient
  /** Schema of the table `busbar_dedupe`. Default: the first one of the connection's search path. */
  readonly schema?: string | undefined
}

/** A `DedupeStore` in PostgreSQL. */
export interface PostgresDedupeStore extends DedupeStore {
  /**
   * Creates the table and its index if they are missing; several processes may do so at once. Needs the right to create tables: to
   * create them in a migration instead, run `sql`.
   */
  createTables(): Promise<void>
  /** What `createTables` runs. */
  readonly sql: string
}

interface ClaimRow {
  readonly status: DedupeClaim['status']
  readonly left: number
}

const UNDEFINED_TABLE = '42P01'
/** Every so many claims, at most this many expired keys are deleted: more than can have been added meanwhile. */
const CLEAN = { everyClaims: 256, maxKeys: 1_024 } as const

/**
 * Remembers handled messages in PostgreSQL, for all processes that reach it. One round trip for each call, by the database's clock.
 *
 * - The table must exist: call `createTables()` once, or run its SQL in a migration. Otherwise calls reject with a `StateError` that
 *   contains the SQL.
 * - Expired keys are deleted in small batches, alongside claims: an idle store does nothing.
 * - A call takes a connection of the pool for one statement. Works behind a pooler such as PgBouncer.
 *
 *     const store = postgresDedupeStore({ client: new Pool({ connectionString }) })
 *     await store.createTables()
 *     bus.consume(OrderShipped, sendMail, { middleware: [dedupe({ store })] })
 *
 * Throws `ConfigurationError` for invalid options.
 */
export function postgresDedupeStore(options: PostgresDedupeStoreOptions): PostgresDedupeStore {
  const reader = new OptionsReader('postgresDedupeStore()', options)
  const client = reader.raw('client') as Partial<Record<string, unknown>> | undefined | null
  if (typeof (client?.['unsafe'] ?? client?.['query']) !== 'function')
    reader.problem('client', `must be a Pool of pg, or the sql of postgres (postgres.js), got ${describe(client)}`)
  const schema = reader.string('schema', undefined)
  if (schema?.includes('$') === true) reader.problem('schema', 'must not contain $')
  reader.done()
  return new PostgresStore(client as unknown as PostgresStoreClient, schema)
}

class PostgresStore implements PostgresDedupeStore {
  readonly sql: string
  readonly #client: PostgresStoreClient
  readonly #table: string
  readonly #claimSql: string
  // Of many processes that each live for a few claims only, some must clean up.
  #claims = Math.floor(Math.random() * CLEAN.everyClaims)
  #isCleaning = false

  constructor(client: PostgresStoreClient, schema: string | undefined) {
    this.#client = client
    this.#table = tableName('busbar_dedupe', schema)
    this.sql = createDedupeTable(schema)
    const known = `FROM ${this.#table} WHERE key = $1 AND expires_at > clock_timestamp()`
    // A key that is not free is only read: an insert that finds it would lock its row. All parts see the table as it was before the
    // statement; when another connection has claimed the key since then, nothing is returned.
    this.#claimSql = `
      WITH claimed AS (
        INSERT INTO ${this.#table} AS old (key, token, expires_at)
        SELECT $1, $2, clock_timestamp() + $3::float8 * interval '1 millisecond' WHERE NOT EXISTS (SELECT ${known})
        ON CONFLICT (key) DO UPDATE SET token = excluded.token, expires_at = excluded.expires_at
        WHERE old.expires_at <= clock_timestamp()
        RETURNING 1
      )
      SELECT 'claimed' AS status, 0::float8 AS left FROM claimed
      UNION ALL
      SELECT CASE WHEN token IS NULL THEN 'done' ELSE 'in-progress' END,
        ceil(extract(epoch FROM expires_at - clock_timestamp()) * 1000)::float8
      ${known}`
  }

  async createTables(): Promise<void> {
    await query(this.#client, this.sql, [])
  }

  async claim(key: string, leaseMs: number): Promise<DedupeClaim> {
    const token = randomUUID()
    for (;;) {
      const [row] = await this.#query<ClaimRow>(this.#claimSql, [storedKey(key), token, leaseMs])
      if (row === undefined) continue
      if (row.status === 'done') return { status: 'done' }
      if (row.status === 'in-progress') return { status: 'in-progress', retryAfterMs: row.left }
      if (++this.#claims % CLEAN.everyClaims === 0) void this.#cleanUp()
      return { status: 'claimed', token }
    }
  }

  renew(key: string, token: string, leaseMs: number): Promise<boolean> {
    return this.#change(key, token, token, leaseMs)
  }

  complete(key: string, token: string, ttlMs: number): Promise<boolean> {
    return this.#change(key, token, null, ttlMs)
  }

  async release(key: string, token: string): Promise<void> {
    const sql = `DELETE FROM ${this.#table} WHERE key = $1 AND token = $2 AND expires_at > clock_timestamp()`
    await this.#query(sql, [storedKey(key), token])
  }

  async #change(key: string, token: string, newToken: string | null, ms: number): Promise<boolean> {
    const sql = `
      UPDATE ${this.#table} SET token = $3::text, expires_at = clock_timestamp() + $4::float8 * interval '1 millisecond'
      WHERE key = $1 AND token = $2 AND expires_at > clock_timestamp() RETURNING 1`
    return (await this.#query(sql, [storedKey(key), token, newToken, ms])).length === 1
  }

  /** What fails here is done later. Rows that are locked are in use, and one cleaner at a time is enough. */
  async #cleanUp(): Promise<void> {
    if (this.#isCleaning) return
    this.#isCleaning = true
    try {
      // Not by clock_timestamp(), with which PostgreSQL would read the whole table.
      await this.#query(
        `DELETE FROM ${this.#table} WHERE key IN (
           SELECT key FROM ${this.#table} WHERE expires_at <= statement_timestamp()
           ORDER BY expires_at LIMIT ${CLEAN.maxKeys} FOR UPDATE SKIP LOCKED)`,
        [],
      )
    } catch {
      this.#claims--
    } finally {
      this.#isCleaning = false
    }
  }

  async #query<Row>(sql: string, params: readonly unknown[]): Promise<readonly Row[]> {
    try {
      return await query<Row>(this.#client, sql, params)
    } catch (error) {
      if (sqlState(error) !== UNDEFINED_TABLE) throw error
      throw new StateError(
        `The table ${this.#table} does not exist. Call createTables() of the store once, or run in a migration:\n${this.sql}`,
      )
    }
  }
}
