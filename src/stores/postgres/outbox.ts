import { StateError } from '../../core/errors.ts'
import { describe, OptionsReader } from '../../core/util/options-reader.ts'
import { tableName } from '../../core/util/table-name.ts'
import { DEFAULT_CHANNEL } from '../../outbox/insert.ts'
import type { OutboxRow } from '../../outbox/row.ts'
import type {
  BlockedKey,
  KeyQuery,
  OutboxStore,
  OwnedShard,
  ReadQuery,
  ReadResult,
  RowFailure,
} from '../../outbox/store.ts'
import { query, sqlState } from './client.ts'
import type { PostgresStoreClient } from './client.ts'
import { Finality } from './finality.ts'
import { listen } from './listen.ts'
import { OutboxAdminQueries } from './outbox-admin.ts'
import { createOutboxTables, OUTBOX_VERSION } from './outbox-schema.ts'

/** Options of `postgresOutboxStore`. */
export interface PostgresOutboxStoreOptions {
  /** A `Pool` of `pg`, or the `sql` of `postgres` (postgres.js). It is not closed. Required. */
  readonly client: PostgresStoreClient
  /** Schema of the tables. Default: found by the search path of the connection. */
  readonly schema?: string | undefined
}

interface StoredRow {
  readonly position: string
  readonly shard: number
  readonly id: string
  readonly topic: string
  readonly key: string | null
  readonly transport: string | null
  readonly headers: unknown
  readonly body: Uint8Array | null
  readonly attempts: number
}

const UNDEFINED_TABLE = '42P01'
const COLUMNS = 'position, shard, id, topic, key, transport, headers, body, attempts'
const MS = `* interval '1 millisecond'`

/**
 * The outbox in PostgreSQL 13 or newer, for a relay and for admin commands.
 *
 *     const store = postgresOutboxStore({ client: new Pool({ connectionString }) })
 *     await store.createTables() // or run store.sql in a migration
 *     await bus.use(outboxRelay({ store }))
 *
 * Each call is one statement or two, each a transaction of its own: it works behind a pooler such as PgBouncer. Throws
 * `ConfigurationError` for invalid options.
 */
export function postgresOutboxStore(options: PostgresOutboxStoreOptions): OutboxStore {
  const reader = new OptionsReader('postgresOutboxStore()', options)
  const client = reader.raw('client') as Partial<Record<string, unknown>> | undefined | null
  if (typeof (client?.['unsafe'] ?? client?.['query']) !== 'function')
    reader.problem('client', `must be a Pool of pg, or the sql of postgres (postgres.js), got ${describe(client)}`)
  const schema = reader.string('schema', undefined)
  if (schema?.includes('$') === true) reader.problem('schema', 'must not contain $')
  reader.done()
  return new PostgresOutboxStore(client as unknown as PostgresStoreClient, schema)
}

class PostgresOutboxStore extends OutboxAdminQueries implements OutboxStore {
  readonly sql: string
  readonly #client: PostgresStoreClient
  readonly #schema: string | undefined
  readonly #outbox: string
  readonly #shards: string
  readonly #relays: string
  readonly #finality: Finality

