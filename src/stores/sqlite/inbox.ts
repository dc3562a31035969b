import type { DatabaseSync, SQLInputValue } from 'node:sqlite'
import { StateError } from '../../core/errors.ts'
import { OptionsReader } from '../../core/util/options-reader.ts'
import type { ForgetFilter, InboxKey, InboxStats, InboxStore } from '../../inbox/store.ts'
import { storedKey } from '../stored-key.ts'
import { isLocked, SqliteConnection } from './connection.ts'
import { DEFAULT_BUSY_TIMEOUT_MS } from './open-file.ts'

/** Options of `sqliteInboxStore`. */
export interface SqliteInboxStoreOptions {
  /** Your open database, for what runs outside of your transactions. It is not closed. Required. */
  readonly database: DatabaseSync
  /** How long a call waits while another connection or transaction holds the database, in ms. Default 5,000. */
  readonly busyTimeoutMs?: number | undefined
}

const NOW = `CAST(unixepoch('subsec') * 1000 AS INTEGER)`

/** The SQL that creates the table of the inbox, or brings it up to date. Safe to run again. */
export const INBOX_SQL: string = `CREATE TABLE IF NOT EXISTS busbar_inbox (
  consumer TEXT NOT NULL, -- group and topic
  message TEXT NOT NULL, -- topic, source and id
  expires_at INTEGER NOT NULL, -- remembered until then, in ms since 1970
  PRIMARY KEY (consumer, message)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS busbar_inbox_expires_at ON busbar_inbox (expires_at)`

/** The table of an inbox in SQLite. `tx` is the database, as `sqliteUnitOfWork` passes it. Throws `ConfigurationError` for invalid options. */
export function sqliteInboxStore(options: SqliteInboxStoreOptions): InboxStore<DatabaseSync> {
  const reader = new OptionsReader('sqliteInboxStore()', options)
  if (!reader.has('database')) reader.problem('database', 'is required: a DatabaseSync of node:sqlite')
  const database = reader.withMethods<DatabaseSync>('database', ['prepare', 'exec'])
  const busyTimeoutMs = reader.integer('busyTimeoutMs', DEFAULT_BUSY_TIMEOUT_MS)
  reader.done()
  return new SqliteInbox(SqliteConnection.of(database as DatabaseSync), busyTimeoutMs)
}

class SqliteInbox implements InboxStore<DatabaseSync> {
  readonly sql = INBOX_SQL
  readonly #connection: SqliteConnection
  readonly #busyTimeoutMs: number

  constructor(connection: SqliteConnection, busyTimeoutMs: number) {
    this.#connection = connection
    this.#busyTimeoutMs = busyTimeoutMs
  }

  async createTables(): Promise<void> {
    await this.#connection.run(() => this.#connection.database.exec(INBOX_SQL), this.#busyTimeoutMs)
  }

  record(tx: DatabaseSync, { consumer, message }: InboxKey, ttlMs: number): boolean {
    const sql = `INSERT INTO busbar_inbox VALUES (?, ?, ${NOW} + ?)
      ON CONFLICT DO UPDATE SET expires_at = excluded.expires_at WHERE expires_at <= ${NOW}`
    return explained(() => tx.prepare(sql).run(storedKey(consumer), storedKey(message), ttlMs).changes === 1)
  }

  purge(limit: number): Promise<number> {
    return this.#change(
      `DELETE FROM busbar_inbox WHERE (consumer, message) IN
         (SELECT consumer, message FROM busbar_inbox WHERE expires_at <= ${NOW} ORDER BY expires_at LIMIT ?)`,
      limit,
    )
  }

  forget({ consumer: ofConsumer, ids }: ForgetFilter): Promise<number> {
    const consumer = ofConsumer ?? null
    const list = ids === undefined ? null : JSON.stringify(ids)
    const rest = `substr(message, instr(message, ' ') + 1)`
    return this.#change(
      `DELETE FROM busbar_inbox WHERE (? IS NULL OR consumer = ?)
         AND (? IS NULL OR substr(${rest}, instr(${rest}, ' ') + 1) IN (SELECT value FROM json_each(?)))`,
      consumer,
      consumer,
      list,
      list,
    )
  }

  async stats(): Promise<InboxStats> {
    const sql = `SELECT count(*) AS remembered, coalesce(sum(expires_at <= ${NOW}), 0) AS expired FROM busbar_inbox`
    const read = (): unknown => explained(() => this.#connection.database.prepare(sql).get())
    return { ...((await this.#connection.run(read, this.#busyTimeoutMs)) as InboxStats) }
  }

  mayPass(error: unknown): boolean {
    return isLocked(error)
  }

  async #change(sql: string, ...params: readonly SQLInputValue[]): Promise<number> {
    const change = (): number => explained(() => Number(this.#connection.database.prepare(sql).run(...params).changes))
    return this.#connection.run(change, this.#busyTimeoutMs)
  }
}

function explained<Result>(work: () => Result): Result {
  try {
    return work()
  } catch (error) {
    if (!/no such table: (main\.)?busbar_inbox/.test((error as Error).message)) throw error
    throw new StateError(
      `The table busbar_inbox does not exist: run the SQL of \`busbar inbox migrate\`:\n${INBOX_SQL}`,
    )
  }
}
