import type { DatabaseSync, SQLInputValue } from 'node:sqlite'
import { StateError } from '../../core/errors.ts'
import { OptionsReader } from '../../core/util/options-reader.ts'
import type { OutboxRow } from '../../outbox/row.ts'
import type {
  BlockedKey,
  KeyQuery,
  ListedRow,
  OutboxStats,
  OutboxStore,
  OwnedShard,
  ReadQuery,
  ReadResult,
  RowFailure,
  RowFilter,
} from '../../outbox/store.ts'
import { SqliteConnection } from './connection.ts'
import { DEFAULT_BUSY_TIMEOUT_MS, openFile } from './open-file.ts'
import { OUTBOX_SQL, OUTBOX_VERSION } from './outbox-schema.ts'

/** Options of `sqliteOutboxStore`. */
export interface SqliteOutboxStoreOptions {
  /** File of your database, which the store opens for itself: best for a relay. Give either this or `database`. */
  readonly path?: string | undefined
  /** Your own open database. The store waits while a transaction is open on it. It is not closed. */
  readonly database?: DatabaseSync | undefined
  /** How long a call waits while another connection or transaction holds the database, in ms. Default 5,000. */
  readonly busyTimeoutMs?: number | undefined
}

/** An outbox in an SQLite file. */
export interface SqliteOutboxStore extends OutboxStore {
  /** Closes the file that the store opened; does nothing if you passed your own `database`. Safe to call twice. */
  close(): void
}

const NOW = `CAST(unixepoch('subsec') * 1000 AS INTEGER)`
const COLUMNS = 'position, shard, id, topic, key, transport, headers, body, attempts'
/** The writer of an SQLite file holds all others up, so statements that write are short. */
const MAX_REMOVED = 200
const MAX_COUNTED = 100_000

/**
 * The outbox in an SQLite file, for a relay and for admin commands, in any process of the machine.
 *
 *     const store = sqliteOutboxStore({ path: './app.db' })
 *     await store.createTables()
 *     await bus.use(outboxRelay({ store }))
 *
 * Throws `ConfigurationError` for invalid options, and SQLite's error when the file can't be opened.
 */
export function sqliteOutboxStore(options: SqliteOutboxStoreOptions): SqliteOutboxStore {
  const reader = new OptionsReader('sqliteOutboxStore()', options)
  const path = reader.string('path', undefined)
  const given = reader.withMethods<DatabaseSync>('database', ['prepare', 'exec'])
  const busyTimeoutMs = reader.integer('busyTimeoutMs', DEFAULT_BUSY_TIMEOUT_MS)
  if (reader.has('path') === reader.has('database')) reader.problem('path', 'give either path or database')
  reader.done()
  const isOurs = given === undefined
  return new SqliteOutbox(given ?? openFile(path ?? '', busyTimeoutMs, () => undefined), isOurs, busyTimeoutMs)
}

class SqliteOutbox implements SqliteOutboxStore {
  readonly sql = OUTBOX_SQL
  readonly #database: DatabaseSync
  readonly #isOurs: boolean
  readonly #connection: SqliteConnection
  readonly #busyTimeoutMs: number

  constructor(database: DatabaseSync, isOurs: boolean, busyTimeoutMs: number) {
    this.#database = database
    this.#isOurs = isOurs
    this.#connection = SqliteConnection.of(database)
    this.#busyTimeoutMs = busyTimeoutMs
  }

  close(): void {
    if (this.#isOurs && this.#database.isOpen) this.#database.close()
  }

  async createTables(): Promise<void> {
    await this.#run(() => {
      try {
        this.#database.exec(OUTBOX_SQL)
      } catch (error) {
        if (this.#database.isTransaction) this.#database.exec('ROLLBACK')
        throw error
      }
    })
  }

  async check(): Promise<void> {
    const [row] = await this.#all<{ version: number }>(`SELECT version FROM busbar_schema WHERE component = 'outbox'`)
    if (row?.version === OUTBOX_VERSION) return
    throw new StateError(
      'The tables of the outbox are of another version: run `busbar outbox migrate`, or update Busbar',
    )
  }

