import { randomUUID } from 'node:crypto'
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { OptionsReader } from '../../core/util/options-reader.ts'
import type { DedupeClaim, DedupeStore } from '../../middleware/store.ts'
import { storedKey } from '../stored-key.ts'
import { SqliteConnection } from './connection.ts'
import { DEFAULT_BUSY_TIMEOUT_MS, openFile } from './open-file.ts'

/** Options of `sqliteDedupeStore`. */
export interface SqliteDedupeStoreOptions {
  /** File of the store, which is created if it is missing. Give either this or `database`. */
  readonly path?: string | undefined
  /** Your own open database. The store creates its table `busbar_dedupe` there. It does not close the database. */
  readonly database?: DatabaseSync | undefined
  /** How long a call waits while another connection or transaction holds the database, in ms. Default 5,000. */
  readonly busyTimeoutMs?: number | undefined
}

/** A `DedupeStore` in an SQLite file. */
export interface SqliteDedupeStore extends DedupeStore {
  /** Closes the file that the store opened; does nothing if you passed your own `database`. Safe to call twice. */
  close(): void
}

/** Milliseconds since 1970, by the clock of the machine: all processes that share the file are on it. */
const NOW = `CAST(unixepoch('subsec') * 1000 AS INTEGER)`
/** Every so many claims, at most this many expired keys are deleted: more than can have been added meanwhile. */
const CLEAN = { everyClaims: 64, maxKeys: 256 } as const

/**
 * Remembers handled messages in an SQLite file, for all processes of one machine. Answers at once; if another process is writing,
 * it waits without blocking the event loop, and rejects with a `TimeoutError` after `busyTimeoutMs`.
 *
 * - With `path`, the file uses write-ahead logging: it survives the end of the process, however sudden. A power failure may undo
 *   the last moments; the messages of that time are then handled again.
 * - With `database`, the store waits while a transaction is open on that connection, so as not to become part of it. Give it a
 *   separate connection if your transactions take longer than a lease.
 * - Expired keys are deleted a few at a time, by claims: an idle store does nothing.
 *
 *     const store = sqliteDedupeStore({ path: './dedupe.db' })
 *     bus.consume(OrderShipped, sendMail, { middleware: [dedupe({ store })] })
 *
 * Throws `ConfigurationError` for invalid options, and SQLite's error when the file can't be opened.
 */
export function sqliteDedupeStore(options: SqliteDedupeStoreOptions): SqliteDedupeStore {
  const reader = new OptionsReader('sqliteDedupeStore()', options)
  const path = reader.string('path', undefined)
  const given = reader.withMethods<DatabaseSync>('database', ['prepare', 'exec'])
  const busyTimeoutMs = reader.integer('busyTimeoutMs', DEFAULT_BUSY_TIMEOUT_MS)
  if (reader.has('path') === reader.has('database')) reader.problem('path', 'give either path or database')
  reader.done()
  if (given !== undefined) return new SqliteStore(given, false, busyTimeoutMs)
  return new SqliteStore(openFile(path ?? '', busyTimeoutMs, createTable), true, busyTimeoutMs)
}

function createTable(database: DatabaseSync): void {
  database.exec(`
    CREATE TABLE IF NOT EXISTS busbar_dedupe (
      key TEXT PRIMARY KEY,
      token TEXT, -- null: done
      expires_at INTEGER NOT NULL -- end of the lease, or of the time to live
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS busbar_dedupe_expires_at ON busbar_dedupe (expires_at)`)
}

class SqliteStore implements SqliteDedupeStore {
  readonly #database: DatabaseSync
  readonly #isOurs: boolean
  readonly #connection: SqliteConnection
  readonly #busyTimeoutMs: number
  readonly #insert: StatementSync
  readonly #read: StatementSync
  readonly #change: StatementSync
  readonly #delete: StatementSync
  readonly #clean: StatementSync
  // Of many processes that each live for a few claims only, some must clean up.
  #claims = Math.floor(Math.random() * CLEAN.everyClaims)

  constructor(database: DatabaseSync, isOurs: boolean, busyTimeoutMs: number) {
    if (!isOurs) createTable(database)
    this.#database = database
    this.#isOurs = isOurs
    this.#connection = SqliteConnection.of(database)
    this.#busyTimeoutMs = busyTimeoutMs
    this.#insert = database.prepare(`
      INSERT INTO busbar_dedupe (key, token, expires_at) VALUES (?, ?, ${NOW} + ?)
      ON CONFLICT (key) DO UPDATE SET token = excluded.token, expires_at = excluded.expires_at WHERE expires_at <= ${NOW}`)
    this.#read = database.prepare(
      `SELECT token IS NULL AS done, expires_at - ${NOW} AS leftMs FROM busbar_dedupe WHERE key = ? AND expires_at > ${NOW}`,
    )
    const ours = `WHERE key = ? AND token = ? AND expires_at > ${NOW}`
    this.#change = database.prepare(`UPDATE busbar_dedupe SET token = ?, expires_at = ${NOW} + ? ${ours}`)
    this.#delete = database.prepare(`DELETE FROM busbar_dedupe ${ours}`)
    this.#clean = database.prepare(`
      DELETE FROM busbar_dedupe WHERE key IN
        (SELECT key FROM busbar_dedupe WHERE expires_at <= ${NOW} ORDER BY expires_at LIMIT ${CLEAN.maxKeys})`)
  }

  claim(key: string, leaseMs: number): DedupeClaim | Promise<DedupeClaim> {
    const token = randomUUID()
    const stored = storedKey(key)
    return this.#connection.run(() => this.#claim(stored, token, leaseMs), this.#busyTimeoutMs)
  }

  renew(key: string, token: string, leaseMs: number): boolean | Promise<boolean> {
    return this.#run(() => this.#change.run(token, leaseMs, storedKey(key), token))
  }

  complete(key: string, token: string, ttlMs: number): boolean | Promise<boolean> {
    return this.#run(() => this.#change.run(null, ttlMs, storedKey(key), token))
  }

  release(key: string, token: string): void | Promise<void> {
    const released = this.#run(() => this.#delete.run(storedKey(key), token))
    return typeof released === 'boolean' ? undefined : released.then(() => undefined)
  }

  close(): void {
    if (this.#isOurs && this.#database.isOpen) this.#database.close()
  }

  #claim(key: string, token: string, leaseMs: number): DedupeClaim {
    for (;;) {
      if (this.#insert.run(key, token, leaseMs).changes === 1) {
        if (++this.#claims % CLEAN.everyClaims === 0) this.#cleanUp()
        return { status: 'claimed', token }
      }
      const found = this.#read.get(key) as { readonly done: number; readonly leftMs: number } | undefined
      // Nothing: another process has released it in between, or it has just expired.
      if (found !== undefined)
        return found.done === 1 ? { status: 'done' } : { status: 'in-progress', retryAfterMs: found.leftMs }
    }
  }

  /** What fails here is done later; the claim that was made must not be reported as failed. */
  #cleanUp(): void {
    try {
      this.#clean.run()
    } catch {
      this.#claims--
    }
  }

  #run(statement: () => { readonly changes: number | bigint }): boolean | Promise<boolean> {
    return this.#connection.run(() => statement().changes === 1, this.#busyTimeoutMs)
  }
}
