import { StateError } from '../../core/errors.ts'
import { describe, OptionsReader } from '../../core/util/options-reader.ts'
import { tableName } from '../../core/util/table-name.ts'
import type { ForgetFilter, InboxKey, InboxStats, InboxStore } from '../../inbox/store.ts'
import { storedKey } from '../stored-key.ts'
import { query, sqlState } from './client.ts'
import type { PostgresStoreClient } from './client.ts'
import { LOCK } from './schema.ts'

/** Options of `postgresInboxStore`. */
export interface PostgresInboxStoreOptions {
  /** A `Pool` of `pg`, or the `sql` of `postgres` (postgres.js): for what runs outside of your transactions. It is not closed. Required. */
  readonly client: PostgresStoreClient
  /** Schema of the table `busbar_inbox`. Default: found by the search path of the connection. */
  readonly schema?: string | undefined
}

const UNDEFINED_TABLE = '42P01'
/** Lock not available, serialization failure, deadlock. */
const MAY_PASS: ReadonlySet<string | undefined> = new Set(['55P03', '40001', '40P01'])
const MAX_COUNTED = 100_000

/** The SQL that creates the table of the inbox, or brings it up to date: one statement, safe to run again. */
export function createInboxTable(schema: string | undefined): string {
  const table = tableName('busbar_inbox', schema)
  return `DO $do$ BEGIN
  PERFORM ${LOCK};
  CREATE TABLE IF NOT EXISTS ${table} (
    consumer text, -- group and topic
    message text, -- topic, source and id
    expires_at timestamptz NOT NULL, -- remembered until then
    PRIMARY KEY (consumer, message)
  );
  CREATE INDEX IF NOT EXISTS busbar_inbox_expires_at ON ${table} (expires_at);
END $do$`
}

/**
 * The table of an inbox in PostgreSQL. `tx` is a client of `pg` or the `sql` of a transaction of postgres.js, as `postgresUnitOfWork`
 * passes it.
 *
 * A message that another transaction is handling is waited for: its INSERT waits for the other one's end. Set `lock_timeout` on the
 * connections to wait for less; the message is then tried again, and uses no attempt.
 *
 * Throws `ConfigurationError` for invalid options.
 */
export function postgresInboxStore(options: PostgresInboxStoreOptions): InboxStore<PostgresStoreClient> {
  const reader = new OptionsReader('postgresInboxStore()', options)
  const client = reader.raw('client') as Partial<Record<string, unknown>> | undefined | null
  if (typeof (client?.['unsafe'] ?? client?.['query']) !== 'function')
    reader.problem('client', `must be a Pool of pg, or the sql of postgres (postgres.js), got ${describe(client)}`)
  const schema = reader.string('schema', undefined)
  if (schema?.includes('$') === true) reader.problem('schema', 'must not contain $')
  reader.done()
  return new PostgresInbox(client as unknown as PostgresStoreClient, schema)
}

class PostgresInbox implements InboxStore<PostgresStoreClient> {
  readonly sql: string
  readonly #client: PostgresStoreClient
  readonly #table: string

  constructor(client: PostgresStoreClient, schema: string | undefined) {
    this.#client = client
    this.#table = tableName('busbar_inbox', schema)
    this.sql = createInboxTable(schema)
  }

  async createTables(): Promise<void> {
    await query(this.#client, this.sql, [])
  }

  async record(tx: PostgresStoreClient, { consumer, message }: InboxKey, ttlMs: number): Promise<boolean> {
    // A record whose time is over counts as none, whether or not it was deleted yet.
    const rows = await this.#query(
      tx,
      `INSERT INTO ${this.#table} AS old VALUES ($1, $2, clock_timestamp() + $3::float8 * interval '1 millisecond')
       ON CONFLICT (consumer, message) DO UPDATE SET expires_at = excluded.expires_at WHERE old.expires_at <= clock_timestamp()
       RETURNING 1`,
      [storedKey(consumer), storedKey(message), ttlMs],
    )
    return rows.length === 1
  }

  async purge(limit: number): Promise<number> {
    const rows = await this.#query(
      this.#client,
      `DELETE FROM ${this.#table} WHERE (consumer, message) IN (
         SELECT consumer, message FROM ${this.#table} WHERE expires_at <= statement_timestamp()
         ORDER BY expires_at LIMIT $1::int FOR UPDATE SKIP LOCKED)
       RETURNING 1`,
      [limit],
    )
    return rows.length
  }

  async forget({ consumer, ids }: ForgetFilter): Promise<number> {
    const rows = await this.#query(
      this.#client,
      `DELETE FROM ${this.#table} WHERE ($1::text IS NULL OR consumer = $1)
         AND ($2::text[] IS NULL OR substr(message, strpos(message, ' ') + 1 + strpos(substr(message, strpos(message, ' ') + 1), ' ')) = ANY ($2::text[]))
       RETURNING 1`,
      [consumer ?? null, ids === undefined ? null : [...ids]],
    )
    return rows.length
  }

  async stats(): Promise<InboxStats> {
    const count = (where: string): string =>
      `(SELECT count(*) FROM (SELECT FROM ${this.#table} ${where} LIMIT ${MAX_COUNTED}) counted)::int`
    const [row] = await this.#query<InboxStats>(
      this.#client,
      `SELECT ${count('')} AS remembered, ${count('WHERE expires_at <= statement_timestamp()')} AS expired`,
      [],
    )
    return row as InboxStats
  }

  mayPass(error: unknown): boolean {
    return MAY_PASS.has(sqlState(error))
  }

  async #query<Row>(client: PostgresStoreClient, sql: string, params: readonly unknown[]): Promise<readonly Row[]> {
    try {
      return await query<Row>(client, sql, params)
    } catch (error) {
      if (sqlState(error) !== UNDEFINED_TABLE) throw error
      throw new StateError(
        `The table ${this.#table} does not exist: run the SQL of \`busbar inbox migrate\`:\n${this.sql}`,
      )
    }
  }
}