  async heartbeat(owner: string, leaseMs: number): Promise<{ relays: number; owned: readonly OwnedShard[] }> {
    await this.#all(
      `INSERT INTO busbar_outbox_relays VALUES (?, ${NOW} + ?) ON CONFLICT (owner) DO UPDATE SET seen_until = excluded.seen_until`,
      owner,
      leaseMs,
    )
    await this.#all(`DELETE FROM busbar_outbox_relays WHERE seen_until < ${NOW} - 3600000`)
    const owned = await this.#all<OwnedShard>(
      `UPDATE busbar_outbox_shards SET lease_until = ${NOW} + ? WHERE owner = ? RETURNING shard, fence`,
      leaseMs,
      owner,
    )
    const [row] = await this.#all<{ relays: number }>(
      `SELECT count(*) AS relays FROM busbar_outbox_relays WHERE seen_until > ${NOW}`,
    )
    return { relays: Math.max(1, row?.relays ?? 1), owned }
  }

  claim(owner: string, leaseMs: number, most: number): Promise<readonly OwnedShard[]> {
    return this.#all<OwnedShard>(
      `UPDATE busbar_outbox_shards SET owner = ?, lease_until = ${NOW} + ?, fence = fence + 1 WHERE shard IN (
         SELECT shard FROM busbar_outbox_shards WHERE owner IS NULL OR lease_until < ${NOW} ORDER BY random() LIMIT ?)
       RETURNING shard, fence`,
      owner,
      leaseMs,
      most,
    )
  }

  async release(owner: string, shards: readonly number[]): Promise<void> {
    await this.#all(
      `UPDATE busbar_outbox_shards SET owner = NULL WHERE owner = ? AND ${inList('shard')}`,
      owner,
      JSON.stringify(shards),
    )
  }

  async leave(owner: string): Promise<void> {
    await this.#all('DELETE FROM busbar_outbox_relays WHERE owner = ?', owner)
    await this.#all('UPDATE busbar_outbox_shards SET owner = NULL WHERE owner = ?', owner)
  }

  async awake(): Promise<void> {
    // Nothing can wake a relay here.
  }

  read({ shards, floor, skipPositions, skipKeys, skipTransports, limit, maxBytes }: ReadQuery): Promise<ReadResult> {
    return this.#read(
      `${inList('shard')} AND NOT ${inList('position')} AND (key IS NULL OR NOT ${inList('key')})
       AND NOT ${inList(`coalesce(transport, '')`)}`,
      [shards, skipPositions, skipKeys, skipTransports].map((list) => JSON.stringify(list)),
      { floor, limit, maxBytes },
    )
  }

  readKey({ shard, key, floor, skipPositions, limit, maxBytes }: KeyQuery): Promise<ReadResult> {
    const which = `shard = ? AND NOT ${inList('position')} AND key = ?`
    return this.#read(which, [shard, JSON.stringify(skipPositions), key], { floor, limit, maxBytes })
  }

  async #read(
    which: string,
    params: readonly SQLInputValue[],
    { floor, limit, maxBytes }: Pick<ReadQuery, 'floor' | 'limit' | 'maxBytes'>,
  ): Promise<ReadResult> {
    const part = (condition: string): string =>
      `SELECT * FROM (SELECT ${COLUMNS} FROM busbar_outbox WHERE ${which} AND failed_at IS NULL AND ${condition} ORDER BY position LIMIT ?)`
    const sql = `${part('position > ? AND available_at IS NULL')} UNION ALL ${part(`available_at <= ${NOW}`)} ORDER BY position LIMIT ?`
    const { rows, final } = await this.#run(() => ({
      // Transactions that write come one after the other, so what has been committed is final. Asked first: it must not be newer.
      final: this.#database.prepare(`SELECT seq FROM sqlite_sequence WHERE name = 'busbar_outbox'`).get()?.['seq'],
      rows: this.#database.prepare(sql).all(...params, floor, limit, ...params, limit, limit) as unknown as StoredRow[],
    }))
    let bytes = 0
    const small = rows.filter((row, index) => (bytes += row.body?.byteLength ?? 0) < maxBytes || index === 0)
    return {
      rows: small.map(toOutboxRow),
      isCut: rows.length >= limit || small.length < rows.length,
      final: Number(final ?? 0),
    }
  }

  async blocked(
    shards: readonly number[],
    { key, parked }: { readonly key?: string; readonly parked: boolean },
  ): Promise<readonly BlockedKey[]> {
    const rows = await this.#all<{ key: string; shard: number; left: number | null }>(
      `SELECT key, shard, CASE WHEN max(failed_at) IS NOT NULL THEN NULL ELSE min(available_at) - ${NOW} END AS left
       FROM busbar_outbox
       WHERE (available_at > ${NOW} OR (? AND failed_at IS NOT NULL)) AND attempts > 0 AND key IS NOT NULL
         AND ${inList('shard')} AND (? IS NULL OR key = ?)
       GROUP BY key, shard`,
      parked ? 1 : 0,
      JSON.stringify(shards),
      key ?? null,
      key ?? null,
    )
    return rows.map(({ left, ...row }) => ({ ...row, readyInMs: left === null ? undefined : Math.max(0, left) }))
  }

  async remove(positions: readonly number[]): Promise<void> {
    for (let at = 0; at < positions.length; at += MAX_REMOVED) {
      const some = JSON.stringify(positions.slice(at, at + MAX_REMOVED))
      await this.#all(`DELETE FROM busbar_outbox WHERE ${inList('position')}`, some)
    }
  }

  async fail({ position, owned, error, retryInMs }: RowFailure): Promise<boolean> {
    const retry = retryInMs ?? null
    const rows = await this.#all(
      `UPDATE busbar_outbox SET attempts = attempts + 1, last_error = ?, available_at = ${NOW} + ?,
         failed_at = CASE WHEN ? IS NULL THEN ${NOW} END
       WHERE position = ? AND EXISTS (SELECT 1 FROM busbar_outbox_shards WHERE shard = ? AND fence = ?)
       RETURNING 1`,
      error,
      retry,
      retry,
      position,
      owned.shard,
      owned.fence,
    )
    return rows.length === 1
  }

  async stats(): Promise<OutboxStats> {
    const waiting = 'FROM busbar_outbox WHERE failed_at IS NULL'
    const [row] = await this.#all<OutboxStats>(
      `SELECT (SELECT count(*) FROM (SELECT 1 ${waiting} LIMIT ${MAX_COUNTED})) AS pending,
         max(0, coalesce((SELECT ${NOW} - created_at ${waiting} AND available_at IS NULL ORDER BY position LIMIT 1), 0),
           coalesce((SELECT ${NOW} - min(available_at) FROM busbar_outbox WHERE available_at < ${NOW}), 0)) AS oldestAgeMs,
         (SELECT count(*) FROM busbar_outbox WHERE failed_at IS NOT NULL) AS parked,
         (SELECT count(DISTINCT key) FROM busbar_outbox WHERE available_at IS NOT NULL AND attempts > 0) AS failing,
         (SELECT count(*) FROM busbar_outbox_shards WHERE owner IS NULL OR lease_until < ${NOW}) AS unownedShards,
         (SELECT count(*) FROM busbar_outbox_relays WHERE seen_until > ${NOW}) AS relays`,
    )
    return row as OutboxStats
  }

  async list(filter: RowFilter): Promise<readonly ListedRow[]> {
    const date = (ms: number | null): Date | undefined => (ms === null ? undefined : new Date(ms))
    const rows = await this.#all<AdminRow>(
      `SELECT position, id, topic, key, transport, created_at, available_at, attempts, failed_at, last_error,
         coalesce(length(body), 0) AS bytes FROM busbar_outbox WHERE ${SELECTED} ORDER BY position LIMIT ?`,
      ...selection(filter),
    )
    return rows.map((row) => ({
      position: row.position,
      id: row.id,
      topic: row.topic,
      key: row.key ?? undefined,
      transport: row.transport ?? undefined,
      createdAt: new Date(row.created_at),
      availableAt: date(row.available_at),
      attempts: row.attempts,
      parkedAt: date(row.failed_at),
      lastError: row.last_error ?? undefined,
      bodyBytes: row.bytes,
    }))
  }

  requeue(filter: RowFilter): Promise<readonly string[]> {
    const set = `UPDATE busbar_outbox SET failed_at = NULL, attempts = 0, available_at = ${NOW}`
    return this.#changeParked(set, filter)
  }

  discard(filter: RowFilter): Promise<readonly string[]> {
    return this.#changeParked('DELETE FROM busbar_outbox', filter)
  }

  async #changeParked(statement: string, filter: RowFilter): Promise<readonly string[]> {
    const rows = await this.#all<{ id: string }>(
      `${statement} WHERE position IN (SELECT position FROM busbar_outbox WHERE ${SELECTED} ORDER BY position LIMIT ?) RETURNING id`,
      ...selection({ ...filter, parked: true }),
    )
    return rows.map(({ id }) => id)
  }

  #all<Row>(sql: string, ...params: readonly SQLInputValue[]): Promise<readonly Row[]> {
    return this.#run(() => this.#database.prepare(sql).all(...params) as unknown as readonly Row[])
  }

  async #run<Result>(work: () => Result): Promise<Result> {
    try {
      return await this.#connection.run(work, this.#busyTimeoutMs)
    } catch (error) {
      if (!/no such table: (main\.)?busbar_/.test((error as Error).message)) throw error
      throw new StateError(
        `The tables of the outbox do not exist: run the SQL of \`busbar outbox migrate\`:\n${this.sql}`,
      )
    }
  }
}