  constructor(client: PostgresStoreClient, schema: string | undefined) {
    super((sql, params) => this.#query(sql, params), schema)
    this.#client = client
    this.#schema = schema
    this.sql = createOutboxTables(schema)
    this.#outbox = tableName('busbar_outbox', schema)
    this.#shards = tableName('busbar_outbox_shards', schema)
    this.#relays = tableName('busbar_outbox_relays', schema)
    this.#finality = new Finality(schema, (sql, params) => this.#query(sql, params))
  }

  async createTables(): Promise<void> {
    await query(this.#client, this.sql, [])
  }

  async check(): Promise<void> {
    const table = tableName('busbar_schema', this.#schema)
    const [row] = await this.#query<{ version: number }>(`SELECT version FROM ${table} WHERE component = 'outbox'`, [])
    if (row?.version === OUTBOX_VERSION) return
    throw new StateError(
      row !== undefined && row.version > OUTBOX_VERSION
        ? `The tables of the outbox have version ${row.version}, and this release of Busbar knows ${OUTBOX_VERSION}: update Busbar`
        : `The tables of the outbox are not up to date: run the SQL of \`busbar outbox migrate\``,
    )
  }

  async heartbeat(owner: string, leaseMs: number): Promise<{ relays: number; owned: readonly OwnedShard[] }> {
    // Relays that are gone for long are forgotten here, so the table stays small without a cleaner.
    const rows = await this.#query<{ relays: number; shard: number | null; fence: string }>(
      `WITH seen AS (
         INSERT INTO ${this.#relays} AS r (owner, seen_until) VALUES ($1, clock_timestamp() + $2::float8 ${MS})
         ON CONFLICT (owner) DO UPDATE SET seen_until = excluded.seen_until
       ), gone AS (
         DELETE FROM ${this.#relays} WHERE owner <> $1 AND seen_until < clock_timestamp() - interval '1 hour'
       ), renewed AS (
         UPDATE ${this.#shards} SET lease_until = clock_timestamp() + $2::float8 ${MS} WHERE owner = $1 RETURNING shard, fence
       )
       SELECT (SELECT 1 + count(*) FROM ${this.#relays} WHERE owner <> $1 AND seen_until > clock_timestamp())::int AS relays,
         shard, fence FROM (SELECT) one LEFT JOIN renewed ON true`,
      [owner, leaseMs],
    )
    const owned = rows.filter(({ shard }) => shard !== null) as unknown as { shard: number; fence: string }[]
    return { relays: rows[0]?.relays ?? 1, owned: owned.map(toOwned) }
  }

  async claim(owner: string, leaseMs: number, most: number): Promise<readonly OwnedShard[]> {
    const rows = await this.#query<{ shard: number; fence: string }>(
      `UPDATE ${this.#shards} SET owner = $1, lease_until = clock_timestamp() + $2::float8 ${MS}, fence = fence + 1
       WHERE shard = ANY (ARRAY (
         SELECT shard FROM ${this.#shards} WHERE owner IS NULL OR lease_until < clock_timestamp()
         ORDER BY random() LIMIT $3::int FOR UPDATE SKIP LOCKED))
       RETURNING shard, fence`,
      [owner, leaseMs, most],
    )
    return rows.map(toOwned)
  }

  async release(owner: string, shards: readonly number[]): Promise<void> {
    await this.#query(`UPDATE ${this.#shards} SET owner = NULL WHERE owner = $1 AND shard = ANY ($2::smallint[])`, [
      owner,
      [...shards],
    ])
  }

  async leave(owner: string): Promise<void> {
    await this.#query(
      `WITH gone AS (DELETE FROM ${this.#relays} WHERE owner = $1) UPDATE ${this.#shards} SET owner = NULL WHERE owner = $1`,
      [owner],
    )
  }

  async awake(owner: string, forMs: number): Promise<void> {
    const sql = `UPDATE ${this.#relays} SET awake_until = clock_timestamp() + $2::float8 ${MS} WHERE owner = $1`
    await this.#query(sql, [owner, forMs])
  }

  read(wanted: ReadQuery): Promise<ReadResult> {
    const { shards, floor, skipPositions, skipKeys, skipTransports, limit } = wanted
    return this.#read(
      wanted,
      `shard = ANY ($3::smallint[]) AND failed_at IS NULL AND position <> ALL ($4::bigint[])
       AND (key IS NULL OR key <> ALL ($5::text[])) AND coalesce(transport, '') <> ALL ($6::text[])`,
      [floor, limit, [...shards], [...skipPositions], [...skipKeys], [...skipTransports]],
    )
  }

  readKey(wanted: KeyQuery): Promise<ReadResult> {
    const { shard, key, floor, skipPositions, limit } = wanted
    return this.#read(
      wanted,
      `shard = $3::smallint AND failed_at IS NULL AND position <> ALL ($4::bigint[]) AND key = $5::text`,
      [floor, limit, shard, [...skipPositions], key],
    )
  }

  /** Rows behind the floor, and rows whose delay is over wherever they are: each part has an index. */
  async #read(
    { limit, maxBytes }: { limit: number; maxBytes: number },
    which: string,
    params: unknown[],
  ): Promise<ReadResult> {
    const part = (condition: string): string =>
      `(SELECT ${COLUMNS} FROM ${this.#outbox} WHERE ${which} AND ${condition} ORDER BY position LIMIT $2::int)`
    const size = `sum(octet_length(body)) OVER (ORDER BY position)`
    const rows = await this.#query<StoredRow & { before: string; horizon: string; head: string }>(
      `SELECT rows.*, pg_snapshot_xmin(pg_current_snapshot())::text AS horizon, ${this.#finality.headSql} AS head FROM (SELECT) one LEFT JOIN (
         SELECT *, coalesce(${size} - octet_length(body), 0) AS before FROM (
           ${part('position > $1::bigint AND available_at IS NULL')}
           UNION ALL ${part('available_at <= statement_timestamp()')}
         ) found ORDER BY position LIMIT $2::int
       ) rows ON true ORDER BY position`,
      params,
    )
    const all = rows.filter(({ position }) => position !== null)
    const small = all.filter(({ before }, index) => index === 0 || Number(before) < maxBytes)
    const { horizon = 0, head = 0 } = rows[0] ?? {}
    const final = await this.#finality.after(BigInt(horizon), Number(head))
    return { rows: small.map(toOutboxRow), isCut: all.length >= limit || small.length < all.length, final }
  }

  async blocked(
    shards: readonly number[],
    { key, parked }: { readonly key?: string; readonly parked: boolean },
  ): Promise<readonly BlockedKey[]> {
    const left = `extract(epoch FROM min(available_at) - clock_timestamp()) * 1000`
    const rows = await this.#query<{ key: string; shard: number; left: number | null }>(
      `SELECT key, shard, CASE WHEN bool_or(failed_at IS NOT NULL) THEN NULL ELSE ceil(${left})::float8 END AS left
       FROM ${this.#outbox}
       WHERE (available_at > statement_timestamp() OR ($3::boolean AND failed_at IS NOT NULL)) AND attempts > 0
         AND shard = ANY ($1::smallint[]) AND key IS NOT NULL AND ($2::text IS NULL OR key = $2)
       GROUP BY key, shard`,
      [[...shards], key ?? null, parked],
    )
    return rows.map(({ left: ms, ...row }) => ({ ...row, readyInMs: ms === null ? undefined : Math.max(0, ms) }))
  }

  async remove(positions: readonly number[]): Promise<void> {
    await this.#query(`DELETE FROM ${this.#outbox} WHERE position = ANY ($1::bigint[])`, [[...positions]])
  }

  async fail({ position, owned, error, retryInMs }: RowFailure): Promise<boolean> {
    const rows = await this.#query(
      `UPDATE ${this.#outbox} SET attempts = attempts + 1, last_error = $2,
         available_at = clock_timestamp() + $3::float8 ${MS},
         failed_at = CASE WHEN $3::float8 IS NULL THEN clock_timestamp() END
       WHERE position = $1::bigint AND EXISTS (SELECT FROM ${this.#shards} WHERE shard = $4::smallint AND fence = $5::bigint)
       RETURNING 1`,
      [position, error, retryInMs ?? null, owned.shard, owned.fence],
    )
    return rows.length === 1
  }

  holder(): Promise<string | undefined> {
    return this.#finality.holder()
  }

  listen(wake: () => void, onEnd: (error: unknown) => void): Promise<() => Promise<void>> {
    return listen(this.#client, DEFAULT_CHANNEL, wake, onEnd)
  }

  async #query<Row>(sql: string, params: readonly unknown[]): Promise<readonly Row[]> {
    try {
      return await query<Row>(this.#client, sql, params)
    } catch (error) {
      if (sqlState(error) !== UNDEFINED_TABLE) throw error
      throw new StateError(
        `The tables of the outbox do not exist. Run the SQL of \`busbar outbox migrate\`:\n${this.sql}`,
      )
    }
  }
}

function toOwned({ shard, fence }: { readonly shard: number; readonly fence: string }): OwnedShard {
  return { shard, fence: Number(fence) }
}

function toOutboxRow(row: StoredRow): OutboxRow {
  const { position, shard, id, topic, key, transport, headers, body, attempts } = row
  return {
    position: Number(position),
    shard,
    id,
    topic,
    key: key ?? undefined,
    transport: transport ?? undefined,
    headers,
    body: body ?? undefined,
    attempts,
  }
}