interface StoredRow {
  readonly position: number
  readonly shard: number
  readonly id: string
  readonly topic: string
  readonly key: string | null
  readonly transport: string | null
  readonly headers: string
  readonly body: Uint8Array | null
  readonly attempts: number
}

interface AdminRow extends Omit<StoredRow, 'shard' | 'headers' | 'body'> {
  readonly created_at: number
  readonly available_at: number | null
  readonly failed_at: number | null
  readonly last_error: string | null
  readonly bytes: number
}

/** SQLite has no arrays: lists are JSON. */
function inList(column: string): string {
  return `${column} IN (SELECT value FROM json_each(?))`
}

const SELECTED = `(? IS NULL OR ${inList('id')}) AND (? IS NULL OR topic = ?) AND (? IS NULL OR key = ?)
  AND (? IS NULL OR (failed_at IS NOT NULL) = ?)`

function selection({ ids, topic: ofTopic, key: ofKey, parked, limit }: RowFilter): SQLInputValue[] {
  const [topic, key] = [ofTopic ?? null, ofKey ?? null]
  const list = ids === undefined ? null : JSON.stringify(ids)
  const isParked = parked === undefined ? null : Number(parked)
  return [list, list, topic, topic, key, key, isParked, isParked, limit]
}

function toOutboxRow(row: StoredRow): OutboxRow {
  const { key, transport, body, ...rest } = row
  return { ...rest, key: key ?? undefined, transport: transport ?? undefined, body: body ?? undefined }
}
